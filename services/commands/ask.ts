/** One SQL question, to the daemon where one runs, else to the store itself; the fence is the same. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { AuditdError } from '../../schemas/errors.js';
import { findDaemon, type Loaded, request } from './context.js';

export interface Question {
  readonly sql: string;
  /** A ClickHouse output format. */
  readonly format: string;
  readonly parameters?: Readonly<Record<string, string>>;
  /** Ends the question, in the engine too. */
  readonly signal?: AbortSignal | undefined;
}

/** Rows that are laid out lie in memory; of longer ones fewer are shown. */
const maxRowsLength = 64 * 1024 * 1024;

/**
 * The answer's bytes as they come. Throws `daemon_needed` where nothing has been recorded yet, `query_aborted` when the
 * signal ended it.
 */
export async function* ask({ configuration, data }: Loaded, question: Question): AsyncGenerator<Uint8Array> {
  const { sql, format, parameters = {}, signal } = question;
  const daemon = await findDaemon(data);
  if (daemon !== undefined) {
    try {
      const response = await request(daemon, '/v1/query', {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ sql, format, parameters }),
        signal: signal ?? null,
      });
      yield* piecesOf(response);
    } catch (error) {
      if (signal?.aborted === true) throw new AuditdError('query_aborted', 'The question was ended.');
      throw error;
    }
    return;
  }
  if (!existsSync(join(data, 'store')))
    throw new AuditdError('daemon_needed', `${data} holds no calls yet: no daemon has run on it.`);
  const { openStore, queryLimits } = await import('../app/ports.js');
  const store = await openStore(configuration, data);
  try {
    const limits = queryLimits(configuration);
    yield* store.query(sql, { format, parameters, limits, ...(signal === undefined ? {} : { signal }) });
  } finally {
    await store.close();
  }
}

async function* piecesOf(response: Response): AsyncGenerator<Uint8Array> {
  try {
    for await (const chunk of response.body ?? []) yield chunk;
  } catch (error) {
    throw new AuditdError('query_failed', 'The answer broke off: the query failed or the daemon stopped.', {
      cause: error,
    });
  }
}

/** The rows of an answer as values, at most `most` of them and 64 MiB; `cut` tells that there were more. */
export async function askRows(
  loaded: Loaded,
  question: Omit<Question, 'format'>,
  most: number,
): Promise<{ names: string[]; rows: unknown[][]; cut: boolean; bytes: number }> {
  let names: string[] | undefined;
  let types = false;
  const rows: unknown[][] = [];
  const decoder = new TextDecoder();
  let rest = '';
  let bytes = 0;
  for await (const chunk of ask(loaded, { ...question, format: 'JSONCompactEachRowWithNamesAndTypes' })) {
    bytes += chunk.length;
    const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n');
    rest = lines.pop()!;
    for (const line of lines) {
      if (line === '') continue;
      const value = JSON.parse(line) as unknown[];
      if (names === undefined) names = value.map(String);
      else if (!types) types = true;
      else if (rows.length === most || bytes > maxRowsLength) return { names, rows, cut: true, bytes };
      else rows.push(value);
    }
  }
  return { names: names ?? [], rows, cut: false, bytes };
}

/** The rows of a short answer as objects. */
export async function askObjects<T>(loaded: Loaded, question: Omit<Question, 'format'>): Promise<T[]> {
  let text = '';
  const decoder = new TextDecoder();
  for await (const chunk of ask(loaded, { ...question, format: 'JSONEachRow' }))
    text += decoder.decode(chunk, { stream: true });
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as T);
}
