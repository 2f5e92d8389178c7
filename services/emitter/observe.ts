import { randomUUID } from 'node:crypto';
import { type Actor, type ActorSource, actorOf, clientIdOf } from './actor.js';
import {
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
import type { CallBeginning, CallEnd, RecordedCall, Recorder } from './recorder.js';
import { Rounds } from './rounds.js';
import { ToolCatalogue } from './tools.js';

/** Which way a message goes. JSON-RPC ids of the two directions are unrelated. */
export type Direction = 'client_to_server' | 'server_to_client';

/** The method under which a message that is no JSON-RPC message is recorded. */
export const invalidMethod = 'invalid';

/**
 * A call that is never answered costs about 500 bytes here; 10,000 of them are 5 MB a connection. The oldest is then
 * recorded as no_response and counted.
 */
const maxPendingCalls = 10_000;

interface Pending {
  readonly call: RecordedCall;
  readonly method: string;
  /** The request's own params: the server holds them too while it works. */
  readonly params: JsonObject;
  readonly actorId: string;
  /** Event id of the first round, where this is a further one. */
  readonly parent: string;
  readonly signal: AbortSignal | undefined;
  /** The next call with the same id: one transport can serve several clients that number alike. */
  next: Pending | undefined;
}

export interface ObserverCounters {
  /** Errors of our own, or of the operator's actor function, that were kept away from the call. */
  errors: number;
  /** Calls given up as no_response because too many were unanswered at once. */
  abandoned: number;
}

/** A message that could not be recorded while the operator chose to refuse such calls. */
export class Unrecorded extends Error {
  constructor(cause: unknown) {
    super('This call could not be recorded for audit, and the server is set to refuse such calls (failClosed).', {
      cause,
    });
    this.name = 'Unrecorded';
  }
}

/** Everything connections to one server have in common: its tools, its rounds, its recorder. */
export class Observer {
  readonly tools = new ToolCatalogue();
  readonly rounds = new Rounds();
  readonly counters: ObserverCounters = { errors: 0, abandoned: 0 };

  constructor(
    readonly recorder: Recorder,
    readonly failClosed: boolean,
  ) {}
}

export interface ConnectionOptions {
  /** stdio, http, sse, memory or other. */
  readonly transport: string;
  readonly actor?: ActorSource | undefined;
  /** Name and version the server gave itself, where they are known before an initialize. */
  readonly server: { readonly name: string; readonly version: string };
}

/**
 * One connection between a client and a server: pairs requests with responses and records both. No method throws
 * except `Unrecorded`, and that only when the operator chose failClosed.
 *
 * States of a call: begun (in `#pending`) → ended by its answer, by a cancellation, or by `closed`.
 */
export class ObservedConnection {
  readonly #observer: Observer;
  readonly #options: ConnectionOptions;
  readonly #fallbackSessionId = randomUUID();
  readonly #pending: Record<Direction, Map<RequestId, Pending>> = {
    client_to_server: new Map(),
    server_to_client: new Map(),
  };
  #pendingCount = 0;
  #client: JsonObject = {};
  #protocolVersion = '';
  #server: { readonly name: string; readonly version: string };

  constructor(observer: Observer, options: ConnectionOptions) {
    this.#observer = observer;
    this.#options = options;
    this.#server = options.server;
  }

  /**
   * Records one message before it goes on: a request begins a call, a response ends one, a cancellation ends one.
   * @throws Unrecorded when failClosed is set and the record could not be kept.
   */
  observe(direction: Direction, message: unknown, context: MessageContext): void {
    if (Array.isArray(message)) {
      for (const item of message) this.observe(direction, item, context);
      return;
    }
    try {
      const kind = messageKind(message);
      if (kind === 'request') this.#begin(direction, message as JsonObject, context);
      else if (kind === 'response') this.#end(direction, message as JsonObject);
      else if (kind === 'notification') this.#notified(direction, message as JsonObject);
      else this.invalid(direction, 'not a JSON-RPC message', context);
    } catch (error) {
      this.#failed(error);
    }
  }

  /** Records something that is no message (a line that is not JSON): one protocol_error, without a body. */
  invalid(direction: Direction, reason: string, context: MessageContext): void {
    try {
      const { recorder } = this.#observer;
      const beginning = this.#beginning(direction, { method: invalidMethod }, context);
      const call = recorder.begin(beginning);
      recorder.end(call, {
        outcome: 'protocol_error',
        error_type: 'parse_error',
        error_code: -32700,
        error_message: reason,
      });
    } catch (error) {
      this.#failed(error);
    }
  }

  /** The connection is gone: calls without an answer end as cancelled where the client hung up, else no_response. */
  closed(): void {
    for (const direction of ['client_to_server', 'server_to_client'] as const) {
      for (const pending of this.#pending[direction].values()) {
        for (let each: Pending | undefined = pending; each !== undefined; each = each.next) {
          try {
            const outcome = each.signal?.aborted === true ? 'cancelled' : 'no_response';
            this.#ended(each, { outcome });
          } catch {
            this.#observer.counters.errors += 1;
          }
        }
      }
      this.#pending[direction].clear();
    }
    this.#pendingCount = 0;
  }

  #begin(direction: Direction, message: JsonObject, context: MessageContext): void {
    const { recorder, rounds } = this.#observer;
    const method = message.method as string;
    const beginning = this.#beginning(direction, message, context);
    const params = objectOf(message.params);
    const actorId = beginning.actor_id ?? '';
    const parent = rounds.parentOf(actorId, method, params);
    if (parent !== '') beginning.parent_event_id = parent;
    const call = recorder.begin(beginning);
    const pending = { call, method, params, actorId, parent, signal: context.signal, next: undefined };
    this.#add(direction, message.id as RequestId, pending);
  }

  #beginning(direction: Direction, message: JsonObject, context: MessageContext): CallBeginning {
    const method = message.method as string;
    if (direction === 'server_to_client') return this.#serverRequest(method, message, context);
    const parts = requestParts(method, message.params, context.header('traceparent'));
    this.#learnClient(method, message, parts.meta, context);
    const sessionId = context.sessionId || this.#fallbackSessionId;
    const actor = this.#actor(context, message, sessionId);
    const tool = parts.toolName === '' ? undefined : this.#observer.tools.lookup(parts.toolName);
    return {
      method,
      tool_name: parts.toolName,
      resource_uri: parts.resourceUri,
      prompt_name: parts.promptName,
      task_id: parts.taskId,
      trace_id: parts.traceId,
      span_id: parts.spanId,
      request_id: idText(message.id),
      arguments: parts.arguments,
      actor_id: actor.id,
      actor_type: actor.type ?? 'unknown',
      actor_verified: actor.verified === true,
      client_id: clientIdOf(context.authInfo),
      client_name: textOf(this.#client.name),
      client_version: textOf(this.#client.version),
      session_id: sessionId,
      // An initialize is answered with the server's own name, and what a beginning told stays.
      server_name: introductions.has(method) ? '' : this.#server.name,
      server_version: introductions.has(method) ? '' : this.#server.version,
      protocol_version: this.#protocolVersion,
      transport: this.#transport(context),
      tool_definition_hash: tool?.hash ?? '',
      tool_read_only: tool?.readOnly ?? null,
      tool_destructive: tool?.destructive ?? null,
      tool_idempotent: tool?.idempotent ?? null,
      tool_open_world: tool?.openWorld ?? null,
    };
  }

  /** A request of the server (sampling, elicitation, roots): who answers is the client, so no actor is named. */
  #serverRequest(method: string, message: JsonObject, context: MessageContext): CallBeginning {
    return {
      method,
      request_id: idText(message.id),
      client_name: textOf(this.#client.name),
      client_version: textOf(this.#client.version),
      session_id: context.sessionId || this.#fallbackSessionId,
      server_name: this.#server.name,
      server_version: this.#server.version,
      protocol_version: this.#protocolVersion,
      transport: this.#transport(context),
      attributes: serverRequestAttributes,
    };
  }

  #transport(context: MessageContext): string {
    return this.#options.transport === 'other' && context.http ? 'http' : this.#options.transport;
  }

  #actor(context: MessageContext, message: JsonObject, sessionId: string): Actor {
    try {
      return actorOf(this.#options.actor, context, message, sessionId, this.#options.transport === 'stdio');
    } catch {
      this.#observer.counters.errors += 1;
      return { id: '', type: 'unknown', verified: false };
    }
  }

  /** Session era: the initialize says who the client is. Stateless era: every request does. */
  #learnClient(method: string, message: JsonObject, meta: JsonObject, context: MessageContext): void {
    const params = objectOf(message.params);
    if (method === 'initialize') {
      this.#client = objectOf(params.clientInfo);
      this.#protocolVersion = textOf(params.protocolVersion);
      return;
    }
    const clientInfo = meta['io.modelcontextprotocol/clientInfo'];
    if (isObject(clientInfo)) this.#client = clientInfo;
    const version = textOf(meta['io.modelcontextprotocol/protocolVersion']) || context.header('mcp-protocol-version');
    if (version) this.#protocolVersion = version;
  }

  #end(direction: Direction, message: JsonObject): void {
    // A response answers a request that went the other way.
    const asked: Direction = direction === 'client_to_server' ? 'server_to_client' : 'client_to_server';
    const pending = this.#take(asked, message.id as RequestId);
    if (pending === undefined) return;
    const parts = responseParts(message);
    if (asked === 'client_to_server') this.#learnServer(pending, parts.outcome, message.result);
    const end: CallEnd = { outcome: parts.outcome };
    if (parts.errorType !== '') {
      end.error_type = parts.errorType;
      end.error_code = parts.errorCode;
      end.error_message = parts.errorMessage;
    }
    if (parts.taskId !== '') end.task_id = parts.taskId;
    if (asked === 'client_to_server') end.result = parts.result;
    this.#ended(pending, end);
  }

  #ended(pending: Pending, end: CallEnd): void {
    if (introductions.has(pending.method)) {
      end.server_name = this.#server.name;
      end.server_version = this.#server.version;
    }
    this.#observer.recorder.end(pending.call, end);
  }

  #learnServer(pending: Pending, outcome: string, result: unknown): void {
    if (outcome === 'input_required') {
      const firstEventId = pending.parent || pending.call.eventId;
      this.#observer.rounds.expect(pending.actorId, pending.method, pending.params, objectOf(result), firstEventId);
    } else if (outcome !== 'success') {
      return;
    } else if (pending.method === 'tools/list') {
      this.#observer.tools.learn(result);
    } else if (introductions.has(pending.method)) {
      const { serverInfo, protocolVersion } = objectOf(result);
      if (isObject(serverInfo)) this.#server = { name: textOf(serverInfo.name), version: textOf(serverInfo.version) };
      if (typeof protocolVersion === 'string') this.#protocolVersion = protocolVersion;
    }
  }

  #notified(direction: Direction, message: JsonObject): void {
    if (message.method !== 'notifications/cancelled') return;
    const pending = this.#take(direction, objectOf(message.params).requestId as RequestId);
    if (pending !== undefined) this.#ended(pending, { outcome: 'cancelled' });
  }

  #add(direction: Direction, id: RequestId, pending: Pending): void {
    const calls = this.#pending[direction];
    if (this.#pendingCount >= maxPendingCalls) this.#abandonOldest(direction);
    const first = calls.get(id);
    if (first === undefined) {
      calls.set(id, pending);
    } else {
      let last = first;
      while (last.next !== undefined) last = last.next;
      last.next = pending;
    }
    this.#pendingCount += 1;
  }

  #take(direction: Direction, id: RequestId): Pending | undefined {
    const calls = this.#pending[direction];
    const pending = calls.get(id);
    if (pending === undefined) return undefined;
    if (pending.next === undefined) calls.delete(id);
    else calls.set(id, pending.next);
    this.#pendingCount -= 1;
    return pending;
  }

  #abandonOldest(direction: Direction): void {
    for (const id of this.#pending[direction].keys()) {
      const oldest = this.#take(direction, id)!;
      this.#observer.counters.abandoned += 1;
      this.#ended(oldest, { outcome: 'no_response' });
      return;
    }
  }

  #failed(error: unknown): void {
    this.#observer.counters.errors += 1;
    if (this.#observer.failClosed) throw new Unrecorded(error);
  }
}

/** Requests whose answer says who the server is. */
const introductions: ReadonlySet<string> = new Set(['initialize', 'server/discover']);

const serverRequestAttributes = Object.freeze({ direction: 'server_to_client' });

function idText(id: unknown): string {
  return id === undefined || id === null ? '' : String(id);
}
