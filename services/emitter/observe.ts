import { randomUUID } from 'node:crypto';
import type { ScopedCall } from '../../schemas/scope-index.js';
import { type Actor, Actors, clientIdOf, nobody } from './actor.js';
import { throttledAnswer } from './enforcement.js';
import {
  type Direction,
  isObject,
  type JsonObject,
  type MessageContext,
  messageKind,
  objectOf,
  type RequestId,
  requestParts,
  responseParts,
  textOf,
} from './messages.js';
import type { Observer } from './observer.js';
import { type ConnectionOptions, type Implementation, PartyFields } from './parties.js';
import { type PendingCall, PendingCalls } from './pending.js';
import type { CallBeginning, CallEnd } from './recorder.js';
import { outweighs, refusedEnd, unrecorded, type Verdict } from './refusal.js';

/** The method under which a message that is no JSON-RPC message is recorded. */
export const invalidMethod = 'invalid';

/**
 * A call that is never answered costs about 500 bytes here; 10,000 of them are 5 MB a connection. The oldest is then
 * recorded as no_response and counted.
 */
const maxPendingCalls = 10_000;

/** Requests whose answer says who the server is. */
const introductions: ReadonlySet<string> = new Set(['initialize', 'server/discover']);
const nameless: Implementation = { name: '', version: '' };

/**
 * One connection between a client and a server: pairs requests with responses and records both. No method throws.
 *
 * States of a call: begun (in `#pending`) → ended by its answer, by a cancellation, or by `closed`.
 */
export class ObservedConnection {
  readonly #observer: Observer;
  readonly #options: ConnectionOptions;
  readonly #actors: Actors;
  /** '' where there is no session at all. */
  readonly #fallbackSessionId: string;
  readonly #pending = new PendingCalls();
  #client = nameless;
  #protocolVersion = '';
  #server: Implementation;
  readonly #fields: PartyFields;
  #actorId = '';
  /** Of the request in hand, what a throttle signal may name. */
  readonly #scoped: { -readonly [N in keyof ScopedCall]: ScopedCall[N] } = {};
  #lastInvalid: unknown;

  constructor(observer: Observer, options: ConnectionOptions) {
    this.#observer = observer;
    this.#options = options;
    const { sessionless } = options;
    this.#fallbackSessionId = sessionless === undefined ? randomUUID() : '';
    this.#actors = sessionless?.actors ?? new Actors(options.actor, options.transport === 'stdio');
    this.#server = options.server;
    this.#fields = sessionless?.fields ?? new PartyFields(observer.recorder);
  }

  /**
   * Records one message before it goes on: a request begins a call, a response ends one, a cancellation ends one.
   * @returns why the message may not go on (it could not be recorded and failClosed is set; a throttle signal refuses
   * it), or how long it must wait. A batch is refused as a whole, and waits as long as the longest of its calls.
   */
  observe(direction: Direction, message: unknown, context: MessageContext): Verdict | undefined {
    if (Array.isArray(message) && message.length > 0) return this.#observeBatch(direction, message, context);
    return this.#observeOne(direction, message, context);
  }

  #observeOne(direction: Direction, message: unknown, context: MessageContext): Verdict | undefined {
    let verdict: Verdict | undefined;
    try {
      const kind = messageKind(message);
      if (kind === 'request') verdict = this.#begin(direction, message as JsonObject, context);
      else if (kind === 'response') this.#end(direction, message as JsonObject);
      else if (kind === 'notification') this.#notified(direction, message as JsonObject);
      else if (message !== this.#lastInvalid || !isObject(message)) {
        this.#lastInvalid = message;
        this.#invalid(direction, 'not a JSON-RPC message', context);
      }
    } catch {
      return this.#failed();
    }
    return this.#refusalIfLost() ?? verdict;
  }

  /** Records something that is no message (a line that is not JSON): one protocol_error, without a body. */
  invalid(direction: Direction, reason: string, context: MessageContext): Verdict | undefined {
    try {
      this.#invalid(direction, reason, context);
    } catch {
      return this.#failed();
    }
    return this.#refusalIfLost();
  }

  #invalid(direction: Direction, reason: string, context: MessageContext): void {
    const { recorder } = this.#observer;
    const call = recorder.begin(this.#beginning(direction, { method: invalidMethod }, context));
    recorder.end(call, {
      outcome: 'protocol_error',
      errorType: 'parse_error',
      errorCode: -32700,
      errorMessage: reason,
    });
  }

  /** What the server calls itself, as far as it has told. */
  get server(): Implementation {
    return this.#server;
  }

  /** Ends a request of the client, this very object, that nobody will answer any more; nothing where it has ended. */
  giveUp(message: unknown, end: CallEnd): void {
    try {
      const pending = this.#pending.takeMessage('client_to_server', message as JsonObject);
      if (pending !== undefined) this.#ended(pending, end);
    } catch {
      this.#observer.counters.errors += 1;
    }
  }

  /** The connection is gone: calls without an answer end as cancelled where the client hung up, else no_response. */
  closed(): void {
    for (const direction of ['client_to_server', 'server_to_client'] as const) {
      for (let each = this.#pending.takeOldest(direction); each; each = this.#pending.takeOldest(direction)) {
        try {
          const outcome = each.signal?.aborted === true ? 'cancelled' : 'no_response';
          this.#ended(each, { outcome });
        } catch {
          this.#observer.counters.errors += 1;
        }
      }
    }
    this.commit();
  }

  /** Puts on record what was observed. To be called before anything of it goes on that is an answer. */
  commit(): void {
    try {
      this.#observer.recorder.commit();
    } catch {
      this.#observer.counters.errors += 1;
    }
  }

  #observeBatch(direction: Direction, batch: readonly unknown[], context: MessageContext): Verdict | undefined {
    let verdict: Verdict | undefined;
    for (const item of batch) {
      // A batch within a batch is no message.
      const next = this.#observeOne(direction, item, context);
      if (next !== undefined && (verdict === undefined || outweighs(next, verdict))) verdict = next;
    }
    if (verdict === undefined || !('refusal' in verdict)) return verdict;
    // None of it goes on, so nobody will answer those that passed.
    for (const item of batch) {
      const pending =
        isObject(item) && item.method !== undefined ? this.#pending.take(direction, item.id as RequestId) : undefined;
      if (pending !== undefined) this.#ended(pending, refusedEnd(verdict.refusal));
    }
    return verdict;
  }

  #begin(direction: Direction, message: JsonObject, context: MessageContext): Verdict | undefined {
    // Handlers are chained by some hosts, and then one request passes here once for each.
    if (this.#pending.has(direction, message)) return undefined;
    const beginning = this.#beginning(direction, message, context);
    const { recorder, enforcement } = this.#observer;
    const decision =
      direction === 'client_to_server' && enforcement !== undefined
        ? enforcement.decide(message.method as string, this.#scoped)
        : undefined;
    if (decision?.kind === 'refuse') {
      const refusal = throttledAnswer(decision);
      recorder.end(recorder.begin(beginning), refusedEnd(refusal));
      return { refusal: { ...refusal, asResult: enforcement?.answer === 'result' && message.method === 'tools/call' } };
    }
    const call = recorder.begin(beginning);
    if (this.#pending.size >= maxPendingCalls) this.#abandonOldest(direction);
    this.#pending.add(direction, {
      call,
      method: message.method as string,
      message,
      actorId: this.#actorId,
      parent: beginning.parentEventId ?? '',
      signal: context.signal,
      next: undefined,
    });
    return decision;
  }

  #beginning(direction: Direction, message: JsonObject, context: MessageContext): CallBeginning {
    // An event must name its method, and the empty text is none.
    const method = (message.method as string) || invalidMethod;
    if (direction === 'server_to_client') return this.#serverRequest(method, message, context);
    const parts = requestParts(method, message.params, context.header('traceparent'));
    this.#learnClient(method, message, parts.meta, context);
    const sessionId = context.sessionId || this.#fallbackSessionId;
    const actor = this.#actor(context, message, sessionId);
    this.#actorId = actor.id;
    const clientId = clientIdOf(context.authInfo);
    const scoped = this.#scoped;
    scoped.actor_id = actor.id;
    // Calls without a session have none in common.
    scoped.session_id = sessionId || randomUUID();
    scoped.client_id = clientId;
    scoped.server_name = this.#server.name;
    scoped.tool_name = parts.toolName;
    const common = this.#fields.of({
      actor,
      clientId,
      client: this.#client,
      // What a beginning told stays, and an introduction is answered with the server's own name.
      server: introductions.has(method) ? nameless : this.#server,
      sessionId,
      protocolVersion: this.#protocolVersion,
      transport: this.#transport(context),
    });
    const tool = parts.toolName === '' ? undefined : this.#observer.commonOfTool(parts.toolName);
    const parentEventId = this.#observer.rounds.parentOf(actor.id, method, objectOf(message.params));
    return {
      method,
      common: tool === undefined ? common : [...common, tool],
      toolName: tool === undefined ? parts.toolName : '',
      resourceUri: parts.resourceUri,
      promptName: parts.promptName,
      requestId: idText(message.id),
      traceId: parts.traceId,
      spanId: parts.spanId,
      parentEventId,
      taskId: parts.taskId,
      arguments: parts.arguments,
    };
  }

  /** A request of the server (sampling, elicitation, roots): who answers is the client, so no actor is named. */
  #serverRequest(method: string, message: JsonObject, context: MessageContext): CallBeginning {
    this.#actorId = '';
    return {
      method,
      common: this.#fields.of({
        actor: undefined,
        clientId: '',
        client: this.#client,
        server: this.#server,
        sessionId: context.sessionId || this.#fallbackSessionId,
        protocolVersion: this.#protocolVersion,
        transport: this.#transport(context),
      }),
      requestId: idText(message.id),
      attributes: serverRequestAttributes,
    };
  }

  #transport(context: MessageContext): string {
    return this.#options.transport === 'other' && context.http ? 'http' : this.#options.transport;
  }

  #actor(context: MessageContext, message: JsonObject, sessionId: string): Actor {
    try {
      return this.#actors.of(context, message, sessionId);
    } catch {
      this.#observer.counters.errors += 1;
      return nobody;
    }
  }

  /** Session era: the initialize says who the client is. Stateless era: every request does. */
  #learnClient(method: string, message: JsonObject, meta: JsonObject, context: MessageContext): void {
    if (method === 'initialize') {
      const { clientInfo, protocolVersion } = objectOf(message.params);
      this.#learn(objectOf(clientInfo), textOf(protocolVersion));
      return;
    }
    const clientInfo = meta['io.modelcontextprotocol/clientInfo'];
    const version = textOf(meta['io.modelcontextprotocol/protocolVersion']) || context.header('mcp-protocol-version');
    if (isObject(clientInfo) || version) this.#learn(clientInfo, version);
  }

  #learn(clientInfo: unknown, protocolVersion: string | undefined): void {
    if (protocolVersion) this.#protocolVersion = protocolVersion;
    if (!isObject(clientInfo)) return;
    const client = { name: textOf(clientInfo.name), version: textOf(clientInfo.version) };
    if (client.name !== this.#client.name || client.version !== this.#client.version) this.#client = client;
  }

  #end(direction: Direction, message: JsonObject): void {
    // A response answers a request that went the other way.
    const asked: Direction = direction === 'client_to_server' ? 'server_to_client' : 'client_to_server';
    const pending = this.#pending.take(asked, message.id as RequestId);
    if (pending === undefined) return;
    const parts = responseParts(message);
    const isAnswerOfServer = asked === 'client_to_server';
    if (isAnswerOfServer) this.#learnServer(pending, parts.outcome, message.result);
    const end: CallEnd = {
      outcome: parts.outcome,
      errorType: parts.errorType,
      errorCode: parts.errorCode,
      errorMessage: parts.errorMessage,
      taskId: parts.taskId,
      result: isAnswerOfServer ? parts.result : undefined,
    };
    this.#ended(pending, end);
  }

  #ended(pending: PendingCall, end: CallEnd): void {
    const { name, version } = this.#server;
    const told = introductions.has(pending.method) ? { ...end, serverName: name, serverVersion: version } : end;
    this.#observer.recorder.end(pending.call, told);
  }

  #learnServer(pending: PendingCall, outcome: string, result: unknown): void {
    if (outcome === 'input_required') {
      const firstEventId = pending.parent || pending.call.eventId;
      const params = objectOf(pending.message.params);
      this.#observer.rounds.expect(pending.actorId, pending.method, params, objectOf(result), firstEventId);
    } else if (outcome !== 'success') {
      return;
    }
    // Stateless era: every result says who the server is.
    const told = objectOf(objectOf(result)._meta)['io.modelcontextprotocol/serverInfo'];
    if (isObject(told)) this.#learnName(told);
    if (pending.method === 'tools/list') {
      this.#observer.tools.learn(result);
    } else if (introductions.has(pending.method)) {
      const { serverInfo, protocolVersion } = objectOf(result);
      if (isObject(serverInfo)) this.#learnName(serverInfo);
      if (typeof protocolVersion === 'string') this.#protocolVersion = protocolVersion;
    }
  }

  #learnName(serverInfo: JsonObject): void {
    const server = { name: textOf(serverInfo.name), version: textOf(serverInfo.version) };
    if (server.name !== this.#server.name || server.version !== this.#server.version) this.#server = server;
  }

  #notified(direction: Direction, message: JsonObject): void {
    if (message.method !== 'notifications/cancelled') return;
    const pending = this.#pending.take(direction, objectOf(message.params).requestId as RequestId);
    if (pending !== undefined) this.#ended(pending, { outcome: 'cancelled' });
  }

  #abandonOldest(direction: Direction): void {
    const oldest = this.#pending.takeOldest(direction);
    if (oldest === undefined) return;
    this.#observer.counters.abandoned += 1;
    this.#ended(oldest, { outcome: 'no_response' });
  }

  #refusalIfLost(): Verdict | undefined {
    const { failClosed, recorder } = this.#observer;
    return failClosed && !recorder.commit() ? unrecorded : undefined;
  }

  #failed(): Verdict | undefined {
    this.#observer.counters.errors += 1;
    return this.#observer.failClosed ? unrecorded : undefined;
  }
}

const serverRequestAttributes = Object.freeze({ direction: 'server_to_client' });

function idText(id: unknown): string {
  return id === undefined || id === null ? '' : String(id);
}
