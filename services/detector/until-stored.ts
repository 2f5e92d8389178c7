/**
 * A detector that takes over learns from the table what the one before it took from the stream. The table is behind the
 * stream by what the ingestor has in hand, so it is waited for: a call that is below our offsets and not stored yet
 * would never be counted, and an alert that is not stored yet would be begun again.
 */
import { pause } from '../stream/retry.js';
import type { Stream, Topic } from '../stream/stream.js';

/** An ingestor that works is behind by less than a second. One that stands still does not hold up detection. */
const longestMs = 10_000;
const betweenMs = 20;
const ingestors = 'ingestor';

export interface Storing {
  readonly stream: Stream;
  /** Highest stored offset of each partition of `calls`. */
  readonly storedOffsets: (() => Promise<ReadonlyMap<number, number>>) | undefined;
  readonly signal: AbortSignal;
}

/**
 * Resolves to whether all calls below `offsets` and all alerts that were told are dealt with by the ingestors.
 * @throws Abandoned when the signal is aborted.
 */
export async function untilStored(storing: Storing, offsets: ReadonlyMap<number, number>): Promise<boolean> {
  const { stream, signal } = storing;
  const ends = new Map((await stream.partitions('alerts')).map(({ partition, endOffset }) => [partition, endOffset]));
  for (const until = performance.now() + longestMs; ; ) {
    if ((await isStored(storing, 'calls', offsets)) && (await isStored(storing, 'alerts', ends))) return true;
    if (performance.now() >= until) return false;
    await pause(betweenMs, signal);
  }
}

async function isStored(
  { stream, storedOffsets }: Storing,
  topic: Topic,
  offsets: ReadonlyMap<number, number>,
): Promise<boolean> {
  const isBelow = (done: ReadonlyMap<number, number>): boolean =>
    [...offsets].every(([partition, offset]) => offset === 0 || (done.get(partition) ?? 0) >= offset);
  // What ingestors committed counts dead letters and repetitions too. It is a hint: a store that is restored knows better.
  if (isBelow(await stream.committed(topic, ingestors))) return true;
  if (topic !== 'calls' || storedOffsets === undefined) return false;
  return isBelow(new Map([...(await storedOffsets())].map(([partition, offset]) => [partition, offset + 1])));
}
