/**
 * From a batch of the `calls` topic to rows: checks each record, decides which are repeated deliveries, and hands the
 * rest to the writer in order.
 */
import { setImmediate } from 'node:timers/promises';
import { callCheck, type RecordRefused } from '../../schemas/check.js';
import type { CheckedRow } from '../../schemas/checked-row.js';
import { deadToRecord } from '../../schemas/dead.js';
import type { Store } from '../store/store.js';
import { untilDone } from '../stream/retry.js';
import type { NewRecord, RecordBatch, StreamRecord, Topic } from '../stream/stream.js';
import type { IngestorMetrics } from './metrics.js';
import { RecentIds } from './recent-ids.js';
import type { PartitionWriter } from './writer.js';

/** Where a record without the gateway's headers (straight from Kafka) belongs. */
export interface DirectProducers {
  /** Its tenant when it names none. */
  readonly tenant: string;
  /** Whether it may name its tenant itself. Whoever can write to the topic can then write for every tenant. */
  readonly mayNameTenant: boolean;
}

const tenantPlace = callCheck.placeOf('tenant');
const eventIdPlace = callCheck.placeOf('event_id');
const tenantOf = (row: CheckedRow): string => (row.at(tenantPlace) as string | undefined) ?? '';
const eventIdOf = (row: CheckedRow): string => row.at(eventIdPlace) as string;

/**
 * Checks a record of the stream with what its headers and its position vouch for. The same record gives the same answer
 * every time. The row is valid until the next check.
 */
function checkRecord(
  { headers, timestamp, offset }: StreamRecord,
  value: Buffer,
  partition: number,
  direct: DirectProducers,
): CheckedRow | RecordRefused {
  const vouched = {
    tenant: headers.tenant ?? direct.tenant,
    producer_key: headers.producer_key ?? '',
    position: { recordedAtMs: timestamp, partition, offset },
  };
  const checked = callCheck.checkRow(value, vouched);
  if (checked.ok || checked.field !== 'tenant' || headers.tenant !== undefined || !direct.mayNameTenant) return checked;
  // The refusal says that the record names another tenant, which it may: once more with that one.
  const { tenant } = JSON.parse(value.toString('utf8')) as { tenant: unknown };
  return typeof tenant === 'string' && tenant !== '' ? callCheck.checkRow(value, { ...vouched, tenant }) : checked;
}

/** The record of the `dead` topic for a record that could not be stored. All letters of a partition keep their order. */
export function deadLetterOf(
  topic: Topic,
  partition: number,
  record: StreamRecord,
  reason: string,
  message: string,
): NewRecord {
  return {
    key: `${topic}/${partition}`,
    ...deadToRecord({
      source_topic: topic,
      source_partition: partition,
      source_offset: record.offset,
      reason,
      message,
      raw: record.value,
      headers: record.headers,
    }),
  };
}

/** For each tenant the greatest time inside an id that is stored already; `defaultMs` for a tenant that is not named. */
export interface StoredUpTo {
  readonly defaultMs: number;
  readonly byTenant: ReadonlyMap<string, number>;
}

/** More tenants than this are not told apart: all share the greatest time, and more ids are asked for. */
const tenantsToldApart = 10_000;

/**
 * Reads for each tenant the greatest time inside a stored id, from the projection by_stream_partition: a few rows a part.
 * What an ingestor finds waiting at its start is newer as a rule, so it need not ask for it.
 */
export async function readStoredUpTo(store: Pick<Store, 'query'>): Promise<StoredUpTo> {
  const time = 'max(toUnixTimestamp64Milli(UUIDv7ToDateTime(event_id)))';
  const sql = `SELECT tenant, toString(${time}) AS up_to FROM calls GROUP BY tenant ORDER BY ${time} DESC LIMIT ${tenantsToldApart}`;
  const byTenant = new Map<string, number>();
  let latestMs = 0;
  for await (const row of readRows<{ tenant: string; up_to: string }>(store, sql)) {
    byTenant.set(row.tenant, Number(row.up_to));
    latestMs = Math.max(latestMs, Number(row.up_to));
  }
  return { defaultMs: byTenant.size < tenantsToldApart ? 0 : latestMs, byTenant };
}

/** Rows of a query as objects. */
export async function* readRows<T>(store: Pick<Store, 'query'>, sql: string): AsyncGenerator<T> {
  const decoder = new TextDecoder();
  let rest = '';
  for await (const chunk of store.query(sql, { format: 'JSONEachRow' })) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n');
    rest = lines.pop() as string;
    for (const line of lines) if (line !== '') yield JSON.parse(line) as T;
  }
  if (rest !== '') yield JSON.parse(rest) as T;
}

export interface CallsPartitionOptions {
  readonly partition: number;
  readonly store: Store;
  readonly direct: DirectProducers;
  readonly rememberedIds: number;
  readonly storedUpTo: StoredUpTo;
  readonly metrics: IngestorMetrics;
  readonly report: (error: unknown, what: string) => void;
}

/** About 2 ms. Storing can wait; in one process with it a call is on its way to a rule, and a signal to its emitter. */
const recordsInATurn = 256;

/** A record that waits for the table's answer, its own or that of one before it. */
interface Waiting {
  readonly record: StreamRecord;
  readonly valueBytes: number;
  readonly decided: Decided;
}

/** What is known of a record: to be stored, stored if the table does not have it, stored before, or refused. */
type Decided =
  | { readonly kind: 'store' | 'ask'; readonly row: CheckedRow }
  | { readonly kind: 'repeated' }
  | { readonly kind: 'refused'; readonly refusal: RecordRefused; readonly letter: NewRecord };

const repeated: Decided = { kind: 'repeated' };

/** The ids of one partition and what is decided by them. */
export class CallsPartition {
  private readonly recent: RecentIds;
  private readonly id = new Uint32Array(4);

  constructor(private readonly options: CallsPartitionOptions) {
    const { byTenant, defaultMs } = options.storedUpTo;
    this.recent = new RecentIds(options.rememberedIds, (tenant) => byTenant.get(tenant) ?? defaultMs);
  }

  /** Takes back what was remembered of a record that was not stored, so that a replay of it is not a repetition. */
  forget(record: StreamRecord): void {
    const row = this.decode(record);
    row.uuidAt(eventIdPlace, this.id);
    this.recent.remove(tenantOf(row), this.id);
  }

  /** The row of a record that was found good before. */
  decode(record: StreamRecord): CheckedRow {
    const checked = checkRecord(record, record.value, this.options.partition, this.options.direct);
    if (!checked.ok)
      throw new Error(`The record at offset ${record.offset} was good and is refused: ${checked.message}`);
    return checked;
  }

  /** Brings a batch to the writer; resolves when the writer has room for the next one. */
  async handle(batch: RecordBatch, writer: PartitionWriter): Promise<void> {
    let waiting: Waiting[] | undefined;
    for (const [at, record] of batch.records.entries()) {
      if (at % recordsInATurn === recordsInATurn - 1) await setImmediate();
      const { value } = record;
      const decided = this.decide(record, value);
      // Rows must reach the writer in order, so from the first one that must be asked for the others wait for it.
      if (decided.kind === 'ask') waiting ??= [];
      if (waiting !== undefined) {
        const kept = 'row' in decided ? { ...decided, row: decided.row.copy() } : decided;
        waiting.push({ record, valueBytes: value.length, decided: kept });
        continue;
      }
      const room = this.deliver(record, value.length, decided, writer);
      if (room !== undefined) await room;
    }
    if (waiting === undefined) return;
    const stored = await this.askStored(waiting, writer.signal);
    for (const { record, valueBytes, decided } of waiting) {
      const isStored = decided.kind === 'ask' && stored.get(tenantOf(decided.row))?.has(eventIdOf(decided.row));
      const room = this.deliver(record, valueBytes, isStored ? repeated : decided, writer);
      if (room !== undefined) await room;
    }
  }

  private decide(record: StreamRecord, value: Buffer): Decided {
    const { partition, direct } = this.options;
    const row = checkRecord(record, value, partition, direct);
    if (!row.ok) return this.refuse(record, row);
    const tenant = tenantOf(row);
    if (!this.recent.hasRoomFor(tenant)) {
      const message = 'the partition has as many tenants as are kept apart';
      return this.refuse(record, { ok: false, code: 'out_of_range', field: 'tenant', message });
    }
    row.uuidAt(eventIdPlace, this.id);
    const verdict = this.recent.see(tenant, this.id);
    if (verdict === 'repeated') return repeated;
    return { kind: verdict === 'new' ? 'store' : 'ask', row };
  }

  private refuse(record: StreamRecord, refusal: RecordRefused): Decided {
    const letter = deadLetterOf('calls', this.options.partition, record, refusal.code, refusal.message);
    return { kind: 'refused', refusal, letter };
  }

  private deliver(
    record: StreamRecord,
    valueBytes: number,
    decided: Decided,
    writer: PartitionWriter,
  ): Promise<void> | undefined {
    switch (decided.kind) {
      case 'store':
      case 'ask':
        return writer.add(record, decided.row, valueBytes);
      case 'refused':
        return writer.addDead(record, decided.letter, decided.refusal.code);
      case 'repeated':
        this.options.metrics.duplicates.inc({ topic: 'calls' });
        writer.skip(record);
        return undefined;
    }
  }

  /** One question to the table for each tenant of the batch. */
  private async askStored(waiting: readonly Waiting[], signal: AbortSignal): Promise<Map<string, Set<string>>> {
    const idsOf = new Map<string, string[]>();
    for (const { decided } of waiting) {
      if (decided.kind !== 'ask') continue;
      const tenant = tenantOf(decided.row);
      const ids = idsOf.get(tenant);
      if (ids === undefined) idsOf.set(tenant, [eventIdOf(decided.row)]);
      else ids.push(eventIdOf(decided.row));
    }
    const stored = new Map<string, Set<string>>();
    for (const [tenant, ids] of idsOf) {
      this.options.metrics.asked.inc(ids.length);
      const found = await untilDone(
        () => this.options.store.storedEventIds(ids, tenant),
        (error) => {
          this.options.metrics.retries.inc({ step: 'ask' });
          this.options.report(error, 'ask');
        },
        signal,
      );
      stored.set(tenant, found);
    }
    return stored;
  }
}
