/** The server behind the proxy: connections to it are kept and used again. */
import type { Readable } from 'node:stream';
import type { Dispatcher } from 'undici';

/** A request as it goes on. */
export interface ForwardedRequest {
  readonly method: string;
  readonly path: string;
  /** Names and values in turn, in the order and the spelling in which they go out. */
  readonly headers: string[];
  readonly body: Buffer | AsyncIterable<Buffer> | null;
}

/** Where requests go. */
export interface Upstream {
  /** As it was given. */
  readonly url: URL;
  /** `http://host:port`, without a path. */
  readonly origin: string;
  /** As the Host header has it. */
  readonly host: string;
  /** Never throws: the handler is told of everything, of a header that HTTP has no place for, too. Sends once. */
  send(request: ForwardedRequest, handler: Dispatcher.DispatchHandler): void;
  /** Ends the requests that are under way. */
  close(): Promise<void>;
}

/** Below the 5 s after which Node, uvicorn and Go servers of many frameworks close: a request should not race with that. */
const idleMs = 4_000;
const connectTimeoutMs = 10_000;

/**
 * undici instead of Node's own client, for what it costs: two thirds of a plain pass-through's processor time. It also looks whether
 * a kept connection has bytes that nobody asked for before it is used again (response queue poisoning).
 * @throws TypeError for an upstream that is none.
 */
export async function openUpstream(text: string, maxHeaderBytes: number): Promise<Upstream> {
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    throw new TypeError(`upstream: ${JSON.stringify(text)} is no URL; expected one as http://127.0.0.1:3001/mcp`);
  }
  if (!['http:', 'https:'].includes(url.protocol) || url.username !== '' || url.search !== '' || url.hash !== '')
    throw new TypeError(`upstream: expected http:// or https://, a host, a port and a path, got ${text}`);
  // Loaded only here: servers that audit themselves do not need it.
  const { Pool } = await import('undici');
  const pool = new Pool(url.origin, {
    pipelining: 1,
    keepAliveTimeout: idleMs,
    connect: { timeout: connectTimeoutMs },
    maxHeaderSize: maxHeaderBytes,
    // A tool may take its time, and a stream be silent for hours.
    headersTimeout: 0,
    bodyTimeout: 0,
  });
  return {
    url,
    origin: url.origin,
    host: url.host,
    send: ({ method, path, headers, body }, handler) => {
      pool.dispatch({ method: method as Dispatcher.HttpMethod, path, headers, body: body as Readable | null }, handler);
    },
    close: () => pool.destroy(),
  };
}
