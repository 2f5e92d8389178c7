/**
 * `GET /v1/throttles`: the throttle signals of the key's tenant, as server-sent events or by long poll.
 *
 * - `accept: text/event-stream`: an `event: signal` for each signal, with the signal as JSON and an `id` to come back
 *   with (`last-event-id`); `event: reset` before everything anew; `event: ready` when the present state is told. A
 *   comment every 15 s.
 * - Otherwise JSON, `{"id", "reset", "signals"}`. With `?after=ID` it answers as soon as something has changed since,
 *   or with no signals after `?wait=` seconds (at most 60).
 */
import type { ServerResponse } from 'node:http';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { AuditdError } from '../../schemas/errors.js';
import type { ThrottleSignal } from '../../schemas/throttle.js';
import type { KeyEntry } from '../access/keys.js';
import type { Changes, ThrottleBoard } from './throttle-board.js';

/** 1,000 producers on two gateways, and room. A connection costs about 20 KB. */
const mostListeners = 2_000;
/** Characters that are written at once: 60 signals. What a reader has not taken yet waits on the board, not for it. */
const pieceLength = 64 * 1024;
/** A reader that takes nothing for so long is cut off, and comes back with its place. */
const patienceMs = 30_000;
const heartbeatMs = 15_000;
const longestWaitSeconds = 60;

export type Authenticate = (request: FastifyRequest) => KeyEntry;

export class ThrottleRoutes {
  readonly #board: ThrottleBoard;
  readonly #authenticate: Authenticate;
  readonly #patienceMs: number;
  readonly #open = new Set<() => void>();
  #isClosed = false;

  constructor(board: ThrottleBoard, authenticate: Authenticate, slowReaderMs = patienceMs) {
    this.#board = board;
    this.#patienceMs = slowReaderMs;
    this.#authenticate = authenticate;
  }

  add(server: FastifyInstance): void {
    server.get('/v1/throttles', async (request, reply) => {
      const { tenant } = this.#authenticate(request);
      if (this.#open.size >= mostListeners || this.#isClosed)
        throw new AuditdError('gateway_busy', `${this.#open.size} readers of throttle signals are connected.`);
      const query = request.query as { after?: unknown; wait?: unknown };
      if (/\btext\/event-stream\b/i.test(request.headers.accept ?? '')) {
        const last = request.headers['last-event-id'] ?? query.after;
        this.#stream(reply, tenant, typeof last === 'string' ? last : undefined);
        return reply;
      }
      const wait = Math.min(longestWaitSeconds, Math.max(0, Number(query.wait ?? 0) || 0));
      return this.#poll(reply, tenant, typeof query.after === 'string' ? query.after : undefined, wait);
    });
  }

  close(): void {
    this.#isClosed = true;
    for (const end of this.#open) end();
  }

  #stream(reply: FastifyReply, tenant: string, after: string | undefined): void {
    reply.hijack();
    const response = reply.raw;
    response.writeHead(200, {
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-store',
      connection: 'close',
      'x-content-type-options': 'nosniff',
    });
    const listener = new Listener(this.#board, response, tenant, this.#patienceMs);
    this.#open.add(listener.end);
    void listener.tell(after).finally(() => this.#open.delete(listener.end));
  }

  #poll(reply: FastifyReply, tenant: string, after: string | undefined, waitSeconds: number): Promise<Changes> {
    const first = this.#board.since(tenant, after);
    if (first.reset || first.signals.length > 0 || waitSeconds === 0) return Promise.resolve(first);
    return new Promise((resolve) => {
      const finish = (): void => {
        clearTimeout(timer);
        stopListening();
        this.#open.delete(finish);
        resolve(this.#board.since(tenant, first.id));
      };
      const stopListening = this.#board.onChange((signal: ThrottleSignal) => {
        if (signal.tenant === tenant) finish();
      });
      const timer = setTimeout(finish, waitSeconds * 1000);
      this.#open.add(finish);
      reply.raw.once('close', finish);
    });
  }
}

/** One reader of server-sent events. It pulls from the board as fast as it takes, so a slow one costs one piece. */
class Listener {
  readonly #board: ThrottleBoard;
  readonly #response: ServerResponse;
  readonly #tenant: string;
  readonly #patienceMs: number;
  #isOver = false;
  #hasNews = false;
  /** Goes on after a wait for news, and after one for room. */
  #wake: () => void = () => undefined;
  #drained: () => void = () => undefined;

  constructor(board: ThrottleBoard, response: ServerResponse, tenant: string, patienceMs: number) {
    this.#board = board;
    this.#response = response;
    this.#tenant = tenant;
    this.#patienceMs = patienceMs;
  }

  readonly end = (): void => {
    this.#response.end();
    this.#over();
  };

  #over(): void {
    this.#isOver = true;
    this.#wake();
    this.#drained();
  }

  /** Tells what holds or has changed since a place, then each change; resolves when the connection has ended. */
  async tell(after: string | undefined): Promise<void> {
    const response = this.#response;
    response.once('close', () => this.#over());
    const stopListening = this.#board.onChange((signal) => {
      if (signal.tenant !== this.#tenant) return;
      this.#hasNews = true;
      this.#wake();
    });
    const heartbeat = setInterval(() => {
      if (!response.writableNeedDrain && !this.#isOver) response.write(': still here\n\n');
    }, heartbeatMs).unref();
    let place = after;
    for (let isFirst = true; !this.#isOver; isFirst = false) {
      this.#hasNews = false;
      const changes = this.#board.since(this.#tenant, place);
      await this.#write(changes, isFirst);
      place = changes.id;
      if (!this.#hasNews && !this.#isOver) await new Promise<void>((resolve) => (this.#wake = resolve));
    }
    clearInterval(heartbeat);
    stopListening();
  }

  async #write({ id, reset, signals }: Changes, isFirst: boolean): Promise<void> {
    // With an id on every signal a reader that is cut off in between would come back as one that knows them all.
    const endsWithReady = reset || isFirst;
    let text = reset ? 'event: reset\ndata: {}\n\n' : '';
    for (const [at, signal] of signals.entries()) {
      const isLast = at === signals.length - 1 && !endsWithReady;
      text += `event: signal\n${isLast ? `id: ${id}\n` : ''}data: ${textOf(signal)}\n\n`;
      if (text.length < pieceLength) continue;
      await this.#send(text);
      if (this.#isOver) return;
      text = '';
    }
    if (endsWithReady) text += `event: ready\nid: ${id}\ndata: {}\n\n`;
    await this.#send(text);
  }

  /** Resolves when there is room for more. */
  async #send(text: string): Promise<void> {
    if (this.#isOver || text === '' || this.#response.write(text)) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(() => this.#response.destroy(), this.#patienceMs);
      const done = (): void => {
        clearTimeout(timer);
        resolve();
      };
      this.#response.once('drain', done);
      this.#drained = done;
    });
  }
}

/** Told to every reader, written as text once. */
const texts = new WeakMap<ThrottleSignal, string>();

function textOf(signal: ThrottleSignal): string {
  let text = texts.get(signal);
  if (text === undefined) {
    text = JSON.stringify(signal);
    texts.set(signal, text);
  }
  return text;
}
