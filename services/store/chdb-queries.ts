/**
 * Users' queries on the engine in process. Each runs in a session of its own that is thrown away afterwards (0.3 ms):
 * settings and parameters stick to a session, so limits and `readonly` are set on one that nobody else will use, and the
 * engine allows one open stream a session.
 *
 * Each query runs in one thread and takes turns in a lane (`lanes.ts`), so that recording keeps the other cores and no
 * question holds up the others. Long ones stand back besides: the engine lets them wait before each block that they read
 * while an insert runs (its setting `priority`).
 */
import { existsSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import type { Session } from 'chdb';
import type { ChdbNodeEngine } from 'chdb/durable/node';
import { AuditdError } from '../../schemas/errors.js';
import { abortedError } from './admission.js';
import { progressOf, statisticsOf } from './chdb-progress.js';
import { assignments, placeholders, prepare, settingsOf } from './chdb-settings.js';
import { Fence, namesFormat } from './fence.js';
import { HeadedPieces, hasKnownHeader } from './headed-pieces.js';
import { mostHeldBytes, refuseWhenHeld, selectHeld } from './held-memory.js';
import { Lanes, LongQuestions, Turn } from './lanes.js';
import { checkFormat, tenantSettings } from './own-rows-first.js';
import { defaultLimits, limitError, queryError } from './query-errors.js';
import type { QueryLimits, QueryOptions, StatementOptions } from './store.js';

/**
 * The engine's `priority`: while one of a lower number is open, the others wait; 0 is outside of this. Inserts have 1. A
 * question must not have it, because one whose reader rests is open too.
 */
const priorities = { quick: 0, long: 2 } as const;
/** Those that wait in each lane cost a closure. */
const maxWaiting = 32;
/** Questions that are not over, those with resting readers included. */
const maxOpen = 64;
/** Long questions that are known again. */
const maxKnown = 1_000;
/** So many at least are open before it is asked what they hold: as many as run at once. */
const fewOpen = 2;
/** Between two attempts at ending a step of the engine, which may have been about to begin at the first. */
const killAgainMs = 250;

/** A result that cannot be streamed is held whole, so it has this limit even where resultBytes allows more: 64 MiB. */
const maxBufferedBytes = 64 * 1024 ** 2;

/** Formats whose pieces can be put one after another as they are; those with headers are in `headed-pieces.ts`. */
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
  'JSONLines',
  'NDJSON',
  'MsgPack',
]);

function isStreamable(sql: string, ast: string, { format, settings = {} }: QueryOptions): boolean {
  if (!ast.startsWith('SelectWithUnionQuery')) return false;
  // It writes types in RowBinary's header in another way.
  if (Object.hasOwn(settings, 'output_format_binary_encode_types_in_binary_format')) return false;
  // The piece of `WITH TOTALS` has its header at its end. The AST does not tell of totals.
  return streamableFormats.has(format) || (hasKnownHeader(format) && !/\bTOTALS\b/i.test(sql));
}

export class ChdbQueries {
  private readonly lanes: Lanes;
  private readonly longOnes = new LongQuestions(maxKnown);
  private readonly fence: Fence;
  private readonly drained = new Set<Promise<unknown>>();
  private open = 0;
  private attempts = 0;
  private closed = false;

  constructor(
    private readonly reader: Session,
    private readonly classifier: ChdbNodeEngine,
    private readonly openSession: () => Session,
    isRecording: () => boolean,
    private readonly heldBytes = mostHeldBytes(),
  ) {
    this.lanes = new Lanes(maxWaiting, isRecording);
    // A table that is not there may be a file below the working directory, by its name.
    this.fence = new Fence((query) => this.rows(query), 'default', existsSync);
  }

  async *run(sql: string, options: QueryOptions): AsyncGenerator<Uint8Array> {
    checkFormat(options.format, options.tenant);
    if (this.closed) throw new AuditdError('store_unavailable', 'the store is closed');
    if (this.open >= maxOpen) throw new AuditdError('query_busy', `${this.open} questions are open already`);
    this.open++;
    let attempt: Attempt | undefined;
    let isAnswered = false;
    const question = JSON.stringify([sql, options.parameters, options.tenant]);
    const lane = this.longOnes.laneOf(question);
    const turn: Turn = new Turn(this.lanes, () => attempt?.beginAgain(), lane);
    try {
      do {
        attempt = new Attempt(turn, `question-${++this.attempts}`, options, this.openSession);
        yield* this.answer(attempt, sql, options);
      } while (attempt.isToBeginAgain);
      isAnswered = true;
    } catch (error) {
      throw failureOf(error);
    } finally {
      if (isAnswered || turn.wasLong) this.longOnes.learn(question, lane, turn.wasLong);
      this.open--;
    }
  }

  /** The pieces of the answer; none when the question is to begin again. */
  private async *answer(attempt: Attempt, sql: string, options: QueryOptions): AsyncGenerator<Uint8Array> {
    let session: Session | undefined;
    const { everyMs } = options.progress ?? {};
    const looking = everyMs === undefined ? undefined : setInterval(() => attempt.look(), everyMs);
    try {
      const ast = await attempt.step(async () => {
        session = this.openSession();
        await prepare(session, settingsOf(attempt, options));
        if (this.open > fewOpen) await this.refuseWhenHeld();
        const text = await this.parse(session, sql, options);
        if (options.tenant === undefined) return text;
        // What is set cannot be changed any more on the session that has parsed it.
        session.close();
        session = this.openSession();
        await prepare(session, settingsOf(attempt, options, tenantSettings(text, sql, options)));
        return text;
      });
      if (isStreamable(sql, ast, options)) yield* attempt.stream(session!, sql);
      else yield* attempt.buffer(session!, sql);
    } catch (error) {
      if (!attempt.isToBeginAgain) throw error;
    } finally {
      clearInterval(looking);
      const ended = attempt.end().then(() => session?.close());
      this.drained.add(ended);
      void ended.finally(() => this.drained.delete(ended));
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
  private async parse(session: Session, sql: string, { tenant, isOurs = false }: QueryOptions): Promise<string> {
    const { statementCount, queryClass } = await this.classifier.analyze(sql, 'default');
    if (statementCount === 0) await this.explainSyntaxError(session, sql);
    if (statementCount !== 1) {
      throw new AuditdError('query_refused', `expected one statement, found ${statementCount}`);
    }
    // 0 is the engine's word for a statement that only reads and leaves no trace; INTO OUTFILE is not of that class.
    if (queryClass !== 0) throw new AuditdError('query_refused', 'the statement does more than read');
    const text = (await session.queryAsync(`EXPLAIN AST ${sql}`, { format: 'TSVRaw' })).text();
    const refusal = await this.fence.refusalOf({ sql, ast: text, isTenant: tenant !== undefined, isOurs });
    if (refusal) throw new AuditdError('query_refused', refusal);
    if (namesFormat(text, 'default')) {
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

  /** @throws AuditdError `query_busy`. */
  private async refuseWhenHeld(): Promise<void> {
    const [row] = await this.rows(selectHeld);
    refuseWhenHeld(Number(row?.held), this.heldBytes);
  }

  /** Waits for the engine's steps that outlived their queries. */
  async close(): Promise<void> {
    this.closed = true;
    while (this.drained.size > 0) await Promise.allSettled(this.drained);
  }
}

/**
 * One attempt at a question: its turns, its end, and its answer piece by piece. The engine knows it by its mark, so a step
 * whose answer nobody wants any more is ended there.
 */
class Attempt {
  readonly limits: QueryLimits;
  private working = false;
  private handedOver = false;
  private isLate = false;
  private looking: Promise<void> | undefined;
  /** It has outgrown the quick lane while another has the long one, and nothing of the answer is out yet. */
  isToBeginAgain = false;

  constructor(
    private readonly turn: Turn,
    readonly mark: string,
    private readonly options: QueryOptions,
    private readonly openSession: () => Session,
  ) {
    this.limits = { ...defaultLimits, ...options.limits };
  }

  get priority(): number {
    return this.turn.isLong ? priorities.long : priorities.quick;
  }

  beginAgain(): void {
    if (this.handedOver) return;
    this.isToBeginAgain = true;
    void this.kill();
  }

  /** One step of the engine. An abort rejects at once, and `end` sees to the engine. */
  async step<T>(work: () => Promise<T>): Promise<T> {
    const { signal } = this.options;
    const step = this.turn.step(async () => {
      this.working = true;
      try {
        return await work();
      } finally {
        this.working = false;
      }
    }, signal);
    if (!signal) return step;
    step.catch(() => undefined);
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

  async *stream(session: Session, sql: string): AsyncGenerator<Uint8Array> {
    const { format, onRows } = this.options;
    const { resultBytes, timeMs } = this.limits;
    const stream = session.queryStream(sql, { format });
    const chunks = stream[Symbol.asyncIterator]();
    const pieces = new HeadedPieces(format);
    // The engine's own clock stops while the reader of the result takes its time; this one does not.
    let deadline: NodeJS.Timeout | undefined;
    let bytes = 0;
    try {
      for (;;) {
        const next = await this.step(() => chunks.next());
        // Its end was asked for and may come with the next step, so that this one is not handed over.
        if (this.isToBeginAgain || next.done) return;
        bytes += next.value.numBytes;
        if (bytes > resultBytes) throw limitError(`the result is longer than ${resultBytes} bytes`);
        onRows?.(next.value.numRows);
        await this.looking;
        await this.look();
        this.handedOver = true;
        deadline ??= setTimeout(() => {
          this.isLate = true;
          if (this.working) void this.kill();
          // What the engine holds for a reader who rests is given back.
          else stream.cancel();
        }, timeMs);
        yield pieces.next(next.value.raw());
        if (this.isLate) break;
      }
    } catch (error) {
      if (!this.isLate) throw error;
    } finally {
      clearTimeout(deadline);
      stream.cancel();
    }
    throw limitError(`the query took longer than ${timeMs} ms`);
  }

  async *buffer(session: Session, sql: string): AsyncGenerator<Uint8Array> {
    const result = await this.step(() => session.queryAsync(sql, { format: this.options.format }));
    // It ended before it could be told to begin again.
    this.isToBeginAgain = false;
    const bytes = result.bytes();
    const most = Math.min(this.limits.resultBytes, maxBufferedBytes);
    if (bytes.length > most) {
      throw limitError(`the result is longer than ${most} bytes; JSONEachRow, CSV and TSV are streamed`);
    }
    // The engine counts the rows that it has written as those that were read of it.
    this.options.onRows?.(result.rowsRead);
    const read = this.options.tenant === undefined ? statisticsOf(bytes) : undefined;
    if (read !== undefined) this.options.progress?.told(read);
    if (bytes.length > 0) yield bytes;
  }

  /** Tells what the engine has read so far, one look at a time. */
  look(): Promise<void> {
    this.looking ??= this.lookNow().finally(() => {
      this.looking = undefined;
    });
    return this.looking;
  }

  private async lookNow(): Promise<void> {
    const { progress, tenant } = this.options;
    if (tenant !== undefined || !progress?.isWanted()) return;
    const watcher = this.openSession();
    const seen = await progressOf(watcher, this.mark).catch(() => undefined);
    watcher.close();
    if (seen !== undefined) progress.told(seen);
  }

  /** Ends the engine's step, if one is under way, and then the turn. */
  async end(): Promise<void> {
    if (this.working) await this.kill();
    await this.turn.end();
  }

  private async kill(): Promise<void> {
    while (this.working) {
      // A session of its own: the others have their work.
      const killer = this.openSession();
      await killer.queryAsync(`KILL QUERY WHERE Settings['log_comment'] = '${this.mark}' ASYNC`).catch(() => undefined);
      killer.close();
      if (this.working) await delay(killAgainMs);
    }
  }
}

function failureOf(error: unknown): Error {
  if (error instanceof AuditdError) return error;
  const { message } = error as Error;
  return queryError(Number(/^Code: (\d+)/.exec(message)?.[1] ?? 0), message, error);
}
