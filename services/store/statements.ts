import { deadColumns } from '../../schemas/dead.js';
import { callColumns } from '../../schemas/native.js';
import type { InsertBatch, RecordTable } from './store.js';

/** SQL that both adapters send. Values in it are numbers, checked UUIDs and hex digits, never text from outside. */

export const tableColumns: Record<RecordTable, readonly string[]> = { calls: callColumns, dead: deadColumns };

/** Settings that keep one block one part, and a repeated block from being dropped by its hash. */
export const insertSettings: Readonly<Record<string, number>> = {
  max_insert_threads: 1,
  min_insert_block_size_rows: 0,
  min_insert_block_size_bytes: 0,
  max_insert_block_size: 1_000_000_000,
  async_insert: 0,
  insert_deduplicate: 0,
  // A block is of one day; one that is not is refused whole instead of being committed day by day.
  max_partitions_per_insert_block: 1,
  throw_on_max_partitions_per_insert_block: 1,
};

/** Rows of the batch's range of offsets. */
export function countRange({ table, partition, firstOffset, lastOffset }: InsertBatch): string {
  return `SELECT toUInt32(count()) AS rows FROM ${table} WHERE stream_partition = ${partition} AND stream_offset BETWEEN ${firstOffset} AND ${lastOffset}`;
}

/** Answered from the projection by_stream_partition. */
export function selectHighestOffsets(table: RecordTable): string {
  return `SELECT stream_partition AS partition, toString(max(stream_offset)) AS offset FROM ${table} GROUP BY stream_partition`;
}

/** Ids in one query: 39 bytes each, below the 256 KiB that ClickHouse parses of a query. */
export const idsPerQuery = 5000;

/**
 * Which of the ids are stored. The time inside the ids (0 for an id that is no UUIDv7) is matched with the index on the
 * same expression, so that only granules of that time are read; nothing is assumed about occurred_at. From ticks, because
 * toDateTime64 stops at the year 9999 and an id does not.
 */
export function selectStoredIds(ids: readonly string[], tenant: string): string {
  const list = ids.map((id) => `'${id}'`).join(',');
  const times = ids.map(uuidSeconds);
  const earliest = times.reduce((a, b) => Math.min(a, b));
  const latest = times.reduce((a, b) => Math.max(a, b));
  return `SELECT DISTINCT toString(event_id) AS id FROM calls WHERE tenant = unhex('${Buffer.from(tenant).toString('hex')}') AND event_id IN (${list}) AND UUIDv7ToDateTime(event_id) BETWEEN fromUnixTimestamp64Milli(toInt64(${earliest * 1000}), 'UTC') AND fromUnixTimestamp64Milli(toInt64(${latest * 1000 + 999}), 'UTC')`;
}

/** Seconds since the epoch of a UUIDv7, 0 of any other UUID, as UUIDv7ToDateTime has it. */
function uuidSeconds(id: string): number {
  if (id[14] !== '7') return 0;
  return Math.floor(Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16) / 1000);
}

export const selectUsage =
  'SELECT table, toString(sum(rows)) AS rows, toString(sum(bytes_on_disk)) AS bytes FROM system.parts WHERE active AND database = currentDatabase() GROUP BY table ORDER BY table';

/** How long rows and bodies are kept, in days. */
export interface Retention {
  readonly retentionDays: number;
  readonly bodyRetentionDays: number;
}

export const defaultRetention: Retention = { retentionDays: 90, bodyRetentionDays: 30 };

/**
 * The ALTERs that bring the tables' TTLs to the retention asked for; none when they have it. `definitions` are the
 * tables' CREATE statements. Changing metadata is enough: the next merges and the drops of whole parts go by the new
 * TTL, so nothing is rewritten now.
 */
export function retentionChanges(definitions: ReadonlyMap<string, string>, retention: Retention): string[] {
  const { retentionDays, bodyRetentionDays } = retention;
  const changes: string[] = [];
  const settings = 'SETTINGS materialize_ttl_after_modify = 0';
  for (const table of ['calls', 'dead']) {
    const definition = definitions.get(table) ?? '';
    const current = /\nTTL toDate\(recorded_at\) \+ toIntervalDay\((\d+)\)/.exec(definition)?.[1];
    if (Number(current) !== retentionDays) {
      changes.push(`ALTER TABLE ${table} MODIFY TTL toDate(recorded_at) + toIntervalDay(${retentionDays}) ${settings}`);
    }
  }
  for (const column of ['arguments', 'result']) {
    const pattern = new RegExp(`\`${column}\` String .*TTL toDate\\(recorded_at\\) \\+ toIntervalDay\\((\\d+)\\)`);
    const current = pattern.exec(definitions.get('calls') ?? '')?.[1];
    if (Number(current) !== bodyRetentionDays) {
      changes.push(
        `ALTER TABLE calls MODIFY COLUMN ${column} String CODEC(ZSTD(3)) TTL toDate(recorded_at) + toIntervalDay(${bodyRetentionDays}) ${settings}`,
      );
    }
  }
  return changes;
}
