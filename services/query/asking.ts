/**
 * The one way from a key to the rows it may see: a question is asked within the key's tenant and the limits of the
 * configuration, and recorded on the topic `queries` when it has ended, however it ended. Every route that answers with
 * rows of the store asks here.
 *
 * Recording never waits in the way of an answer, and no question goes unrecorded: while too many records wait for a
 * stream that takes none, new questions are refused.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { AuditdError, type ErrorCode } from '../../schemas/errors.js';
import {
  keptStatementCharacters,
  type Question,
  type QuestionDoor,
  type QuestionOutcome,
} from '../../schemas/question.js';
import { formatTimeMicros } from '../../schemas/time.js';
import { type KeyEntry, tenantSeen } from '../access/keys.js';
import type { QueryLimits, QueryOptions, Store } from '../store/store.js';
import type { Stream } from '../stream/stream.js';

/** Records that may wait: at most 16,384 characters of statement and as much of parameters each, so 64 MB. */
const maxWaitingRecords = 2_000;
/** Records in one append. */
const maxBatch = 200;
const retryMs = 1_000;
/** Of one parameter, name, address or message. */
const keptTextCharacters = 250;
const keptParameters = 64;

/** Whose question it is, and through which door it came. */
export interface Asker {
  readonly key: Pick<KeyEntry, 'name' | 'tenant'>;
  readonly door: QuestionDoor;
  /** The user that the client named. */
  readonly user?: string | undefined;
  readonly client?: string | undefined;
  readonly address?: string | undefined;
}

/** One statement and how it is answered. */
export interface Asked {
  readonly sql: string;
  /** A ClickHouse output format, for example JSONEachRow. */
  readonly format: string;
  readonly parameters?: Readonly<Record<string, string>> | undefined;
  /** As in the store's port. */
  readonly parametersEscaped?: boolean;
  /** Tighter limits than the configuration's; a wider one is brought down to it. */
  readonly limits?: Partial<QueryLimits> | undefined;
  /** Settings that only change how values are written. */
  readonly settings?: Readonly<Record<string, string>> | undefined;
  readonly signal?: AbortSignal | undefined;
  /** The one tenant to see, for a key that sees every tenant. */
  readonly tenant?: string | undefined;
  /** As in the store's port. */
  readonly isOurs?: boolean;
  readonly progress?: QueryOptions['progress'];
  /** Told of the rows of the answer as they come. */
  readonly onRows?: (rows: number) => void;
  /** Default: a new UUID. */
  readonly queryId?: string | undefined;
}

export interface AskingOptions {
  readonly store: Store;
  readonly stream: Pick<Stream, 'append'>;
  /** The most that a question may ask for. */
  readonly limits: QueryLimits;
  /** Told when the stream does not take records; they are kept and tried again. */
  readonly onFault: (error: unknown) => void;
  readonly clock?: () => number;
}

const outcomes: Partial<Record<ErrorCode, QuestionOutcome>> = {
  query_refused: 'refused',
  query_limit: 'limit',
  query_busy: 'busy',
  query_aborted: 'cancelled',
};

export class Asking {
  private waiting: Question[] = [];
  private writing: Promise<void> | undefined;
  private closed = false;
  private version: Promise<string> | undefined;
  private readonly clock: () => number;

  constructor(private readonly options: AskingOptions) {
    this.clock = options.clock ?? Date.now;
  }

  /**
   * The answer's bytes as they come. Leaving the loop ends the query.
   * @throws AuditdError `query_refused`, `query_failed`, `query_limit`, `query_busy`, `query_aborted`,
   * `store_unavailable`.
   */
  async *ask(asker: Asker, asked: Asked): AsyncGenerator<Uint8Array> {
    const { store, limits } = this.options;
    if (this.waiting.length >= maxWaitingRecords)
      throw new AuditdError(
        'query_busy',
        `${this.waiting.length} questions wait to be recorded, so no more are taken.`,
      );
    const startedMs = this.clock();
    const start = performance.now();
    let resultRows = 0;
    let resultBytes = 0;
    let outcome: QuestionOutcome = 'cancelled';
    let failure: unknown;
    const tenant = tenantSeen(asker.key) ?? asked.tenant;
    try {
      const chunks = store.query(asked.sql, {
        format: asked.format,
        limits: within(asked.limits ?? {}, limits),
        ...(tenant === undefined ? {} : { tenant }),
        ...(asked.parameters === undefined ? {} : { parameters: asked.parameters }),
        ...(asked.parametersEscaped === undefined ? {} : { parametersEscaped: asked.parametersEscaped }),
        ...(asked.isOurs === undefined ? {} : { isOurs: asked.isOurs }),
        ...(asked.progress === undefined ? {} : { progress: asked.progress }),
        ...(asked.settings === undefined ? {} : { settings: asked.settings }),
        ...(asked.signal === undefined ? {} : { signal: asked.signal }),
        onRows: (rows) => {
          resultRows += rows;
          asked.onRows?.(rows);
        },
      });
      for await (const chunk of chunks) {
        resultBytes += chunk.length;
        yield chunk;
      }
      outcome = 'answered';
    } catch (error) {
      failure = error;
      outcome = (error instanceof AuditdError ? outcomes[error.code] : undefined) ?? 'failed';
      throw error;
    } finally {
      this.record({
        query_id: (asked.queryId ?? '') === '' ? randomUUID() : cut(asked.queryId!),
        asked_at: formatTimeMicros(startedMs * 1000),
        asker: asker.key.name,
        tenant: asker.key.tenant,
        door: asker.door,
        user_name: cut(asker.user ?? ''),
        client_name: cut(asker.client ?? ''),
        client_address: cut(asker.address ?? ''),
        statement: asked.sql.slice(0, keptStatementCharacters).toWellFormed(),
        statement_bytes: Buffer.byteLength(asked.sql),
        parameters: keptOf(asked.parameters ?? {}),
        format: cut(asked.format),
        outcome,
        error_code: failure instanceof AuditdError ? failure.code : failure === undefined ? '' : 'internal',
        error_message: failure instanceof Error ? failure.message.toWellFormed().slice(0, 2_000) : '',
        duration_ms: Math.round((performance.now() - start) * 1000) / 1000,
        result_rows: resultRows,
        result_bytes: resultBytes,
      });
    }
  }

  /** What the engine calls its version. */
  engineVersion(): Promise<string> {
    this.version ??= this.readVersion();
    return this.version;
  }

  /** The rows of a short answer as objects. @throws AuditdError as `ask`. */
  async rows<T>(asker: Asker, asked: Omit<Asked, 'format'>): Promise<T[]> {
    const chunks: Uint8Array[] = [];
    for await (const chunk of this.ask(asker, { ...asked, format: 'JSONEachRow' })) chunks.push(chunk);
    const lines = Buffer.concat(chunks).toString().split('\n');
    return lines.filter((line) => line !== '').map((line) => JSON.parse(line) as T);
  }

  /** Records what waits, as far as the stream takes it now. */
  async close(): Promise<void> {
    this.closed = true;
    await this.writing;
  }

  private async readVersion(): Promise<string> {
    const chunks: Uint8Array[] = [];
    try {
      for await (const chunk of this.options.store.query('SELECT version()', { format: 'TabSeparated' }))
        chunks.push(chunk);
    } catch (error) {
      this.version = undefined;
      throw error;
    }
    return Buffer.concat(chunks).toString().trim();
  }

  private record(question: Question): void {
    this.waiting.push(question);
    this.writing ??= this.write().finally(() => {
      this.writing = undefined;
    });
  }

  /** Appends what waits, batch by batch, until nothing does. */
  private async write(): Promise<void> {
    while (this.waiting.length > 0) {
      const batch = this.waiting.slice(0, maxBatch);
      try {
        await this.options.stream.append(
          'queries',
          batch.map((question) => ({
            key: question.asker,
            value: Buffer.from(JSON.stringify(question)),
            headers: { tenant: question.tenant },
          })),
        );
        this.waiting = this.waiting.slice(batch.length);
      } catch (error) {
        this.options.onFault(error);
        if (this.closed) return;
        await delay(retryMs, undefined, { ref: false });
      }
    }
  }
}

/** The asker of a request that came with this key. */
export function askerOf(
  request: FastifyRequest,
  key: Pick<KeyEntry, 'name' | 'tenant'>,
  door: QuestionDoor,
  user?: string,
): Asker {
  return { key, door, user, client: request.headers['user-agent'], address: request.ip };
}

/** Aborts when the client of the reply has left before it had the whole answer. */
export function untilClientLeaves(reply: FastifyReply): AbortSignal {
  const left = new AbortController();
  if (reply.raw.destroyed) left.abort();
  reply.raw.once('close', () => {
    if (!reply.raw.writableFinished) left.abort();
  });
  return left.signal;
}

/**
 * Waits for the first piece, or for more of them, and gives all: an error until then is thrown here and can be an answer
 * with its own status; a later one must break the connection, so that half a result never looks whole.
 * @param heldBytes As much of the answer is waited for, or all of a shorter one.
 */
export async function begun(answer: AsyncGenerator<Uint8Array>, heldBytes = 1): Promise<AsyncGenerator<Uint8Array>> {
  const held: Uint8Array[] = [];
  for (let bytes = 0; bytes < heldBytes; ) {
    const next = await answer.next();
    if (next.done) break;
    if (next.value.length > 0) held.push(next.value);
    bytes += next.value.length;
  }
  return (async function* rest() {
    try {
      for (let piece = held.shift(); piece !== undefined; piece = held.shift()) yield piece;
      for await (const piece of answer) if (piece.length > 0) yield piece;
    } finally {
      await answer.return(undefined);
    }
  })();
}

/** The smaller of what is asked for and what is allowed. */
function within(asked: Partial<QueryLimits>, allowed: QueryLimits): QueryLimits {
  const smaller = (name: keyof QueryLimits) => Math.min(asked[name] ?? allowed[name], allowed[name]);
  return {
    timeMs: smaller('timeMs'),
    memoryBytes: smaller('memoryBytes'),
    resultRows: smaller('resultRows'),
    resultBytes: smaller('resultBytes'),
  };
}

/** A lone surrogate would make the store refuse the record. */
function cut(text: string, most = keptTextCharacters): string {
  let kept = text.slice(0, most).toWellFormed();
  while (Buffer.byteLength(kept) > 256) kept = kept.slice(0, -8).toWellFormed();
  return kept;
}

function keptOf(parameters: Readonly<Record<string, string>>): Record<string, string> {
  const kept = Object.entries(parameters).slice(0, keptParameters);
  return Object.fromEntries(kept.map(([name, value]) => [cut(name), cut(value)]));
}
