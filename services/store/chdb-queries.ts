import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import type { Session } from 'chdb';
import type { ChdbNodeEngine } from 'chdb/durable/node';
import { AuditdError } from '../../schemas/errors.js';
import { Admission, abortedError } from './admission.js';
import { Fence, namesFormat } from './fence.js';
import { defaultLimits, limitError, queryError } from './query-errors.js';
import { escapedParameters, type QueryLimits, type QueryOptions, type StatementOptions } from './store.js';
import { tenantFilters } from './tenant.js';

/**
 * Users' queries on the engine in process. Each runs in a session of its own that is thrown away afterwards (0.3 ms):
 * settings stick to a session, so limits and `readonly` are set on one that nobody else will use, and the engine allows
 * one open stream a session.
 */

/**
 * Each query runs in one thread, so that recording keeps the cores beyond two. With one query at a time it would keep
 * one of two cores as well (`npm run bench -- query-isolation`), but then one long question, or one reader who does not
 * read, would hold up everybody else's. Each keeps one of libuv's four threads busy too; two are left to inserts and
 * files. Those that wait cost a closure.
 */
const maxRunning = 2;
const threadsPerQuery = 1;
const maxWaiting = 32;

/** A pipeline looks at its end every 100 ms or so. */
const killAgainMs = 200;

/** A result that cannot be streamed is held whole, so it has this limit even where resultBytes allows more: 64 MiB. */
const maxBufferedBytes = 64 * 1024 ** 2;

/** Formats whose pieces can be put one after another. The engine writes each piece as a document of its own. */
const streamableFormats: ReadonlySet<string> = new Set([
  'JSONEachRow',
  'JSONStringsEachRow',
  'JSONCompactEachRow',
  'JSONCompactStringsEachRow',
  'CSV',
  'TSV',
  'TabSeparated',
  'TSVRaw',
  'TabSeparatedRaw',
  'RowBinary',
  'Native',
  'LineAsString',
]);

export class ChdbQueries {
  private readonly admission = new Admission(maxRunning, maxWaiting);
  private readonly fence: Fence;
  /** What the engine does for a query, by its mark. */
  private readonly steps = new Map<string, Promise<unknown>>();
  private readonly leaving = new Set<Promise<void>>();
  private closed = false;

  constructor(
    private readonly reader: Session,
    private readonly classifier: ChdbNodeEngine,
    private readonly openSession: () => Session,
  ) {
    // A table that is not there may be a file below the working directory, by its name.
    this.fence = new Fence((query) => this.rows(query), 'default', existsSync);
  }

  async *run(sql: string, options: QueryOptions): AsyncGenerator<Uint8Array> {
    const limits = { ...defaultLimits, ...options.limits };
    if (!/^[A-Za-z][A-Za-z0-9]{0,63}$/.test(options.format)) {
      throw new AuditdError('query_refused', `${JSON.stringify(options.format)} is no name of a format`);
    }
    if (this.closed) throw new AuditdError('store_unavailable', 'the store is closed');
    await this.admission.enter(options.signal);
    const mark = randomUUID();
    let session: Session | undefined;
    try {
      throwIfAborted(options.signal);
      session = this.openSession();
      await prepare(session, settingsOf(limits, options, mark));
      const ast = await this.parse(session, sql, options);
      const canStream = ast.startsWith('SelectWithUnionQuery') && streamableFormats.has(options.format);
      if (canStream) yield* this.stream(session, sql, options, limits, mark);
      else yield* this.buffer(session, sql, options, limits, mark);
    } catch (error) {
      throw failureOf(error);
    } finally {
      this.leave(session, mark);
    }
  }

  /** One statement without fence and limits. A server takes one a request too, and says so with the same code. */
  async statement(sql: string, { format, settings = {}, parameters = {} }: StatementOptions): Promise<Uint8Array> {
    const { statementCount } = await this.classifier.analyze(sql, 'default');
    if (statementCount > 1)
      throw new Error('Code: 62. DB::Exception: Multi-statements are not allowed. (SYNTAX_ERROR)');
    const session = this.openSession();
    try {
      await prepare(session, [...assignments(settings), ...placeholders(parameters)]);
      return (await session.queryAsync(sql, { format })).bytes();
    } finally {
      session.close();
    }
  }

  /**
   * Judges the statement before anything of it runs, and returns its AST. The count comes first: the engine runs every
   * statement of a text that it is given, `EXPLAIN AST SELECT 1; DROP TABLE calls` included.
   */
  private async parse(session: Session, sql: string, options: QueryOptions): Promise<string> {
    const { statementCount, queryClass } = await this.classifier.analyze(sql, 'default');
    if (statementCount === 0) await this.explainSyntaxError(session, sql);
    if (statementCount !== 1) {
      throw new AuditdError('query_refused', `expected one statement, found ${statementCount}`);
    }
    // 0 is the engine's word for a statement that only reads and leaves no trace; INTO OUTFILE is not of that class.
    if (queryClass !== 0) throw new AuditdError('query_refused', 'the statement does more than read');
    const ast = await session.queryAsync(`EXPLAIN AST ${sql}`, { format: 'TSVRaw' });
    const text = ast.text();
    const refusal = await this.fence.refusalOf({ sql, ast: text, isTenant: options.tenant !== undefined });
    if (refusal) throw new AuditdError('query_refused', refusal);
    if (namesFormat(text)) {
      throw new AuditdError('query_refused', 'leave FORMAT out of the statement and give the format beside it');
    }
    return text;
  }

  /** Text that does not parse goes to the engine as a value, never as a statement, and its message names the place. */
  private async explainSyntaxError(session: Session, sql: string): Promise<void> {
    await session.queryBindAsync('SELECT formatQuery({sql:String})', { sql }, { format: 'Null' });
  }

  /** Rows of one of the fence's own questions. */
  private async rows(query: string): Promise<Record<string, unknown>[]> {
    const text = (await this.reader.queryAsync(query, { format: 'JSONEachRow' })).text().trimEnd();
    return text === '' ? [] : text.split('\n').map((line) => JSON.parse(line) as Record<string, unknown>);
  }

  private async *stream(
    session: Session,
    sql: string,
    { format, signal, onRows }: QueryOptions,
    limits: QueryLimits,
    mark: string,
  ): AsyncGenerator<Uint8Array> {
    const stream = session.queryStream(sql, { format });
    // The engine's own clock stops while the reader of the result takes its time; this one does not.
    const endsAt = performance.now() + limits.timeMs;
    const chunks = stream[Symbol.asyncIterator]();
    let bytes = 0;
    try {
      for (;;) {
        const next = await this.unlessAborted(chunks.next(), signal, mark);
        if (next.done) return;
        bytes += next.value.numBytes;
        if (bytes > limits.resultBytes) throw limitError(`the result is longer than ${limits.resultBytes} bytes`);
        onRows?.(next.value.numRows);
        yield next.value.raw();
        if (performance.now() > endsAt) throw limitError(`the query took longer than ${limits.timeMs} ms`);
      }
    } finally {
      stream.cancel();
    }
  }

  private async *buffer(
    session: Session,
    sql: string,
    options: QueryOptions,
    limits: QueryLimits,
    mark: string,
  ): AsyncGenerator<Uint8Array> {
    const result = await this.unlessAborted(session.queryAsync(sql, { format: options.format }), options.signal, mark);
    const bytes = result.bytes();
    const most = Math.min(limits.resultBytes, maxBufferedBytes);
    if (bytes.length > most) {
      throw limitError(`the result is longer than ${most} bytes; JSONEachRow, CSV and TSV are streamed`);
    }
    // The engine counts the rows that it has written as those that were read of it.
    options.onRows?.(result.rowsRead);
    if (bytes.length > 0) yield bytes;
  }

  /** An abort rejects at once; `leave` ends what the engine still does. */
  private async unlessAborted<T>(step: Promise<T>, signal: AbortSignal | undefined, mark: string): Promise<T> {
    this.steps.set(mark, step);
    const forget = () => this.steps.delete(mark);
    step.then(forget, forget);
    if (!signal) return step;
    let abort: (() => void) | undefined;
    try {
      return await Promise.race([
        step,
        new Promise<never>((_resolve, reject) => {
          abort = () => reject(abortedError());
          if (signal.aborted) abort();
          else signal.addEventListener('abort', abort, { once: true });
        }),
      ]);
    } finally {
      if (abort) signal.removeEventListener('abort', abort);
    }
  }

  /** The place of a query is free when the engine has stopped working for it. */
  private leave(session: Session | undefined, mark: string): void {
    const left = this.stopped(mark).finally(() => {
      session?.close();
      this.admission.leave();
      this.leaving.delete(left);
    });
    this.leaving.add(left);
  }

  /** Ends what the engine does for the query; again and again, as it may not have begun when it is first told. */
  private async stopped(mark: string): Promise<void> {
    for (let step = this.steps.get(mark); step !== undefined; step = this.steps.get(mark)) {
      const killer = this.openSession();
      await killer.queryAsync(`KILL QUERY WHERE Settings['log_comment'] = '${mark}' ASYNC`).catch(() => undefined);
      killer.close();
      await Promise.race([step.catch(() => undefined), delay(killAgainMs, undefined, { ref: false })]);
    }
  }

  /** Waits for the queries that have been left. */
  async close(): Promise<void> {
    this.closed = true;
    await Promise.all(this.leaving);
  }
}

/** As the engine has it by itself: bytes of a statement that it parses. */
const maxStatementBytes = 262_144;

/** Settings and values for all that follows on the session. */
async function prepare(session: Session, settings: readonly string[]): Promise<void> {
  if (settings.length === 0) return;
  const statement = `SET ${settings.join(', ')}`;
  const bytes = Buffer.byteLength(statement);
  if (bytes > maxStatementBytes) await session.queryAsync(`SET max_query_size = ${bytes + 1}`);
  await session.queryAsync(statement);
}

function settingsOf(limits: QueryLimits, options: QueryOptions, mark: string): string[] {
  const { settings: others = {}, tenant, parameters = {}, parametersEscaped = false } = options;
  return [
    ...assignments(others),
    ...placeholders(parametersEscaped ? parameters : escapedParameters(parameters)),
    // By which `stopped` finds it among the engine's queries.
    `log_comment = '${mark}'`,
    ...(tenant === undefined ? [] : [`additional_table_filters = ${tenantFilters('default', tenant)}`]),
    `max_execution_time = ${limits.timeMs / 1000}`,
    "timeout_overflow_mode = 'throw'",
    `max_memory_usage = ${limits.memoryBytes}`,
    `max_result_rows = ${limits.resultRows}`,
    `max_result_bytes = ${limits.resultBytes}`,
    "result_overflow_mode = 'throw'",
    `max_threads = ${threadsPerQuery}`,
    `max_query_size = ${maxStatementBytes}`,
    // Last: nothing can be set after it.
    'readonly = 1',
  ];
}

/** @throws AuditdError `query_refused` for a name that is none. */
function assignments(settings: Readonly<Record<string, string>>): string[] {
  return Object.entries(settings).map(([name, value]) => {
    if (!/^\w{1,100}$/.test(name)) throw new AuditdError('query_refused', `${JSON.stringify(name)} is no setting`);
    return `${name} = '${value.replace(/[\\']/g, '\\$&')}'`;
  });
}

/** Values of `{name:Type}`. Those of a session belong to it, while those of a bound query are all queries' (chdb 3.4.0). */
function placeholders(parameters: Readonly<Record<string, string>>): string[] {
  return assignments(Object.fromEntries(Object.entries(parameters).map(([name, value]) => [`param_${name}`, value])));
}

function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw abortedError();
}

function failureOf(error: unknown): Error {
  if (error instanceof AuditdError) return error;
  const { message } = error as Error;
  return queryError(Number(/^Code: (\d+)/.exec(message)?.[1] ?? 0), message, error);
}
