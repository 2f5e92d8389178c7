/**
 * The door for emitters: `POST /v1/events`.
 *
 * Invariants:
 * - An event that was answered as accepted is durable: the answer follows `stream.append`.
 * - What is appended is the very bytes that were checked; they are parsed once here and never written anew.
 * - A request is appended after its whole body was read, so one that is refused or cut off leaves nothing behind.
 * - Tenant and producer come from the key, in headers; a line that claims others is refused.
 */
import { randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type { FastifyInstance, FastifyPluginAsync, FastifyReply, FastifyRequest } from 'fastify';
import type { Registry } from 'prom-client';
import { callCheck } from '../../schemas/check.js';
import type { RecordErrorCode } from '../../schemas/check-value.js';
import { AuditdError, type ErrorCode } from '../../schemas/errors.js';
import type { ThrottleSignal } from '../../schemas/throttle.js';
import { type KeyEntry, type KeyRole, type Keys, may } from '../access/keys.js';
import { type Health, worstHealth } from '../stream/progress.js';
import type { NewRecord, Stream } from '../stream/stream.js';
import { ClientGone, readLines } from './body.js';
import { defaultGatewayLimits, type GatewayLimits, RateLimiter, RetryLater } from './limits.js';
import { gatewayMetrics } from './metrics.js';
import { addResponseRoute } from './responses.js';
import { ThrottleBoard } from './throttle-board.js';
import { ThrottleRoutes } from './throttle-routes.js';

export interface GatewayOptions {
  readonly stream: Stream;
  readonly keys: Keys;
  readonly limits?: Partial<GatewayLimits>;
  readonly metrics: Registry;
  /** Whether a throttle signal is signed by a key that we trust. */
  readonly isTrusted: (signal: ThrottleSignal) => boolean;
  /** Milliseconds since the epoch. */
  readonly clock?: () => number;
  /** Milliseconds after which a reader of signals that takes nothing is cut off. Default 30,000. */
  readonly slowReaderMs?: number;
  /** Called with what went wrong on our side (the stream refused an append). */
  readonly onError?: (error: unknown) => void;
}

/** Options of the HTTP server that the gateway runs in: how long a connection may take for its headers and request. */
export const gatewayServerOptions = {
  /** Headers and body; beyond the body's own limit, so that a slow body gets an answer. */
  requestTimeout: 70_000,
  http: { headersTimeout: 10_000 },
  /** Longer than an emitter's pause between batches, shorter than usual proxies' 60 s. */
  keepAliveTimeout: 55_000,
} as const;

/** A line that was refused. `line` counts from 1. */
interface RejectedLine {
  readonly line: number;
  readonly code: RecordErrorCode | 'line_too_long';
  readonly message: string;
}

/** What the gateway did since its start, for `status`. */
export interface GatewayStatus {
  readonly acceptedEvents: number;
  readonly rejectedLines: number;
  readonly refusedRequests: number;
  readonly requestsInFlight: number;
  readonly bytesInFlight: number;
  /** Milliseconds since the epoch; undefined when no append failed. */
  readonly lastAppendErrorAt?: number;
}

/** 1,000 refused lines of about 300 bytes make an answer of 300 kB; `rejected_total` counts the rest. */
const rejectedLinesLimit = 1_000;
/** After a failed append the gateway is not ready for so long, unless an append succeeds before. */
const unreadyAfterErrorMs = 10_000;
/** A supervisor's probe waits one to three seconds as a rule. */
const probeTimeoutMs = 900;
const retryAfterBusySeconds = 1;
const retryAfterStreamErrorSeconds = 5;

const actorPlace = callCheck.placeOf('actor_id');

const statusOf: Partial<Record<ErrorCode, number>> = {
  body_invalid: 400,
  request_invalid: 400,
  key_missing: 401,
  key_role_wrong: 403,
  body_too_slow: 408,
  body_too_large: 413,
  content_type_wrong: 415,
  rate_limited: 429,
  gateway_busy: 503,
  stream_unwritable: 503,
};

function sendError(reply: FastifyReply, error: AuditdError): FastifyReply {
  if (error instanceof RetryLater) reply.header('retry-after', String(error.retryAfterSeconds));
  if (error.code === 'key_missing') reply.header('www-authenticate', 'Bearer');
  return reply
    .code(statusOf[error.code] ?? 500)
    .send({ error: { code: error.code, message: error.message, mend: error.mend } });
}

/** The entry of the request's key. Throws `key_missing` (no key, or nobody's) or `key_role_wrong`. */
function authenticate(request: FastifyRequest, keys: Keys, role: KeyRole): KeyEntry {
  const match = /^Bearer +(\S+) *$/i.exec(request.headers.authorization ?? '');
  if (match === null) throw new AuditdError('key_missing', 'The request has no header authorization: Bearer KEY.');
  const entry = keys.find(match[1] as string);
  if (entry === undefined) throw new AuditdError('key_missing', 'The key is unknown; it may have been revoked.');
  if (!may(entry, role))
    throw new AuditdError('key_role_wrong', `The key "${entry.name}" has the role ${entry.role}, not ${role}.`);
  return entry;
}

function encodingOf(request: FastifyRequest): 'gzip' | 'identity' {
  const type = (request.headers['content-type'] ?? '').split(';')[0]?.trim().toLowerCase();
  if (type !== 'application/x-ndjson')
    throw new AuditdError(
      'content_type_wrong',
      `The content-type is ${JSON.stringify(type)}, expected application/x-ndjson.`,
    );
  const encoding = (request.headers['content-encoding'] ?? 'identity').trim().toLowerCase();
  if (encoding !== 'gzip' && encoding !== 'identity')
    throw new AuditdError('content_type_wrong', `The content-encoding is ${JSON.stringify(encoding)}, expected gzip.`);
  return encoding;
}

/** One process's gateway: what it holds and what it counts. */
class Gateway {
  readonly limits: GatewayLimits;
  private readonly metrics: ReturnType<typeof gatewayMetrics>;
  private readonly clock: () => number;
  private readonly rate: RateLimiter;
  /** Records of one key share one object of headers. */
  private readonly headers = new WeakMap<KeyEntry, Readonly<Record<string, string>>>();
  private acceptedEvents = 0;
  private rejectedLines = 0;
  private refusedRequests = 0;
  private requestsInFlight = 0;
  private bytesInFlight = 0;
  private lastAppendErrorAt: number | undefined;
  private appendedSinceError = true;

  constructor(private readonly options: GatewayOptions) {
    this.limits = { ...defaultGatewayLimits, ...options.limits };
    this.clock = options.clock ?? Date.now;
    this.metrics = gatewayMetrics(options.metrics);
    this.rate = new RateLimiter(this.limits, this.clock);
  }

  status(): GatewayStatus {
    const { acceptedEvents, rejectedLines, refusedRequests, requestsInFlight, bytesInFlight, lastAppendErrorAt } = this;
    const counts = { acceptedEvents, rejectedLines, refusedRequests, requestsInFlight, bytesInFlight };
    return lastAppendErrorAt === undefined ? counts : { ...counts, lastAppendErrorAt };
  }

  async health(): Promise<Health> {
    if (!this.appendedSinceError && this.clock() - (this.lastAppendErrorAt ?? 0) < unreadyAfterErrorMs)
      return { state: 'waiting', reason: 'the stream refused the last append' };
    const late = Symbol();
    const timeout = new AbortController();
    try {
      const answer = await Promise.race([
        this.options.stream.partitions('calls'),
        delay(probeTimeoutMs, late, { signal: timeout.signal }),
      ]);
      return answer === late ? { state: 'waiting', reason: 'the stream does not answer' } : { state: 'ready' };
    } catch (error) {
      const code = error instanceof AuditdError ? ` (${error.code})` : '';
      return { state: 'waiting', reason: `the stream does not answer${code}` };
    } finally {
      timeout.abort();
    }
  }

  /** Reads, checks and appends one request, and answers it. */
  async events(request: FastifyRequest, reply: FastifyReply): Promise<void> {
    const stop = this.metrics.duration.startTimer();
    let heldBytes = 0;
    this.requestsInFlight++;
    this.metrics.requestsInFlight.set(this.requestsInFlight);
    try {
      const entry = authenticate(request, this.options.keys, 'emit');
      const encoding = encodingOf(request);
      if (this.requestsInFlight > this.limits.requestsInFlight)
        throw this.busy(`${this.limits.requestsInFlight} requests are being handled.`);
      this.rate.admit(entry.name);
      const answer = await this.accept(request, entry, encoding, (bytes) => {
        heldBytes += bytes;
        this.bytesInFlight += bytes;
        if (this.bytesInFlight > this.limits.bytesInFlight)
          throw this.busy(`Bodies of ${this.limits.bytesInFlight} bytes are being held.`);
      });
      reply.send(answer);
    } catch (error) {
      this.refuse(error, request, reply);
    } finally {
      this.requestsInFlight--;
      this.bytesInFlight -= heldBytes;
      this.metrics.requestsInFlight.set(this.requestsInFlight);
      this.metrics.bytesInFlight.set(this.bytesInFlight);
      stop();
    }
  }

  private busy(what: string): RetryLater {
    return new RetryLater('gateway_busy', what, retryAfterBusySeconds);
  }

  private refuse(error: unknown, request: FastifyRequest, reply: FastifyReply): void {
    this.refusedRequests++;
    if (error instanceof ClientGone) {
      this.metrics.refusedRequests.inc({ code: 'client_gone' });
      reply.hijack();
      request.raw.destroy();
      return;
    }
    if (!(error instanceof AuditdError)) throw error;
    this.metrics.refusedRequests.inc({ code: error.code });
    // A body that was not read to its end would be taken for the next request: the connection ends with the answer.
    if (!request.raw.complete) reply.header('connection', 'close');
    sendError(reply, error);
  }

  private headersOf(entry: KeyEntry): Readonly<Record<string, string>> {
    let headers = this.headers.get(entry);
    if (headers === undefined) {
      headers = Object.freeze({ tenant: entry.tenant, producer_key: entry.name });
      this.headers.set(entry, headers);
    }
    return headers;
  }

  private async accept(
    request: FastifyRequest,
    entry: KeyEntry,
    encoding: 'gzip' | 'identity',
    held: (bytes: number) => void,
  ): Promise<{ accepted: number; rejected: RejectedLine[]; rejected_total: number }> {
    const headers = this.headersOf(entry);
    const vouched = { tenant: entry.tenant, producer_key: entry.name };
    const keyStart = `${entry.tenant}\0`;
    const records: NewRecord[] = [];
    const rejected: RejectedLine[] = [];
    let rejectedTotal = 0;
    const reject = (line: number, code: RejectedLine['code'], message: string): void => {
      rejectedTotal++;
      this.metrics.rejected.inc({ code });
      if (rejected.length < rejectedLinesLimit) rejected.push({ line, code, message });
    };
    const lines = await readLines(request.raw, encoding, this.limits, {
      held,
      line: (bytes, number) => {
        const checked = callCheck.checkRow(bytes, vouched, this.limits.lineBytes);
        if (checked.ok)
          records.push({ key: keyStart + ((checked.at(actorPlace) as string) ?? ''), value: bytes, headers });
        else reject(number, checked.code, checked.message);
      },
      tooLong: (number) =>
        reject(number, 'line_too_long', `the line is longer than ${this.limits.lineBytes} bytes and was skipped`),
    });
    this.rate.take(entry.name, lines);
    this.rejectedLines += rejectedTotal;
    if (records.length > 0) await this.append(records);
    this.acceptedEvents += records.length;
    this.metrics.accepted.inc(records.length);
    return { accepted: records.length, rejected, rejected_total: rejectedTotal };
  }

  private async append(records: readonly NewRecord[]): Promise<void> {
    try {
      await this.options.stream.append('calls', records);
      this.appendedSinceError = true;
    } catch (error) {
      this.lastAppendErrorAt = this.clock();
      this.appendedSinceError = false;
      this.options.onError?.(error);
      throw new RetryLater(
        'stream_unwritable',
        `The stream did not take the events: ${(error as Error).message}`,
        retryAfterStreamErrorSeconds,
        { cause: error },
      );
    }
  }
}

/**
 * Makes the gateway: a plugin for `fastify(gatewayServerOptions)`, its `status` and its `health`.
 * The plugin keeps its reading of bodies to itself, so other routes of the same server are not touched.
 */
export function createGateway(options: GatewayOptions): {
  /** Reads the throttle signals that hold. */
  start(): Promise<void>;
  plugin: FastifyPluginAsync;
  status(): GatewayStatus & { readonly throttles: ThrottleBoard['counts'] };
  health(): Promise<Health>;
  close(): Promise<void>;
} {
  const gateway = new Gateway(options);
  const board = new ThrottleBoard({
    stream: options.stream,
    isTrusted: options.isTrusted,
    run: randomBytes(6).toString('hex'),
    clock: () => (options.clock ?? Date.now)() * 1000,
  });
  const throttles = new ThrottleRoutes(
    board,
    (request) => authenticate(request, options.keys, 'emit'),
    options.slowReaderMs,
  );
  const plugin = async (app: FastifyInstance): Promise<void> => {
    app.removeAllContentTypeParsers();
    // The body stays in the socket until the handler knows whose it is.
    app.addContentTypeParser('*', (_request, _payload, done) => done(null, undefined));
    app.post('/v1/events', async (request, reply) => {
      await gateway.events(request, reply);
      return reply;
    });
    app.setErrorHandler((error, _request, reply) => {
      if (!(error instanceof AuditdError)) throw error;
      return sendError(reply, error);
    });
    throttles.add(app);
    addResponseRoute(app, options.stream, options.clock ?? Date.now, (request) =>
      authenticate(request, options.keys, 'respond'),
    );
    app.addHook('preClose', async () => throttles.close());
  };
  return {
    start: () => board.start(),
    plugin,
    status: () => ({ ...gateway.status(), throttles: board.counts }),
    health: async () => worstHealth([await gateway.health(), board.health()]),
    close: () => board.close(),
  };
}
