/**
 * An HTTP proxy that stands between a client and a server and goes wrong when it is told to: once for each fault that
 * was asked for, at the next request that `matches`.
 */
import { once } from 'node:events';
import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export const proxyFaults = [
  /** The connection is closed before anything is passed on. */
  'away',
  /** Half of the body is passed on, then both connections are closed. */
  'cut_request',
  /** The request is passed on and carried out; the answer is replaced by a 500 of somebody else's. */
  'error_after',
  /** The request is passed on and carried out; the connection is closed instead of an answer. */
  'close_after',
  /** The head of the answer comes and then nothing more, until the client gives up. */
  'hang_after',
] as const;
export type ProxyFault = (typeof proxyFaults)[number];

export interface FaultProxy {
  readonly url: string;
  /** Faults of the next requests that match, in order. */
  readonly faults: ProxyFault[];
  /** While true every connection is closed at once. */
  away: boolean;
  /** Milliseconds that every request waits before it is passed on. */
  delayMs: number;
  /** Faults that happened. */
  readonly happened: ProxyFault[];
  stop(): Promise<void>;
}

/** Passes on to `target()`; `matches` says which requests (by URL, query included) meet the faults. */
export async function startFaultProxy(
  target: () => string,
  matches: (url: string) => boolean = (url) => /[?&]query=INSERT/i.test(url),
): Promise<FaultProxy> {
  const held = new Set<ServerResponse>();
  const server: Server = createServer((incoming, answer) => {
    void handle(incoming, answer).catch(() => incoming.socket.destroy());
  });
  const handle = async (incoming: IncomingMessage, answer: ServerResponse) => {
    if (proxy.away) return void incoming.socket.destroy();
    if (proxy.delayMs > 0) await new Promise((resolve) => setTimeout(resolve, proxy.delayMs));
    const fault = matches(incoming.url ?? '') ? proxy.faults.shift() : undefined;
    if (fault !== undefined) proxy.happened.push(fault);
    if (fault === 'away') return void incoming.socket.destroy();
    const chunks: Buffer[] = [];
    for await (const chunk of incoming) chunks.push(chunk as Buffer);
    const body = Buffer.concat(chunks);
    const { method } = incoming;
    const { 'transfer-encoding': _chunked, ...headers } = incoming.headers;
    const outgoing = request(new URL(incoming.url ?? '/', target()), {
      method: method ?? 'GET',
      headers: { ...headers, 'content-length': body.length },
      agent: false,
    });
    outgoing.on('error', () => incoming.socket.destroy());
    if (fault === 'cut_request') {
      outgoing.write(body.subarray(0, body.length >> 1));
      await new Promise((resolve) => setImmediate(resolve));
      outgoing.destroy();
      return void incoming.socket.destroy();
    }
    outgoing.end(body);
    const [response] = (await once(outgoing, 'response')) as [IncomingMessage];
    if (fault === 'hang_after') {
      response.resume();
      await once(response, 'end');
      held.add(answer);
      answer.once('close', () => held.delete(answer));
      return void answer.writeHead(200, { 'content-length': 10 }).flushHeaders();
    }
    if (fault === undefined) {
      answer.writeHead(response.statusCode ?? 502, response.headers);
      return void response.pipe(answer);
    }
    response.resume();
    await once(response, 'end');
    if (fault === 'error_after') return void answer.writeHead(500).end('upstream failed\n');
    incoming.socket.destroy();
  };
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const proxy: FaultProxy = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    faults: [],
    away: false,
    delayMs: 0,
    happened: [],
    stop: async () => {
      for (const answer of held) answer.destroy();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return proxy;
}
