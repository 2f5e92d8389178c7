/**
 * Collects the records of one partition into blocks and stores them, in the order of their offsets.
 *
 * Invariants:
 * - Everything below an offset that the table or the group knows was dealt with: stored, dead-lettered or repeated.
 *   Therefore the dead letters of a block are durable before its rows are stored, and blocks are stored one by one.
 * - A block is of one day of recorded_at, so the store takes it whole or not at all.
 * - A record that the store refuses stops nothing: the block is halved until the record stands alone.
 *
 * States: open (takes records) → closed (flushed, or abandoned with what was not stored).
 * At most two blocks are held: one is stored while the next is filled.
 */
import type { CheckedRow } from '../../schemas/checked-row.js';
import { AuditdError } from '../../schemas/errors.js';
import type { RecordTable } from '../../schemas/tables.js';
import type { Store } from '../store/store.js';
import { Abandoned, pause, pauseMs, untilDone } from '../stream/retry.js';
import type { NewRecord, Stream, StreamRecord, Topic } from '../stream/stream.js';
import type { IngestorMetrics } from './metrics.js';

/** A block under construction: a `RecordBlock`. */
export interface Block {
  appendRow(row: CheckedRow, recordedAtMs: number, partition: number, offset: number): void;
  readonly rows: number;
  finish(): Uint8Array;
  reset(): void;
}

export interface BlockLimits {
  readonly rows: number;
  /** Bytes of the records' values. */
  readonly bytes: number;
  /** Milliseconds from a block's first record until it is stored. */
  readonly timeMs: number;
}

export interface WriterOptions {
  readonly topic: Topic & RecordTable;
  readonly partition: number;
  readonly stream: Stream;
  readonly store: Store;
  readonly limits: BlockLimits;
  readonly metrics: IngestorMetrics;
  readonly makeBlock: () => Block;
  /** What the topic makes of a record that was taken before: needed again only when its block was refused. */
  readonly decode: (record: StreamRecord) => CheckedRow;
  /**
   * Called for a record that the store refuses by itself. Returns its dead letter, or undefined when it has nowhere to
   * go and is only reported.
   */
  readonly giveUp: (record: StreamRecord, reason: string, message: string) => NewRecord | undefined;
  readonly commit: (nextOffset: number) => Promise<void>;
  /** Called when another process has taken the partition in the store: nothing more can be stored here. */
  readonly fenced: () => void;
  /** A failure that somebody should know of; the writer goes on by itself. */
  readonly report: (error: unknown, what: string) => void;
}

interface Pending {
  /** Filled as the rows come: columns are cheaper to hold than objects, and the garbage collector does not see them. */
  block: Block;
  /** The records of the block's rows. */
  rows: StreamRecord[];
  dead: { letter: NewRecord; reason: string }[];
  /** Bytes of values that are held, dead letters included. */
  bytes: number;
  day: number;
  nextOffset: number;
}

const dayMs = 86_400_000;
/**
 * So many refusals in a row are no longer the records' fault. From then on each further record is tried again after a
 * pause before it is given up, so that a store that refuses everything fills the dead topic with 2 records a minute.
 */
const refusalsInARow = 8;
const pauseAfterRefusalsAttempt = 10;

function emptyPending(block: Block): Pending {
  block.reset();
  return { block, rows: [], dead: [], bytes: 0, day: -1, nextOffset: -1 };
}

export class PartitionWriter {
  private readonly options: WriterOptions;
  private readonly abort = new AbortController();
  private pending: Pending;
  /** The block that is not being filled: it is being stored, or free. */
  private otherBlock: Block;
  private storing: Promise<void> | undefined;
  private timer: NodeJS.Timeout | undefined;
  private consecutiveRefusals = 0;
  private failure: unknown;

  constructor(options: WriterOptions) {
    this.options = options;
    this.pending = emptyPending(options.makeBlock());
    this.otherBlock = options.makeBlock();
  }

  get signal(): AbortSignal {
    return this.abort.signal;
  }

  /**
   * Takes a row of a record with a value of so many bytes; resolves when there is room for the next one, so a slow store
   * is backpressure. The row is read before this returns, or copied.
   */
  add(record: StreamRecord, row: CheckedRow, valueBytes: number): Promise<void> | undefined {
    const { timestamp } = record;
    const day = Math.floor(timestamp / dayMs);
    if (this.pending.day !== day && this.pending.rows.length > 0) {
      const kept = row.copy();
      return this.flush().then(() => this.addNow(record, kept, valueBytes, day));
    }
    return this.addNow(record, row, valueBytes, day);
  }

  /** Takes a dead letter; it becomes durable before any row that comes after it. */
  addDead(record: StreamRecord, letter: NewRecord, reason: string): Promise<void> | undefined {
    this.pending.dead.push({ letter, reason });
    return this.added(record, letter.value.length);
  }

  /** Takes note of a record that needs no storing. */
  skip(record: StreamRecord): void {
    this.pending.nextOffset = record.offset + 1;
    this.startTimer();
  }

  private addNow(record: StreamRecord, row: CheckedRow, valueBytes: number, day: number): Promise<void> | undefined {
    const { pending } = this;
    pending.block.appendRow(row, record.timestamp, this.options.partition, record.offset);
    pending.rows.push(record);
    pending.day = day;
    return this.added(record, valueBytes);
  }

  private added(record: StreamRecord, valueBytes: number): Promise<void> | undefined {
    const { pending } = this;
    pending.nextOffset = record.offset + 1;
    pending.bytes += valueBytes;
    const { limits } = this.options;
    if (pending.rows.length + pending.dead.length >= limits.rows || pending.bytes >= limits.bytes) return this.flush();
    this.startTimer();
    return undefined;
  }

  private startTimer(): void {
    this.timer ??= setTimeout(() => {
      this.timer = undefined;
      // Its failure is kept and meets the next caller.
      this.flush().catch(() => undefined);
    }, this.options.limits.timeMs);
  }

  /** Hands the block over for storing; resolves when storing has begun, that is when the one before is stored. */
  private async flush(): Promise<void> {
    while (this.storing !== undefined) await this.storing;
    if (this.failure !== undefined) throw this.failure;
    if (this.abort.signal.aborted) throw new Abandoned();
    if (this.timer !== undefined) clearTimeout(this.timer);
    this.timer = undefined;
    const { pending } = this;
    if (pending.nextOffset < 0) return;
    this.pending = emptyPending(this.otherBlock);
    this.otherBlock = pending.block;
    this.storing = this.storePending(pending)
      .catch((error) => {
        this.failure = error;
      })
      .finally(() => {
        this.storing = undefined;
      });
  }

  /** Stores everything that was taken; rejects with Abandoned when that was given up. */
  async drain(): Promise<void> {
    await this.flush();
    while (this.storing !== undefined) await this.storing;
    if (this.failure !== undefined) throw this.failure;
  }

  /** Gives up what is not stored; resolves when the store works on nothing of ours any more. */
  async abandon(): Promise<void> {
    this.abort.abort();
    if (this.timer !== undefined) clearTimeout(this.timer);
    this.timer = undefined;
    this.pending = emptyPending(this.pending.block);
    while (this.storing !== undefined) await this.storing;
  }

  private async storePending(pending: Pending): Promise<void> {
    await this.appendDead(pending.dead);
    await this.storeRows(pending.rows, pending.block);
    const { topic, partition, metrics } = this.options;
    metrics.lastProgress.set({ topic, partition }, Date.now() / 1000);
    try {
      await this.options.commit(pending.nextOffset);
    } catch (error) {
      // A hint for speed: the table knows how far it is.
      this.options.report(error, 'commit');
    }
  }

  private async appendDead(dead: Pending['dead']): Promise<void> {
    if (dead.length === 0) return;
    await untilDone(
      () =>
        this.options.stream.append(
          'dead',
          dead.map(({ letter }) => letter),
        ),
      (error) => this.retrying(error, 'dead_letter'),
      this.abort.signal,
    );
    for (const { reason } of dead) this.options.metrics.deadLetters.inc({ reason });
  }

  private retrying(error: unknown, step: string): void {
    this.options.metrics.retries.inc({ step });
    this.options.report(error, step);
  }

  /** Stores the records whose rows the block holds; what is refused is halved, with blocks made anew. */
  private async storeRows(records: readonly StreamRecord[], block: Block): Promise<void> {
    if (records.length === 0) return;
    const refusal = await this.insert(records, block);
    if (refusal === undefined) {
      this.consecutiveRefusals = 0;
      return;
    }
    if (records.length > 1) {
      const middle = records.length >> 1;
      for (const half of [records.slice(0, middle), records.slice(middle)])
        await this.storeRows(half, this.remake(half, block));
      return;
    }
    await this.giveUp(records[0] as StreamRecord, refusal, block);
  }

  private remake(records: readonly StreamRecord[], block: Block): Block {
    block.reset();
    for (const record of records)
      block.appendRow(this.options.decode(record), record.timestamp, this.options.partition, record.offset);
    return block;
  }

  private async giveUp(record: StreamRecord, refusal: AuditdError, block: Block): Promise<void> {
    this.consecutiveRefusals++;
    this.options.report(refusal, 'refused');
    if (this.consecutiveRefusals > refusalsInARow) {
      await pause(pauseMs(pauseAfterRefusalsAttempt), this.abort.signal);
      if ((await this.insert([record], block)) === undefined) {
        this.consecutiveRefusals = 0;
        return;
      }
    }
    const letter = this.options.giveUp(record, refusal.code, refusal.message);
    if (letter !== undefined) await this.appendDead([{ letter, reason: refusal.code }]);
  }

  /** Stores rows as one block. Resolves to the refusal when the store will never take this block. */
  private async insert(rows: readonly StreamRecord[], block: Block): Promise<AuditdError | undefined> {
    const { topic, partition, metrics, store } = this.options;
    const firstOffset = (rows[0] as StreamRecord).offset;
    const lastOffset = (rows[rows.length - 1] as StreamRecord).offset;
    const batch = { table: topic, partition, firstOffset, lastOffset, rows: rows.length, block: block.finish() };
    let refusal: AuditdError | undefined;
    await untilDone(
      async (attempt) => {
        // After a failure nobody knows whether the rows are there. A block is stored whole or not at all.
        if (attempt > 1 && ((await store.highestOffsets(topic)).get(partition) ?? -1) >= lastOffset) return;
        const stop = metrics.insertSeconds.startTimer({ topic });
        try {
          await store.insert(batch);
        } catch (error) {
          // Everything else is no record's fault (a wrong password, an inconsistency): reported and tried again.
          if (!(error instanceof AuditdError) || error.code !== 'store_refused_block') throw error;
          refusal = error;
        } finally {
          stop();
        }
      },
      (error) => {
        this.retrying(error, 'insert');
        if (!(error instanceof AuditdError) || error.code !== 'store_fenced') return;
        this.options.fenced();
        throw error;
      },
      this.abort.signal,
    );
    if (refusal !== undefined) return refusal;
    metrics.rows.inc({ topic }, rows.length);
    metrics.batchRows.observe({ topic }, rows.length);
    return undefined;
  }
}
