import { AuditdError } from '../../schemas/errors.js';
import { SegmentLog } from '../segments/segments.js';
import { type EncodedRecord, RecordDecoder, RecordEncoder, timestampOf } from './local-record.js';
import type { NewRecord, PartitionState, RecordBatch, Topic } from './stream.js';

/** Something that went wrong and did not stop the stream; for the log of the program. */
export interface StreamProblem {
  readonly kind: 'torn_tail' | 'damage' | 'records_lost' | 'group_lagging';
  readonly topic: Topic;
  readonly partition: number;
  readonly message: string;
}

export interface PartitionOptions {
  readonly topic: Topic;
  readonly partition: number;
  readonly directory: string;
  readonly maxSegmentBytes: number;
  readonly durability: 'fsync' | 'kernel';
  readonly maxAgeMs: number;
  readonly maxBytes: number;
  readonly now: () => number;
  readonly report: (problem: StreamProblem) => void;
}

/** Bytes that wait for the write before them; at a modest 100 MB/s the last of them waits 0.7 s. */
const maxPendingBytes = 64 * 1024 * 1024;

interface PendingAppend {
  readonly records: EncodedRecord[];
  readonly resolve: (firstOffset: number) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * One partition: a segment log whose indexes are the offsets. Records are visible to readers when they are durable,
 * so that no reader stores an offset that a loss of power takes back.
 */
export class LocalPartition {
  private readonly options: PartitionOptions;
  private readonly log: SegmentLog;
  private readonly encoder = new RecordEncoder();
  private readonly decoder = new RecordDecoder();
  private readonly waiting = new Set<() => void>();
  private pending: PendingAppend[] = [];
  private pendingBytes = 0;
  private flushing: Promise<void> | undefined;
  private durableEnd: number;
  private lastTimestamp = 0;
  private damagesReported = 0;

  constructor(options: PartitionOptions) {
    this.options = options;
    this.log = SegmentLog.open(options.directory, { maxSegmentBytes: options.maxSegmentBytes });
    this.durableEnd = this.log.nextIndex;
    const last = this.log.read(this.log.nextIndex - 1, 1).records[0];
    if (last !== undefined) this.lastTimestamp = timestampOf(last);
    if (this.log.tornBytes > 0) {
      this.report('torn_tail', `${options.directory}: cut ${this.log.tornBytes} bytes of an unfinished append`);
    }
    this.reportDamages();
  }

  get state(): PartitionState {
    const { durableEnd } = this;
    return {
      partition: this.options.partition,
      earliestOffset: Math.min(this.log.firstIndex, durableEnd),
      endOffset: durableEnd,
    };
  }

  get bytes(): number {
    return this.log.bytes;
  }

  /** Appends in the order of the calls; resolves to the first record's offset when all are durable. */
  append(records: readonly NewRecord[]): Promise<number> {
    return new Promise((resolve, reject) => {
      const encoded = records.map((record) => this.encoder.encode(record));
      const bytes = encoded.reduce((sum, record) => sum + record.length, 0);
      if (this.pendingBytes + bytes > maxPendingBytes) {
        throw new AuditdError(
          'stream_overloaded',
          `${this.options.directory}: ${this.pendingBytes} bytes wait to be written, ${bytes} more exceed ${maxPendingBytes}`,
        );
      }
      this.pending.push({ records: encoded, resolve, reject });
      this.pendingBytes += bytes;
      this.flushing ??= this.flush().finally(() => {
        this.flushing = undefined;
      });
    });
  }

  /** Records from an offset on, or undefined when there are none yet. */
  read(offset: number, maxBytes: number): RecordBatch | undefined {
    let position = offset;
    while (position < this.durableEnd) {
      const { records, firstIndex, nextIndex } = this.log.readAs(position, maxBytes, this.decoder.decode);
      this.reportDamages();
      const count = Math.min(records.length, this.durableEnd - firstIndex);
      if (count > 0) {
        // What is written but not durable yet is not shown.
        records.length = count;
        const { topic, partition } = this.options;
        return { topic, partition, records, nextOffset: firstIndex + count, endOffset: this.durableEnd };
      }
      position = nextIndex;
    }
    return undefined;
  }

  /** Calls back once, after the next records became visible. Returns how to take the request back. */
  onAppend(callback: () => void): () => void {
    this.waiting.add(callback);
    return () => this.waiting.delete(callback);
  }

  /**
   * The offset to begin at for one that a reader remembers. When the reader has stored more than the log holds (the
   * disk lost what it had confirmed), later records get offsets from there on, because the reader would take
   * records with lower ones for known.
   */
  startOffset(remembered: number | 'latest'): number {
    if (remembered === 'latest') return this.durableEnd;
    if (remembered > this.log.nextIndex) {
      this.report(
        'records_lost',
        `${this.options.directory} ends at offset ${this.log.nextIndex}, but a reader has seen ${remembered}; going on from there`,
      );
      this.log.skipTo(remembered);
      if (this.flushing === undefined) this.durableEnd = remembered;
    }
    return Math.max(remembered, this.log.firstIndex);
  }

  /** Drops whole segments that are too old or too many. `committed` names the offset each group would go on from. */
  enforceRetention(committed: ReadonlyMap<string, number>): void {
    const oldestKept = this.options.now() - this.options.maxAgeMs;
    // What is not visible yet is not dropped either: no reader would learn of it.
    if (this.lastTimestamp < oldestKept && this.durableEnd === this.log.nextIndex) this.log.roll();
    const segments = this.log.segmentStates;
    let { bytes } = this.log;
    let keepFrom = this.log.firstIndex;
    for (let at = 0; at + 1 < segments.length; at++) {
      const next = segments[at + 1]!;
      if (bytes <= this.options.maxBytes && !this.isOlder(next.firstIndex, oldestKept)) break;
      bytes -= segments[at]!.bytes;
      keepFrom = next.firstIndex;
    }
    if (keepFrom === this.log.firstIndex) return;
    for (const [group, offset] of committed) {
      if (offset < keepFrom) {
        this.report(
          'group_lagging',
          `group ${group} is at offset ${offset}; retention drops the records below ${keepFrom}`,
        );
      }
    }
    this.log.dropBefore(keepFrom);
  }

  /** Waits for the appends in hand and closes the files. */
  async close(): Promise<void> {
    await this.flushing;
    this.log.close();
  }

  /** Whether everything before an index was recorded before a time: the record at it was, or there is none. */
  private isOlder(index: number, timestamp: number): boolean {
    const record = this.log.read(index, 1).records[0];
    return (record === undefined ? this.lastTimestamp : timestampOf(record)) < timestamp;
  }

  private async flush(): Promise<void> {
    // Callers of the same turn share the first write.
    await Promise.resolve();
    while (this.pending.length > 0) {
      const group = this.pending;
      this.pending = [];
      this.pendingBytes = 0;
      try {
        const all = group.length === 1 ? group[0]!.records : group.flatMap((append) => append.records);
        const timestamp = Math.max(this.options.now(), this.lastTimestamp);
        for (const record of all) record.timestamp = timestamp;
        let offset = this.log.append(all);
        const end = this.log.nextIndex;
        this.lastTimestamp = timestamp;
        if (this.options.durability === 'fsync') await this.log.sync();
        this.durableEnd = Math.max(this.durableEnd, end);
        for (const append of group) {
          append.resolve(offset);
          offset += append.records.length;
        }
        const waiting = [...this.waiting];
        this.waiting.clear();
        for (const callback of waiting) callback();
      } catch (error) {
        const failure = error instanceof AuditdError ? error : this.unwritable(error);
        for (const append of group) append.reject(failure);
      }
    }
  }

  private unwritable(cause: unknown): AuditdError {
    return new AuditdError('stream_unwritable', `can't write to ${this.options.directory}: ${String(cause)}`, {
      cause,
    });
  }

  private reportDamages(): void {
    const { damages } = this.log;
    for (const damage of damages.slice(this.damagesReported)) {
      this.report(
        'damage',
        `${damage.file}: damaged at byte ${damage.position}; records ${damage.firstIndex} to ${damage.nextIndex - 1} are lost`,
      );
    }
    this.damagesReported = damages.length;
  }

  private report(kind: StreamProblem['kind'], message: string): void {
    this.options.report({ kind, topic: this.options.topic, partition: this.options.partition, message });
  }
}
