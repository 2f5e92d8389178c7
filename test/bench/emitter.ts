import { buildEmitter } from './emitter/built.js';
import { availablePeers } from './emitter/peers.js';
import { runWorker, startCollector, withDataDirectory } from './emitter/processes.js';
import { measureStdio } from './emitter/stdio.js';
import type { BenchmarkOptions, BenchmarkResult } from './main.js';

export const description = 'CPU an audited call adds, beside peers and a floor that appends one line; and over stdio.';

const limits = { echoMicros: 60, fourKilobyteMicros: 150, wrapRatio: 1.3, peerRatio: 1 / 3 };
/** Enough for the compiler to have done its work on every variant. */
const warmupCalls = 5_000;

/**
 * Measures each variant in a process of its own, `--calls` at a time, `--rounds` times, and keeps the lowest figure of
 * each: what else runs on the machine only ever adds. Delivery to a collector in another process is included; how much
 * of it arrived is told beside the figure, because a peer that drops calls is cheaper for it.
 */
export async function run(options: BenchmarkOptions): Promise<BenchmarkResult> {
  const calls = Number(options.calls ?? 10_000);
  const rounds = Number(options.rounds ?? 3);
  buildEmitter();
  const peers = availablePeers();
  const echo = await measure('echo', 0, ['bare', 'floor', 'ours', ...peers], calls, rounds);
  // A peer takes milliseconds for such a result; the target here is our own.
  const fourKilobytes = await measure('4 KB result', 4096, ['bare', 'floor', 'ours'], calls, rounds);
  const stdio = await measureStdio(calls, rounds);
  console.log('\nstdio: CPU of the process that stands between');
  for (const [name, micros] of Object.entries(stdio))
    console.log(`  ${name.padEnd(14)} ${micros.toFixed(1).padStart(9)} µs`);

  const cheapestPeer = Math.min(...peers.map((name) => echo.added[name]!));
  const ratio = echo.added.ours! / cheapestPeer;
  const wrapRatio = stdio.wrap / stdio.parsing;
  const ok =
    (peers.length === 0 || ratio <= limits.peerRatio) &&
    echo.added.ours! <= limits.echoMicros &&
    fourKilobytes.added.ours! <= limits.fourKilobyteMicros &&
    wrapRatio <= limits.wrapRatio;
  const target = '≤ 1/3 of the cheapest peer, ≤ 60 µs echo, ≤ 150 µs 4 KB, wrap ≤ 1.3 × a pass-through that parses';
  return {
    name: 'emitter',
    ratio,
    target,
    ok,
    wrapRatio,
    bareMicros: echo.bare,
    addedMicros: echo.added,
    addedMicros4KB: fourKilobytes.added,
    deliveredShare: echo.delivered,
    stdioMicros: stdio,
  };
}

interface Measured {
  /** CPU in microseconds of a bare call, and what each variant adds to it. */
  readonly bare: number;
  readonly added: Record<string, number>;
  /** Share of the calls that reached the collector. */
  readonly delivered: Record<string, number>;
}

async function measure(
  title: string,
  resultBytes: number,
  variants: readonly string[],
  calls: number,
  rounds: number,
): Promise<Measured> {
  const collector = await startCollector();
  const cpu: Record<string, number> = {};
  const delivered: Record<string, number> = {};
  try {
    for (let round = 0; round < rounds; round += 1) {
      for (const variant of variants) {
        await collector.reset();
        const task = {
          variant,
          url: collector.url,
          calls,
          warmupCalls,
          resultBytes,
          ending: 'flush',
          pauseMs: 0,
        } as const;
        const { cpuMicrosPerCall, exitCode } = await withDataDirectory((data) => runWorker({ ...task, data }));
        if (cpuMicrosPerCall === undefined) throw new Error(`The process of ${variant} ended with code ${exitCode}.`);
        cpu[variant] = Math.min(cpu[variant] ?? Number.POSITIVE_INFINITY, cpuMicrosPerCall);
        delivered[variant] = Math.min(1, (await collector.seen()) / (calls + warmupCalls));
      }
    }
  } finally {
    await collector.stop();
  }
  const bare = cpu.bare!;
  const added = Object.fromEntries(variants.slice(1).map((variant) => [variant, cpu[variant]! - bare]));
  console.log(`\n${title}: a bare call takes ${bare.toFixed(1)} µs of CPU`);
  for (const [variant, micros] of Object.entries(added)) {
    const share = variant === 'floor' ? '' : `${(100 * delivered[variant]!).toFixed(0).padStart(4)} % delivered`;
    console.log(`  ${variant.padEnd(14)} +${micros.toFixed(1).padStart(8)} µs ${share}`);
  }
  return { bare, added, delivered };
}
