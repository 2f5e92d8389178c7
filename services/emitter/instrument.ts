import { isObject, type MessageContext, textOf } from './messages.js';
import { type ObservedConnection, Unrecorded } from './observe.js';

/** The seams of a transport that both majors of the SDK have, by shape. */
export interface TransportShape {
  onmessage?: Handler | undefined;
  onclose?: (() => void) | undefined;
  send(...rest: unknown[]): Promise<unknown>;
  readonly sessionId?: string | undefined;
}

type Handler = (message: unknown, ...rest: unknown[]) => unknown;

/** JSON-RPC's internal error: the refusal is ours, and no code of MCP names it. */
const refusedCode = -32603;

/**
 * Observes a transport in place: the object keeps its identity, handlers set before or after are called with the very
 * arguments they would have had, and `send` gets every argument it was given. A record is made before the message
 * goes on. Only with failClosed is a message held back, and then the caller gets an error.
 */
export function instrument(transport: TransportShape, connection: ObservedConnection): void {
  const send = transport.send;
  const seen = new WeakSet<object>();

  const observeIncoming = (message: unknown, extra: unknown): boolean => {
    // Handlers are chained by some hosts, and then one message passes here once for each.
    if (typeof message === 'object' && message !== null) {
      if (seen.has(message)) return true;
      seen.add(message);
    }
    try {
      connection.observe('client_to_server', message, contextOf(transport, extra));
      return true;
    } catch (error) {
      if (!(error instanceof Unrecorded) || !isObject(message) || message.id === undefined) return true;
      const refusal = { jsonrpc: '2.0', id: message.id, error: { code: refusedCode, message: error.message } };
      send.call(transport, refusal).catch(() => {});
      return false;
    }
  };

  redefine(
    transport,
    'onmessage',
    (handler) =>
      function observed(this: unknown, message: unknown, ...rest: unknown[]) {
        return observeIncoming(message, rest[0]) ? handler.call(this, message, ...rest) : undefined;
      },
  );
  redefine(
    transport,
    'onclose',
    (handler) =>
      function observed(this: unknown, ...rest: unknown[]) {
        connection.closed();
        return handler.apply(this, rest as [unknown]);
      },
  );
  Object.defineProperty(transport, 'send', {
    configurable: true,
    writable: true,
    enumerable: false,
    value: function observed(this: unknown, ...rest: unknown[]): Promise<unknown> {
      const message = rest[0];
      try {
        connection.observe('server_to_client', message, contextOf(transport, undefined));
      } catch (error) {
        if (error instanceof Unrecorded && isObject(message) && message.method === undefined) {
          rest[0] = { jsonrpc: '2.0', id: message.id, error: { code: refusedCode, message: error.message } };
        }
      }
      return send.apply(transport, rest);
    },
  });
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
