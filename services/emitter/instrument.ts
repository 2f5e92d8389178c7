import { isObject, type MessageContext, textOf } from './messages.js';
import type { ObservedConnection } from './observe.js';
import { errorResponse } from './refusal.js';

/** The seams of a transport that both majors of the SDK have, by shape. */
export interface TransportShape {
  onmessage?: Handler | undefined;
  onclose?: (() => void) | undefined;
  send(...rest: unknown[]): Promise<unknown>;
  readonly sessionId?: string | undefined;
}

type Handler = (message: unknown, ...rest: unknown[]) => unknown;

/**
 * Observes a transport in place: the object keeps its identity, handlers set before or after are called with the very
 * arguments they would have had, and `send` gets every argument it was given. A record is made before the message
 * goes on. Where the connection refuses a message, an error goes in its place: back to who sent a request, on to who
 * waits for a response.
 */
export function instrument(transport: TransportShape, connection: ObservedConnection): void {
  const send = transport.send;
  let handler: Handler | undefined;

  redefine(transport, 'onmessage', (original) => {
    handler = original;
    return function observed(this: unknown, message: unknown, ...rest: unknown[]) {
      const verdict = connection.observe('client_to_server', message, contextOf(transport, rest[0]));
      if (verdict === undefined) return original.call(this, message, ...rest);
      if ('delayMs' in verdict) {
        setTimeout(() => original.call(this, message, ...rest), verdict.delayMs);
        return undefined;
      }
      const { refusal } = verdict;
      if (!isAnswerable(message)) return original.call(this, message, ...rest);
      if (message.method === undefined) return original.call(this, errorResponse(message.id, refusal), ...rest);
      connection.commit();
      send.call(transport, errorResponse(message.id, refusal)).catch(() => {});
      return undefined;
    };
  });
  redefine(
    transport,
    'onclose',
    (original) =>
      function observed(this: unknown, ...rest: unknown[]) {
        connection.closed();
        return original.apply(this, rest as [unknown]);
      },
  );
  Object.defineProperty(transport, 'send', {
    configurable: true,
    writable: true,
    enumerable: false,
    value: function observed(this: unknown, ...rest: unknown[]): Promise<unknown> {
      const message = rest[0];
      const verdict = connection.observe('server_to_client', message, contextOf(transport, undefined));
      connection.commit();
      if (verdict !== undefined && 'refusal' in verdict && isAnswerable(message)) {
        const answer = errorResponse(message.id, verdict.refusal);
        if (message.method === undefined) rest[0] = answer;
        else {
          // The server asked: it is answered as the client would have, once it waits for it.
          queueMicrotask(() => handler?.call(transport, answer));
          return Promise.resolve();
        }
      }
      return send.apply(transport, rest);
    },
  });
}

function isAnswerable(message: unknown): message is { readonly id: unknown; readonly method?: unknown } {
  return isObject(message) && message.id !== undefined;
}

/**
 * Puts an accessor over `property`: what is set is wrapped and handed to the setter that was there (a Streamable HTTP
 * transport hands its handlers on to an inner one), and what is read is the wrapped handler.
 */
function redefine(transport: TransportShape, property: 'onmessage' | 'onclose', wrap: (handler: Handler) => Handler) {
  const inherited = accessorOf(transport, property);
  const current = transport[property] as Handler | undefined;
  let observed: Handler | undefined;
  const set = (handler: unknown): void => {
    observed = typeof handler === 'function' ? wrap(handler as Handler) : undefined;
    inherited?.set?.call(transport, observed);
  };
  Object.defineProperty(transport, property, {
    configurable: true,
    enumerable: true,
    get: () => observed,
    set,
  });
  if (current !== undefined) set(current);
}

function accessorOf(object: object, property: string): PropertyDescriptor | undefined {
  for (let holder: object | null = object; holder !== null; holder = Object.getPrototypeOf(holder)) {
    const descriptor = Object.getOwnPropertyDescriptor(holder, property);
    if (descriptor !== undefined) return descriptor.set === undefined ? undefined : descriptor;
  }
  return undefined;
}

/** stdio, sse, memory, http or other, by the name that every SDK transport's class carries. */
export function transportKind(transport: object): string {
  const name = transport.constructor?.name ?? '';
  if (/stdio/i.test(name)) return 'stdio';
  if (/memory/i.test(name)) return 'memory';
  if (/sse/i.test(name)) return 'sse';
  return /http/i.test(name) ? 'http' : 'other';
}

/**
 * What a transport hands on beside a message: v1 gives `requestInfo.headers` (an object with lower-case names), v2 the
 * web `Request` itself. Read lazily, as most messages ask for one or two headers only.
 */
function contextOf(transport: TransportShape, extra: unknown): MessageContext {
  return isObject(extra) ? new ExtraContext(transport, extra) : new BareContext(transport);
}

class BareContext implements MessageContext {
  readonly #transport: TransportShape;
  readonly headers: Readonly<Record<string, string>> = {};
  readonly authInfo: unknown = undefined;
  readonly signal: AbortSignal | undefined = undefined;
  readonly http = false;

  constructor(transport: TransportShape) {
    this.#transport = transport;
  }

  get sessionId(): string | undefined {
    return textOf(this.#transport.sessionId);
  }

  header(): string | undefined {
    return undefined;
  }
}

class ExtraContext implements MessageContext {
  readonly #transport: TransportShape;
  readonly #extra: Record<string, unknown>;

  constructor(transport: TransportShape, extra: Record<string, unknown>) {
    this.#transport = transport;
    this.#extra = extra;
  }

  get authInfo(): unknown {
    return this.#extra.authInfo;
  }

  get sessionId(): string | undefined {
    return textOf(this.#extra.sessionId) || textOf(this.#transport.sessionId) || this.header('mcp-session-id');
  }

  get http(): boolean {
    return this.#extra.requestInfo !== undefined || this.#extra.request !== undefined;
  }

  get signal(): AbortSignal | undefined {
    return webRequest(this.#extra.request)?.signal;
  }

  header(name: string): string | undefined {
    const { requestInfo } = this.#extra;
    const request = webRequest(this.#extra.request);
    if (request !== undefined) return request.headers.get(name) ?? undefined;
    if (!isObject(requestInfo) || !isObject(requestInfo.headers)) return undefined;
    const value = requestInfo.headers[name];
    return Array.isArray(value) ? textOf(value[0]) : textOf(value) || undefined;
  }

  get headers(): Readonly<Record<string, string>> {
    const { requestInfo } = this.#extra;
    const request = webRequest(this.#extra.request);
    if (request !== undefined) return Object.fromEntries(request.headers);
    const headers: Record<string, string> = {};
    if (isObject(requestInfo) && isObject(requestInfo.headers)) {
      for (const [name, value] of Object.entries(requestInfo.headers)) {
        if (value !== undefined) headers[name.toLowerCase()] = Array.isArray(value) ? value.join(', ') : String(value);
      }
    }
    return headers;
  }
}

/** By shape: adapters bring web requests of their own, which are no instances of the global class. */
function webRequest(request: unknown): Request | undefined {
  return typeof request === 'object' && request !== null && typeof (request as Request).headers?.get === 'function'
    ? (request as Request)
    : undefined;
}
