/**
 * ClickHouse's HTTP protocol over the store, so that its clients, drivers and dashboards ask the audit history as they
 * would ask a server: any user name, and a key with the role `read` as the password. Statements only read, within the
 * limits of the configuration. With the endpoint's own key anything may be done; it is for ingestors in other processes.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { AuditdError, type ErrorCode } from '../../schemas/errors.js';
import { type KeyEntry, type Keys, may } from '../access/keys.js';
import type { QueryLimits, StatementRunner } from '../store/store.js';
import { tenantOfFilters } from '../store/tenant.js';
import { contentType } from './answers.js';
import { type Asking, askerOf, begun, untilClientLeaves } from './asking.js';
import { sendRows } from './clickhouse-answer.js';
import { ClickHouseProgress } from './clickhouse-progress.js';
import { type ClickHouseRequest, readBody, readRequest } from './clickhouse-request.js';
import { ClickHouseWriter } from './clickhouse-writer.js';

export interface ClickHouseEndpointOptions {
  readonly asking: Asking;
  readonly keys: Pick<Keys, 'find'>;
  /** Whoever sends this key may run any statement on the engine. */
  readonly writer?: { readonly key: string; readonly engine: StatementRunner };
}

/** As ClickHouse itself: 256 KiB are parsed of a statement, and values of placeholders count to the body. */
const maxStatementBytes = 1024 * 1024;
/** A block of 16 MiB of values, its columns and their text twice over. */
const maxInsertBytes = 256 * 1024 * 1024;

const noFigures = '{"read_rows":"0","read_bytes":"0","written_rows":"0","written_bytes":"0"}';

/** Settings that a reader may choose: they change how values are written, and none of them names a file. */
const readerSettings =
  /^(output_format_\w+|date_time_output_format|session_timezone|join_use_nulls|format_csv_delimiter)$/;
/** Settings that are limits, by the limit that holds for them; a smaller value than ours is taken. */
const limitSettings = {
  max_execution_time: (value: number): Partial<QueryLimits> => ({ timeMs: value * 1000 }),
  max_memory_usage: (value: number): Partial<QueryLimits> => ({ memoryBytes: value }),
  max_result_rows: (value: number): Partial<QueryLimits> => ({ resultRows: value }),
  max_result_bytes: (value: number): Partial<QueryLimits> => ({ resultBytes: value }),
} as const;
/** What clients send (a query role of ours too) and what is so here anyway. */
const harmless =
  /^(readonly|max_threads|max_block_size|result_overflow_mode|timeout_overflow_mode|cancel_http_readonly_queries_on_client_close|async_insert|wait_for_async_insert|log_comment|http_\w+|query_plan_merge_filters|optimize_move_to_prewhere|optimize_use_projections|connect_timeout|receive_timeout|send_timeout)$/;

/** ClickHouse's number, its name and the HTTP status for our own errors. */
const codes: Partial<Record<ErrorCode, readonly [code: number, type: string, status: number]>> = {
  key_missing: [516, 'AUTHENTICATION_FAILED', 401],
  key_role_wrong: [497, 'ACCESS_DENIED', 403],
  query_refused: [164, 'READONLY', 403],
  query_failed: [1002, 'UNKNOWN_EXCEPTION', 400],
  query_limit: [396, 'TOO_MANY_ROWS_OR_BYTES', 400],
  query_busy: [202, 'TOO_MANY_SIMULTANEOUS_QUERIES', 503],
  query_aborted: [394, 'QUERY_WAS_CANCELLED', 400],
  request_invalid: [36, 'BAD_ARGUMENTS', 400],
  body_too_large: [307, 'TOO_MANY_BYTES', 413],
  store_unavailable: [210, 'NETWORK_ERROR', 503],
};

/** A fastify plugin with `/` (GET and POST) and `/ping`, to be registered under a prefix or on a server of its own. */
export async function clickHouseEndpoint(server: FastifyInstance, options: ClickHouseEndpointOptions): Promise<void> {
  const { asking, writer } = options;
  const statements = writer && new ClickHouseWriter(writer.engine);
  const running = new Running();
  // The body is a statement or data, whatever its content type says; the handlers read it.
  server.removeAllContentTypeParsers();
  server.addContentTypeParser('*', (_request, _payload, done) => done(null));
  server.setErrorHandler(async (error, request, reply) => {
    return answerFailure(failureOf(error, request), reply, await versionOf(asking));
  });
  server.addHook('onClose', async () => statements?.close());
  server.get('/ping', async (_request, reply) => reply.type('text/plain; charset=UTF-8').send('Ok.\n'));
  server.route({
    method: ['GET', 'POST'],
    url: '/',
    handler: async (request, reply) => {
      if (request.method === 'GET' && !request.raw.url?.includes('query=')) {
        return reply.type('text/plain; charset=UTF-8').send('Ok.\n');
      }
      const isWriter = writer !== undefined && sameKey(headPassword(request), writer.key);
      if (isWriter && statements !== undefined) return write(request, reply, statements);
      const body = await readBody(request, maxStatementBytes);
      return read(request, reply, await readRequest(request, body), { ...options, running });
    },
  });
}

/**
 * Questions under way, by key and the id that the client gave: JDBC ends one by `KILL QUERY WHERE query_id = '…'` on
 * another connection. A key ends its own and no others.
 */
class Running {
  private readonly ends = new Map<string, AbortController>();

  begin({ name }: KeyEntry, queryId: string, reply: FastifyReply): AbortSignal {
    const controller = new AbortController();
    const id = JSON.stringify([name, queryId]);
    if (queryId !== '' && !this.ends.has(id)) {
      this.ends.set(id, controller);
      reply.raw.once('close', () => this.ends.delete(id));
    }
    return controller.signal;
  }

  end({ name }: KeyEntry, queryId: string): void {
    this.ends.get(JSON.stringify([name, queryId]))?.abort();
  }
}

/** The password as far as it is known before the body is read: the key of a writer comes in a header. */
function headPassword(request: FastifyRequest): string {
  const own = request.headers['x-clickhouse-key'];
  if (typeof own === 'string') return own;
  const [scheme = '', credentials = ''] = (request.headers.authorization ?? '').split(' ');
  if (scheme.toLowerCase() !== 'basic') return credentials;
  const pair = Buffer.from(credentials, 'base64').toString();
  return pair.slice(pair.indexOf(':') + 1);
}

function sameKey(given: string, key: string): boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(given), digest(key));
}

async function write(request: FastifyRequest, reply: FastifyReply, statements: ClickHouseWriter) {
  const queryId = new URLSearchParams(request.raw.url?.split('?')[1] ?? '').get('query_id') ?? '';
  const underway = statements.begin(queryId, () => request.raw.destroy());
  try {
    const body = await readBody(request, maxInsertBytes);
    underway.received();
    const asked = await readRequest(request, body);
    const answer = await statements.run(asked);
    setHeaders(reply, asked);
    return reply.send(Buffer.from(answer));
  } finally {
    underway.end();
  }
}

async function read(
  request: FastifyRequest,
  reply: FastifyReply,
  asked: ClickHouseRequest,
  { asking, keys, running }: ClickHouseEndpointOptions & { readonly running: Running },
) {
  const entry = asked.password === undefined ? undefined : keys.find(asked.password);
  if (entry === undefined) {
    void reply.header('www-authenticate', 'Basic realm="mcp-auditd"');
    throw new AuditdError('key_missing', 'The password is no key that is known here; the user name does not matter.');
  }
  if (!may(entry, 'read'))
    throw new AuditdError('key_role_wrong', `The key ${entry.name} has the role ${entry.role}, expected read.`);
  if (asked.sql.trim() === '') throw new AuditdError('request_invalid', 'The request has no statement.');
  const { sql, format, parameters, queryId } = asked;
  const killed = /^\s*KILL\s+QUERY\s+WHERE\s+query_id\s*=\s*'([^'\\]+)'\s*(?:A?SYNC)?\s*;?\s*$/i.exec(sql)?.[1];
  if (killed !== undefined) {
    running.end(entry, killed);
    setHeaders(reply, asked);
    return reply.send('');
  }
  const signal = AbortSignal.any([untilClientLeaves(reply), running.begin(entry, queryId, reply)]);
  const progress = new ClickHouseProgress(reply, asked.progressMs);
  const answer = asking.ask(askerOf(request, entry, 'clickhouse', asked.user), {
    sql,
    format,
    parameters,
    parametersEscaped: true,
    queryId,
    signal,
    progress: {
      everyMs: asked.progressMs,
      isWanted: () => progress.isWanted,
      told: (read) => {
        progress.read = read;
      },
    },
    onRows: (rows) => {
      progress.resultRows += rows;
    },
    ...readerOptions(asked.settings),
  });
  const told = async (failure: Failure) => `${failure.text} (version ${await versionOf(asking)})`;
  let chunks: AsyncGenerator<Uint8Array>;
  try {
    chunks = await begun(answer, asked.heldBytes);
  } catch (error) {
    progress.end();
    if (!progress.isOut) throw error;
    const failure = failureOf(error, request);
    progress.fail(await told(failure), failure.code);
    return reply;
  }
  setHeaders(reply, asked);
  return sendRows(reply, chunks, asked, (error) => told(failureOf(error, request)), progress);
}

/** @throws AuditdError `query_refused` for a setting that a reader may not choose. */
function readerOptions(settings: Readonly<Record<string, string>>) {
  const limits: { -readonly [N in keyof QueryLimits]?: number } = {};
  const taken: Record<string, string> = {};
  let tenant: string | undefined;
  for (const [name, value] of Object.entries(settings)) {
    const limit = Object.hasOwn(limitSettings, name) ? limitSettings[name as keyof typeof limitSettings] : undefined;
    if (name === 'additional_table_filters' && tenantOfFilters(value) !== undefined) {
      // A query role of ours that asks for one of its own readers. Any other value could hold functions.
      tenant = tenantOfFilters(value);
    } else if (limit !== undefined) {
      for (const [key, asked] of Object.entries(limit(Number(value))) as [keyof QueryLimits, number][]) {
        // 0 is ClickHouse's word for no limit.
        if (asked > 0) limits[key] = asked;
      }
    } else if (readerSettings.test(name)) taken[name] = value;
    else if (!harmless.test(name)) {
      throw new AuditdError('query_refused', `Cannot modify '${name}' setting in readonly mode.`);
    }
  }
  return { limits, settings: taken, tenant };
}

function setHeaders(reply: FastifyReply, { format, queryId }: ClickHouseRequest): void {
  void reply.headers({
    'content-type': contentType(format),
    'x-content-type-options': 'nosniff',
    'x-clickhouse-format': format,
    'x-clickhouse-query-id': queryId.replace(/[^\x20-\x7e]/g, ''),
    'x-clickhouse-server-display-name': 'mcp-auditd',
    'x-clickhouse-timezone': 'UTC',
    'x-clickhouse-summary': noFigures,
  });
}

function versionOf(asking: Asking): Promise<string> {
  return asking.engineVersion().catch(() => 'unknown');
}

interface Failure {
  readonly text: string;
  readonly code: number;
  readonly status: number;
}

/** Errors in ClickHouse's words, for its clients: `Code: N. DB::Exception: … (NAME)`. */
function failureOf(error: unknown, request: FastifyRequest): Failure {
  const message = error instanceof Error ? error.message : String(error);
  const engineCode = Number(/^Code: (\d+)/.exec(message)?.[1] ?? 0);
  const known = error instanceof AuditdError ? codes[error.code] : undefined;
  if (engineCode !== 0) return { text: message, code: engineCode, status: known?.[2] ?? 400 };
  if (known !== undefined) {
    const [code, type, status] = known;
    const text = `Code: ${code}. DB::Exception: ${message.replace(/\.?$/, '.')} ${(error as AuditdError).mend} (${type})`;
    return { text, code, status };
  }
  request.log.error({ err: error }, 'a request failed');
  return {
    text: 'Code: 1002. DB::Exception: The endpoint failed at this request; its log says why. (UNKNOWN_EXCEPTION)',
    code: 1002,
    status: 500,
  };
}

function answerFailure({ text, code, status }: Failure, reply: FastifyReply, version: string): FastifyReply {
  if (status === 503) void reply.header('retry-after', '1');
  return reply
    .code(status)
    .type('text/plain; charset=UTF-8')
    .header('x-clickhouse-exception-code', String(code))
    .send(`${text} (version ${version})\n`);
}
