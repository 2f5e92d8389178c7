import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { backtest } from '../../services/detector/backtest.js';
import { type Ask, readHistory } from '../../services/detector/history.js';
import { openChdbStore } from '../../services/store/chdb.js';
import { rulesOf } from '../detector/rules.js';
import type { Engine } from './disk.js';
import type { BenchmarkOptions, BenchmarkResult } from './main.js';
import { ownYaml, threeRules } from './rules/corpus.js';

export const description =
  'Rules over stored events (--events=10000000 for ten million), beside reading the same rows and doing nothing.';

const target = 0.5;
const days = 2;
const fromMicros = Date.UTC(2026, 9, 1) * 1000;
const limits = { timeMs: 600_000, memoryBytes: 4 * 1024 ** 3, resultRows: 100_000_000, resultBytes: 64 * 1024 ** 3 };

/** Made in the engine itself: 10,000 actors, 100 tools, evenly over the days. */
function generated(day: number, rows: number): string {
  const at = `toDateTime64('2026-10-01 00:00:00', 6, 'UTC') + toIntervalDay(${day}) + toIntervalMicrosecond(toInt64(number * ${Math.floor(86_399_000_000 / rows)}))`;
  const random = (salt: number, upTo: number): string => `cityHash64(number, ${day}, ${salt}) % ${upTo}`;
  return `SELECT ${at} AS occurred_at, toDateTime64(occurred_at, 3, 'UTC') AS recorded_at, 'default' AS tenant, 'tools/call' AS method,
      ${day * rows} + number AS stream_offset, generateUUIDv4(number) AS event_id,
      concat('user-', toString(${random(1, 10_000)})) AS actor_id, concat('tool_', toString(${random(2, 100)})) AS tool_name,
      if(${random(3, 25)} = 0, 'tool_error', 'success') AS outcome FROM numbers(${rows})`;
}

export async function run(options: BenchmarkOptions): Promise<BenchmarkResult> {
  const events = Number(options.events ?? 2_000_000);
  const directory = await mkdtemp(join(tmpdir(), 'bench-backtest-'));
  const store = (await openChdbStore({ directory })) as Awaited<ReturnType<typeof openChdbStore>> & Engine;
  try {
    await store.migrate();
    const rows = Math.ceil(events / days);
    const filled = performance.now();
    for (let day = 0; day < days; day++) {
      const columns = 'occurred_at, recorded_at, tenant, method, stream_offset, event_id, actor_id, tool_name, outcome';
      await store.execute(`INSERT INTO calls (${columns}) SELECT ${columns} FROM (${generated(day, rows)})`);
    }
    console.log(`${rows * days} events made in ${((performance.now() - filled) / 1000).toFixed(1)} s`);
    const ask: Ask = (sql, format) => store.query(sql, { format, limits });
    const rules = rulesOf(ownYaml(threeRules));
    const untilMicros = fromMicros + days * 86_400e6;

    const names = ['actor_id', 'method', 'outcome', 'tool_name'];
    const readStarted = performance.now();
    let read = 0;
    for await (const records of readHistory(ask, { fromMicros, untilMicros }, names)) read += records.length;
    const readSeconds = (performance.now() - readStarted) / 1000;

    let shown = 0;
    const result = await backtest(ask, {
      rules,
      fromMicros,
      untilMicros,
      warmupMicros: 0,
      progress: (done, total) => {
        shown++;
        process.stderr.write(`\r${((done / total) * 100).toFixed(0).padStart(3)} % of ${total} events`);
      },
    });
    process.stderr.write('\n');
    if (read !== result.events) throw new Error(`${read} events were read and ${result.events} were looked at`);
    const perSecond = result.events / result.seconds;
    const readPerSecond = read / readSeconds;
    console.log(`reading alone   ${readPerSecond.toFixed(0).padStart(9)} events/s`);
    console.log(
      `backtest        ${perSecond.toFixed(0).padStart(9)} events/s, ${result.seconds.toFixed(1)} s, progress told ${shown} times`,
    );
    const ratio = perSecond / readPerSecond;
    return {
      name: 'backtest',
      ratio,
      target: `at least ${target} of the rate of reading the same rows and doing nothing`,
      ok: ratio >= target,
      events: result.events,
      eventsPerSecond: perSecond,
      readPerSecond,
      alerts: result.rules.reduce((sum, { alerts }) => sum + alerts, 0),
    };
  } finally {
    await store.close();
    await rm(directory, { recursive: true, force: true });
  }
}
