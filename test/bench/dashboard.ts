import { mkdirSync, symlinkSync } from 'node:fs';
import { join, resolve } from 'node:path';
import Table from 'cli-table3';
import { openChdbStore } from '../../services/store/chdb.js';
import { Sandbox } from '../commands/run.js';
import { timeFirstFigures } from './dashboard/page.js';
import type { Engine } from './disk.js';
import { median, percentile, round2 } from './figures.js';
import type { BenchmarkOptions, BenchmarkResult } from './main.js';
import { fillCalls } from './sql/history.js';

export const description =
  "The dashboard's ten usual questions on 10 million calls, beside a scan of one bare column; and its first page, cold.";

const targetMs = 300;
const pageTargetMs = 1_000;
/** For five loads of the first page; a browser that stands still is no reason to wait for ever. */
const pageLimitMs = 120_000;
const dayMs = 86_400_000;
/** So that nothing expires while it is measured. */
const kept = { MCP_AUDITD_STORE__RETENTION_DAYS: '36500', MCP_AUDITD_STORE__BODY_RETENTION_DAYS: '36500' };

interface Newest {
  readonly event_id: string;
  readonly session_id: string;
  readonly actor_id: string;
  readonly at: number;
}

/** What the views ask as they are opened, with the ranges that they open with. */
function questions({ event_id, session_id, actor_id, at }: Newest): Record<string, string> {
  const range = (ms: number, more: Record<string, string> = {}) =>
    new URLSearchParams({ from: new Date(at - ms).toISOString(), to: new Date(at).toISOString(), ...more }).toString();
  return {
    'Now: the figures': `/summary?${range(900_000)}`,
    'Now: calls and latencies over time': `/series?${range(900_000, { points: '180', latency: 'true' })}`,
    'Explore: the figures': `/summary?${range(dayMs)}`,
    'Explore: over time by tool': `/series?${range(dayMs, { points: '240', by: 'tool_name' })}`,
    'Explore: the newest calls': `/calls?${range(dayMs, { limit: '200' })}`,
    'Explore: by tool': `/groups?${range(dayMs, { by: 'tool_name', limit: '25' })}`,
    'Actors: all of a day': `/groups?${range(dayMs, { by: 'actor_id', limit: '500' })}`,
    'Actors: one in a week': `/summary?${range(7 * dayMs, { filter: `actor_id=${actor_id}` })}`,
    'Tools: all of a day': `/tools?${range(dayMs)}`,
    'Sessions: all of a day': `/sessions?${range(dayMs, { limit: '200' })}`,
    'Sessions: one of the month': `/calls?${range(30 * dayMs, { filter: `session_id=${session_id}`, order: 'oldest', limit: '500' })}`,
    'One call': `/calls/${event_id}`,
  };
}

/** Those that people widen by hand: told, and not held to the target. */
function wide({ at }: Newest): Record<string, string> {
  const month = new URLSearchParams({
    from: new Date(at - 30 * dayMs).toISOString(),
    to: new Date(at).toISOString(),
  }).toString();
  return {
    'a month: the figures': `/summary?${month}`,
    'a month: over time by tool': `/series?${month}&points=240&by=tool_name`,
    'a month: by tool': `/groups?${month}&by=tool_name&limit=25`,
  };
}

export async function run(options: BenchmarkOptions): Promise<BenchmarkResult> {
  const events = Number(options.events ?? 10_000_000);
  const rounds = Number(options.rounds ?? 20);
  const sandbox = new Sandbox();
  try {
    mkdirSync(sandbox.data, { recursive: true, mode: 0o700 });
    const directory = join(sandbox.data, 'store');
    // A store that an earlier run has filled.
    if (options.store !== undefined) symlinkSync(resolve(options.store), directory);
    else await fill(directory, events);
    const daemon = await sandbox.up([], kept);
    const time = async (path: string, init: RequestInit = {}): Promise<number> => {
      const start = performance.now();
      const headers = { authorization: `Bearer ${sandbox.key('reader')}`, 'content-type': 'application/json' };
      const response = await fetch(`${daemon.url}${path}`, { headers, ...init });
      const text = await response.text();
      if (!response.ok) throw new Error(`${path}: ${text}`);
      return performance.now() - start;
    };
    const [newest] = (await sandbox.ask(
      daemon.url,
      "SELECT toString(event_id) AS event_id, session_id, actor_id, toFloat64(toUnixTimestamp64Milli(occurred_at)) AS at FROM calls WHERE method = 'tools/call' AND toDate(recorded_at) = (SELECT max(toDate(recorded_at)) FROM calls) ORDER BY occurred_at DESC LIMIT 1",
    )) as unknown as Newest[];
    const scan = { method: 'POST', body: JSON.stringify({ sql: 'SELECT max(occurred_at + 1) FROM calls' }) };
    const scans: number[] = [];
    const measured: Record<string, { cold_ms: number; p50_ms: number; p95_ms: number }> = {};
    const table = new Table({ head: ['question', 'first, ms', 'p50, ms', 'p95, ms'] });
    const all = { ...questions(newest!), ...wide(newest!) };
    const usual = Object.keys(questions(newest!));
    for (const [name, path] of Object.entries(all)) {
      const coldMs = await time(`/api/v1${path}`);
      const times: number[] = [];
      for (let round = 0; round < (usual.includes(name) ? rounds : 3); round++)
        times.push(await time(`/api/v1${path}`));
      scans.push(await time('/v1/query', scan));
      const figures = {
        cold_ms: Math.round(coldMs),
        p50_ms: Math.round(median(times)),
        p95_ms: Math.round(percentile(times, 0.95)),
      };
      measured[name] = figures;
      table.push([name, figures.cold_ms, figures.p50_ms, figures.p95_ms]);
    }
    const scanMs = median(scans);
    console.log(table.toString());
    console.log(`a scan of the bare time column: ${scanMs.toFixed(0)} ms`);
    const pages = (await timeFirstFigures(sandbox, daemon.url, '/now', 5, pageLimitMs)) ?? [];
    if (pages.length > 0)
      console.log(
        `from the link to figures on the page, nothing cached: ${pages.map((ms) => ms.toFixed(0)).join(', ')} ms`,
      );
    await daemon.stop();
    const worst = Math.max(...usual.map((name) => measured[name]!.p95_ms));
    const pageMs = pages.length === 0 ? Number.NaN : median(pages);
    return {
      name: 'dashboard',
      ratio: round2(worst / scanMs),
      target: `p95 of each below ${targetMs} ms, page below ${pageTargetMs} ms (ratio: slowest p95 by a scan of one column)`,
      ok: worst < targetMs && pageMs < pageTargetMs,
      worst_p95_ms: worst,
      scan_ms: Math.round(scanMs),
      page_ms: Math.round(pageMs),
      questions: measured,
    };
  } finally {
    await sandbox.dispose();
  }
}

async function fill(directory: string, events: number): Promise<void> {
  const store = (await openChdbStore({
    directory,
    retentionDays: 36_500,
    bodyRetentionDays: 36_500,
  })) as unknown as Engine;
  await store.migrate();
  await fillCalls(store, events, "now64(6, 'UTC') - INTERVAL 30 DAY");
  await store.close();
}
