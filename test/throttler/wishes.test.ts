import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Alert, ThrottleAction } from '../../schemas/alert.js';
import { signalId, type UnsignedSignal } from '../../schemas/throttle.js';
import { formatTimeMicros, parseTimeMicros } from '../../schemas/time.js';
import { changes, type Lift, type Policy, type Wish, wanted, wishesOf } from '../../services/throttler/wishes.js';
import { makeAlert } from './signals.js';

const start = parseTimeMicros('2026-11-24T09:00:00Z');
const minute = 60e6;
const open: Policy = { mostActors: 1000, protect: {} };

const alert = (changed: Partial<Alert> = {}, throttle?: ThrottleAction): Alert => makeAlert(start, changed, throttle);

function signals(wishes: Wish[], { lifts = [] as Lift[], policy = open, now = start } = {}) {
  return [...wanted(wishes, new Map(lifts.map((lift) => [lift.signalId, lift])), policy, now).values()];
}

describe('the wish of an alert', () => {
  it('is about every field of the group that a scope may name', () => {
    const [wish] = wishesOf(alert({ group: { actor_id: 'alice', tool_name: 'echo', method: 'tools/call' } }));
    expect(wish?.scope).toEqual({ actor_id: 'alice', tool_name: 'echo' });
    expect(wish?.limit).toEqual({ block: false, interval_micros: 1e6, burst: 1, delay_ms: 0 });
    expect(wish?.untilMicros).toBe(start + 15 * minute);
  });

  it('is about the named fields alone, and about nobody when the group lacks one', () => {
    expect(wishesOf(alert({}, { scope: 'actor', block: true }))[0]?.scope).toEqual({ actor_id: 'alice' });
    expect(wishesOf(alert({}, { scope: ['actor', 'session'], block: true }))).toEqual([]);
  });

  it('ends with the alert, or when its time is over where the rule says so', () => {
    expect(wishesOf(alert({ state: 'resolved' }))).toEqual([]);
    expect(wishesOf(alert({ state: 'resolved' }, { rate: '1/s', until: 'expiry' }))).toHaveLength(1);
  });

  it('never holds longer than a day', () => {
    expect(wishesOf(alert({}, { block: true, ttl: '30d' }))[0]?.untilMicros).toBe(start + 24 * 60 * minute);
  });
});

describe('the signals wanted', () => {
  const one = wishesOf(alert())[0] as Wish;

  it('are one for each scope, at its strictest, until the last wish ends', () => {
    const other = wishesOf(alert({ alert_id: 'a2' }, { rate: '10/m', burst: 5, ttl: '1h', delay: '2s' }))[0] as Wish;
    expect(signals([one, other])).toMatchObject([
      {
        interval_micros: 6e6,
        burst: 1,
        delay_ms: 2000,
        alert_ids: ['a1', 'a2'],
        expires_at: formatTimeMicros(start + 60 * minute),
      },
    ]);
    // The stricter one ends first.
    const later = signals([{ ...one, untilMicros: start + 1 }, other], { now: start + 1 });
    expect(later).toMatchObject([{ alert_ids: ['a2'], interval_micros: 6e6, burst: 5 }]);
  });

  it('are not brought back by an alert that was lifted, and are by a new one', () => {
    const id = signalId('default', 'alert', one.scope, []);
    const lifts = [{ signalId: id, atMicros: start + minute, author: 'eve', authorKey: '', reason: '' }];
    expect(signals([one], { lifts })).toEqual([]);
    const fresh = { ...one, id: 'a3/0', sinceMicros: start + 2 * minute };
    expect(signals([one, fresh], { lifts })).toHaveLength(1);
  });

  it('hold no protected actor back, and except protected ones from a scope that does not name them', () => {
    const policy: Policy = { mostActors: 5, protect: { actor_id: new Set(['alice', 'root']) } };
    expect(signals([one], { policy })).toMatchObject([{ dry_run: true, reason: expect.stringContaining('protected') }]);
    const tool = wishesOf(alert({}, { scope: 'tool', block: true }));
    expect(signals(tool, { policy })).toMatchObject([{ dry_run: false, except: ['actor_id=alice', 'actor_id=root'] }]);
    expect(signals([{ ...one, origin: 'person' }], { policy })).toMatchObject([{ dry_run: false, except: [] }]);
  });

  it('leave actors beyond the budget to a person, the newest first, and take them when others end', () => {
    const many = ['a', 'b', 'c'].map((actor, at) => ({
      ...one,
      id: actor,
      scope: { actor_id: actor },
      sinceMicros: start + at,
      untilMicros: start + minute * (actor === 'a' ? 1 : 10),
    }));
    const held = (now: number) =>
      signals(many, { policy: { ...open, mostActors: 2 }, now })
        .filter(({ dry_run }) => !dry_run)
        .map(({ scope }) => scope.actor_id);
    expect(held(start)).toEqual(['a', 'b']);
    expect(held(start + minute)).toEqual(['b', 'c']);
  });

  it('follow from the set of wishes, whatever their order', () => {
    const wish = fc.record({
      id: fc.string(),
      origin: fc.constantFrom('alert' as const, 'person' as const),
      tenant: fc.constantFrom('t1', 't2'),
      scope: fc.record({ actor_id: fc.constantFrom('a', 'b', 'c') }),
      each: fc.constant([]),
      limit: fc.record({
        block: fc.boolean(),
        interval_micros: fc.constantFrom(0, 1e6, 5e6),
        burst: fc.nat(5),
        delay_ms: fc.nat(10),
      }),
      dryRun: fc.boolean(),
      reason: fc.string(),
      alertId: fc.string(),
      ruleId: fc.string(),
      author: fc.string(),
      authorKey: fc.constant(''),
      sinceMicros: fc.integer({ min: start, max: start + 100 }),
      untilMicros: fc.integer({ min: start, max: start + 2 * minute }),
    });
    const all = fc.uniqueArray(wish, { selector: ({ id }) => id, maxLength: 12 });
    fc.assert(
      fc.property(all, fc.integer({ min: 1, max: 3 }), fc.array(fc.nat()), (wishes, mostActors, shuffle) => {
        const turned = wishes
          .map((each, at) => [shuffle[at] ?? at, each] as const)
          .sort(([a], [b]) => a - b)
          .map(([, each]) => each);
        const policy = { mostActors, protect: {} };
        const sorted = (list: Wish[]) => signals(list, { policy }).sort((a, b) => (a.signal_id < b.signal_id ? -1 : 1));
        expect(sorted(turned)).toEqual(sorted(wishes));
      }),
    );
  });
});

describe('the records written', () => {
  const want = (wishes: Wish[], now = start) => wanted(wishes, new Map(), open, now);
  const apply = (current: Map<string, UnsignedSignal>, written: UnsignedSignal[]) => {
    for (const signal of written) current.set(signal.signal_id, signal);
    return written;
  };
  const one = wishesOf(alert())[0] as Wish;

  it('are none when what is wanted is already said', () => {
    const current = new Map<string, UnsignedSignal>();
    expect(
      apply(
        current,
        changes(current, want([one]), new Map(), () => 1, start),
      ),
    ).toMatchObject([{ revision: 1 }]);
    expect(changes(current, want([one]), new Map(), () => 1, start + 5)).toEqual([]);
  });

  it('extend, share among producers, and lift, each with the next revision', () => {
    const current = new Map<string, UnsignedSignal>();
    apply(
      current,
      changes(current, want([one]), new Map(), () => 1, start),
    );
    const longer = { ...one, untilMicros: one.untilMicros + minute };
    expect(
      apply(
        current,
        changes(current, want([longer]), new Map(), () => 1, start),
      ),
    ).toMatchObject([{ revision: 2 }]);
    expect(
      apply(
        current,
        changes(current, want([longer]), new Map(), () => 4, start),
      ),
    ).toMatchObject([{ revision: 3, producers: 4 }]);
    expect(
      apply(
        current,
        changes(current, want([]), new Map(), () => 1, start),
      ),
    ).toMatchObject([{ revision: 4, state: 'lifted' }]);
    expect(changes(current, want([]), new Map(), () => 1, start)).toEqual([]);
  });

  it('are none for a signal that ran out by itself', () => {
    const current = new Map<string, UnsignedSignal>();
    apply(
      current,
      changes(current, want([one]), new Map(), () => 1, start),
    );
    const after = one.untilMicros;
    expect(changes(current, want([one], after), new Map(), () => 1, after)).toEqual([]);
  });
});
