/**
 * One order for the records of several partitions: by the stream's time, then partition, then offset. So the engine is
 * fed the same sequence again after a restart, however the batches came.
 *
 * The oldest record in hand goes first once no older one can come: every partition has a record in hand, or was read to
 * its end and the oldest has waited for `holdMs`, longer than a record takes from the broker's clock to this process. A
 * partition that is not read to its end is waited for without limit.
 */
import type { RecordBatch, StreamRecord } from '../stream/stream.js';

interface Lane {
  readonly partition: number;
  batch: RecordBatch | undefined;
  /** Index of the next record of the batch. */
  at: number;
  /** Everything that was there when it was last looked at was read. */
  drained: boolean;
  /** Lets the partition's next batch be read. */
  done: (() => void) | undefined;
}

export interface MergedRecord {
  readonly partition: number;
  readonly record: StreamRecord;
}

/** What is to be done next: a record, or to wait; until a time where one is known. */
export type Next = MergedRecord | { readonly waitMs: number };

export class Merge {
  private readonly lanes = new Map<number, Lane>();
  private single: Lane | undefined;

  constructor(private readonly holdMs: number) {}

  /** @param drained Whether there was nothing to read when the partition was looked at. */
  add(partition: number, drained: boolean): void {
    this.lanes.set(partition, { partition, batch: undefined, at: 0, drained, done: undefined });
    this.chooseSingle();
  }

  /** Forgets the partitions and what is in hand of them. */
  remove(partitions: readonly number[]): void {
    for (const partition of partitions) {
      this.lanes.get(partition)?.done?.();
      this.lanes.delete(partition);
    }
    this.chooseSingle();
  }

  private chooseSingle(): void {
    this.single = this.lanes.size === 1 ? [...this.lanes.values()][0] : undefined;
  }

  /** Takes a batch in; resolves when its last record was given out. */
  push(batch: RecordBatch): Promise<void> {
    const lane = this.lanes.get(batch.partition);
    if (lane === undefined || batch.records.length === 0) {
      if (lane !== undefined) lane.drained = batch.nextOffset >= batch.endOffset;
      return Promise.resolve();
    }
    lane.batch = batch;
    lane.at = 0;
    lane.drained = batch.nextOffset >= batch.endOffset;
    return new Promise((resolve) => {
      lane.done = resolve;
    });
  }

  /** Whether every partition was read to its end and nothing is in hand. */
  get idle(): boolean {
    for (const { batch, drained } of this.lanes.values()) if (batch !== undefined || !drained) return false;
    return this.lanes.size > 0;
  }

  /** @param nowMs Milliseconds since the epoch. */
  next(nowMs: number): Next {
    if (this.single !== undefined) return this.single.batch === undefined ? endless : this.take(this.single);
    let oldest: Lane | undefined;
    let oldestMs = Number.POSITIVE_INFINITY;
    let missing = false;
    for (const lane of this.lanes.values()) {
      if (lane.batch === undefined) {
        if (!lane.drained) return endless;
        missing = true;
        continue;
      }
      const { timestamp } = lane.batch.records[lane.at] as StreamRecord;
      if (timestamp < oldestMs || (timestamp === oldestMs && lane.partition < (oldest as Lane).partition)) {
        oldest = lane;
        oldestMs = timestamp;
      }
    }
    if (oldest === undefined) return endless;
    if (missing && nowMs < oldestMs + this.holdMs) return { waitMs: oldestMs + this.holdMs - nowMs };
    return this.take(oldest);
  }

  private take(lane: Lane): MergedRecord {
    const batch = lane.batch as RecordBatch;
    const record = batch.records[lane.at++] as StreamRecord;
    if (lane.at === batch.records.length) {
      lane.batch = undefined;
      const { done } = lane;
      lane.done = undefined;
      done?.();
    }
    return { partition: lane.partition, record };
  }
}

const endless: Next = { waitMs: Number.POSITIVE_INFINITY };
