import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import { isObject, type JsonObject, type MessageContext, messageKind, textOf } from '../messages.js';
import { ObservedConnection } from '../observe.js';
import type { CallEnd } from '../recorder.js';
import type { Verdict } from '../refusal.js';
import type { Caller } from './auth.js';
import { type Decoded, parseJson } from './body.js';
import type { ProxyContext } from './context.js';
import type { Session } from './sessions.js';

/** From here on there are no sessions; what calls itself older may have one. */
const firstStatelessVersion = '2026-07-28';

/**
 * What one HTTP request and its answer say: which session they belong to, and the calls that begin in the one and end
 * in the other.
 *
 * States of a call: begun when the body was read → ended by an answer on this response or on another stream of the
 * session (2024-11-05, or resumed), or given up when this response is over and no other can bring the answer.
 */
export class Conversation implements MessageContext {
  readonly http = true;
  readonly #context: ProxyContext;
  readonly #request: IncomingMessage;
  /** The path and query. */
  readonly path: string;
  /** Who calls, where that was verified. */
  caller: Caller | undefined;
  /** Of the request: what was parsed. */
  message: unknown;
  #connection: ObservedConnection | undefined;
  /** `id:` and the value of Mcp-Session-Id, or the path that a server of 2024-11-05 told. */
  #key = '';
  #session: Session | undefined;
  #calls: JsonObject[] = [];
  #isSettled = false;
  #endsSession = false;
  #hasLeft = false;

  constructor(context: ProxyContext, request: IncomingMessage) {
    this.#context = context;
    this.#request = request;
    this.path = pathOf(request.url ?? '/');
  }

  // What a record may tell of the request that carried a message.
  get authInfo(): unknown {
    return this.caller;
  }
  get sessionId(): string | undefined {
    if (!this.#key.startsWith('/')) return this.header('mcp-session-id');
    const { searchParams } = new URL(this.#key, 'http://proxy');
    return searchParams.get('sessionId') ?? searchParams.get('session_id') ?? undefined;
  }
  header(name: string): string | undefined {
    const value = this.#request.headers[name];
    return Array.isArray(value) ? value[0] : value;
  }
  get headers(): Readonly<Record<string, string>> {
    const { withoutHeaders } = this.#context;
    const entries = Object.entries(this.#request.headers).filter(([name]) => !withoutHeaders.has(name));
    return Object.fromEntries(entries.map(([name, value]) => [name, String(value)]));
  }
  /** Of a session of 2024-11-05 its stream's: where the answer would have come. */
  get signal(): { readonly aborted: boolean } {
    return this.#session?.signal ?? this;
  }
  get aborted(): boolean {
    return this.#hasLeft;
  }

  get connection(): ObservedConnection {
    this.#connection ??= this.#newConnection('http');
    return this.#connection;
  }

  get session(): Session | undefined {
    return this.#session;
  }

  /** Finds the session that the request names. False: it is somebody else's. */
  join(): boolean {
    const { sessions } = this.#context;
    const id = this.header('mcp-session-id');
    if (this.#request.method === 'POST') {
      this.#session = sessions.get(this.path, Date.now());
      if (this.#session !== undefined) this.#key = this.path;
    }
    if (this.#session === undefined && id !== undefined && this.#isOfSessionEra) {
      this.#key = `id:${id}`;
      this.#session = sessions.get(this.#key, Date.now());
    }
    if (this.#session === undefined) return true;
    if (this.caller !== undefined && this.#session.actorId !== this.caller.actor.id) return false;
    this.#connection = this.#session.connection;
    return true;
  }

  get #isOfSessionEra(): boolean {
    return (this.header('mcp-protocol-version') ?? '') < firstStatelessVersion;
  }

  /**
   * Learns from the head of the answer: an initialize is answered with a session, a request of a session that was there
   * before us is taken, 404 and DELETE end one. What the server refuses makes no session, so nobody can make up many.
   */
  follow(statusCode: number, headers: IncomingHttpHeaders): void {
    const { sessions } = this.#context;
    const isTaken = statusCode < 400;
    const { method } = this.#request;
    if (this.#session === undefined) {
      const told = headers['mcp-session-id'];
      if (this.#key === '' && typeof told === 'string' && method === 'POST') this.#key = `id:${told}`;
      if (this.#key === '' || !isTaken || method === 'DELETE' || sessions.get(this.#key, Date.now()) !== undefined)
        return;
      this.#session = sessions.add(this.#key, this.connection, this.caller?.actor.id, Date.now());
    } else if (this.#key.startsWith('id:') && (statusCode === 404 || (method === 'DELETE' && isTaken))) {
      // Once what this answer says is on record.
      this.#endsSession = true;
    }
  }

  /**
   * 2024-11-05: this stream brings the answers to what is posted to the path that it tells.
   * @returns the path where the server told an address of its own, which would lead the client past us.
   */
  openEndpoint(data: string, inject: (text: string) => boolean): string | undefined {
    const { sessions, upstream } = this.#context;
    if (this.#request.method !== 'GET' || this.#session !== undefined) return undefined;
    let endpoint: URL;
    try {
      endpoint = new URL(data, `${upstream.origin}${this.path}`);
    } catch {
      return undefined;
    }
    if (endpoint.origin !== upstream.origin) return undefined;
    this.#key = `${endpoint.pathname}${endpoint.search}`;
    this.#connection = this.#newConnection('sse');
    this.#session = sessions.add(this.#key, this.#connection, this.caller?.actor.id, Date.now());
    this.#session.streams = 1;
    this.#session.signal = this;
    this.#session.inject = inject;
    return /^[a-z][a-z0-9+.-]*:|^\/\//i.test(data) ? this.#key : undefined;
  }

  /** Records what the client sent; says whether it may go on. */
  observeRequest(decoded: Decoded): Verdict | undefined {
    const { connection } = this;
    if ('unreadable' in decoded) return connection.invalid('client_to_server', decoded.unreadable, this);
    const message = parseJson(decoded.text);
    if (message === undefined) return connection.invalid('client_to_server', 'a body that is not JSON', this);
    this.message = message;
    const verdict = connection.observe('client_to_server', message, this);
    if (verdict === undefined || !('refusal' in verdict)) {
      const items: unknown[] = Array.isArray(message) ? message : [message];
      this.#calls = items.filter((each): each is JsonObject => messageKind(each) === 'request');
    }
    return verdict;
  }

  /** Records a body that answers, whatever its status is, and ends the calls that it does not answer. */
  observeAnswer(decoded: Decoded, isEmpty: boolean, statusCode: number): Verdict | undefined {
    const { connection } = this;
    const message = 'text' in decoded ? parseJson(decoded.text) : undefined;
    let verdict: Verdict | undefined;
    if (message !== undefined) verdict = connection.observe('server_to_client', message, this);
    else if (!isEmpty) {
      const reason = 'unreadable' in decoded ? decoded.unreadable : 'a body that is not JSON';
      verdict = connection.invalid('server_to_client', reason, this);
    }
    this.#learnServer();
    const told = isObject(message) && isObject(message.error) ? textOf(message.error.message) : '';
    this.#over(statusCode, told, 'application/json');
    return verdict;
  }

  /** The answer is over that has no message in it. */
  answered(statusCode: number, type: string): void {
    this.#over(statusCode, '', type);
  }

  /** The stream is over that was this answer. */
  streamEnded(isWhole: boolean, isResumable: boolean): void {
    this.#learnServer();
    const session = this.#session;
    if (session !== undefined) {
      session.streams -= 1;
      session.usedMs = Date.now();
      if (session.signal === this) {
        this.#endsSession = true;
        this.#settle();
        return;
      }
    }
    // What this stream has not told can come on another one.
    if (session !== undefined && isResumable) this.#settle();
    else if (this.#hasLeft) this.giveUp({ outcome: 'cancelled' });
    else {
      const errorMessage = isWhole ? 'the stream ended without an answer' : 'the stream broke off';
      this.giveUp({ outcome: 'no_response', errorMessage });
    }
  }

  /** The client hung up. */
  left(isStreaming: boolean): void {
    this.#hasLeft = true;
    // What becomes of a stream's calls is decided when it has ended.
    if (!isStreaming) this.giveUp({ outcome: 'cancelled' });
  }

  /** Ends the calls that have no answer. */
  giveUp(end: CallEnd): void {
    if (!this.#isSettled) for (const call of this.#calls) this.#connection?.giveUp(call, end);
    this.#settle();
  }

  /** 202: the answer comes on a stream of the session. */
  #over(statusCode: number, told: string, type: string): void {
    if (statusCode === 202 && this.#session !== undefined) this.#settle();
    else this.giveUp(endOfStatus(statusCode, told, type));
  }

  /** Nothing more is said here. What the server asked, and nobody will answer, ends with the session, or with this. */
  #settle(): void {
    this.#isSettled = true;
    if (this.#endsSession) this.#context.sessions.end(this.#key);
    if (this.#session === undefined || this.#session.isEnded) this.#connection?.closed();
    else this.#connection?.commit();
  }

  #newConnection(transport: 'http' | 'sse'): ObservedConnection {
    const { observer, actor, server, sessionless } = this.#context;
    const hasSession = transport === 'sse' || this.#key !== '';
    return new ObservedConnection(observer, {
      transport,
      actor,
      server,
      ...(hasSession || sessionless === undefined ? {} : { sessionless }),
    });
  }

  #learnServer(): void {
    const { server } = this.connection;
    if (server.name !== '') this.#context.server = server;
  }
}

/** Also of a request in absolute form (RFC 9112 §3.2.2). */
function pathOf(url: string): string {
  if (url.startsWith('/') || url === '*') return url;
  const after = url.indexOf('/', url.indexOf('://') + 3);
  return after < 0 ? '/' : url.slice(after);
}

/** How calls ended that were answered by a status and not by a message of their own. */
function endOfStatus(status: number, told: string, type: string): CallEnd {
  if (status < 400) return { outcome: 'no_response', errorMessage: `answered with ${status} ${type}`.trim() };
  const end = { errorType: 'http_error', errorCode: status, errorMessage: told || `HTTP ${status}` };
  if (status === 401 || status === 403) return { ...end, outcome: 'denied' };
  if (status === 429) return { ...end, outcome: 'throttled', errorType: 'rate_limited' };
  return { ...end, outcome: 'protocol_error' };
}
