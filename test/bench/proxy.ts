import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { Agent, request as httpRequest } from 'node:http';
import { fileURLToPath } from 'node:url';
import Table from 'cli-table3';
import { buildEmitter } from './emitter/built.js';
import { startCollector, withDataDirectory } from './emitter/processes.js';
import { median, round2 } from './figures.js';
import type { BenchmarkOptions, BenchmarkResult } from './main.js';

export const description =
  'What the HTTP proxy adds to a call and takes from throughput, beside plain reverse proxies.';

const target = 1.3;
const variants = ['direct', 'plain', 'library', 'ours'] as const;
type Variant = (typeof variants)[number];
type PerVariant<T> = Record<Variant, T>;
const inFlight = 16;
/** Until the compiler has done its work on every variant: a proxy runs for weeks. */
const warmupCalls = 15_000;

/** A server, or a proxy before it, in a process of its own. */
interface Stage {
  readonly url: string;
  /** Processor time that it has used so far. */
  cpuMicros(): Promise<number>;
}

/** What was measured of one variant. */
interface Samples {
  /** Milliseconds of each call that was made after the other. */
  readonly latencies: number[];
  /** Calls a second with 16 at once, of each round. */
  readonly rates: number[];
  /** Processor time of its own process a call, of each round: one after the other, and 16 at once. */
  readonly cpuOneByOne: number[];
  readonly cpuAtOnce: number[];
}

/**
 * A server, three proxies before it and a collector, each in a process of its own. Rounds go through all of them in
 * turn, so that what else runs on the machine meets all alike: first calls one after the other (latency), then 16 at
 * once (throughput). Every call of ours is recorded and delivered.
 */
export async function run(options: BenchmarkOptions): Promise<BenchmarkResult> {
  const rounds = Number(options.rounds ?? 40);
  const calls = Number(options.calls ?? 300);
  buildEmitter();
  return withDataDirectory(async (data) => {
    const collector = await startCollector();
    const children: ChildProcess[] = [];
    const start = async (...words: string[]): Promise<Stage> => {
      const file = fileURLToPath(new URL('./proxy/between.ts', import.meta.url));
      const child = spawn(process.execPath, ['--import', 'tsx', file, ...words], {
        stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      });
      children.push(child);
      const [{ url }] = (await once(child, 'message')) as [{ url: string }];
      const cpuMicros = async (): Promise<number> => {
        child.send('cpu');
        const [{ user, system }] = (await once(child, 'message')) as [NodeJS.CpuUsage];
        return user + system;
      };
      return { url, cpuMicros };
    };
    const agent = new Agent({ keepAlive: true });
    try {
      const direct = await start('server');
      const stages: PerVariant<Stage> = {
        direct,
        plain: await start('plain', direct.url),
        library: await start('library', direct.url),
        ours: await start('ours', direct.url, data, collector.url),
      };
      const samples = perVariant((): Samples => ({ latencies: [], rates: [], cpuOneByOne: [], cpuAtOnce: [] }));
      for (const variant of variants) await many(agent, stages[variant].url, warmupCalls);
      for (let round = 0; round < rounds; round += 1)
        for (const variant of variants) await measure(agent, stages[variant], calls, samples[variant]);
      return tell(samples, rounds);
    } finally {
      agent.destroy();
      for (const child of children) child.kill('SIGKILL');
      await collector.stop();
    }
  });
}

async function measure(agent: Agent, { url, cpuMicros }: Stage, calls: number, samples: Samples): Promise<void> {
  const before = await cpuMicros();
  for (let call = 0; call < calls; call += 1) samples.latencies.push(await ask(agent, url, call));
  const between = await cpuMicros();
  const begun = performance.now();
  await many(agent, url, calls);
  samples.rates.push((calls / (performance.now() - begun)) * 1000);
  samples.cpuOneByOne.push((between - before) / calls);
  samples.cpuAtOnce.push(((await cpuMicros()) - between) / calls);
}

function perVariant<T>(make: (variant: Variant) => T): PerVariant<T> {
  return Object.fromEntries(variants.map((variant) => [variant, make(variant)])) as PerVariant<T>;
}

function tell(samples: PerVariant<Samples>, rounds: number): BenchmarkResult {
  const of = (figure: (samples: Samples) => number): PerVariant<number> =>
    perVariant((variant) => round2(figure(samples[variant])));
  const p50 = of(({ latencies }) => quantile(latencies, 0.5) * 1000);
  const p99 = of(({ latencies }) => quantile(latencies, 0.99) * 1000);
  const rate = of(({ rates }) => median(rates));
  const cpu = of(({ cpuOneByOne }) => median(cpuOneByOne));
  const cpuAtOnce = of((each) => median(each.cpuAtOnce));
  const added = perVariant((variant) => round2(p50[variant] - p50.direct));
  const columns = ['p50 µs', 'p99 µs', 'added p50 µs', 'CPU µs a call', 'calls/s, 16 at once', 'CPU µs a call'];
  const table = new Table({ head: ['', ...columns] });
  for (const each of variants) {
    const figures = [p50[each], p99[each], added[each], cpu[each], Math.round(rate[each]), cpuAtOnce[each]];
    table.push([each, ...figures]);
  }
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
    cpuMicrosPerCall: cpu,
    cpuMicrosPerCallAtOnce: cpuAtOnce,
    cpuRatio: round2(cpu.ours / cpu.plain),
    cpuRatioAtOnce: round2(cpuAtOnce.ours / cpuAtOnce.plain),
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
