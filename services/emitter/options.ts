import { nearestName } from '../../schemas/nearest.js';
import { isObject } from './messages.js';
import type { RedactionOptions } from './redaction.js';
import type { Sink } from './sink.js';

/** What is kept of a method's bodies: both, neither, or one of them. Sizes and the hash are always recorded. */
export type PayloadPolicy = 'both' | 'arguments' | 'result' | 'none';

export interface RecorderOptions {
  /** Names the producer, as `<name>-<8 hex digits>`. Default: mcp-server. */
  readonly name?: string;
  /** The data directory. Default: MCP_AUDITD_DATA, else the XDG state directory. */
  readonly data?: string;
  /** Where the gateway listens. Default: MCP_AUDITD_URL, else what `daemon.json` in the data directory says. */
  readonly url?: string;
  /** Key of the gateway. Default: MCP_AUDITD_KEY, MCP_AUDITD_KEY_FILE, else `keys/emitter.key` in the data directory. */
  readonly key?: string;
  readonly keyFile?: string;
  /** Refuse calls that can't be recorded. Default: false, the call works and its loss is counted and reported. */
  readonly failClosed?: boolean;
  /** By method; `*` is every method that is not named. Default: both, and none for listings, pings and the like. */
  readonly payloads?: Readonly<Record<string, PayloadPolicy>>;
  readonly redaction?: RedactionOptions;
  readonly limits?: {
    /** Bytes kept of arguments and of result. Default 64 KiB each, at most 1 MiB. */
    readonly argumentsBytes?: number;
    readonly resultBytes?: number;
    /** Bytes kept of one string. Default 32 KiB. */
    readonly stringBytes?: number;
    /** Levels of nesting kept. Default 64, at most 512. */
    readonly depth?: number;
  };
  readonly spool?: {
    /** Bytes of this process's spool. Default 256 MiB: 400,000 calls of 600 bytes while the gateway is away. */
    readonly maxBytes?: number;
    /** Bytes of one segment. Default 8 MiB; delivered segments are deleted whole. */
    readonly segmentBytes?: number;
  };
  readonly delivery?: {
    /** Least time from one batch to the next: 40 requests a second at most. Default 25; a lone event goes at once. */
    readonly lingerMs?: number;
    /** Longest wait for delivery when the recorder is closed or the process ends by itself. Default 1,000. */
    readonly closeTimeoutMs?: number;
  };
  /** Where events go instead of the gateway. */
  readonly sink?: Sink;
}

/** Listings, liveness and settings: asked often, and their bodies tell little that their sizes do not. */
export const defaultPayloads: Readonly<Record<string, PayloadPolicy>> = {
  'tools/list': 'none',
  'resources/list': 'none',
  'resources/templates/list': 'none',
  'prompts/list': 'none',
  'roots/list': 'none',
  'tasks/list': 'none',
  'logging/setLevel': 'none',
  'completion/complete': 'none',
  ping: 'none',
};

/** Every option that audit() takes; `leaf` is any value. */
const leaf = null;
interface Known {
  readonly [name: string]: Known | null;
}
const knownOptions: Known = {
  name: leaf,
  data: leaf,
  url: leaf,
  key: leaf,
  keyFile: leaf,
  actor: leaf,
  failClosed: leaf,
  payloads: leaf,
  sink: leaf,
  redaction: { names: leaf, patterns: leaf, builtIn: leaf },
  limits: { argumentsBytes: leaf, resultBytes: leaf, stringBytes: leaf, depth: leaf },
  spool: { maxBytes: leaf, segmentBytes: leaf },
  delivery: { lingerMs: leaf, closeTimeoutMs: leaf },
  throttle: { answer: leaf, closedAfterMs: leaf, publicKeys: leaf },
};
const policies: readonly unknown[] = ['both', 'arguments', 'result', 'none'] satisfies PayloadPolicy[];

/**
 * An option that is misspelt in JavaScript would be ignored, and what it should redact would be kept.
 * @throws TypeError naming the option that is not known, or that is not what it must be.
 */
export function checkOptions(options: object): void {
  checkNames(options, knownOptions, '');
  const { payloads, limits, spool, delivery } = options as RecorderOptions;
  for (const [method, policy] of Object.entries(payloads ?? {})) {
    if (policies.includes(policy)) continue;
    throw new TypeError(`audit(): payloads["${method}"] must be one of ${policies.join(', ')}, got ${String(policy)}`);
  }
  for (const [group, numbers] of Object.entries({ limits, spool, delivery })) {
    for (const [name, value] of Object.entries(numbers ?? {})) {
      if (value === undefined || (Number.isSafeInteger(value) && value >= 0)) continue;
      throw new TypeError(`audit(): ${group}.${name} must be a whole number from 0, got ${String(value)}`);
    }
  }
}

function checkNames(options: object, known: Known, path: string): void {
  for (const [name, value] of Object.entries(options)) {
    if (!Object.hasOwn(known, name)) {
      const meant = nearestName(name, Object.keys(known));
      const hint = meant === undefined ? '' : `; did you mean ${path}${meant}?`;
      throw new TypeError(`audit(): there is no option ${path}${name}${hint}`);
    }
    const below = known[name];
    if (below && isObject(value)) checkNames(value, below, `${path}${name}.`);
  }
}
