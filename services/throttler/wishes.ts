/**
 * What alerts, people and the configuration ask for, and what follows from it: pure, time is a parameter.
 *
 * Invariants:
 * - The outcome does not depend on the order in which alerts and responses are read, so a throttler that starts anew
 *   reads what is retained of both and arrives at the same signals.
 * - A wish that was lifted stays lifted: a reminder of the same alert does not bring it back.
 * - Nothing outlives its end: of an alert, `ttl` after its newest record; of a person, the end that was given.
 */
import { isDeepStrictEqual } from 'node:util';
import type { Alert } from '../../schemas/alert.js';
import { parseDuration } from '../../schemas/duration.js';
import {
  type Limit,
  longestTtlMicros,
  mostIds,
  parseRate,
  type ScopeField,
  scopeFields,
  scopeNames,
  signalId,
  strictest,
  type ThrottleOrigin,
  type ThrottleSignal,
  type UnsignedSignal,
} from '../../schemas/throttle.js';
import { formatTimeMicros, parseTimeMicros } from '../../schemas/time.js';

/** One reason to hold calls back. Several wishes for one scope are one signal. */
export interface Wish {
  /** Known again by it: the alert and the place of its action, or the response. */
  readonly id: string;
  readonly origin: ThrottleOrigin;
  readonly tenant: string;
  readonly scope: ThrottleSignal['scope'];
  readonly each: readonly ScopeField[];
  readonly limit: Limit;
  readonly dryRun: boolean;
  readonly reason: string;
  readonly alertId: string;
  readonly ruleId: string;
  readonly author: string;
  readonly authorKey: string;
  /** When it was first asked for, and when it ends; microseconds. */
  readonly sinceMicros: number;
  readonly untilMicros: number;
}

export interface Lift {
  readonly signalId: string;
  readonly atMicros: number;
  readonly author: string;
  readonly authorKey: string;
  readonly reason: string;
}

export interface Policy {
  /** Actors held back at once by alerts, in one tenant; further ones wait for a person, on record as dry runs. */
  readonly mostActors: number;
  /** Never held back, by field. */
  readonly protect: Readonly<Partial<Record<ScopeField, ReadonlySet<string>>>>;
}

/** A signal that should hold, before it has a revision. */
export type Wanted = Omit<UnsignedSignal, 'revision' | 'issued_at' | 'producers'>;

const defaultTtlMicros = parseDuration('15m');
const unprotected: Pick<Policy, 'protect'> = { protect: {} };
const noLimit: Limit = { block: false, interval_micros: 0, burst: 0, delay_ms: 0 };

type ThrottleAction = Extract<Alert['actions'][number], { throttle: unknown }>['throttle'];

/** The wishes of an alert's newest record; none when it is resolved and lifts with that. */
export function wishesOf(alert: Alert): Wish[] {
  const wishes: Wish[] = [];
  for (const [index, action] of alert.actions.entries()) {
    if (!('throttle' in action)) continue;
    const { throttle } = action;
    if (alert.state === 'resolved' && throttle.until !== 'expiry') continue;
    const scope = scopeOf(alert.group, throttle.scope);
    // A rule whose group has none of the fields is refused when it is read; a foreign record may still say so.
    if (scope === undefined) continue;
    const ttl = throttle.ttl === undefined ? defaultTtlMicros : parseDuration(throttle.ttl);
    const ends = alert.state === 'resolved' ? parseTimeMicros(alert.last_at) : parseTimeMicros(alert.caused_at);
    wishes.push({
      id: `${alert.alert_id}/${index}`,
      origin: 'alert',
      tenant: alert.tenant,
      scope,
      each: [],
      limit: limitOf(throttle),
      dryRun: alert.dry_run || throttle.dry_run === true,
      reason: throttle.message ?? `${alert.title}: ${alert.reason}`,
      alertId: alert.alert_id,
      ruleId: alert.rule_id,
      author: '',
      authorKey: '',
      sinceMicros: parseTimeMicros(alert.started_at),
      untilMicros: ends + Math.min(longestTtlMicros, ttl),
    });
  }
  return wishes;
}

/** The limit in the words of rules, commands and the configuration. */
export function limitOf(words: Pick<ThrottleAction, 'rate' | 'burst' | 'delay' | 'block'>): Limit {
  const interval = words.rate === undefined ? 0 : parseRate(words.rate);
  return {
    block: words.block === true,
    interval_micros: interval,
    burst: interval === 0 ? 0 : Math.max(1, words.burst ?? 1),
    delay_ms: words.delay === undefined ? 0 : Math.round(parseDuration(words.delay) / 1000),
  };
}

/** The named fields of a group, or all that a scope may have; undefined when one is missing or nothing is left. */
function scopeOf(
  group: Readonly<Record<string, string>>,
  names: ThrottleAction['scope'],
): ThrottleSignal['scope'] | undefined {
  const fields =
    names === undefined
      ? scopeFields.filter((field) => group[field])
      : [names].flat().map((name) => scopeNames[name as keyof typeof scopeNames]);
  const scope: Partial<Record<ScopeField, string>> = {};
  for (const field of fields) {
    const value = group[field];
    if (!value) return undefined;
    scope[field] = value;
  }
  return fields.length === 0 ? undefined : scope;
}

/** Every signal that should hold now, by id. Deterministic in the set of wishes and lifts. */
export function wanted(
  wishes: Iterable<Wish>,
  lifts: ReadonlyMap<string, Lift>,
  policy: Policy,
  nowMicros: number,
): Map<string, Wanted> {
  const bySignal = new Map<string, Wish[]>();
  for (const wish of wishes) {
    if (wish.untilMicros <= nowMicros) continue;
    const id = signalId(wish.tenant, wish.origin, wish.scope, wish.each);
    const lift = lifts.get(id);
    if (lift !== undefined && wish.sinceMicros <= lift.atMicros) continue;
    const same = bySignal.get(id);
    if (same === undefined) bySignal.set(id, [wish]);
    else same.push(wish);
  }
  const signals = [...bySignal].map(([id, same]) => merged(id, same, policy));
  withinBudget(signals, bySignal, policy);
  return new Map(signals.map((signal) => [signal.signal_id, signal]));
}

/** Wishes for one scope: the strictest of each part, until the last of them ends. A dry run holds nobody back. */
function merged(id: string, wishes: Wish[], policy: Policy): Wanted {
  wishes.sort((a, b) => a.sinceMicros - b.sinceMicros || (a.id < b.id ? -1 : 1));
  const real = wishes.filter(({ dryRun }) => !dryRun);
  const told = real.length > 0 ? real : wishes;
  const { tenant, scope, each } = wishes[0] as Wish;
  const byPerson = told.find(({ origin }) => origin === 'person');
  const { origin, reason } = byPerson ?? (told[0] as Wish);
  // Whom the operator protects, rules do not hold back; a person who names one means it.
  const { protect } = origin === 'alert' ? policy : unprotected;
  const protectedAs = scopeFields.find((field) => protect[field]?.has(scope[field] ?? ''));
  return {
    signal_id: id,
    state: 'active',
    origin,
    tenant,
    scope,
    each: [...each].sort(),
    except: exceptions(scope, protect),
    ...told.map(({ limit }) => limit).reduce(strictest, noLimit),
    dry_run: real.length === 0 || protectedAs !== undefined,
    reason: protectedAs === undefined ? reason : `Not held back, ${protectedAs} is protected. ${reason}`,
    alert_ids: distinct(told.map(({ alertId }) => alertId)),
    rule_ids: distinct(told.map(({ ruleId }) => ruleId)),
    author: byPerson?.author ?? '',
    author_key: byPerson?.authorKey ?? '',
    expires_at: formatTimeMicros(Math.max(...told.map(({ untilMicros }) => untilMicros))),
  };
}

/** Protected actors and tools of a scope that does not name them itself. */
function exceptions(scope: ThrottleSignal['scope'], protect: Policy['protect']): string[] {
  return scopeFields.flatMap((field) =>
    scope[field] === undefined ? [...(protect[field] ?? [])].map((value) => `${field}=${value}`) : [],
  );
}

/** The newest actors beyond the budget become dry runs; they are held back as soon as older ones end. */
function withinBudget(signals: Wanted[], wishes: ReadonlyMap<string, readonly Wish[]>, policy: Policy): void {
  const actors = new Map<string, Set<string>>();
  const since = (signal: Wanted): number => wishes.get(signal.signal_id)?.[0]?.sinceMicros ?? 0;
  const order = signals
    .map((signal, at) => ({ signal, at }))
    .filter(({ signal }) => signal.origin === 'alert' && !signal.dry_run && signal.scope.actor_id !== undefined)
    .sort((a, b) => since(a.signal) - since(b.signal) || (a.signal.signal_id < b.signal.signal_id ? -1 : 1));
  for (const { signal, at } of order) {
    const held = actors.get(signal.tenant) ?? new Set();
    actors.set(signal.tenant, held);
    const actor = signal.scope.actor_id as string;
    if (held.has(actor) || held.size < policy.mostActors) {
      held.add(actor);
      continue;
    }
    signals[at] = {
      ...signal,
      dry_run: true,
      reason: `Not held back, ${policy.mostActors} actors are already: a person must decide. ${signal.reason}`,
    };
  }
}

function distinct(ids: readonly string[]): string[] {
  return [...new Set(ids.filter((id) => id !== ''))].slice(0, mostIds);
}

/**
 * What must be written so that `current`, the newest record of each signal, says what is wanted.
 * @param producers how many producers serve a signal's calls.
 * @param isStale what must be written anew though it says what is wanted.
 */
export function changes<T extends UnsignedSignal>(
  current: ReadonlyMap<string, T>,
  want: ReadonlyMap<string, Wanted>,
  lifts: ReadonlyMap<string, Lift>,
  producers: (signal: Wanted) => number,
  nowMicros: number,
  isStale: (known: T) => boolean = () => false,
): UnsignedSignal[] {
  const records: UnsignedSignal[] = [];
  for (const signal of want.values()) {
    const known = current.get(signal.signal_id);
    const next: UnsignedSignal = {
      ...signal,
      producers: Math.max(1, producers(signal)),
      revision: (known?.revision ?? 0) + 1,
      issued_at: formatTimeMicros(nowMicros),
    };
    if (known === undefined || isStale(known) || !saysTheSame(known, next)) records.push(next);
  }
  for (const known of current.values()) {
    if (want.has(known.signal_id) || known.state === 'lifted') continue;
    // One that has run out needs no record: every holder knows its end.
    if (parseTimeMicros(known.expires_at) <= nowMicros) continue;
    const lift = lifts.get(known.signal_id);
    records.push({
      ...known,
      state: 'lifted',
      revision: known.revision + 1,
      issued_at: formatTimeMicros(nowMicros),
      ...(lift === undefined
        ? {}
        : { author: lift.author, author_key: lift.authorKey, reason: lift.reason || known.reason }),
    });
  }
  return records;
}

/** Whether all is equal but what is made anew with each record. */
function saysTheSame(known: UnsignedSignal, next: UnsignedSignal): boolean {
  const { revision, issued_at, ...wanted } = next;
  const said = known as unknown as Record<string, unknown>;
  return Object.entries(wanted).every(([name, value]) => isDeepStrictEqual(said[name], value));
}
