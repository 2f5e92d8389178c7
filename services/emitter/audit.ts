import type { ActorSource } from './actor.js';
import { type EnforcementCounters, openEnforcement, type ThrottleOptions } from './enforcement.js';
import { instrument, type TransportShape, transportKind } from './instrument.js';
import { isObject, objectOf, textOf } from './messages.js';
import { ObservedConnection } from './observe.js';
import { Observer, type ObserverCounters } from './observer.js';
import { checkOptions } from './options.js';
import { Recorder, type RecorderOptions } from './recorder.js';

export interface AuditOptions extends RecorderOptions {
  /** Who called. Default: verified `authInfo`, else MCP_AUDITD_ACTOR, else the user of the operating system on stdio. */
  readonly actor?: ActorSource;
  /** How throttle signals are followed; false: not at all. */
  readonly throttle?: ThrottleOptions | false;
}

export interface AuditHandle {
  /** Resolves when everything recorded so far was delivered, or could not be for now (it then stays in the spool). */
  flush(): Promise<void>;
  /**
   * Stops recording new connections of this server and delivers what is there. Servers that share one recorder (a
   * factory that builds one for each request) close it with the last handle. Idempotent.
   */
  close(): Promise<void>;
  readonly counters: Readonly<ObserverCounters> & Recorder['counters'] & { readonly throttle?: EnforcementCounters };
}

/** What both majors' low-level servers have in common, by shape. */
interface ServerShape {
  connect(transport: TransportShape, ...rest: unknown[]): Promise<unknown>;
  readonly transport?: TransportShape | undefined;
}

interface SharedObserver {
  readonly observer: Observer;
  handles: number;
}

/**
 * Observers by what was configured: `createMcpHandler` builds a server for every request, and all of them are one
 * emitter with one spool, one sequence and one memory of listed tools. Their number is the number of differing
 * `audit()` lines of a program.
 */
const shared = new Map<string, SharedObserver>();
const audited = new WeakMap<object, AuditHandle>();

/**
 * Records every call that reaches an MCP server, from this line on: in `McpServer` and the low-level `Server` of
 * `@modelcontextprotocol/sdk` 1.x and `@modelcontextprotocol/server` 2.x, on every transport it is or will be
 * connected to, whenever its tools are registered. Nothing after this line throws into a call.
 * @throws TypeError when `server` has no shape that is known, or an option is not, so that nothing is ignored silently.
 */
export function audit(server: object, options: AuditOptions = {}): AuditHandle {
  const target = lowLevelServer(server);
  const existing = audited.get(target);
  if (existing !== undefined) return existing;

  checkOptions(options);
  const identity = serverIdentity(target);
  const { actor, throttle, ...recorderOptions } = options;
  const name = options.name ?? (identity.name || 'mcp-server');
  const key = configurationKey({ ...recorderOptions, name, throttle });
  const entry = shared.get(key) ?? open(key, { ...recorderOptions, name }, throttle);
  entry.handles += 1;
  const { observer } = entry;
  let closed = false;

  const observed = new WeakSet<object>();
  const observeTransport = (transport: TransportShape): void => {
    if (!isTransport(transport)) throw new TypeError('it has no send()');
    if (closed || observed.has(transport)) return;
    const options = { transport: transportKind(transport), actor, server: identity };
    instrument(transport, new ObservedConnection(observer, options));
    observed.add(transport);
  };

  const connect = target.connect;
  Object.defineProperty(target, 'connect', {
    configurable: true,
    writable: true,
    enumerable: false,
    value: function observedConnect(this: unknown, ...rest: Parameters<ServerShape['connect']>): Promise<unknown> {
      try {
        observeTransport(rest[0]);
      } catch (error) {
        // At start, and loudly: what goes over it would not be on record, and nobody would know.
        const what = `${describe(rest[0])} cannot be observed: ${(error as Error).message}`;
        return Promise.reject(new TypeError(`audit(): the transport ${what}`));
      }
      return connect.apply(target, rest);
    },
  });
  if (isTransport(target.transport)) observeTransport(target.transport);

  const handle: AuditHandle = {
    flush: () => observer.recorder.flush(),
    async close() {
      if (closed) return;
      closed = true;
      entry.handles -= 1;
      if (entry.handles > 0) return observer.recorder.flush();
      shared.delete(key);
      observer.enforcement?.close();
      await observer.recorder.close();
    },
    get counters() {
      const { recorder, counters, enforcement } = observer;
      return {
        ...recorder.counters,
        ...counters,
        ...(enforcement === undefined ? {} : { throttle: enforcement.counters }),
      };
    },
  };
  audited.set(target, handle);
  return handle;
}

function open(key: string, options: RecorderOptions, throttle: AuditOptions['throttle']): SharedObserver {
  const recorder = Recorder.open(options);
  const observer = new Observer(recorder, options.failClosed === true, openEnforcement(throttle, options));
  const entry = { observer, handles: 0 };
  shared.set(key, entry);
  return entry;
}

function lowLevelServer(server: unknown): ServerShape {
  const outer = server as { server?: unknown } | null;
  for (const candidate of [outer?.server, outer]) {
    if (isServer(candidate)) return candidate;
  }
  throw new TypeError(
    'audit(server): expected an McpServer or Server of @modelcontextprotocol/sdk 1.x or @modelcontextprotocol/server 2.x ' +
      `(an object with connect() and setRequestHandler()), got ${describe(server)}.`,
  );
}

/** A client has connect() and setRequestHandler() as well; what it alone has is callTool(). */
function isServer(value: unknown): value is ServerShape {
  const shape = value as Record<string, unknown> | null | undefined;
  return (
    typeof shape === 'object' &&
    shape !== null &&
    typeof shape.connect === 'function' &&
    typeof shape.setRequestHandler === 'function' &&
    shape.callTool === undefined
  );
}

function isTransport(value: unknown): value is TransportShape {
  return typeof value === 'object' && value !== null && typeof (value as TransportShape).send === 'function';
}

function describe(value: unknown): string {
  if (typeof value !== 'object' || value === null) return value === null ? 'null' : typeof value;
  const name = value.constructor?.name ?? 'object';
  return `${name} with {${Object.keys(value).slice(0, 8).join(', ')}}`;
}

/** Both majors keep what the server was constructed with as `_serverInfo`; an initialize tells it as well. */
function serverIdentity(server: object): { name: string; version: string } {
  const info = objectOf((server as { _serverInfo?: unknown })._serverInfo);
  return { name: textOf(info.name), version: textOf(info.version) };
}

/**
 * JSON text that is equal when the options are; a pattern counts by its source, a function by its text. A sink counts
 * by its identity: two of one shape may lead to different places.
 */
function configurationKey(options: RecorderOptions & { throttle: AuditOptions['throttle'] | undefined }): string {
  return JSON.stringify(options, (name, value: unknown) => {
    if (name === 'sink' && isObject(value)) return identityOf(value);
    if (value instanceof RegExp || typeof value === 'function') return String(value);
    if (!isObject(value)) return value;
    return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
  });
}

const identities = new WeakMap<object, number>();
let identitiesGiven = 0;

function identityOf(object: object): number {
  const known = identities.get(object);
  if (known !== undefined) return known;
  identitiesGiven += 1;
  identities.set(object, identitiesGiven);
  return identitiesGiven;
}
