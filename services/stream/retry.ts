import { setTimeout as delay } from 'node:timers/promises';

/**
 * First pause after a failure, doubled each time up to the longest. 10 s: what waits goes on soon after the store is
 * back, and a dead store's log stays readable.
 */
const firstPauseMs = 100;
const longestPauseMs = 10_000;

/**
 * Milliseconds to wait before attempt `attempt` (1 for the first repetition): exponential, with full jitter over the
 * upper half so that partitions do not come back in step.
 */
export function pauseMs(attempt: number, random: () => number = Math.random): number {
  const pause = Math.min(longestPauseMs, firstPauseMs * 2 ** Math.min(attempt - 1, 20));
  return pause / 2 + (random() * pause) / 2;
}

/** The work was given up because the process stops or the partition was taken away. */
export class Abandoned extends Error {}

/** Waits; rejects with Abandoned as soon as the signal is aborted. */
export async function pause(timeMs: number, signal: AbortSignal): Promise<void> {
  try {
    await delay(timeMs, undefined, { signal });
  } catch {
    throw new Abandoned();
  }
}

/**
 * Repeats `action` for ever while it fails, with pauses. `failed` is told of each failure and may end the repetition by
 * throwing.
 * @throws Abandoned when the signal is aborted before an attempt or during a pause.
 */
export async function untilDone<T>(
  action: (attempt: number) => Promise<T>,
  failed: (error: unknown, attempt: number) => void,
  signal: AbortSignal,
): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    if (signal.aborted) throw new Abandoned();
    try {
      return await action(attempt);
    } catch (error) {
      if (error instanceof Abandoned) throw error;
      failed(error, attempt);
    }
    await pause(pauseMs(attempt), signal);
  }
}
