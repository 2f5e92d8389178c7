/**
 * From a batch of a topic of few records to rows of its table, each record once. A producer that was killed before its
 * commit sends records again at new offsets; their identity tells them from one another. There are few of them, so every
 * batch asks the table.
 */
import type { Checked } from '../../schemas/check.js';
import { type RecordTopicName, recordTopics } from '../../schemas/tables.js';
import { type Identity, identityText, type Store } from '../store/store.js';
import { untilDone } from '../stream/retry.js';
import type { RecordBatch, StreamRecord } from '../stream/stream.js';
import { deadLetterOf } from './calls.js';
import type { IngestorMetrics } from './metrics.js';
import type { PartitionWriter } from './writer.js';

export type TopicRow = Readonly<Record<string, unknown>>;

export interface RecordPartitionOptions {
  readonly topic: RecordTopicName;
  readonly partition: number;
  readonly store: Store;
  readonly metrics: IngestorMetrics;
  readonly report: (error: unknown, what: string) => void;
}

export class RecordPartition {
  /** Offsets of the identities that are with the writer: the table does not know them yet. */
  private readonly underway = new Map<string, number>();

  constructor(private readonly options: RecordPartitionOptions) {}

  /** The row of a record that was found good before. */
  decode(record: StreamRecord): TopicRow {
    const checked = this.check(record);
    if (!checked.ok)
      throw new Error(`The record at offset ${record.offset} was good and is refused: ${checked.message}`);
    return checked.event;
  }

  /** Brings a batch to the writer; resolves when the writer has room for the next one. */
  async handle(batch: RecordBatch, writer: PartitionWriter<TopicRow>): Promise<void> {
    const { topic, partition, metrics } = this.options;
    const found = batch.records.map((record) => ({ record, checked: this.check(record) }));
    const stored = await this.stored(
      found.flatMap(({ checked }) => (checked.ok ? [this.identityOf(checked.event)] : [])),
      writer.signal,
    );
    for (const { record, checked } of found) {
      let room: Promise<void> | undefined;
      if (checked.ok) {
        const identity = this.identityOf(checked.event);
        const text = identityText(identity);
        if (identity[0] !== '' && (stored.has(text) || this.underway.has(text))) {
          metrics.duplicates.inc({ topic });
          writer.skip(record);
          continue;
        }
        this.underway.set(text, record.offset);
        room = writer.add(record, checked.event);
      } else {
        const letter = deadLetterOf(topic, partition, record, checked.code, checked.message);
        room = writer.addDead(record, letter, checked.code);
      }
      if (room !== undefined) await room;
    }
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

  private check({ value, headers, timestamp, offset }: StreamRecord): Checked<TopicRow> {
    const { topic, partition } = this.options;
    return recordTopics[topic].check(value, headers, { recordedAtMs: timestamp, partition, offset });
  }

  private identityOf(row: TopicRow): Identity {
    return recordTopics[this.options.topic].identity.map((name) => row[name] as string | number);
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
