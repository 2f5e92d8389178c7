/**
 * The port to the stream, in Kafka's terms: topics of partitions of records with offsets, and consumer groups.
 * Adapters: `local.ts` (segment files, one process) and `kafka.ts`. Both pass test/contract/stream.ts.
 *
 * Offsets are JavaScript numbers: safe below 2^53, which at 100,000 records a second lasts 2,800 years.
 */

export const topics = [
  'calls',
  'alerts',
  'throttle',
  'deliveries',
  'responses',
  'queries',
  'saved_queries',
  'dead',
] as const;
export type Topic = (typeof topics)[number];

export interface NewRecord {
  /** Records with one key go to one partition and keep their order. '' spreads over the partitions. */
  readonly key: string;
  readonly value: Buffer;
  /** CloudEvents' binary mode rides here (`ce_id`, …), and what the gateway vouches for (`tenant`, `producer_key`). */
  readonly headers: Readonly<Record<string, string>>;
}

export interface StreamRecord extends NewRecord {
  readonly offset: number;
  /** Milliseconds since the epoch, by the stream's clock; never decreases within a partition. */
  readonly timestamp: number;
}

export interface RecordBatch {
  readonly topic: Topic;
  readonly partition: number;
  readonly records: readonly StreamRecord[];
  /** Where to go on: one past the last record (offsets may have holes in a compacted topic). */
  readonly nextOffset: number;
  /** One past the newest record of the partition when the batch was read: the lag is this minus nextOffset. */
  readonly endOffset: number;
}

export interface Position {
  readonly partition: number;
  readonly offset: number;
}

export interface ConsumerOptions {
  readonly topic: Topic;
  /**
   * Consumers of one group share the partitions. Without a group the consumer reads every partition on its own and
   * commits nothing.
   */
  readonly group?: string;
  /**
   * All partitions go to the member of the group that is there longest, and the others stand by: for what is counted
   * across partitions. Every member of a group says the same.
   */
  readonly oneOwner?: boolean;
  /**
   * Called with the partitions that are now ours, before their first batch. Resolves to the offset to start from
   * for each; `undefined` leaves it to the group's committed offset, else the earliest. A number below the earliest
   * retained offset starts at the earliest.
   */
  assigned(partitions: readonly number[]): Promise<ReadonlyMap<number, number | 'latest' | undefined>>;
  /**
   * Called when partitions were taken away; batches of them that are still in hand must no longer be written. It may
   * come while `assigned` is under way, which then ends as it likes: what it resolves to is not used.
   */
  revoked(partitions: readonly number[]): Promise<void>;
  /**
   * One call at a time for each partition, in order. The next batch of the partition is read after it resolves, so
   * a slow handler is backpressure. A rejection stops the consumer, and `closed` rejects with it.
   */
  batch(batch: RecordBatch): Promise<void>;
  /** Most bytes of values in one batch. Default 4 MiB. A single larger record comes alone. */
  readonly maxBatchBytes?: number;
}

export interface Consumer {
  /** Remembers, for the group, where to go on. A hint for speed: exactness rests on what the reader stored. */
  commit(partition: number, nextOffset: number): Promise<void>;
  /** Stops after the batches in hand; resolves when no handler runs any more. Idempotent. */
  close(): Promise<void>;
  /** Settles when the consumer has ended: resolves after close(), rejects when a fault ended it. */
  readonly closed: Promise<void>;
}

export interface PartitionState {
  readonly partition: number;
  /** First offset still retained. */
  readonly earliestOffset: number;
  /** One past the newest record. */
  readonly endOffset: number;
}

export interface Stream {
  /**
   * Appends records, in order for each key, and resolves to their positions (same order) once they are durable:
   * they survive SIGKILL and, unless configured otherwise, power loss. On rejection none or some were appended; a
   * retry may then store a record twice, which readers recognise by its id.
   */
  append(topic: Topic, records: readonly NewRecord[]): Promise<Position[]>;
  consume(options: ConsumerOptions): Promise<Consumer>;
  partitions(topic: Topic): Promise<PartitionState[]>;
  /** Committed offset of a group by partition; partitions without one are absent. */
  committed(topic: Topic, group: string): Promise<Map<number, number>>;
  /** Bytes on disk where known (local), for `status`. */
  diskBytes?(): Promise<number>;
  close(): Promise<void>;
}
