/**
 * The store is away for a while as calls go on: nothing may be lost, the ingestors' memory may not grow with the time,
 * the lag must be visible meanwhile, and afterwards everything must be caught up with.
 */
import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { Cluster } from './cluster.js';

export interface AwayReport {
  readonly awaySeconds: number;
  readonly acknowledged: number;
  readonly lost: number;
  readonly duplicated: number;
  readonly gaps: number;
  /** Records behind, as the ingestors' metrics said at the end of the time away. */
  readonly lag: number;
  /** Resident memory of both ingestors together, before and at its highest, in MiB. */
  readonly memoryBeforeMiB: number;
  readonly memoryHighestMiB: number;
  /** From the store's return to the first new row: the pause between two attempts. */
  readonly firstRowSeconds: number;
  /** From there to the last row, and rows a second meanwhile. */
  readonly catchUpSeconds: number;
  readonly catchUpPerSecond: number;
}

/** As long as rows come, it is waited for; so long without one is the end. */
const stalledAfterMs = 60_000;

export async function runStoreAway(options: {
  readonly awayMs: number;
  readonly callsPerSecond: number;
  readonly progress?: (line: string) => void;
}): Promise<AwayReport> {
  const cluster = await Cluster.start({ settings: {} });
  try {
    await cluster.record(500);
    await cluster.missing();
    const memoryBefore = memoryMiB(cluster);
    let highest = memoryBefore;
    cluster.proxy.away = true;
    const startedAt = Date.now();
    let lag = 0;
    const calls = Math.floor((options.callsPerSecond * options.awayMs) / 1000);
    let left = calls;
    while (Date.now() - startedAt < options.awayMs || left > 0) {
      const piece = Math.min(left, options.callsPerSecond);
      const second = delay(1000);
      if (piece > 0) await cluster.record(piece);
      left -= piece;
      await second;
      highest = Math.max(highest, memoryMiB(cluster));
      lag = await cluster.lag();
      const seconds = Math.round((Date.now() - startedAt) / 1000);
      if (seconds % 10 === 0) options.progress?.(`${seconds} s away: lag ${lag}, memory ${memoryMiB(cluster)} MiB`);
    }
    cluster.proxy.away = false;
    const backAt = Date.now();
    const before = await cluster.rows();
    let rows = before;
    let firstAt: number | undefined;
    let lastAt = backAt;
    while (rows < cluster.acknowledged.size && Date.now() - lastAt < stalledAfterMs) {
      await delay(100);
      const now = await cluster.rows();
      if (now === rows) continue;
      rows = now;
      lastAt = Date.now();
      firstAt ??= lastAt;
      highest = Math.max(highest, memoryMiB(cluster));
    }
    const catchUpSeconds = (lastAt - (firstAt ?? lastAt)) / 1000;
    const lost = await cluster.missing();
    highest = Math.max(highest, memoryMiB(cluster));
    const duplicated = await cluster.doubled();
    const { unstored, sequenceGaps } = await cluster.compare();
    return {
      awaySeconds: Math.round((backAt - startedAt) / 1000),
      acknowledged: cluster.acknowledged.size,
      lost,
      duplicated,
      gaps: unstored + sequenceGaps,
      lag,
      memoryBeforeMiB: memoryBefore,
      memoryHighestMiB: highest,
      firstRowSeconds: ((firstAt ?? lastAt) - backAt) / 1000,
      catchUpSeconds,
      catchUpPerSecond: Math.round((rows - before) / Math.max(0.1, catchUpSeconds)),
    };
  } catch (error) {
    options.progress?.(cluster.logs());
    throw error;
  } finally {
    await cluster.stop();
  }
}

function memoryMiB({ ingestors }: Cluster): number {
  const pids = ingestors.flatMap(({ child }) => (child?.pid === undefined ? [] : [child.pid]));
  const kib = pids.map((pid) => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]));
  return Math.round(kib.reduce((sum, each) => sum + each, 0) / 1024);
}
