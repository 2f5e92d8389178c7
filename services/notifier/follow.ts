/** Follows a topic through faults of the stream: a consumer that ended with an error is followed by a new one. */
import { setTimeout as delay } from 'node:timers/promises';
import type { ConsumerProgress } from '../stream/progress.js';
import type { Consumer, ConsumerOptions, RecordBatch, Stream, StreamRecord, Topic } from '../stream/stream.js';

const firstPauseMs = 100;
const longestPauseMs = 30_000;

export interface Following {
  close(): Promise<void>;
}

/** Consumes with the same options again and again until it is closed. */
export function follow(
  stream: Stream,
  options: ConsumerOptions,
  failed: (error: unknown, what: string) => void,
): Following {
  const stopping = new AbortController();
  let consumer: Consumer | undefined;
  const running = (async () => {
    for (let pauseMs = firstPauseMs; !stopping.signal.aborted; pauseMs = Math.min(pauseMs * 2, longestPauseMs)) {
      try {
        consumer = await stream.consume(options);
        if (stopping.signal.aborted) await consumer.close();
        await consumer.closed;
      } catch (error) {
        if (!stopping.signal.aborted) failed(error, `reading ${options.topic}`);
      }
      if (stopping.signal.aborted) return;
      await delay(pauseMs, undefined, { signal: stopping.signal }).catch(() => undefined);
    }
  })();
  return {
    async close() {
      stopping.abort();
      await consumer?.close();
      await running;
    },
  };
}

/**
 * Reads a whole topic and goes on with what comes. Resolves when everything was handed over that the topic held when
 * it began. `taken` gets each batch's records; after a fault it goes on where it was.
 */
export async function readAll(
  stream: Stream,
  topic: Topic,
  taken: (records: readonly StreamRecord[]) => void,
  failed: (error: unknown, what: string) => void,
  progress?: ConsumerProgress,
): Promise<Following> {
  const ends = new Map((await stream.partitions(topic)).map((each) => [each.partition, each]));
  const next = new Map<number, number>();
  let caughtUp: () => void = () => undefined;
  const ready = new Promise<void>((resolve) => {
    caughtUp = resolve;
  });
  const check = (): void => {
    const behind = [...ends.values()].some(
      ({ partition, earliestOffset, endOffset }) =>
        endOffset > earliestOffset && (next.get(partition) ?? 0) < endOffset,
    );
    if (!behind) caughtUp();
  };
  check();
  const following = follow(
    stream,
    {
      topic,
      assigned: async (partitions) => {
        for (const partition of partitions) progress?.assigned(partition, next.get(partition));
        return new Map(partitions.map((partition) => [partition, next.get(partition) ?? 0]));
      },
      revoked: async () => undefined,
      batch: async (batch: RecordBatch) => {
        taken(batch.records);
        next.set(batch.partition, batch.nextOffset);
        progress?.reached(batch.partition, batch.nextOffset);
        check();
      },
    },
    failed,
  );
  await ready;
  return following;
}
