/**
 * The throttle signals that hold now, and the decision about a call: in memory, no I/O, well under a microsecond.
 *
 * Invariants:
 * - A signal holds only when its signature is that of a pinned key, its revision is the highest seen, and its time is
 *   now: it is not from further ahead than clocks differ, and it has not run out.
 * - A call is counted against every signal it is in, or, when one refuses it, against none.
 * - A rate is the generic cell rate algorithm (ITU-T I.371): one number for each bucket, the time at which it is full
 *   again. A bucket that is full again says nothing and is forgotten.
 */
import type { KeyObject } from 'node:crypto';
import { type ScopedCall, ScopeIndex } from '../../schemas/scope-index.js';
import {
  isSignedBy,
  longestAheadMicros,
  longestTtlMicros,
  type ScopeField,
  type ThrottleSignal,
} from '../../schemas/throttle.js';
import { parseTimeMicros } from '../../schemas/time.js';

/** What becomes of a call. */
export type Decision =
  | { readonly kind: 'pass' }
  | { readonly kind: 'delay'; readonly delayMs: number; readonly signalId: string }
  | { readonly kind: 'refuse'; readonly retryAfterMs: number; readonly signalId: string; readonly reason: string };

/** Why a signal was not taken: for counters, and for the record. */
export type SignalRefusal = 'unknown_key' | 'forged' | 'expired' | 'too_far_ahead' | 'too_long' | 'too_many';

interface Held {
  readonly signal: ThrottleSignal;
  readonly scope: ThrottleSignal['scope'];
  readonly each: readonly ScopeField[];
  readonly except: ReadonlySet<string>;
  readonly intervalMicros: number;
  /** How far ahead of now a bucket may be: what a burst takes. */
  readonly toleranceMicros: number;
  readonly expiresMicros: number;
  /** When the bucket is full again: of a signal without `each` the only one, else by the values of `each`. */
  fullAt: number;
  readonly buckets: Map<string, number>;
}

/** About 1 KB each: 20 MB. The throttler's own limits are far below. */
const mostSignals = 20_000;
/** Buckets of one signal: 100 bytes each. When there are more, those that are full again are dropped, then the oldest. */
const mostBuckets = 50_000;

const pass: Decision = { kind: 'pass' };
const unreachable: Decision = {
  kind: 'refuse',
  retryAfterMs: 5_000,
  signalId: '',
  reason: 'Throttle signals cannot be had, and the server is set to refuse calls then.',
};

export class Throttles {
  #keys: ReadonlyMap<string, KeyObject> = new Map();
  /** With `closed`, since when signals cannot be had, and what follows. */
  readonly #closedAfterMicros: number;
  #disconnectedMicros: number | undefined;
  readonly #held = new Map<string, Held>();
  readonly #index = new ScopeIndex<Held>();
  /** Highest revision of each signal, of lifted ones too until they would have run out. */
  readonly #revisions = new Map<string, { revision: number; expiresMicros: number; keyId: string }>();
  readonly #overrides = new Map<string, number>();
  readonly refusals: Record<SignalRefusal, number> = {
    unknown_key: 0,
    forged: 0,
    expired: 0,
    too_far_ahead: 0,
    too_long: 0,
    too_many: 0,
  };
  /** Calls that a dry run would have refused or delayed. */
  wouldHaveHeld = 0;

  /**
   * @param closedAfterMicros how long signals may be out of reach before every call is refused; Infinity: for ever, what
   * is known holds until it runs out and then calls pass (fail open).
   */
  constructor(closedAfterMicros = Number.POSITIVE_INFINITY) {
    this.#closedAfterMicros = closedAfterMicros;
  }

  /** The pinned public keys, by `throttleKeyId`. What a key signed that is no longer among them holds no more. */
  trust(keys: ReadonlyMap<string, KeyObject>): void {
    this.#keys = keys;
    for (const [id, { keyId }] of this.#revisions) {
      if (keys.has(keyId)) continue;
      this.#revisions.delete(id);
      this.#overrides.delete(id);
      const held = this.#held.get(id);
      if (held !== undefined) this.#drop(held);
    }
  }

  connected(): void {
    this.#disconnectedMicros = undefined;
  }

  /** Signals cannot be had, from now on unless that is so already. */
  disconnected(nowMicros: number): void {
    this.#disconnectedMicros ??= nowMicros;
  }

  /** Signals that are known and have not run out, dry runs included. */
  get size(): number {
    return this.#held.size;
  }

  /** Takes a signal, or says why not. An older revision than one that is known changes nothing. */
  take(signal: ThrottleSignal, nowMicros: number): SignalRefusal | undefined {
    const known = this.#revisions.get(signal.signal_id);
    if (known !== undefined && signal.revision <= known.revision) return undefined;
    const refusal = this.#refusal(signal, nowMicros);
    if (refusal !== undefined) {
      this.refusals[refusal] += 1;
      return refusal;
    }
    const expiresMicros = parseTimeMicros(signal.expires_at);
    this.#revisions.set(signal.signal_id, { revision: signal.revision, expiresMicros, keyId: signal.key_id });
    const before = this.#held.get(signal.signal_id);
    if (before !== undefined) this.#drop(before);
    this.#overrides.delete(signal.signal_id);
    if (signal.state === 'lifted') return undefined;
    if (signal.origin === 'override') {
      this.#overrides.set(signal.signal_id, expiresMicros);
      return undefined;
    }
    const { scope, each, except, producers } = signal;
    // This producer's share: the rate and the burst are divided by those who serve these calls.
    const intervalMicros = signal.interval_micros * Math.max(1, producers);
    const burst = Math.max(1, Math.floor(signal.burst / Math.max(1, producers)));
    const held: Held = {
      signal,
      scope,
      each,
      except: new Set(except),
      intervalMicros,
      toleranceMicros: intervalMicros * (burst - 1),
      expiresMicros,
      // A caller that was held back does not begin anew with a full bucket because the signal was extended.
      fullAt: before?.fullAt ?? 0,
      buckets: before?.buckets ?? new Map(),
    };
    this.#held.set(signal.signal_id, held);
    this.#index.add(held);
    return undefined;
  }

  /** Decides about a call that arrives now, and counts it. */
  decide(call: ScopedCall, nowMicros: number): Decision {
    if (this.#disconnectedMicros !== undefined && nowMicros - this.#disconnectedMicros > this.#closedAfterMicros)
      return unreachable;
    if (this.#index.size === 0 || this.#isOverridden(nowMicros)) return pass;
    const matching = this.#index.match(call);
    if (matching.length === 0) return pass;
    let refusal: Extract<Decision, { kind: 'refuse' }> | undefined;
    let delay: Held | undefined;
    let expired: Held[] | undefined;
    for (const held of matching) {
      const { signal } = held;
      if (held.expiresMicros <= nowMicros) {
        expired = [...(expired ?? []), held];
        continue;
      }
      if (held.except.size > 0 && isExcepted(held.except, call)) continue;
      const retryAfterMicros = retryAfter(held, call, nowMicros);
      if (signal.dry_run) {
        if (retryAfterMicros > 0 || signal.delay_ms > 0) this.wouldHaveHeld += 1;
      } else if (retryAfterMicros > 0) {
        if (retryAfterMicros / 1000 > (refusal?.retryAfterMs ?? 0)) {
          const { signal_id: signalId, reason } = signal;
          refusal = { kind: 'refuse', retryAfterMs: Math.ceil(retryAfterMicros / 1000), signalId, reason };
        }
      } else if (signal.delay_ms > (delay?.signal.delay_ms ?? 0)) delay = held;
    }
    for (const held of matching) count(held, call, nowMicros, refusal !== undefined);
    if (expired !== undefined) for (const held of expired) this.#drop(held);
    if (refusal !== undefined) return refusal;
    if (delay === undefined) return pass;
    return { kind: 'delay', delayMs: delay.signal.delay_ms, signalId: delay.signal.signal_id };
  }

  /** Forgets every signal that is not among these: what a gateway tells anew is all that holds. */
  keepOnly(ids: ReadonlySet<string>): void {
    for (const held of this.#held.values()) if (!ids.has(held.signal.signal_id)) this.#drop(held);
    for (const id of this.#overrides.keys()) if (!ids.has(id)) this.#overrides.delete(id);
  }

  /** Forgets what has run out. Called now and then, never on a call's path. */
  sweep(nowMicros: number): void {
    for (const held of this.#held.values()) if (held.expiresMicros <= nowMicros) this.#drop(held);
    for (const [id, { expiresMicros }] of this.#revisions)
      if (expiresMicros + longestAheadMicros <= nowMicros) this.#revisions.delete(id);
    for (const [id, expiresMicros] of this.#overrides) if (expiresMicros <= nowMicros) this.#overrides.delete(id);
  }

  #refusal(signal: ThrottleSignal, nowMicros: number): SignalRefusal | undefined {
    const issued = parseTimeMicros(signal.issued_at);
    const expires = parseTimeMicros(signal.expires_at);
    if (!(expires > nowMicros) && signal.state === 'active') return 'expired';
    if (!(issued <= nowMicros + longestAheadMicros)) return 'too_far_ahead';
    if (!(expires - issued <= longestTtlMicros + longestAheadMicros)) return 'too_long';
    const key = this.#keys.get(signal.key_id);
    if (key === undefined) return 'unknown_key';
    if (!isSignedBy(signal, key)) return 'forged';
    return this.#held.size >= mostSignals && !this.#held.has(signal.signal_id) ? 'too_many' : undefined;
  }

  #isOverridden(nowMicros: number): boolean {
    for (const expiresMicros of this.#overrides.values()) if (expiresMicros > nowMicros) return true;
    return false;
  }

  #drop(held: Held): void {
    this.#held.delete(held.signal.signal_id);
    this.#index.delete(held);
  }
}

function isExcepted(except: ReadonlySet<string>, call: ScopedCall): boolean {
  for (const field of ['actor_id', 'tool_name', 'session_id', 'client_id', 'server_name'] as const) {
    const value = call[field];
    if (value && except.has(`${field}=${value}`)) return true;
  }
  return false;
}

/** Microseconds until the call would pass; 0 when it passes now. */
function retryAfter(held: Held, call: ScopedCall, nowMicros: number): number {
  const { signal, intervalMicros, toleranceMicros, expiresMicros } = held;
  if (signal.block) return expiresMicros - nowMicros;
  if (intervalMicros === 0) return 0;
  const fullAt = held.each.length === 0 ? held.fullAt : (held.buckets.get(bucketOf(held.each, call)) ?? 0);
  const wait = fullAt - toleranceMicros - nowMicros;
  return wait <= 0 ? 0 : Math.min(wait, expiresMicros - nowMicros);
}

/** Counts a call that passes; one that is refused costs nothing. A dry run counts what it alone would let pass. */
function count(held: Held, call: ScopedCall, nowMicros: number, refused: boolean): void {
  if (held.intervalMicros === 0 || held.signal.block || (refused && !held.signal.dry_run)) return;
  if (held.expiresMicros <= nowMicros) return;
  if (held.signal.dry_run && retryAfter(held, call, nowMicros) > 0) return;
  if (held.except.size > 0 && isExcepted(held.except, call)) return;
  if (held.each.length === 0) {
    held.fullAt = Math.max(nowMicros, held.fullAt) + held.intervalMicros;
    return;
  }
  const key = bucketOf(held.each, call);
  if (held.buckets.size >= mostBuckets && !held.buckets.has(key)) forgetBuckets(held.buckets, nowMicros);
  held.buckets.set(key, Math.max(nowMicros, held.buckets.get(key) ?? 0) + held.intervalMicros);
}

/** The values of `each` as one text; NUL stands in no value that matters. */
function bucketOf(each: readonly ScopeField[], call: ScopedCall): string {
  if (each.length === 1) return call[each[0] as ScopeField] ?? '';
  return each.map((field) => call[field] ?? '').join('\0');
}

function forgetBuckets(buckets: Map<string, number>, nowMicros: number): void {
  for (const [key, fullAt] of buckets) if (fullAt <= nowMicros) buckets.delete(key);
  let excess = buckets.size - mostBuckets + Math.ceil(mostBuckets / 10);
  for (const key of buckets.keys()) {
    if (excess-- <= 0) break;
    buckets.delete(key);
  }
}
