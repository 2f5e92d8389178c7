/**
 * From the stream to the store: the `calls` topic and those of `recordTopics`, each into its table, exactly once.
 *
 * The table is the offset store: an assigned partition goes on after the highest offset in the table, and never before
 * what the group committed. A commit is a hint that saves reading repeated deliveries again.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { Registry } from 'prom-client';
import { CallsBlock, RecordBlock } from '../../schemas/native.js';
import { type RecordTable, type RecordTopicName, recordTopicNames, tableFields } from '../../schemas/tables.js';
import type { Store } from '../store/store.js';
import { ConsumerProgress, type Health, worstHealth } from '../stream/progress.js';
import { Abandoned, pause, pauseMs, untilDone } from '../stream/retry.js';
import type { Consumer, RecordBatch, Stream } from '../stream/stream.js';
import { CallsPartition, type DirectProducers, deadLetterOf, readStoredUpTo, type StoredUpTo } from './calls.js';
import { type IngestorMetrics, ingestorMetrics, type PartitionLag } from './metrics.js';
import { RecordPartition } from './records.js';
import { type BlockLimits, PartitionWriter } from './writer.js';

export interface IngestorLimits extends BlockLimits {
  /** Event ids that each partition remembers; a power of two. 26 bytes each. */
  readonly rememberedIds: number;
  /** Milliseconds that a stop waits for what is in hand to be stored. What is not stored then is read again later. */
  readonly stopTimeMs: number;
}

/**
 * - 20,000 rows: the engine's cost of a row hardly falls beyond it (measured), and at 564 bytes that is 11 MB.
 * - 16 MiB of values: two blocks of each partition are held, so 32 MiB and about as much in columns.
 * - 600 ms and an insert (tens of ms) make a row visible within a second, at under two blocks a second.
 * - 2^20 ids are 27 MB a partition and at 10,000 events a second the ids of the last 100 seconds.
 */
export const defaultIngestorLimits: IngestorLimits = {
  rows: 20_000,
  bytes: 16 * 1024 * 1024,
  timeMs: 600,
  rememberedIds: 1 << 20,
  stopTimeMs: 10_000,
};

export interface IngestorOptions {
  readonly stream: Stream;
  readonly store: Store;
  readonly limits?: Partial<IngestorLimits>;
  readonly direct?: DirectProducers;
  readonly metrics: Registry;
  /** A failure that the ingestor deals with by itself and that somebody should know of. `what` names the step. */
  readonly onFault?: (error: unknown, what: string) => void;
}

/** What the ingestor did since its start, for `status`. */
export interface IngestorStatus {
  readonly records: number;
  readonly rows: number;
  readonly duplicates: number;
  readonly deadLetters: number;
  readonly retries: number;
  readonly partitions: readonly PartitionLag[];
}

export interface Ingestor {
  status(): Promise<IngestorStatus>;
  /** Whether it goes on, waits for stream or store, or is stuck. */
  health(): Health;
  /** Stores what is in hand, for at most `stopTimeMs`, and stops. Idempotent. */
  close(): Promise<void>;
}

const group = 'ingestor';
/** Bytes of one batch of the stream. The smallest good event has 120 bytes, so it has at most 35,000 of them. */
const batchBytes = 4 * 1024 * 1024;
/**
 * Ids that the table does not know yet must be remembered: those of a block being stored, of one being filled, and of
 * the batch in hand.
 */
const leastRememberedIds = (rows: number): number => 2 * rows + Math.ceil(batchBytes / 120);

/** Of the topics that have no event ids. */
const nothingStored: StoredUpTo = { defaultMs: 0, byTenant: new Map() };

/** Steps that are tried again until they work, and nothing goes on meanwhile. */
const repeatedSteps: ReadonlySet<string> = new Set(['consume', 'assign', 'insert', 'dead_letter', 'ask']);

/** A partition that is ours. */
interface Assigned {
  handle(batch: RecordBatch): Promise<void>;
  drain(): Promise<void>;
  abandon(): Promise<void>;
}

/** Starts to ingest every topic that has a table. Faults of stream and store are retried for ever and reported. */
export async function startIngestor(options: IngestorOptions): Promise<Ingestor> {
  const limits = { ...defaultIngestorLimits, ...options.limits };
  const least = leastRememberedIds(limits.rows);
  if (limits.rememberedIds < least)
    throw new RangeError(
      `rememberedIds is ${limits.rememberedIds}; with blocks of ${limits.rows} rows at least ${least} are needed.`,
    );
  const metrics = ingestorMetrics(options.metrics, () => readers.flatMap((reader) => reader.lags()));
  // Dead letters come last: those that the others leave behind when they stop are still ingested.
  const topics: RecordTable[] = ['calls', ...recordTopicNames.filter((topic) => topic !== 'dead'), 'dead'];
  const readers: readonly TopicIngestor[] = topics.map((topic) => new TopicIngestor(topic, options, limits, metrics));
  for (const reader of readers) reader.start();
  let closing: Promise<void> | undefined;
  return {
    status: () => statusOf(metrics, readers),
    health: () => worstHealth(readers.map((reader) => reader.health())),
    close: () => {
      closing ??= closeInOrder(readers, limits.stopTimeMs);
      return closing;
    },
  };
}

/** One after the other, all within the time. */
async function closeInOrder(readers: readonly TopicIngestor[], timeMs: number): Promise<void> {
  const endAtMs = performance.now() + timeMs;
  for (const reader of readers) await reader.close(Math.max(0, endAtMs - performance.now()));
}

async function statusOf(metrics: IngestorMetrics, readers: readonly TopicIngestor[]): Promise<IngestorStatus> {
  const total = async (counter: { get(): Promise<{ values: { value: number }[] }> }): Promise<number> =>
    (await counter.get()).values.reduce((sum, { value }) => sum + value, 0);
  return {
    records: await total(metrics.records),
    rows: await total(metrics.rows),
    duplicates: await total(metrics.duplicates),
    deadLetters: await total(metrics.deadLetters),
    retries: await total(metrics.retries),
    partitions: readers.flatMap((reader) => reader.lags()),
  };
}

/** One topic's consumer, begun again after a fault. States: running → stopping (what is in hand is stored) → stopped. */
class TopicIngestor {
  private readonly assigned = new Map<number, Assigned>();
  private readonly stopping = new AbortController();
  /** Aborted when partitions are taken away: an assignment that is under way is for nothing. */
  private taken = new AbortController();
  private consumer: Consumer | undefined;
  private running: Promise<void> = Promise.resolve();
  private readonly progress: ConsumerProgress;

  constructor(
    private readonly topic: RecordTable,
    private readonly options: IngestorOptions,
    private readonly limits: IngestorLimits,
    private readonly metrics: IngestorMetrics,
  ) {
    this.progress = new ConsumerProgress({ stream: options.stream, topic });
  }

  start(): void {
    this.progress.start();
    this.running = this.run();
  }

  health(): Health {
    return this.progress.health();
  }

  lags(): PartitionLag[] {
    return this.progress.lags().map((each) => ({ topic: this.topic, ...each }));
  }

  /** Stores what is in hand, for at most so many milliseconds. */
  async close(timeMs: number): Promise<void> {
    if (!this.stopping.signal.aborted) {
      this.stopping.abort();
      const deadline = new AbortController();
      const writers = [...this.assigned.values()];
      const drained = Promise.all(writers.map((writer) => writer.drain().catch((error) => this.fault(error, 'stop'))));
      await Promise.race([drained, delay(timeMs, undefined, { signal: deadline.signal }).catch(() => {})]);
      deadline.abort();
      await this.abandon([...this.assigned.keys()]);
      await this.consumer?.close();
    }
    this.progress.stop();
    await this.running;
  }

  /** Consumes until it is stopped; a consumer that a fault ended is followed by a new one. */
  private async run(): Promise<void> {
    for (let attempt = 1; !this.stopping.signal.aborted; attempt++) {
      try {
        this.consumer = await this.consume();
        if (this.stopping.signal.aborted) await this.consumer.close();
        await this.consumer.closed;
      } catch (error) {
        this.metrics.retries.inc({ step: 'consume' });
        this.fault(error, 'consume');
      }
      await this.abandon([...this.assigned.keys()]);
      if (this.stopping.signal.aborted) return;
      await pause(pauseMs(attempt), this.stopping.signal).catch(() => undefined);
    }
  }

  private consume(): Promise<Consumer> {
    return this.options.stream.consume({
      topic: this.topic,
      group,
      maxBatchBytes: batchBytes,
      assigned: (partitions) => this.assign(partitions),
      revoked: (partitions) => this.abandon(partitions),
      batch: (batch) => this.batch(batch),
    });
  }

  private async assign(partitions: readonly number[]): Promise<Map<number, number | undefined>> {
    const { stream, store } = this.options;
    const taken = new AbortController();
    this.taken = taken;
    // The lag is known before the store answers, which may take long.
    const before = await stream.committed(this.topic, group).catch(() => new Map<number, number>());
    if (taken.signal.aborted) return new Map();
    for (const partition of partitions) this.progress.assigned(partition, before.get(partition));
    const found = await untilDone(
      async () => ({
        highest: await store.takeOver(this.topic, partitions),
        committed: await stream.committed(this.topic, group),
        storedUpTo: this.topic === 'calls' ? await readStoredUpTo(store) : nothingStored,
      }),
      (error) => {
        this.metrics.retries.inc({ step: 'assign' });
        this.fault(error, 'assign');
      },
      AbortSignal.any([this.stopping.signal, taken.signal]),
    ).catch((error: unknown) => {
      if (taken.signal.aborted) return undefined;
      throw error;
    });
    // Another one's by now: what was found is old, and who has it owns them in the store, or will take them over.
    if (found === undefined || taken.signal.aborted) return new Map();
    const { highest, committed, storedUpTo } = found;
    const offsets = new Map<number, number | undefined>();
    for (const partition of partitions) {
      const stored = highest.get(partition);
      const next = Math.max(stored === undefined ? -1 : stored + 1, committed.get(partition) ?? -1);
      offsets.set(partition, next < 0 ? undefined : next);
      this.assigned.set(
        partition,
        this.topic === 'calls'
          ? this.callsPartition(partition, storedUpTo)
          : this.recordPartition(this.topic, partition),
      );
      this.progress.assigned(partition, offsets.get(partition));
    }
    return offsets;
  }

  private async abandon(partitions: readonly number[]): Promise<void> {
    this.taken.abort();
    const taken = partitions.flatMap((partition) => this.assigned.get(partition) ?? []);
    for (const partition of partitions) {
      this.assigned.delete(partition);
      this.progress.revoked(partition);
    }
    await Promise.all(taken.map((each) => each.abandon()));
  }

  private async batch(batch: RecordBatch): Promise<void> {
    const assigned = this.assigned.get(batch.partition);
    // While it stops nothing new is taken; what was read and not stored is read again at the next start.
    if (assigned === undefined || this.stopping.signal.aborted) return;
    this.metrics.records.inc({ topic: this.topic }, batch.records.length);
    try {
      await assigned.handle(batch);
    } catch (error) {
      if (!(error instanceof Abandoned)) throw error;
    }
  }

  private fault(error: unknown, what: string): void {
    if (error instanceof Abandoned) return;
    // The others concern one record or cost nothing but speed.
    if (repeatedSteps.has(what)) this.progress.failed(`${what} (${(error as { code?: string }).code ?? 'error'})`);
    this.options.onFault?.(error, what);
  }

  private callsPartition(partition: number, storedUpTo: StoredUpTo): Assigned {
    const { stream, store } = this.options;
    const calls = new CallsPartition({
      partition,
      store,
      direct: this.options.direct ?? { tenant: 'default', mayNameTenant: false },
      rememberedIds: this.limits.rememberedIds,
      storedUpTo,
      metrics: this.metrics,
      report: (error, what) => this.fault(error, what),
    });
    const writer = new PartitionWriter({
      topic: 'calls',
      partition,
      stream,
      store,
      limits: this.limits,
      metrics: this.metrics,
      makeBlock: () => new CallsBlock(),
      decode: (record) => calls.decode(record),
      giveUp: (record, reason, message) => {
        calls.forget(record);
        return deadLetterOf('calls', partition, record, reason, message);
      },
      commit: (nextOffset) => this.commit(partition, nextOffset),
      fenced: () => this.rejoin(),
      report: (error, what) => this.fault(error, what),
    });
    return {
      handle: (batch) => calls.handle(batch, writer),
      drain: () => writer.drain(),
      abandon: () => writer.abandon(),
    };
  }

  private recordPartition(topic: RecordTopicName, partition: number): Assigned {
    const { stream, store } = this.options;
    const report = (error: unknown, what: string): void => this.fault(error, what);
    const records = new RecordPartition({ topic, partition, store, metrics: this.metrics, report });
    const writer = new PartitionWriter({
      topic,
      partition,
      stream,
      store,
      limits: this.limits,
      metrics: this.metrics,
      makeBlock: () => new RecordBlock(tableFields[topic]),
      decode: (record) => records.decode(record),
      giveUp: (record, reason, message) => {
        // A dead letter of a dead letter would go round for ever; it stays in the topic until retention.
        if (topic === 'dead') return undefined;
        records.forget(record);
        return deadLetterOf(topic, partition, record, reason, message);
      },
      commit: async (nextOffset) => {
        records.storedBelow(nextOffset);
        await this.commit(partition, nextOffset);
      },
      fenced: () => this.rejoin(),
      report,
    });
    return {
      handle: (batch) => records.handle(batch, writer),
      drain: () => writer.drain(),
      abandon: () => writer.abandon(),
    };
  }

  /** Who owns what is the group's to say: the next consumer takes over what it is given then. */
  private rejoin(): void {
    this.consumer?.close().catch((error) => this.fault(error, 'consume'));
  }

  private async commit(partition: number, nextOffset: number): Promise<void> {
    this.progress.reached(partition, nextOffset);
    await this.consumer?.commit(partition, nextOffset);
  }
}
