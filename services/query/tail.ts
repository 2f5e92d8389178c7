/**
 * GET /v1/tail: calls as they reach the stream, as server-sent events.
 *
 * All clients share one consumer of the topic, without a group, which runs while anybody listens. What a client has
 * not taken waits in its socket's buffer up to a limit; beyond it events are skipped for this client alone and it is
 * told how many, so that nobody who looks on can slow down recording or fill the memory.
 */
import type { ServerResponse } from 'node:http';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { AuditdError } from '../../schemas/errors.js';
import { type Keys, tenantSeen } from '../access/keys.js';
import type { Consumer, RecordBatch, Stream, StreamRecord } from '../stream/stream.js';
import { requireReader } from './answers.js';

/** Bytes that wait for one client: at 1 KB an event, 4,000 events. */
const maxWaitingBytes = 4 * 1024 * 1024;
/** 32 clients with full buffers hold 128 MiB. */
const maxClients = 32;
/** A comment line at this pace keeps proxies from closing a connection that is merely quiet. */
const heartbeatMs = 15_000;

/** Query parameter → field of the event. A parameter that is given several times matches any of its values. */
const filterFields: Readonly<Record<string, string>> = {
  tool: 'tool_name',
  server: 'server_name',
  actor: 'actor_id',
  outcome: 'outcome',
  session: 'session_id',
  method: 'method',
};
/** Values of one filter. */
const maxFilterValues = 64;

/** What a client wants to see. */
export interface TailOptions {
  /** Whose calls it sees; undefined: everybody's. */
  readonly tenant?: string | undefined;
  readonly wants: (event: Readonly<Record<string, unknown>>) => boolean;
  /**
   * Events a second that are sent, on average; after a quiet second as many at once. `event: rate` tells each second how
   * many there were and how many were sent.
   */
  readonly mostPerSecond?: number;
  /** What is sent of an event; all of it where nothing is said. */
  readonly brief?: (event: Readonly<Record<string, unknown>>) => object;
}

function readFilters(query: unknown): TailOptions['wants'] {
  const filters = Object.entries(query as Record<string, string | string[]>).map(([name, value]) => {
    const field = filterFields[name];
    if (field === undefined)
      throw new AuditdError(
        'request_invalid',
        `There is no filter ${JSON.stringify(name)}, expected some of ${Object.keys(filterFields).join(', ')}.`,
      );
    const values = new Set(Array.isArray(value) ? value : [value]);
    if (values.size > maxFilterValues)
      throw new AuditdError('request_invalid', `The filter ${name} has more than ${maxFilterValues} values.`);
    return [field, values] as const;
  });
  return (event) => filters.every(([field, values]) => values.has(String(event[field] ?? '')));
}

interface Client extends TailOptions {
  readonly response: ServerResponse;
  /** The response's head has been sent. */
  ready: boolean;
  skipped: number;
  /** In this second. */
  matched: number;
  shown: number;
  /** Events that may be sent now, at `allowedAtMs` of the process's clock: of many, those that are sent lie evenly in time. */
  allowed: number;
  allowedAtMs: number;
}

/** The event as it is shown: what the producer sent, and what gateway and stream know of it. Undefined: no JSON object. */
function shownEvent(record: StreamRecord, partition: number): Record<string, unknown> | undefined {
  let event: unknown;
  try {
    event = JSON.parse(record.value.toString('utf8'));
  } catch {
    return undefined;
  }
  if (typeof event !== 'object' || event === null || Array.isArray(event)) return undefined;
  return {
    ...event,
    tenant: record.headers.tenant ?? '',
    producer_key: record.headers.producer_key ?? '',
    recorded_at: new Date(record.timestamp).toISOString(),
    stream_partition: partition,
    stream_offset: record.offset,
  };
}

function frameOf(event: object): string {
  return `data: ${JSON.stringify(event)}\n\n`;
}

/** Those who look on, and the consumer they share. */
export class Tail {
  private readonly clients = new Set<Client>();
  private consumer: Promise<Consumer> | undefined;
  private heartbeat: NodeJS.Timeout | undefined;
  private second: NodeJS.Timeout | undefined;
  /** Starting and stopping take turns: the next consumer starts after the last one has stopped. */
  private stopping: Promise<void> = Promise.resolve();
  private ended = false;

  constructor(
    private readonly stream: Stream,
    private readonly onFault: (error: unknown) => void,
  ) {}

  get clientCount(): number {
    return this.clients.size;
  }

  /** Sends the head, and `ready` when every event that is appended from then on will reach the client. */
  async add(response: ServerResponse, options: TailOptions): Promise<void> {
    if (this.clients.size >= maxClients)
      throw new AuditdError('tail_clients_limit', `${maxClients} clients are looking on already.`);
    const client: Client = {
      ...options,
      response,
      ready: false,
      skipped: 0,
      matched: 0,
      shown: 0,
      allowed: options.mostPerSecond ?? Number.POSITIVE_INFINITY,
      allowedAtMs: performance.now(),
    };
    this.clients.add(client);
    response.on('drain', () => this.tellSkipped(client));
    response.once('close', () => this.remove(client));
    try {
      await this.start();
    } catch (error) {
      this.remove(client);
      throw error;
    }
    response.writeHead(200, {
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-store',
      // An idle connection that is kept alive after the tail ended would keep the server from closing.
      connection: 'close',
      'x-content-type-options': 'nosniff',
    });
    response.write('event: ready\ndata: {}\n\n');
    client.ready = true;
  }

  /** Ends every client's response and the consumer. */
  async close(): Promise<void> {
    this.ended = true;
    for (const client of this.clients) client.response.end();
    this.clients.clear();
    await this.stop();
  }

  private start(): Promise<Consumer> {
    this.heartbeat ??= setInterval(() => {
      for (const { response } of this.clients)
        if (response.headersSent && response.writableLength === 0) response.write(': still here\n\n');
    }, heartbeatMs).unref();
    this.second ??= setInterval(() => {
      for (const client of this.clients) this.tellRate(client);
    }, 1_000).unref();
    this.consumer ??= this.stopping.then(() => this.consume());
    return this.consumer;
  }

  private async consume(): Promise<Consumer> {
    // The ends are read before the consumer starts: what is appended from here on is delivered, however long it takes.
    const ends = new Map((await this.stream.partitions('calls')).map((each) => [each.partition, each.endOffset]));
    const consumer = await this.stream.consume({
      topic: 'calls',
      assigned: async (partitions) =>
        new Map(partitions.map((partition) => [partition, ends.get(partition) ?? ('latest' as const)])),
      revoked: async () => {},
      batch: async (batch) => this.publish(batch),
    });
    consumer.closed.catch((error: unknown) => {
      this.onFault(error);
      for (const client of this.clients) client.response.destroy();
      this.consumer = undefined;
    });
    return consumer;
  }

  private remove(client: Client): void {
    if (!this.clients.delete(client)) return;
    if (this.clients.size === 0 && !this.ended) void this.stop().catch(this.onFault);
  }

  private stop(): Promise<void> {
    clearInterval(this.heartbeat);
    clearInterval(this.second);
    this.heartbeat = undefined;
    this.second = undefined;
    const consumer = this.consumer;
    this.consumer = undefined;
    if (consumer !== undefined)
      this.stopping = consumer.then(
        (running) => running.close(),
        () => {},
      );
    return this.stopping;
  }

  private publish(batch: RecordBatch): void {
    const nowMs = performance.now();
    for (const client of this.clients) {
      const { mostPerSecond: most = Number.POSITIVE_INFINITY } = client;
      client.allowed = Math.min(most, client.allowed + (most * (nowMs - client.allowedAtMs)) / 1_000);
      client.allowedAtMs = nowMs;
    }
    for (const record of batch.records) {
      const event = shownEvent(record, batch.partition);
      // A record that is no JSON becomes a dead letter elsewhere; here there is nothing to show.
      if (event === undefined) continue;
      let frame: string | undefined;
      for (const client of this.clients) {
        if (!client.ready || (client.tenant !== undefined && client.tenant !== event.tenant)) continue;
        if (!client.wants(event)) continue;
        client.matched++;
        if (client.allowed < 1) continue;
        client.allowed--;
        client.shown++;
        if (client.brief !== undefined) this.send(client, frameOf(client.brief(event)));
        else {
          frame ??= frameOf(event);
          this.send(client, frame);
        }
      }
    }
  }

  private tellRate(client: Client): void {
    const { matched, shown } = client;
    client.matched = 0;
    client.shown = 0;
    if (client.mostPerSecond === undefined || !client.ready || client.response.destroyed) return;
    client.response.write(`event: rate\ndata: ${JSON.stringify({ matched, shown })}\n\n`);
  }

  private send(client: Client, frame: string): void {
    if (client.response.writableLength > maxWaitingBytes) {
      client.skipped++;
      return;
    }
    this.tellSkipped(client);
    client.response.write(frame);
  }

  private tellSkipped(client: Client): void {
    if (client.skipped === 0 || client.response.destroyed) return;
    const { skipped } = client;
    client.skipped = 0;
    client.response.write(`event: skipped\ndata: ${JSON.stringify({ skipped })}\n\n`);
  }
}

/**
 * Adds the route. Events are `data: {…}`; `event: ready` comes first, when everything that is recorded from then on
 * will be seen, and `event: skipped` with `{"skipped": n}` where a slow client missed n events.
 */
export function addTailRoute(server: FastifyInstance, tail: Tail, keys: Keys): void {
  server.get('/v1/tail', async (request: FastifyRequest, reply: FastifyReply) => {
    const key = requireReader(request, keys);
    const wants = readFilters(request.query);
    // Until the client is in, an error is an ordinary answer.
    await tail.add(reply.raw, { wants, tenant: tenantSeen(key) });
    reply.hijack();
  });
}
