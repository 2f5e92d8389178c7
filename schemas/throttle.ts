/**
 * The throttle signal: which calls are held back at the server, how, and until when. A record on the topic `throttle`,
 * whose key is the signal's id; of one `signal_id` the highest revision counts. See ARCHITECTURE.md, "The loop".
 */
import { createHash, createPublicKey, type KeyObject, sign, verify } from 'node:crypto';

/** What a scope may name, and what rules and people call it. */
export const scopeNames = {
  actor: 'actor_id',
  session: 'session_id',
  client: 'client_id',
  server: 'server_name',
  tool: 'tool_name',
} as const;
export type ScopeName = keyof typeof scopeNames;
export type ScopeField = (typeof scopeNames)[ScopeName];
/** In the order in which a bucket's key has them. */
export const scopeFields = Object.values(scopeNames) as readonly ScopeField[];

/** What asks a server to do something. Handshakes, listings, pings and notifications are never held back. */
export const throttledMethods: ReadonlySet<string> = new Set([
  'tools/call',
  'resources/read',
  'prompts/get',
  'completion/complete',
]);

export const throttleStates = ['active', 'lifted'] as const;
export type ThrottleState = (typeof throttleStates)[number];

/**
 * - `alert`: rules that fired. `person`: somebody added it. `limit`: a fixed limit of the configuration.
 * - `override`: while it is active nothing is throttled in its tenant, whatever other signals say.
 */
export const throttleOrigins = ['alert', 'person', 'limit', 'override'] as const;
export type ThrottleOrigin = (typeof throttleOrigins)[number];

/** How calls are held back. All parts hold together; a part that is 0 or false asks for nothing. */
export interface Limit {
  /** Every call is refused. */
  readonly block: boolean;
  /** Microseconds to one call: 1/s is 1,000,000. 0: no rate. */
  readonly interval_micros: number;
  /** Calls that may come at once before the rate holds; at least 1 where there is a rate. */
  readonly burst: number;
  /** Milliseconds that each call waits before the server sees it. */
  readonly delay_ms: number;
}

export interface ThrottleSignal extends Limit {
  /** SHA-256 of tenant, origin's kind, scope and `each`, first 32 hex digits. */
  readonly signal_id: string;
  /** Counts the records of one signal from 1. */
  readonly revision: number;
  readonly state: ThrottleState;
  readonly origin: ThrottleOrigin;
  readonly tenant: string;
  /** Fields of a call and their values, all of which must be equal. Empty: every call. */
  readonly scope: Readonly<Partial<Record<ScopeField, string>>>;
  /** Fields each value of which has a limit of its own. */
  readonly each: readonly ScopeField[];
  /** Calls that are let through all the same, as `actor_id=alice` or `tool_name=ping`. */
  readonly except: readonly string[];
  /** Producers that share the rate: each may let through so much of it. At least 1. */
  readonly producers: number;
  /** Recorded, and nobody is held back. */
  readonly dry_run: boolean;
  /** For the caller and for people, in a sentence. */
  readonly reason: string;
  readonly alert_ids: readonly string[];
  readonly rule_ids: readonly string[];
  /** Who added or lifted it by hand; a claim, vouched for by `author_key`. */
  readonly author: string;
  readonly author_key: string;
  /** RFC 3339, microseconds. */
  readonly issued_at: string;
  readonly expires_at: string;
  /** First 16 hex digits of the SHA-256 of the public key (SPKI, DER). */
  readonly key_id: string;
  /** Ed25519 over `signedBytes`, base64url. */
  readonly signature: string;
}

export type UnsignedSignal = Omit<ThrottleSignal, 'key_id' | 'signature'>;

/** A signal holds at most so long: a leaked key, or a lost throttler, can't stop a server for good. */
export const longestTtlMicros = 24 * 3_600e6;
/** A call waits at most so long: clients of the SDKs give up after a minute. */
export const longestDelayMicros = 60e6;
/** Clocks differ: a signal from further ahead is refused. */
export const longestAheadMicros = 5 * 60e6;
/** Largest record of a signal: a scope of five names of 256 bytes, a reason of 2 KiB, 20 ids, escapes. */
export const longestSignalBytes = 32 * 1024;
/** Ids of alerts and rules that a signal names. */
export const mostIds = 20;

/** What makes two signals the same one. The override is apart from what it overrides. */
export function signalId(
  tenant: string,
  origin: ThrottleOrigin,
  scope: ThrottleSignal['scope'],
  each: readonly ScopeField[],
): string {
  const kind = origin === 'override' || origin === 'limit' ? origin : 'throttle';
  const identity = JSON.stringify([tenant, kind, scopeEntries(scope), [...each].sort()]);
  return createHash('sha256').update(identity).digest('hex').slice(0, 32);
}

function scopeEntries(scope: ThrottleSignal['scope']): [string, string][] {
  return scopeFields.filter((field) => scope[field] !== undefined).map((field) => [field, scope[field] as string]);
}

/** What the signature is over: everything that says who is held back, how and until when, in one spelling. */
export function signedBytes(signal: UnsignedSignal): Buffer {
  return Buffer.from(
    JSON.stringify([
      'mcp-auditd throttle 1',
      signal.signal_id,
      signal.revision,
      signal.state,
      signal.origin,
      signal.tenant,
      scopeEntries(signal.scope),
      [...signal.each].sort(),
      [...signal.except].sort(),
      signal.block,
      signal.interval_micros,
      signal.burst,
      signal.delay_ms,
      signal.producers,
      signal.dry_run,
      signal.reason,
      signal.issued_at,
      signal.expires_at,
    ]),
  );
}

/** First 16 hex digits of the SHA-256 of a public key. */
export function throttleKeyId(publicKey: KeyObject): string {
  return createHash('sha256')
    .update(publicKey.export({ type: 'spki', format: 'der' }))
    .digest('hex')
    .slice(0, 16);
}

const publicKeyPattern = /(?:^# until (\S+)\n)?-----BEGIN PUBLIC KEY-----[^-]+-----END PUBLIC KEY-----/gm;

/**
 * Public keys of PEM text that holds any number of them, by their id. A key below the line `# until TIME` (RFC 3339) was
 * replaced by another one and counts no more after that time.
 * @throws Error when one is no Ed25519 key.
 */
export function publicKeysOf(pem: string, nowMs = Date.now()): Map<string, KeyObject> {
  const keys = new Map<string, KeyObject>();
  for (const [text, until] of pem.matchAll(publicKeyPattern)) {
    if (until !== undefined && !(Date.parse(until) > nowMs)) continue;
    const key = createPublicKey(text.slice(text.indexOf('-----BEGIN')));
    if (key.asymmetricKeyType !== 'ed25519') throw new Error('a throttle key is an Ed25519 public key (SPKI, PEM)');
    keys.set(throttleKeyId(key), key);
  }
  return keys;
}

export function signSignal(signal: UnsignedSignal, privateKey: KeyObject, keyId: string): ThrottleSignal {
  return { ...signal, key_id: keyId, signature: sign(null, signedBytes(signal), privateKey).toString('base64url') };
}

/** About 100 µs. */
export function isSignedBy(signal: ThrottleSignal, publicKey: KeyObject): boolean {
  return verify(null, signedBytes(signal), publicKey, Buffer.from(signal.signature, 'base64url'));
}

const textFields = [
  'signal_id',
  'state',
  'origin',
  'tenant',
  'reason',
  'author',
  'author_key',
  'issued_at',
  'expires_at',
  'key_id',
  'signature',
] as const;
const countFields = ['revision', 'interval_micros', 'burst', 'delay_ms', 'producers'] as const;
const listFields = ['each', 'except', 'alert_ids', 'rule_ids'] as const;

/** A record of the topic as a signal; undefined when it is none. Its signature is not looked at. */
export function parseSignal(value: Buffer): ThrottleSignal | undefined {
  if (value.length === 0 || value.length > longestSignalBytes) return undefined;
  let record: unknown;
  try {
    record = JSON.parse(value.toString());
  } catch {
    return undefined;
  }
  if (!isObject(record) || !isObject(record.scope)) return undefined;
  const isSignal =
    isOneOf(throttleStates, record.state) &&
    isOneOf(throttleOrigins, record.origin) &&
    Object.keys(record.scope).every((field) => isOneOf(scopeFields, field)) &&
    isTexts(record.each) &&
    (record.each as string[]).every((field) => isOneOf(scopeFields, field)) &&
    textFields.every((name) => typeof record[name] === 'string') &&
    countFields.every((name) => Number.isSafeInteger(record[name]) && (record[name] as number) >= 0) &&
    listFields.every((name) => isTexts(record[name])) &&
    typeof record.block === 'boolean' &&
    typeof record.dry_run === 'boolean' &&
    isTexts(Object.values(record.scope));
  return isSignal ? (record as unknown as ThrottleSignal) : undefined;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isOneOf(known: readonly string[], value: unknown): boolean {
  return typeof value === 'string' && known.includes(value);
}

function isTexts(value: unknown): boolean {
  return Array.isArray(value) && value.every((each) => typeof each === 'string');
}

const ratePattern = /^(\d{1,9}(?:\.\d{1,3})?)\/(s|m|h)$/;
const unitMicros = { s: 1e6, m: 60e6, h: 3_600e6 } as const;

/** Microseconds to one call of a rate such as `1/s`, `100/m`, `0.5/s`; NaN when the text is none. */
export function parseRate(text: string): number {
  const match = ratePattern.exec(text);
  if (match === null || Number(match[1]) === 0) return Number.NaN;
  return Math.max(1, Math.round(unitMicros[match[2] as keyof typeof unitMicros] / Number(match[1])));
}

/** Every part at its strictest: what holds where several limits meet. */
export function strictest(a: Limit, b: Limit): Limit {
  const rated = [a, b].filter(({ interval_micros }) => interval_micros > 0);
  return {
    block: a.block || b.block,
    interval_micros: Math.max(a.interval_micros, b.interval_micros),
    burst: rated.length === 0 ? 0 : Math.min(...rated.map(({ burst }) => Math.max(1, burst))),
    delay_ms: Math.max(a.delay_ms, b.delay_ms),
  };
}
