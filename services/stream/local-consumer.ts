import { setImmediate } from 'node:timers/promises';
import type { LocalPartition } from './local-partition.js';
import type { Consumer, ConsumerOptions } from './stream.js';

const defaultMaxBatchBytes = 4 * 1024 * 1024;

/** What a consumer needs of its stream. */
export interface ConsumerHome {
  partition(partition: number): LocalPartition;
  /** The group's committed offset. */
  committed(partition: number): number | undefined;
  commit(partition: number, nextOffset: number): Promise<void>;
  /** The consumer has ended: its partitions are free. */
  left(consumer: LocalConsumer): void;
}

interface Reading {
  stopped: boolean;
  /** Wakes the reader where it waits for records. */
  wake: () => void;
  ended: Promise<void>;
}

/** States: open → closing (handlers in hand run out) → closed. A fault of a handler goes the same way. */
export class LocalConsumer implements Consumer {
  readonly closed: Promise<void>;
  private readonly options: ConsumerOptions;
  private readonly home: ConsumerHome;
  private readonly readings = new Map<number, Reading>();
  private ending: Promise<void> | undefined;
  private settle!: { resolve: () => void; reject: (error: unknown) => void };

  constructor(options: ConsumerOptions, home: ConsumerHome) {
    this.options = options;
    this.home = home;
    this.closed = new Promise((resolve, reject) => {
      this.settle = { resolve, reject };
    });
    // Whoever does not look at `closed` must not end the process by it.
    this.closed.catch(() => undefined);
  }

  get partitions(): number[] {
    return [...this.readings.keys()];
  }

  /** Whether one member of its group reads everything. */
  get wantsAll(): boolean {
    return this.options.oneOwner === true;
  }

  get isEnding(): boolean {
    return this.ending !== undefined;
  }

  /** Begins to read partitions. Faults end the consumer. */
  async assign(partitions: readonly number[]): Promise<void> {
    if (partitions.length === 0 || this.isEnding) return;
    try {
      const offsets = await this.options.assigned(partitions);
      if (this.isEnding) return;
      for (const partition of partitions) {
        const from = this.home.partition(partition);
        const wanted = offsets.get(partition) ?? this.home.committed(partition) ?? 0;
        const reading: Reading = { stopped: false, wake: () => undefined, ended: Promise.resolve() };
        reading.ended = this.read(from, reading, from.startOffset(wanted)).catch((error) => {
          // What a handler throws after its partition was taken away concerns nobody any more.
          if (!reading.stopped) this.end(error);
        });
        this.readings.set(partition, reading);
      }
    } catch (error) {
      this.end(error);
    }
  }

  /** Takes partitions away and waits until their handlers have ended. */
  async revoke(partitions: readonly number[]): Promise<void> {
    if (partitions.length === 0) return;
    const ended = this.stop(partitions);
    try {
      if (!this.isEnding) await this.options.revoked(partitions);
    } catch (error) {
      this.end(error);
    }
    await ended;
  }

  async commit(partition: number, nextOffset: number): Promise<void> {
    // After a rebalance another consumer commits for the partition; a late commit would set it back.
    if (this.options.group !== undefined && this.readings.has(partition)) await this.home.commit(partition, nextOffset);
  }

  async close(): Promise<void> {
    this.end();
    await this.ending;
  }

  private end(...fault: [unknown?]): void {
    this.ending ??= this.stop(this.partitions, true).then(() => {
      this.readings.clear();
      this.home.left(this);
      if (fault.length > 0) this.settle.reject(fault[0]);
      else this.settle.resolve();
    });
  }

  private async stop(partitions: readonly number[], keep = false): Promise<void> {
    const stopping = partitions.flatMap((partition) => this.readings.get(partition) ?? []);
    // While a consumer closes, the batches in hand may still commit.
    if (!keep) for (const partition of partitions) this.readings.delete(partition);
    for (const reading of stopping) {
      reading.stopped = true;
      reading.wake();
    }
    await Promise.all(stopping.map((reading) => reading.ended));
  }

  private async read(from: LocalPartition, reading: Reading, startOffset: number): Promise<void> {
    const maxBytes = this.options.maxBatchBytes ?? defaultMaxBatchBytes;
    let offset = startOffset;
    for (;;) {
      // Between batches the rest of the process gets its turn, however fast the handler is.
      await setImmediate();
      if (reading.stopped) return;
      const batch = from.read(offset, maxBytes);
      if (batch === undefined) {
        await new Promise<void>((resolve) => {
          const forget = from.onAppend(resolve);
          reading.wake = () => {
            forget();
            resolve();
          };
        });
        continue;
      }
      await this.options.batch(batch);
      offset = batch.nextOffset;
    }
  }
}

/** The consumers that share a topic's partitions under one name. Changes of the membership are dealt with in turn. */
export class ConsumerGroup {
  private readonly partitions: number;
  private readonly members: LocalConsumer[] = [];
  private rebalancing: Promise<void> = Promise.resolve();

  constructor(partitions: number) {
    this.partitions = partitions;
  }

  join(consumer: LocalConsumer): void {
    this.members.push(consumer);
    this.rebalance();
  }

  leave(consumer: LocalConsumer): void {
    const at = this.members.indexOf(consumer);
    if (at < 0) return;
    this.members.splice(at, 1);
    this.rebalance();
  }

  private rebalance(): void {
    this.rebalancing = this.rebalancing.then(async () => {
      const members = this.members.filter((member) => !member.isEnding);
      const wanted = members.map(() => [] as number[]);
      for (let partition = 0; partition < this.partitions && members.length > 0; partition++) {
        // In the order of joining: the first one is there longest.
        wanted[members[0]!.wantsAll ? 0 : partition % members.length]!.push(partition);
      }
      // All is taken away before any is given, so that no partition has two readers.
      await Promise.all(
        members.map((member, at) => member.revoke(member.partitions.filter((one) => !wanted[at]!.includes(one)))),
      );
      await Promise.all(
        members.map((member, at) => member.assign(wanted[at]!.filter((one) => !member.partitions.includes(one)))),
      );
    });
  }
}
