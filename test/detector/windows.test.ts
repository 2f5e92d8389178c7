/** Each rule type against its meaning: random events, late, repeated, from the future, at one time; restarts in between. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Alert } from '../../schemas/alert.js';
import { formatTimeMicros, parseTimeMicros } from '../../schemas/time.js';
import { Engine } from '../../services/detector/engine.js';
import type { EngineRecord } from '../../services/detector/event-reader.js';
import type { RuleSet } from '../../services/detector/rule.js';
import {
  closedWindows,
  expectedAlerts,
  type Judge,
  type Meaning,
  newestWindow,
  orderedSteps,
  type Seen,
  slidingAtLeast,
} from './reference.js';
import { rulesOf, second, start } from './rules.js';

const seed = Number(process.env.SEED ?? Date.now() % 1_000_000);
console.log(`seed ${seed}`);

const size = 10 * second;
const lateness = 4 * second;

/** Times fall on few values, so that edges and ties are met. */
const anEvent = fc.record({
  /** Seconds until the next record; now and then a pause in which everything ends. */
  pause: fc.oneof(
    { weight: 8, arbitrary: fc.constantFrom(0, 0, 0.5, 1, 2) },
    { weight: 1, arbitrary: fc.constantFrom(5, 9, 11, 14, 15, 30) },
  ),
  /** How long before its record it occurred; negative: a clock that is ahead. */
  late: fc.oneof(
    { weight: 6, arbitrary: fc.constant(0) },
    { weight: 4, arbitrary: fc.constantFrom(0.5, 1, 2, 3, 4, 5, 8, 12, -3, -1_000) },
  ),
  actor: fc.constantFrom('a', 'b'),
  tool: fc.constantFrom('one', 'two', 'three', 'no'),
  value: fc.constantFrom('v1', 'v2', 'v3', 'v4'),
  number: fc.constantFrom(0, 1, 2.5, 40),
  again: fc.integer({ min: 0, max: 11 }),
  restart: fc.integer({ min: 0, max: 9 }),
});
type AnEvent = typeof anEvent extends fc.Arbitrary<infer T> ? T : never;

interface Taken {
  readonly record: EngineRecord;
  readonly seen: Omit<Seen, 'value' | 'roles'>;
  readonly event: AnEvent;
  readonly repeated: boolean;
}

function takenOf(events: readonly AnEvent[]): Taken[] {
  const taken: Taken[] = [];
  let recorded = start;
  for (const [index, event] of events.entries()) {
    recorded += event.pause * second;
    const time = recorded - event.late * second;
    const fields = {
      event_id: `00000000-0000-7000-8000-${index.toString(16).padStart(12, '0')}`,
      occurred_at: formatTimeMicros(time),
      method: 'tools/call',
      outcome: 'success',
      actor_id: event.actor,
      tool_name: event.tool,
      resource_uri: event.value,
      duration_ms: event.number,
    };
    const record = {
      value: Buffer.from(JSON.stringify(fields)),
      partition: 0,
      offset: index,
      recordedAtMicros: recorded,
    };
    taken.push({ record, seen: { time: Math.min(time, recorded), recorded }, event, repeated: false });
    const again = taken[event.again];
    if (again !== undefined && event.again < 3)
      taken.push({ ...again, record: { ...again.record, recordedAtMicros: recorded }, repeated: true });
  }
  return taken;
}

const until = start + 1_000_000 * second;

function linesOf(alerts: readonly Alert[]): string[] {
  const micros = (text: string): number => parseTimeMicros(text);
  return alerts.map(({ state, at, started_at, count, values }) => {
    if (state === 'resolved') return `resolved ${micros(at)} since ${micros(started_at)} count ${count}`;
    const [, measured] =
      Object.entries(values).find(([name]) => !['threshold', 'steps', 'silent_for_s', 'events'].includes(name)) ?? [];
    return `firing ${micros(at)}${measured === undefined ? '' : ` with ${measured}`}`;
  });
}

/** What the engine tells of each actor; restarted where the events say so. */
function told(rules: RuleSet, taken: readonly Taken[], restarts: boolean): Record<string, string[]> {
  const alerts: Alert[] = [];
  let engine = new Engine(rules, (alert) => alerts.push(alert));
  for (const { record, event } of taken) {
    if (restarts && event.restart === 0) {
      const saved = structuredClone([...engine.save()]);
      engine = new Engine(rules, (alert) => alerts.push(alert));
      engine.load(saved);
    }
    engine.take(record);
  }
  engine.passTime(until);
  const of = (actor: string): string[] => linesOf(alerts.filter(({ group }) => group.actor_id === actor));
  return { a: of('a'), b: of('b') };
}

function holdTo(
  rule: string,
  meaning: Meaning,
  seenOf: (event: AnEvent) => Pick<Seen, 'value' | 'roles'> | undefined,
  runs = 150,
): void {
  const rules = rulesOf(`rules: [{id: rule, group-by: actor, ${rule}}]`);
  let fired = 0;
  fc.assert(
    fc.property(fc.array(anEvent, { minLength: 1, maxLength: 60 }), fc.boolean(), (events, restarts) => {
      const taken = takenOf(events);
      const expected = Object.fromEntries(
        ['a', 'b'].map((actor) => {
          const seen = taken.flatMap(({ event, seen: times, repeated }) => {
            const what = event.actor === actor && !repeated ? seenOf(event) : undefined;
            return what === undefined ? [] : [{ ...times, ...what }];
          });
          return [actor, expectedAlerts(seen, until, meaning)];
        }),
      );
      fired += Object.values(expected).flat().length;
      expect(told(rules, taken, restarts)).toEqual(expected);
    }),
    { seed, numRuns: runs },
  );
  // A reference that never alerts would agree with an engine that never does.
  expect(fired).toBeGreaterThan(0);
}

const windowed = (judge: () => Judge): Meaning => ({
  lateness,
  keep: size + lateness,
  resolveAfter: size,
  grace: lateness,
  judge,
});
const notNo = ({ tool, value }: AnEvent): Pick<Seen, 'value' | 'roles'> | undefined =>
  tool === 'no' ? undefined : { value, roles: [0] };
const numbered = (event: AnEvent): Pick<Seen, 'value' | 'roles'> | undefined =>
  event.tool === 'no' ? undefined : { value: String(event.number), roles: [0] };
const detection = 'detection: {s: {method: tools/call}, n: {tool: "no"}, condition: s and not n}';
const windowOf = (kind: string): string => `window: {${kind}, lateness: 4s}`;
const distinct = (events: readonly Seen[]): number => new Set(events.map(({ value }) => value)).size;
const sum = (events: readonly Seen[]): number => events.reduce((total, { value }) => total + Number(value), 0);

const tumbling = (_all: readonly Seen[], { time }: Seen): { start: number; end: number } => {
  const from = Math.floor(time / size) * size;
  return { start: from, end: from + size };
};
const session = (all: readonly Seen[], event: Seen): { start: number; end: number } => {
  const gap = 3 * second;
  let from = event.time;
  let to = event.time;
  for (let grown = true; grown; ) {
    grown = false;
    for (const { time } of all) {
      if (time < from - gap || time > to + gap || (time >= from && time <= to)) continue;
      from = Math.min(from, time);
      to = Math.max(to, time);
      grown = true;
    }
  }
  return { start: from, end: to + gap };
};
const before = (from: number, closed: number): boolean => from < closed;
const upTo = (from: number, closed: number): boolean => from <= closed;

describe('a sliding window', () => {
  test('event_count', () => {
    holdTo(
      `type: event_count, ${detection}, ${windowOf('size: 10s')}, condition: {gte: 4}`,
      windowed(() => slidingAtLeast(size, 4, ({ length }) => length)),
      notNo,
    );
  });

  test('value_count', () => {
    holdTo(
      `type: value_count, field: resource, ${detection}, ${windowOf('size: 10s')}, condition: {gt: 2}`,
      windowed(() => slidingAtLeast(size, 3, distinct)),
      notNo,
    );
  });

  test('value_sum, value_avg, value_median, ratio', () => {
    const over = (measure: (events: readonly Seen[]) => number | undefined, holds: (measured: number) => boolean) =>
      windowed(() => newestWindow(size, holds, measure));
    const median = (events: readonly Seen[]): number =>
      events.map(({ value }) => Number(value)).sort((a, b) => a - b)[Math.ceil(events.length / 2) - 1] as number;
    const window = windowOf('size: 10s');
    holdTo(
      `type: value_sum, field: duration_ms, ${detection}, ${window}, condition: {gt: 40}`,
      over(sum, (n) => n > 40),
      numbered,
      60,
    );
    holdTo(
      `type: value_avg, field: duration_ms, ${detection}, ${window}, condition: {lt: 2}`,
      over(
        (events) => sum(events) / events.length,
        (n) => n < 2,
      ),
      numbered,
      60,
    );
    holdTo(
      `type: value_median, field: duration_ms, ${detection}, ${window}, condition: {gte: 2.5}, min_events: 3`,
      over(
        (events) => (events.length < 3 ? undefined : median(events)),
        (n) => n >= 2.5,
      ),
      numbered,
      60,
    );
    const share = (events: readonly Seen[]): number =>
      events.filter(({ roles }) => roles.includes(1)).length / events.length;
    holdTo(
      `type: ratio, ${detection}, of: {tool: two}, ${window}, condition: {gt: 0.5}, min_events: 2`,
      over(
        (events) => (events.length < 2 ? undefined : share(events)),
        (n) => n > 0.5,
      ),
      ({ tool, value }) => (tool === 'no' ? undefined : { value, roles: tool === 'two' ? [0, 1] : [0] }),
      60,
    );
  });
});

describe('a tumbling window', () => {
  test('event_count and value_count, as soon as they hold', () => {
    const window = windowOf('kind: tumbling, size: 10s');
    holdTo(
      `type: event_count, ${detection}, ${window}, condition: {gte: 3}`,
      windowed(() =>
        closedWindows(
          tumbling,
          before,
          lateness,
          true,
          (n) => n >= 3,
          ({ length }) => length,
        ),
      ),
      notNo,
    );
    holdTo(
      `type: value_count, field: resource, ${detection}, ${window}, condition: {gte: 3}`,
      windowed(() => closedWindows(tumbling, before, lateness, true, (n) => n >= 3, distinct)),
      notNo,
      60,
    );
  });

  test('what may only be judged complete', () => {
    const window = windowOf('kind: tumbling, size: 10s');
    holdTo(
      `type: event_count, ${detection}, ${window}, condition: {lt: 3}`,
      windowed(() =>
        closedWindows(
          tumbling,
          before,
          lateness,
          false,
          (n) => n < 3,
          ({ length }) => length,
        ),
      ),
      notNo,
    );
    holdTo(
      `type: value_sum, field: duration_ms, ${detection}, ${window}, condition: {gte: 42.5}`,
      windowed(() => closedWindows(tumbling, before, lateness, false, (n) => n >= 42.5, sum)),
      numbered,
      60,
    );
  });
});

describe('a session window', () => {
  // A session is as long as it likes: a group is forgotten after the gap.
  const sessions = (judge: () => Judge): Meaning => ({
    lateness,
    keep: 3 * second + lateness,
    resolveAfter: 3 * second,
    grace: lateness,
    judge,
  });
  const window = windowOf('kind: session, gap: 3s');

  test('event_count, as soon as it holds', () => {
    holdTo(
      `type: event_count, ${detection}, ${window}, condition: {gte: 4}`,
      sessions(() =>
        closedWindows(
          session,
          upTo,
          lateness,
          true,
          (n) => n >= 4,
          ({ length }) => length,
        ),
      ),
      notNo,
    );
  });

  test('what may only be judged complete', () => {
    holdTo(
      `type: event_count, ${detection}, ${window}, condition: {lte: 2}`,
      sessions(() =>
        closedWindows(
          session,
          upTo,
          lateness,
          false,
          (n) => n <= 2,
          ({ length }) => length,
        ),
      ),
      notNo,
    );
    holdTo(
      `type: value_avg, field: duration_ms, ${detection}, ${window}, condition: {gt: 2}`,
      sessions(() =>
        closedWindows(
          session,
          upTo,
          lateness,
          false,
          (n) => n > 2,
          (events) => sum(events) / events.length,
        ),
      ),
      numbered,
      60,
    );
  });
});

describe('sequences', () => {
  const step = (event: AnEvent, ...tools: string[]): Pick<Seen, 'value' | 'roles'> | undefined => {
    const role = tools.indexOf(event.tool);
    return role < 0 ? undefined : { value: '', roles: [role] };
  };

  test('temporal: all steps in any order', () => {
    holdTo(
      'type: temporal, timespan: 10s, lateness: 4s, steps: [{tool: one}, {tool: two}, {tool: three}]',
      windowed(() => {
        const judge = slidingAtLeast(size, 3, (events) => new Set(events.flatMap(({ roles }) => roles)).size);
        return {
          event: (all) => {
            const found = judge.event(all);
            return found === undefined || found === 'late' ? found : { at: found.at };
          },
        };
      }),
      (event) => step(event, 'one', 'two', 'three'),
    );
  });

  test('temporal_ordered: all in order, however they came', () => {
    holdTo(
      'type: temporal_ordered, timespan: 10s, lateness: 4s, steps: [{tool: one}, {tool: two}, {tool: three}]',
      windowed(() => orderedSteps(3, size, new Map())),
      (event) => step(event, 'one', 'two', 'three'),
    );
  });

  test('temporal_ordered with what must not be between', () => {
    holdTo(
      'type: temporal_ordered, timespan: 10s, lateness: 4s, steps: [{tool: one}, {unless: {tool: "no"}}, {tool: two}]',
      windowed(() => orderedSteps(2, size, new Map([[2, 0]]))),
      (event) => step(event, 'one', 'two', 'no'),
    );
  });

  test('one event never serves two steps', () => {
    holdTo(
      'type: temporal_ordered, timespan: 10s, lateness: 4s, steps: [{tool: [one, two]}, {tool: [two, three]}]',
      windowed(() => orderedSteps(2, size, new Map())),
      ({ tool }) => {
        const roles = [...(['one', 'two'].includes(tool) ? [0] : []), ...(['two', 'three'].includes(tool) ? [1] : [])];
        return roles.length === 0 ? undefined : { value: '', roles };
      },
    );
  });
});

test('absence: told as soon as time has passed, over with the next event', () => {
  const forget = 100 * second + lateness;
  holdTo(
    'type: absence, timespan: 10s, lateness: 4s, forget: 100s',
    {
      lateness,
      keep: forget,
      resolveAfter: Number.POSITIVE_INFINITY,
      grace: lateness,
      judge() {
        let all: readonly Seen[] = [];
        let silentSince: number | undefined;
        let forgotten = false;
        let ended: number | undefined;
        const last = (): number => Math.max(...all.map(({ time }) => time));
        const heard = (): number => (all[all.length - 1] as Seen).recorded;
        return {
          event(seen) {
            const before = all.length === 0 ? Number.NEGATIVE_INFINITY : last();
            all = [...seen];
            if (last() > before) {
              ended = silentSince === undefined ? undefined : last();
              silentSince = undefined;
              forgotten = false;
            }
            return undefined;
          },
          due() {
            if (all.length === 0 || forgotten) return Number.POSITIVE_INFINITY;
            return silentSince === undefined ? Math.max(last() + size, heard()) + lateness + 1 : heard() + forget;
          },
          elapsed() {
            if (silentSince !== undefined) {
              forgotten = true;
              ended = last() + forget;
              return [];
            }
            silentSince = last() + size;
            return [{ at: silentSince }];
          },
          ended() {
            const at = ended;
            ended = undefined;
            return at;
          },
        };
      },
    },
    ({ value }) => ({ value, roles: [0] }),
  );
});
