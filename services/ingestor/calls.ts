/**
 * From a batch of the `calls` topic to rows: checks each record, decides which are repeated deliveries, and hands the
 * rest to the writer in order.
 */
import { type Checked, checkCall } from '../../schemas/check.js';
import { deadToRecord } from '../../schemas/dead.js';
import type { CallEvent } from '../../schemas/event.js';
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

/**
 * Checks a record of the stream with what its headers and its position vouch for. The same record gives the same answer
 * every time.
 */
export function checkRecord(record: StreamRecord, partition: number, direct: DirectProducers): Checked<CallEvent> {
  const { headers } = record;
  const vouched = {
    tenant: headers.tenant ?? direct.tenant,
    producer_key: headers.producer_key ?? '',
    position: { recordedAtMs: record.timestamp, partition, offset: record.offset },
  };
  const checked = checkCall(record.value, vouched);
  if (checked.ok || checked.field !== 'tenant' || headers.tenant !== undefined || !direct.mayNameTenant) return checked;
  // The refusal says that the record names another tenant, which it may: once more with that one.
  const { tenant } = JSON.parse(record.value.toString('utf8')) as { tenant: unknown };
  return typeof tenant === 'string' && tenant !== '' ? checkCall(record.value, { ...vouched, tenant }) : checked;
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

/** For each tenant the greatest time inside an id that is stored already. */
export interface StoredUpTo {
  readonly defaultMs: number;
  readonly byTenant: ReadonlyMap<string, number>;
}

/** More tenants with ids from the future than this are not told apart: all share the greatest time. */
const futureTenantsLimit = 10_000;

/**
 * Reads for each tenant a time that no stored id exceeds. Ids are new as a rule, so the default is `nowMs`, and only ids
 * beyond it are looked for: the index on the id's time leaves nothing else to read. `nowMs` may be any number, a better
 * one only means less asking later.
 */
export async function readStoredUpTo(store: Store, nowMs: number): Promise<StoredUpTo> {
  const sql =
    'SELECT tenant, toString(max(toUnixTimestamp64Milli(UUIDv7ToDateTime(event_id)))) AS up_to FROM calls ' +
    `WHERE UUIDv7ToDateTime(event_id) > fromUnixTimestamp64Milli(toInt64(${Math.floor(nowMs)}), 'UTC') GROUP BY tenant ` +
    `ORDER BY max(toUnixTimestamp64Milli(UUIDv7ToDateTime(event_id))) DESC LIMIT ${futureTenantsLimit}`;
  const byTenant = new Map<string, number>();
  let latestMs = nowMs;
  for await (const row of readRows<{ tenant: string; up_to: string }>(store, sql)) {
    byTenant.set(row.tenant, Number(row.up_to));
    latestMs = Math.max(latestMs, Number(row.up_to));
  }
  return { defaultMs: byTenant.size < futureTenantsLimit ? nowMs : latestMs, byTenant };
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

/** A record of a batch with what is known about it so far. */
interface Decided {
  readonly record: StreamRecord;
  readonly checked: Checked<CallEvent> | undefined;
  /** True while only the table can tell whether the event is stored. */
  readonly ask: boolean;
}

/** The ids of one partition and what is decided by them. */
export class CallsPartition {
  private readonly recent: RecentIds;

  constructor(private readonly options: CallsPartitionOptions) {
    const { byTenant, defaultMs } = options.storedUpTo;
    this.recent = new RecentIds(options.rememberedIds, (tenant) => byTenant.get(tenant) ?? defaultMs);
  }

  /** Takes back what was remembered of a record that was not stored, so that a replay of it is not a repetition. */
  forget(record: StreamRecord): void {
    const event = this.decode(record);
    this.recent.remove(event.tenant, event.event_id);
  }

  /** The event of a record that was found good before. */
  decode(record: StreamRecord): CallEvent {
    const checked = checkRecord(record, this.options.partition, this.options.direct);
    if (!checked.ok)
      throw new Error(`The record at offset ${record.offset} was good and is refused: ${checked.message}`);
    return checked.event;
  }

  /** Brings a batch to the writer; resolves when the writer has room for the next one. */
  async handle(batch: RecordBatch, writer: PartitionWriter<CallEvent>): Promise<void> {
    const { partition, direct } = this.options;
    let waiting: Decided[] | undefined;
    for (const record of batch.records) {
      const decided = this.decide(record, checkRecord(record, partition, direct));
      // Rows must reach the writer in order, so from the first one that must be asked for the others wait for it.
      if (decided.ask) waiting ??= [];
      if (waiting !== undefined) waiting.push(decided);
      else {
        const room = this.deliver(decided, writer);
        if (room !== undefined) await room;
      }
    }
    if (waiting === undefined) return;
    const stored = await this.askStored(waiting, writer.signal);
    for (const decided of waiting) {
      const room = this.deliver(decided, writer, stored);
      if (room !== undefined) await room;
    }
  }

  private decide(record: StreamRecord, checked: Checked<CallEvent>): Decided {
    if (!checked.ok) return { record, checked, ask: false };
    const { tenant, event_id } = checked.event;
    if (!this.recent.hasRoomFor(tenant)) {
      const message = 'the partition has as many tenants as are kept apart';
      return { record, checked: { ok: false, code: 'out_of_range', field: 'tenant', message }, ask: false };
    }
    const verdict = this.recent.see(tenant, event_id);
    if (verdict === 'repeated') return { record, checked: undefined, ask: false };
    return { record, checked, ask: verdict === 'unknown' };
  }

  private deliver(
    { record, checked, ask }: Decided,
    writer: PartitionWriter<CallEvent>,
    stored?: ReadonlyMap<string, ReadonlySet<string>>,
  ): Promise<void> | undefined {
    const { metrics, partition } = this.options;
    const repeated =
      checked === undefined || (ask && checked.ok && stored?.get(checked.event.tenant)?.has(checked.event.event_id));
    if (repeated) {
      metrics.duplicates.inc({ topic: 'calls' });
      writer.skip(record);
      return undefined;
    }
    if (checked.ok) return writer.add(record, checked.event);
    const letter = deadLetterOf('calls', partition, record, checked.code, checked.message);
    return writer.addDead(record, letter, checked.code);
  }

  /** One question to the table for each tenant of the batch. */
  private async askStored(decided: readonly Decided[], signal: AbortSignal): Promise<Map<string, Set<string>>> {
    const idsOf = new Map<string, string[]>();
    for (const { checked, ask } of decided) {
      if (!ask || !checked?.ok) continue;
      const { tenant, event_id } = checked.event;
      const ids = idsOf.get(tenant);
      if (ids === undefined) idsOf.set(tenant, [event_id]);
      else ids.push(event_id);
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
