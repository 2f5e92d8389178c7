import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { Agent, request as httpRequest } from 'node:http';
import { fileURLToPath } from 'node:url';
import Table from 'cli-table3';
import { startCollector, withDataDirectory } from './emitter/processes.js';
import { round2 } from './figures.js';
import type { BenchmarkOptions, BenchmarkResult } from './main.js';

export const description =
  'What the HTTP proxy adds to a call and takes from throughput, beside plain reverse proxies.';

const target = 1.3;
const variants = ['direct', 'plain', 'library', 'ours'] as const;
type Variant = (typeof variants)[number];
const inFlight = 16;

/**
 * A server, three proxies before it and a collector, each in a process of its own. Rounds go through all of them in
 * turn, so that what else runs on the machine meets all alike: first calls one after the other (latency), then 16 at
 * once (throughput). Every call of ours is recorded and delivered.
 */
export async function run(options: BenchmarkOptions): Promise<BenchmarkResult> {
  const rounds = Number(options.rounds ?? 12);
  const calls = Number(options.calls ?? 1_000);
  return withDataDirectory(async (data) => {
    const collector = await startCollector();
    const children: ChildProcess[] = [];
    const start = async (...words: string[]): Promise<string> => {
      const file = fileURLToPath(new URL('./proxy/between.ts', import.meta.url));
      const child = spawn(process.execPath, ['--import', 'tsx', file, ...words], {
        stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      });
      children.push(child);
      const [{ url }] = (await once(child, 'message')) as [{ url: string }];
      return url;
    };
    const agent = new Agent({ keepAlive: true });
    try {
      const direct = await start('server');
      const urls: Record<Variant, string> = {
        direct,
        plain: await start('plain', direct),
        library: await start('library', direct),
        ours: await start('ours', direct, data, collector.url),
      };
      const latencies: Record<Variant, number[]> = { direct: [], plain: [], library: [], ours: [] };
      const rates: Record<Variant, number[]> = { direct: [], plain: [], library: [], ours: [] };
      for (const variant of variants) await many(agent, urls[variant], 3_000);
      for (let round = 0; round < rounds; round += 1) {
        for (const variant of variants) {
          for (let call = 0; call < calls; call += 1) latencies[variant].push(await ask(agent, urls[variant], call));
          const begun = performance.now();
          await many(agent, urls[variant], calls);
          rates[variant].push((calls / (performance.now() - begun)) * 1000);
        }
      }
      return tell(latencies, rates, rounds);
    } finally {
      agent.destroy();
      for (const child of children) child.kill('SIGKILL');
      await collector.stop();
    }
  });
}

function tell(latencies: Record<Variant, number[]>, rates: Record<Variant, number[]>, rounds: number): BenchmarkResult {
  const of = (figure: (variant: Variant) => number): Record<Variant, number> =>
    Object.fromEntries(variants.map((variant) => [variant, round2(figure(variant))])) as Record<Variant, number>;
  const p50 = of((variant) => quantile(latencies[variant], 0.5) * 1000);
  const p99 = of((variant) => quantile(latencies[variant], 0.99) * 1000);
  const rate = of((variant) => quantile(rates[variant], 0.5));
  const added = of((variant) => p50[variant] - p50.direct);
  const table = new Table({ head: ['', 'p50 µs', 'p99 µs', 'added p50 µs', 'added p99 µs', 'calls/s, 16 at once'] });
  for (const each of variants)
    table.push([each, p50[each], p99[each], added[each], round2(p99[each] - p99.direct), Math.round(rate[each])]);
  console.log(table.toString());
  const ratio = round2(added.ours / added.plain);
  return {
    name: 'proxy',
    ratio,
    target: `added p50 ≤ ${target} × that of a plain pass-through`,
    ok: ratio <= target,
    addedP50Micros: added,
    p99Micros: p99,
    callsPerSecond: rate,
    libraryRatio: round2(added.library / added.plain),
    rounds,
  };
}

function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]!;
}

/** Milliseconds of one call, until its answer is whole. */
function ask(agent: Agent, url: string, id: number): Promise<number> {
  const params = { name: 'echo', arguments: { message: `call-${id}.` } };
  const body = JSON.stringify({ jsonrpc: '2.0', id, method: 'tools/call', params });
  const headers = {
    'content-type': 'application/json',
    accept: 'application/json, text/event-stream',
    'content-length': Buffer.byteLength(body),
    'mcp-protocol-version': '2025-11-25',
  };
  const begun = performance.now();
  return new Promise((resolve, reject) => {
    const sent = httpRequest(url, { agent, method: 'POST', headers }, (response) => {
      response.on('data', () => {});
      response.on('end', () => resolve(performance.now() - begun));
      response.on('error', reject);
    });
    sent.on('error', reject);
    sent.end(body);
  });
}

async function many(agent: Agent, url: string, calls: number): Promise<void> {
  let sent = 0;
  const worker = async (): Promise<void> => {
    while (sent < calls) await ask(agent, url, sent++);
  };
  await Promise.all(Array.from({ length: inFlight }, worker));
}
