/**
 * A reverse proxy before one MCP server: records every request, throttles, changes nothing else.
 *
 * A reverse proxy library passes bytes on without having looked at them; here each message is read and on record before
 * its bytes go on, may be refused or held, and its answer comes on this response, on another
 * stream of the session or on none. That is what we exist for.
 *
 * Invariants:
 * - Bodies pass as they came, whatever they are. Of headers only those change that RFC 9110 has a gateway change.
 * - A request is on record before the server sees it, an answer before the client does.
 * - A stream is passed on chunk by chunk; who reads slowly slows its writer down.
 */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type ActorSource, Actors } from '../actor.js';
import { openEnforcement, type ThrottleOptions } from '../enforcement.js';
import { Observer, type ObserverCounters } from '../observer.js';
import { PartyFields } from '../parties.js';
import { Recorder, type RecorderOptions } from '../recorder.js';
import { type Authenticator, type Caller, credentialHeaders } from './auth.js';
import { WaitingBytes } from './body.js';
import type { ProxyContext } from './context.js';
import { Exchange } from './exchange.js';
import { originRules } from './origin.js';
import { Sessions } from './sessions.js';
import { openUpstream } from './upstream.js';

export interface ProxyOptions {
  /** The server, as `http://host:port/mcp`. The path is the one that clients use here as well. */
  readonly upstream: string;
  /** `host:port` to listen on; port 0 takes a free one. Default 127.0.0.1:0. */
  readonly listen?: string;
  readonly recorderOptions?: RecorderOptions;
  /** Who calls, where nobody is authenticated. */
  readonly actor?: ActorSource;
  /** How throttle signals are followed; false: not at all. */
  readonly throttle?: ThrottleOptions | false;
  /** Lets callers in who can show who they are: `apiKeyAuthenticator`, `oauthAuthenticator`. Default: everybody. */
  readonly authenticator?: Authenticator;
  /** Whether the server gets the credentials too. Default false: they were meant for us. */
  readonly passCredentials?: boolean;
  /** Names besides loopback's by which clients may call; off loopback: the only ones. */
  readonly allowedHosts?: readonly string[];
  /** Origins of pages that may call, `*` for any. On loopback those of loopback may. */
  readonly allowedOrigins?: readonly string[];
  /** Bytes of the largest request body that goes on. Default 64 MiB. */
  readonly maxBodyBytes?: number;
  /** Connections of clients at once. Default 1,024; each has one to the server. */
  readonly maxConnections?: number;
  /** Milliseconds that requests under way have to end when the proxy is closed. Default 10,000. */
  readonly drainMs?: number;
}

export interface RunningProxy {
  /** Where clients connect: the upstream's path on our address. */
  readonly url: string;
  readonly counters: Readonly<ObserverCounters> & Recorder['counters'];
  /** Lets requests under way end, ends streams, records what has no answer and delivers. Idempotent. */
  close(): Promise<void>;
}

/** A request must be there whole within this time, its headers within the other (Node's own limits, tightened). */
const requestTimeoutMs = 120_000;
const headersTimeoutMs = 20_000;
/** A token of a large organisation takes 8 KiB. */
const maxHeaderBytes = 32 * 1024;
const keepAliveTimeoutMs = 65_000;
const sweepMs = 60_000;
const idlePollMs = 20;

/**
 * Starts the proxy.
 * @throws TypeError for an upstream or address that is none; the system's error when the port is taken.
 */
export async function openProxy(options: ProxyOptions): Promise<RunningProxy> {
  const upstream = await openUpstream(options.upstream, maxHeaderBytes);
  const { host, port } = parseListen(options.listen ?? '127.0.0.1:0');
  const { authenticator, recorderOptions = {} } = options;
  const recorder = Recorder.open(recorderOptions);
  const enforcement = openEnforcement(options.throttle, recorderOptions);
  const observer = new Observer(recorder, recorderOptions.failClosed === true, enforcement);
  const sessions = new Sessions();
  const passesCredentials = authenticator === undefined || options.passCredentials === true;
  const actor: ActorSource | undefined =
    authenticator === undefined ? options.actor : ({ authInfo }) => (authInfo as Caller | undefined)?.actor;
  const context: ProxyContext = {
    observer,
    sessions,
    waiting: new WaitingBytes(),
    upstream,
    actor,
    sessionless: { fields: new PartyFields(recorder), actors: new Actors(actor, false) },
    authenticator,
    rules: originRules(host, options.allowedHosts ?? [], options.allowedOrigins ?? []),
    withoutHeaders: passesCredentials ? new Set() : credentialHeaders,
    maxBodyBytes: options.maxBodyBytes ?? 64 * 1024 * 1024,
    streams: new Set(),
    server: { name: recorderOptions.name ?? upstream.host, version: '' },
  };
  const server = createServer(
    {
      maxHeaderSize: maxHeaderBytes,
      requestTimeout: requestTimeoutMs,
      headersTimeout: headersTimeoutMs,
      keepAliveTimeout: keepAliveTimeoutMs,
      // Streams that are silent for hours live on; those whose other end is gone do not.
      keepAlive: true,
      keepAliveInitialDelay: 30_000,
    },
    (request, response) => {
      new Exchange(context, request, response).run().catch(() => {
        observer.counters.errors += 1;
        response.destroy();
      });
    },
  );
  server.maxConnections = options.maxConnections ?? 1_024;
  const stopOpening = async (): Promise<void> => {
    await upstream.close();
    enforcement?.close();
    await recorder.close();
  };
  try {
    await listen(server, host, port);
  } catch (error) {
    await stopOpening();
    throw error;
  }
  const sweep = setInterval(() => sessions.endIdle(Date.now()), sweepMs);
  sweep.unref();
  const { pathname } = upstream.url;
  const bound = server.address() as AddressInfo;
  const name = bound.family === 'IPv6' ? `[${bound.address}]` : bound.address;
  let closing: Promise<void> | undefined;
  return {
    url: `http://${name}:${bound.port}${pathname === '/' ? '' : pathname}`,
    get counters() {
      return { ...recorder.counters, ...observer.counters };
    },
    close() {
      closing ??= (async () => {
        clearInterval(sweep);
        await drain(server, context.streams, options.drainMs ?? 10_000);
        sessions.endAll();
        await stopOpening();
      })();
      return closing;
    },
  };
}

function parseListen(text: string): { host: string; port: number } {
  const match = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  if (match === null || port > 65_535)
    throw new TypeError(`listen: expected host:port as 127.0.0.1:4001, got ${JSON.stringify(text)}`);
  return { host: (match[1] ?? match[2])!, port };
}

function listen(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

/** No new connection; streams that nobody waits on end now, what is under way may end until the deadline. */
async function drain(server: Server, streams: ReadonlySet<() => void>, drainMs: number): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  for (const end of streams) end();
  // A connection whose request has ended meanwhile is kept alive, and would hold the server open.
  const idle = setInterval(() => server.closeIdleConnections(), idlePollMs);
  const late = setTimeout(() => server.closeAllConnections(), drainMs);
  await closed;
  clearInterval(idle);
  clearTimeout(late);
}
