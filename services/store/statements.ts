import { type RecordTable, type RecordTopicName, recordTopics, tableFields } from '../../schemas/tables.js';
import type { Identity, InsertBatch } from './store.js';

/** SQL that both adapters send. Text from outside is in it only as `textLiteral` writes it. */

/** The columns of a table, in the order of its blocks, for INSERT and SELECT. */
export function columnList(table: RecordTable): string {
  return Object.keys(tableFields[table])
    .map((name) => `\`${name}\``)
    .join(', ');
}

/** Text as a literal of which nothing but letters and digits stands for itself. */
function textLiteral(text: string): string {
  let literal = "'";
  for (const byte of Buffer.from(text)) {
    const digitOrLetter = (byte >= 48 && byte <= 57) || (byte >= 65 && byte <= 90) || (byte >= 97 && byte <= 122);
    literal += digitOrLetter ? String.fromCharCode(byte) : `\\x${byte.toString(16).padStart(2, '0')}`;
  }
  return `${literal}'`;
}

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

/** Bytes of identities in one query, below the 256 KiB that ClickHouse parses of a query. */
const identityBytesPerQuery = 200_000;

/**
 * Which of the identities are stored: rows with one column `identity`, an array of texts. One query for each 200 kB
 * of them.
 */
export function selectStoredIdentities(table: RecordTopicName, identities: readonly Identity[]): string[] {
  const { fields, identity: names } = recordTopics[table];
  const columns = names.map((name) => `\`${name}\``);
  // The contract writes times as RFC 3339, the engine with a space and without the zone.
  const isTime = names.map((name) => fields[name]?.kind.startsWith('time_') === true);
  const queries: string[] = [];
  let tuples: string[] = [];
  let bytes = 0;
  const finish = (): void => {
    if (tuples.length === 0) return;
    const texts = columns.map((column, place) =>
      isTime[place] ? `concat(replaceOne(toString(${column}), ' ', 'T'), 'Z')` : `toString(${column})`,
    );
    const select = `SELECT DISTINCT [${texts.join(', ')}] AS identity FROM ${table}`;
    queries.push(`${select} WHERE (${columns.join(', ')}) IN (${tuples.join(',')})`);
    tuples = [];
    bytes = 0;
  };
  for (const identity of identities) {
    const values = identity.map((value, place) =>
      typeof value === 'number'
        ? String(value)
        : textLiteral(isTime[place] ? value.replace('T', ' ').replace('Z', '') : value),
    );
    const tuple = `(${values.join(',')})`;
    if (bytes + tuple.length > identityBytesPerQuery) finish();
    tuples.push(tuple);
    bytes += tuple.length + 1;
  }
  finish();
  return queries;
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

/** What people keep until they forget it. */
const keptWithoutEnd: ReadonlySet<string> = new Set<RecordTable>(['saved_queries']);

/**
 * The ALTERs that bring the tables' TTLs to the retention asked for; none when they have it. `definitions` are the
 * tables' CREATE statements. Changing metadata is enough: the next merges and the drops of whole parts go by the new
 * TTL, so nothing is rewritten now.
 */
export function retentionChanges(definitions: ReadonlyMap<string, string>, retention: Retention): string[] {
  const { retentionDays, bodyRetentionDays } = retention;
  const changes: string[] = [];
  const settings = 'SETTINGS materialize_ttl_after_modify = 0';
  for (const table of Object.keys(tableFields)) {
    if (keptWithoutEnd.has(table)) continue;
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
