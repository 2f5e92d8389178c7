/**
 * Dead letters: from a batch of the `dead` topic to rows, once for each source position, and what an operator does with
 * them: list, show, replay.
 */
import { type DeadRecord, parseDead } from '../../schemas/dead.js';
import { AuditdError } from '../../schemas/errors.js';
import type { Store } from '../store/store.js';
import { type RecordBatch, type Stream, type StreamRecord, type Topic, topics } from '../stream/stream.js';
import { readRows } from './calls.js';
import type { IngestorMetrics } from './metrics.js';
import { untilDone } from './retry.js';
import type { PartitionWriter } from './writer.js';

/** Positions in one question: 60 bytes each, below the 256 KiB that ClickHouse parses of a query. */
const positionsPerQuery = 2_000;

function positionText(topic: string, partition: number | string, offset: number | string): string {
  return `${topic}/${partition}/${offset}`;
}

export interface DeadPartitionOptions {
  readonly store: Store;
  readonly metrics: IngestorMetrics;
  readonly report: (error: unknown, what: string) => void;
}

/**
 * A partition of the `dead` topic. An ingestor that was killed after a dead letter and before its commit reads the
 * source record again and sends its letter again; the source position tells the two from one another. Dead letters are
 * rare, so every batch asks the table.
 */
export class DeadPartition {
  /** Positions of letters that are with the writer: the table does not know them yet. */
  private readonly underway = new Map<string, number>();

  constructor(private readonly options: DeadPartitionOptions) {}

  decode(record: StreamRecord): DeadRecord {
    return parseDead(record.value, record.headers);
  }

  async handle(batch: RecordBatch, writer: PartitionWriter<DeadRecord>): Promise<void> {
    const letters = batch.records.map((record) => ({ record, dead: this.decode(record) }));
    const stored = await this.stored(
      letters.map(({ dead }) => dead),
      writer.signal,
    );
    for (const { record, dead } of letters) {
      const position = positionText(dead.source_topic, dead.source_partition, dead.source_offset);
      // Without a source there is nothing to tell two letters by, and losing one is worse than keeping both.
      if (dead.source_topic !== '' && (stored.has(position) || this.underway.has(position))) {
        this.options.metrics.duplicates.inc({ topic: 'dead' });
        writer.skip(record);
        continue;
      }
      this.underway.set(position, record.offset);
      const room = writer.add(record, dead);
      if (room !== undefined) await room;
    }
  }

  /** Everything below the offset is in the table. */
  storedBelow(nextOffset: number): void {
    for (const [position, offset] of this.underway) {
      if (offset >= nextOffset) return;
      this.underway.delete(position);
    }
  }

  private async stored(letters: readonly DeadRecord[], signal: AbortSignal): Promise<Set<string>> {
    const found = new Set<string>();
    // A topic that is none of ours was made up by whoever wrote to the dead topic; its text stays out of the SQL.
    const known = letters.filter(({ source_topic }) => (topics as readonly string[]).includes(source_topic));
    for (let start = 0; start < known.length; start += positionsPerQuery) {
      const tuples = known
        .slice(start, start + positionsPerQuery)
        .map((dead) => `('${dead.source_topic}',${dead.source_partition},${dead.source_offset})`);
      const sql =
        'SELECT source_topic, source_partition, toString(source_offset) AS source_offset FROM dead ' +
        `WHERE (source_topic, source_partition, source_offset) IN (${tuples.join(',')})`;
      const rows = await untilDone(
        () =>
          collect<{ source_topic: string; source_partition: number; source_offset: string }>(this.options.store, sql),
        (error) => {
          this.options.metrics.retries.inc({ step: 'ask' });
          this.options.report(error, 'ask');
        },
        signal,
      );
      for (const row of rows) found.add(positionText(row.source_topic, row.source_partition, row.source_offset));
    }
    return found;
  }
}

async function collect<T>(store: Pick<Store, 'query'>, sql: string): Promise<T[]> {
  const rows: T[] = [];
  for await (const row of readRows<T>(store, sql)) rows.push(row);
  return rows;
}

/** A dead letter as `list` shows it. `id` is its source position, for example `calls/0/1234`. */
export interface DeadSummary {
  readonly id: string;
  readonly reason: string;
  readonly message: string;
  /** `2026-11-24 03:52:00.310`, UTC: when the letter was written. */
  readonly recorded_at: string;
  readonly bytes: number;
}

/** A whole dead letter. */
export interface DeadLetter extends DeadSummary {
  readonly raw: Buffer;
  readonly headers: Readonly<Record<string, string>>;
}

const summaryColumns =
  "concat(source_topic, '/', toString(source_partition), '/', toString(source_offset)) AS id, " +
  'toString(reason) AS reason, message, toString(recorded_at) AS recorded_at, length(raw) AS size';

/** Most letters of one list or replay: whole letters of 4 MiB are read one by one, summaries have a few hundred bytes. */
const listLimit = 10_000;

function summaryOf(row: SummaryRow): DeadSummary {
  return {
    id: row.id,
    reason: row.reason,
    message: row.message,
    recorded_at: row.recorded_at,
    bytes: Number(row.size),
  };
}

interface SummaryRow {
  readonly id: string;
  readonly reason: string;
  readonly message: string;
  readonly recorded_at: string;
  readonly size: number | string;
}

/** The newest dead letters first; `limit` is at most 10,000. */
export async function listDead(
  store: Pick<Store, 'query'>,
  options: { limit?: number; reason?: string } = {},
): Promise<DeadSummary[]> {
  const limit = Math.min(Math.max(1, Math.floor(options.limit ?? 100)), listLimit);
  const where = options.reason === undefined ? '' : `WHERE reason = unhex('${hexOf(options.reason)}') `;
  const sql = `SELECT ${summaryColumns} FROM dead ${where}ORDER BY dead.recorded_at DESC, source_offset DESC LIMIT ${limit}`;
  return (await collect<SummaryRow>(store, sql)).map(summaryOf);
}

function hexOf(text: string): string {
  return Buffer.from(text).toString('hex');
}

/**
 * One dead letter with its bytes.
 * @param id `topic/partition/offset`, as `listDead` gives it.
 * @throws AuditdError `dead_letter_unknown` when there is none, or `id` is no such text.
 */
export async function showDead(store: Pick<Store, 'query'>, id: string): Promise<DeadLetter> {
  const match = /^([a-z]*)\/(\d{1,10})\/(\d{1,16})$/.exec(id);
  if (match === null)
    throw new AuditdError(
      'dead_letter_unknown',
      `${JSON.stringify(id)} is no id of a dead letter (topic/partition/offset).`,
    );
  const sql =
    `SELECT ${summaryColumns}, hex(raw) AS raw_hex, headers FROM dead ` +
    `WHERE source_topic = '${match[1]}' AND source_partition = ${match[2]} AND source_offset = ${match[3]} LIMIT 1`;
  const rows = await collect<SummaryRow & { raw_hex: string; headers: Record<string, string> }>(store, sql);
  const row = rows[0];
  if (row === undefined) throw new AuditdError('dead_letter_unknown', `There is no dead letter ${id}.`);
  return { ...summaryOf(row), raw: Buffer.from(row.raw_hex, 'hex'), headers: row.headers };
}

/**
 * Appends dead letters to the topics they came from, with their own headers, for example after an upgrade that takes
 * them. Those that are still refused become new dead letters; an event that is stored by now is not stored again.
 * The letters themselves stay in the table.
 *
 * @returns The ids that were appended, in order. Each is durable when the next one is read.
 * @throws AuditdError `dead_letter_unknown` at the first id that is none; those before it were appended.
 */
export async function replayDead(
  stream: Stream,
  store: Pick<Store, 'query'>,
  ids: readonly string[],
): Promise<string[]> {
  const replayed: string[] = [];
  for (const id of ids) {
    const letter = await showDead(store, id);
    const topic = id.slice(0, id.indexOf('/')) as Topic;
    if (!topics.includes(topic))
      throw new AuditdError('dead_letter_unknown', `The dead letter ${id} came from a topic that is not ours.`);
    await stream.append(topic, [{ key: replayKey(letter), value: letter.raw, headers: letter.headers }]);
    replayed.push(id);
  }
  return replayed;
}

/** The key that the gateway would have given the record; a record that is no JSON has none. */
function replayKey({ raw, headers }: DeadLetter): string {
  try {
    const { actor_id } = JSON.parse(raw.toString('utf8')) as { actor_id?: unknown };
    return `${headers.tenant ?? ''}\0${typeof actor_id === 'string' ? actor_id : ''}`;
  } catch {
    return '';
  }
}
