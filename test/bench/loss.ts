import { buildEmitter } from './emitter/built.js';
import { availablePeers } from './emitter/peers.js';
import { runWorker, settled, startCollector, type WorkerTask, withDataDirectory } from './emitter/processes.js';
import type { BenchmarkOptions, BenchmarkResult } from './main.js';

export const description =
  'Which answered calls never reach the collector: SIGKILL at full speed, after a burst, collector away.';

interface Row {
  readonly answered: number;
  readonly lost: number;
  /** Whether the server went on answering as it should and ended only as it was told to. */
  readonly unharmed: boolean;
}

/** How long nothing new must arrive before what is missing counts as lost. */
const idleMs = 5_000;
const awayCallPauseMs = 20;

/**
 * Runs the same three rows for ours and each peer; `--away` is the seconds without a collector, 30 by default. What a
 * killed process of ours left in its spool is delivered by the next emitter in the same data directory.
 */
export async function run(options: BenchmarkOptions): Promise<BenchmarkResult> {
  buildEmitter();
  const awaySeconds = Number(options.away ?? 30);
  const variants = ['ours', ...availablePeers()];
  const figures: Record<string, Record<string, Row>> = {};
  for (const variant of variants) {
    figures[variant] = {
      '20,000 calls, SIGKILL': await killed(variant, 20_000),
      'burst of 100, SIGKILL': await killed(variant, 100),
    };
  }
  // Mostly waiting, so they wait together. Collectors that were there at the same time have addresses of their own.
  const collectors = await Promise.all(variants.map(() => startCollector()));
  await Promise.all(collectors.map((collector) => collector.stop()));
  const awayTitle = `${awaySeconds} s without collector`;
  await Promise.all(
    variants.map(async (variant, at) => {
      figures[variant]![awayTitle] = await away(variant, awaySeconds, collectors[at]!.url);
    }),
  );
  for (const [variant, rows] of Object.entries(figures)) {
    for (const [row, { answered, lost, unharmed }] of Object.entries(rows)) {
      const share = ((100 * lost) / Math.max(1, answered)).toFixed(1);
      const harm = unharmed ? 'server unharmed' : 'SERVER HARMED';
      console.log(`${variant.padEnd(14)} ${row.padEnd(26)} ${lost} of ${answered} lost (${share} %), ${harm}`);
    }
  }
  const ours = Object.values(figures.ours!);
  const lost = ours.reduce((sum, row) => sum + row.lost, 0);
  const answered = ours.reduce((sum, row) => sum + row.answered, 0);
  const ok = lost === 0 && ours.every((row) => row.unharmed && row.answered > 0);
  return { name: 'loss', ratio: lost / answered, target: '0 lost in every row, the server unharmed', ok, figures };
}

const baseTask = { warmupCalls: 0, resultBytes: 0, pauseMs: 0 };

async function killed(variant: string, calls: number): Promise<Row> {
  const collector = await startCollector();
  try {
    return await withDataDirectory(async (data) => {
      const task: WorkerTask = { ...baseTask, variant, url: collector.url, data, calls, ending: 'kill' };
      const { answered, signal } = await runWorker(task);
      if (variant === 'ours') {
        await runWorker({ ...task, variant: 'adopt', calls: 0, ending: 'wait' }, async (child) => {
          await settled(collector, answered, idleMs);
          child.send({ end: true });
        });
      }
      const seen = await settled(collector, answered, idleMs);
      return { answered, lost: answered - seen, unharmed: signal === 'SIGKILL' };
    });
  } finally {
    await collector.stop();
  }
}

/** Calls while nobody listens at the address; a collector is there again once the last call was answered. */
async function away(variant: string, awaySeconds: number, url: string): Promise<Row> {
  const calls = Math.round((awaySeconds * 1_000) / awayCallPauseMs);
  return await withDataDirectory(async (data) => {
    const task: WorkerTask = {
      ...baseTask,
      variant,
      url,
      data,
      calls,
      ending: 'wait',
      pauseMs: awayCallPauseMs,
    };
    let seen = 0;
    const { answered, exitCode } = await runWorker(task, async (child) => {
      const collector = await startCollector(Number(new URL(url).port));
      try {
        seen = await settled(collector, calls, 4 * idleMs);
        child.send({ end: true });
        seen = await settled(collector, calls, idleMs);
      } finally {
        await collector.stop();
      }
    });
    return { answered, lost: answered - seen, unharmed: exitCode === 0 && answered === calls };
  });
}
