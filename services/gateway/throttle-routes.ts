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
/** Bytes that wait for one reader: 1,000 signals. One that does not take them is cut off, and comes back with its place. */
const mostWaitingBytes = 1024 * 1024;
const heartbeatMs = 15_000;
const longestWaitSeconds = 60;

export type Authenticate = (request: FastifyRequest) => KeyEntry;

export class ThrottleRoutes {
  readonly #board: ThrottleBoard;
  readonly #authenticate: Authenticate;
  readonly #open = new Set<() => void>();
  #isClosed = false;

  constructor(board: ThrottleBoard, authenticate: Authenticate) {
    this.#board = board;
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
    const first = this.#board.since(tenant, after);
    let place = first.id;
    write(response, first);
    response.write(`event: ready\nid: ${place}\ndata: {}\n\n`);
    const stopListening = this.#board.onChange((signal) => {
      if (signal.tenant !== tenant) return;
      const next = this.#board.since(tenant, place);
      place = next.id;
      write(response, next);
      if (response.writableLength > mostWaitingBytes) response.destroy();
    });
    const heartbeat = setInterval(() => response.write(': still here\n\n'), heartbeatMs).unref();
    const end = (): void => {
      response.end();
    };
    this.#open.add(end);
    response.once('close', () => {
      this.#open.delete(end);
      clearInterval(heartbeat);
      stopListening();
    });
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

function write(response: ServerResponse, { id, reset, signals }: Changes): void {
  let text = reset ? `event: reset\ndata: {}\n\n` : '';
  for (const signal of signals) text += `event: signal\nid: ${id}\ndata: ${JSON.stringify(signal)}\n\n`;
  if (text !== '') response.write(text);
}
