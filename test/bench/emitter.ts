import { installPeers, peerNames } from './emitter/peers.js';
import { runWorker, startCollector, withDataDirectory } from './emitter/processes.js';
import { measureStdio } from './emitter/stdio.js';
import type { BenchmarkOptions, BenchmarkResult } from './main.js';

export const description = 'CPU an audited call adds, beside peers and a floor that appends one line; and over stdio.';

const limits = { echoMicros: 60, fourKilobyteMicros: 150, wrapRatio: 1.3, peerRatio: 1 / 3 };

/**
 * Measures each variant in a process of its own, `--calls` at a time, `--rounds` times, and keeps the lowest figure of
 * each: what else runs on the machine only ever adds. Delivery to a collector in another process is included.
 */
export async function run(options: BenchmarkOptions): Promise<BenchmarkResult> {
  const calls = Number(options.calls ?? 5_000);
  const rounds = Number(options.rounds ?? 3);
  const skipped = installPeers();
  if (skipped !== undefined) throw new Error(`The peers, and the SDK they share, cannot be installed: ${skipped}`);
  const collector = await startCollector();
  const added: Record<string, Record<string, number>> = {};
  try {
    for (const [payload, resultBytes] of [
      ['echo', 0],
      ['4 KB', 4096],
    ] as const) {
      const cpu: Record<string, number> = {};
      for (let round = 0; round < rounds; round += 1) {
        for (const variant of ['bare', 'floor', 'ours', ...peerNames]) {
          await collector.reset();
          const { cpuMicrosPerCall, exitCode } = await withDataDirectory((data) =>
            runWorker({
              variant,
              url: collector.url,
              data,
              calls,
              warmupCalls: 2_000,
              resultBytes,
              ending: 'flush',
              pauseMs: 0,
            }),
          );
          if (cpuMicrosPerCall === undefined) throw new Error(`The process of ${variant} ended with code ${exitCode}.`);
          cpu[variant] = Math.min(cpu[variant] ?? Number.POSITIVE_INFINITY, cpuMicrosPerCall);
        }
      }
      const bare = cpu.bare!;
      added[payload] = Object.fromEntries(Object.entries(cpu).map(([variant, micros]) => [variant, micros - bare]));
      console.log(`\n${payload}: bare call ${bare.toFixed(1)} µs of CPU`);
      for (const [variant, micros] of Object.entries(added[payload]!)) {
        if (variant !== 'bare') console.log(`  ${variant.padEnd(14)} +${micros.toFixed(1).padStart(8)} µs`);
      }
    }
  } finally {
    await collector.stop();
  }
  const stdio = await measureStdio(calls, rounds);
  console.log('\nstdio, CPU of what stands between');
  for (const [name, micros] of Object.entries(stdio))
    console.log(`  ${name.padEnd(14)} ${micros.toFixed(1).padStart(9)} µs`);

  const echo = added.echo!;
  const cheapestPeer = Math.min(...peerNames.map((name) => echo[name]!));
  const ratio = echo.ours! / cheapestPeer;
  const wrapRatio = stdio.wrap! / stdio.parsing!;
  const ok =
    ratio <= limits.peerRatio &&
    echo.ours! <= limits.echoMicros &&
    added['4 KB']!.ours! <= limits.fourKilobyteMicros &&
    wrapRatio <= limits.wrapRatio;
  const target = '≤ 1/3 of the cheapest peer, ≤ 60 µs echo, ≤ 150 µs 4 KB, wrap ≤ 1.3 × a pass-through that parses';
  return { name: 'emitter', ratio, target, ok, wrapRatio, addedMicros: added, stdioMicros: stdio };
}
