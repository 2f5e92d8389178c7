/** What an operator does with dead letters: list, show, replay. */
import { AuditdError } from '../../schemas/errors.js';
import type { Store } from '../store/store.js';
import { type Stream, type Topic, topics } from '../stream/stream.js';
import { readRows } from './calls.js';

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
