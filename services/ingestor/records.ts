/**
 * From a batch of a topic of few records to rows of its table, each record once. A producer that was killed before its
 * commit sends records again at new offsets; their identity tells them from one another. There are few of them, so every
 * batch asks the table, a few times a second at most.
 */
import type { RecordRefused } from '../../schemas/check.js';
import type { CheckedRow } from '../../schemas/checked-row.js';
import type { RecordTopic } from '../../schemas/record-topic.js';
import { type RecordTopicName, recordTopics } from '../../schemas/tables.js';
import { type Identity, identityText, type Store } from '../store/store.js';
import { pause, untilDone } from '../stream/retry.js';
import type { RecordBatch, StreamRecord } from '../stream/stream.js';
import { deadLetterOf } from './calls.js';
import type { IngestorMetrics } from './metrics.js';
import type { PartitionWriter } from './writer.js';

export interface RecordPartitionOptions {
  readonly topic: RecordTopicName;
  readonly partition: number;
  readonly store: Store;
  readonly metrics: IngestorMetrics;
  readonly report: (error: unknown, what: string) => void;
}

/**
 * Least time between two questions. A row is visible within a second either way, because its block waits longer, and a
 * question costs the engine as much CPU as a thousand rows.
 */
const askAgainMs = 200;

export class RecordPartition {
  private askedMs = Number.NEGATIVE_INFINITY;
  /** Offsets of the identities that are with the writer: the table does not know them yet. */
  private readonly underway = new Map<string, number>();
  private readonly topic: RecordTopic;
  private readonly identityPlaces: readonly number[];

  constructor(private readonly options: RecordPartitionOptions) {
    this.topic = recordTopics[options.topic];
    const names = Object.keys(this.topic.fields);
    this.identityPlaces = this.topic.identity.map((name) => names.indexOf(name));
  }

  /** The row of a record that was found good before. */
  decode(record: StreamRecord): CheckedRow {
    const checked = this.check(record);
    if (!checked.ok)
      throw new Error(`The record at offset ${record.offset} was good and is refused: ${checked.message}`);
    return checked;
  }

  /** Brings a batch to the writer; resolves when the writer has room for the next one. */
  async handle(batch: RecordBatch, writer: PartitionWriter): Promise<void> {
    const found = batch.records.map((record) => {
      const checked = this.check(record);
      if (!checked.ok) return { record, refusal: checked };
      const row = checked.copy();
      return { record, row, identity: this.identityOf(row) };
    });
    const identities = found.flatMap(({ identity }) => (identity === undefined ? [] : [identity]));
    const waitMs = this.askedMs + askAgainMs - performance.now();
    if (waitMs > 0 && batch.nextOffset >= batch.endOffset) await pause(waitMs, writer.signal);
    this.askedMs = performance.now();
    const stored = await this.stored(identities, writer.signal);
    for (const one of found) {
      const room = one.row === undefined ? this.refuse(one.record, one.refusal, writer) : this.add(one, stored, writer);
      if (room !== undefined) await room;
    }
  }

  private add(
    { record, row, identity }: { record: StreamRecord; row: CheckedRow; identity: Identity },
    stored: ReadonlySet<string>,
    writer: PartitionWriter,
  ): Promise<void> | undefined {
    const text = identityText(identity);
    if (identity[0] !== '' && (stored.has(text) || this.underway.has(text))) {
      this.options.metrics.duplicates.inc({ topic: this.options.topic });
      writer.skip(record);
      return undefined;
    }
    this.underway.set(text, record.offset);
    return writer.add(record, row, record.value.length);
  }

  private refuse(record: StreamRecord, refusal: RecordRefused, writer: PartitionWriter): Promise<void> | undefined {
    const { topic, partition } = this.options;
    return writer.addDead(record, deadLetterOf(topic, partition, record, refusal.code, refusal.message), refusal.code);
  }

  /** Takes back what was remembered of a record that was not stored, so that a replay of it is not a repetition. */
  forget(record: StreamRecord): void {
    this.underway.delete(identityText(this.identityOf(this.decode(record))));
  }

  /** Everything below the offset is in the table. */
  storedBelow(nextOffset: number): void {
    for (const [identity, offset] of this.underway) {
      if (offset >= nextOffset) return;
      this.underway.delete(identity);
    }
  }

  private check({ value, headers, timestamp, offset }: StreamRecord): CheckedRow | RecordRefused {
    return this.topic.check(value, headers, { recordedAtMs: timestamp, partition: this.options.partition, offset });
  }

  private identityOf(row: CheckedRow): Identity {
    return this.identityPlaces.map((place) => row.at(place) as string | number);
  }

  private stored(identities: readonly Identity[], signal: AbortSignal): Promise<Set<string>> {
    return untilDone(
      () => this.options.store.storedIdentities(this.options.topic, identities),
      (error) => {
        this.options.metrics.retries.inc({ step: 'ask' });
        this.options.report(error, 'ask');
      },
      signal,
    );
  }
}
