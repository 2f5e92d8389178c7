/** Runs the tests that stand inside rules: each rule alone, in the engine that runs live. */
import type { Alert } from '../../schemas/alert.js';
import { formatDuration } from '../../schemas/duration.js';
import { formatTimeMicros, parseTimeMicros } from '../../schemas/time.js';
import type { EngineRecord } from './event-reader.js';
import { replay } from './replay.js';
import type { Rule, RuleSet, RuleTest, TestEvents, TestExpectation } from './rule.js';
import type { Place } from './yaml.js';

export interface TestFailure {
  readonly place: Place;
  readonly message: string;
}

export interface TestOutcome {
  readonly rule: Rule;
  readonly test: RuleTest;
  /** Empty: the test holds. */
  readonly failures: readonly TestFailure[];
}

/** The outcomes of a rule's tests. A rule that is not enabled is tested as well. */
export function verifyRule(rule: Rule, { calendars }: RuleSet): TestOutcome[] {
  const set: RuleSet = { rules: [{ ...rule, enabled: true }], calendars };
  return rule.tests.map((test) => {
    const untilMicros = test.startMicros + test.untilMicros;
    const alerts = replay(set, recordsOf(test), { untilMicros }).filter((alert) => alert.rule_id === rule.id);
    return { rule, test, failures: compare(test, alerts) };
  });
}

/** The test's events as the stream would have recorded them. */
function recordsOf(test: RuleTest): EngineRecord[] {
  const times = test.events.flatMap((events) =>
    Array.from({ length: events.repeat }, (_, index) => {
      const atMicros = test.startMicros + events.atMicros + index * events.everyMicros;
      return { events, atMicros, recordedAtMicros: atMicros + events.lateMicros, number: index + 1 };
    }),
  );
  times.sort((left, right) => left.recordedAtMicros - right.recordedAtMicros);
  return times.map(({ events, atMicros, recordedAtMicros, number }, offset) => ({
    value: Buffer.from(JSON.stringify(eventOf(events, atMicros, { number, offset }))),
    partition: 0,
    offset,
    recordedAtMicros,
  }));
}

function eventOf(
  events: TestEvents,
  atMicros: number,
  { number, offset }: { number: number; offset: number },
): unknown {
  const event: Record<string, unknown> = {
    event_id: `00000000-0000-7000-8000-${offset.toString(16).padStart(12, '0')}`,
    occurred_at: formatTimeMicros(atMicros),
    method: 'tools/call',
    outcome: 'success',
  };
  for (const [name, value] of events.fields) {
    const [root = '', ...path] = name.split('.');
    const filled = numbered(value, number);
    if (path.length === 0) event[root] = filled;
    // A key of attributes may hold dots; a path into a body is its steps.
    else place(event, root === 'attributes' ? [root, path.join('.')] : [root, ...path], filled);
  }
  return event;
}

function place(into: Record<string, unknown>, path: readonly string[], value: unknown): void {
  let here = into;
  for (const step of path.slice(0, -1)) {
    const next = here[step];
    const inner = typeof next === 'object' && next !== null ? (next as Record<string, unknown>) : {};
    here[step] = inner;
    here = inner;
  }
  here[path.at(-1) as string] = value;
}

/** `{n}` in a text is the number of the repetition, from 1. */
function numbered(value: unknown, number: number): unknown {
  if (typeof value === 'string') return value.replaceAll('{n}', String(number));
  if (Array.isArray(value)) return value.map((each) => numbered(each, number));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, numbered(each, number)]));
}

function compare(test: RuleTest, alerts: readonly Alert[]): TestFailure[] {
  const states = new Set(['firing', ...test.expect.map(({ state }) => state)]);
  const told = alerts.filter(({ state }) => states.has(state));
  const failures: TestFailure[] = [];
  for (const [index, expected] of test.expect.entries()) {
    const alert = told[index];
    if (alert === undefined) {
      failures.push({ place: expected.place, message: `expected ${spoken(expected)}, and there was no alert` });
      continue;
    }
    const wrong = differences(test, expected, alert);
    if (wrong.length > 0) failures.push({ place: expected.place, message: wrong.join('; ') });
  }
  for (const alert of told.slice(test.expect.length))
    failures.push({ place: test.place, message: `unexpected alert: ${describe(test, alert)}` });
  return failures;
}

function differences(test: RuleTest, expected: TestExpectation, alert: Alert): string[] {
  const wrong: string[] = [];
  const check = (name: string, want: unknown, got: unknown): void => {
    if (want !== undefined && want !== got)
      wrong.push(`${name}: expected ${String(want)}, got ${String(got ?? 'nothing')}`);
  };
  check('state', expected.state, alert.state);
  if (expected.atMicros !== undefined) check('at', since(0, expected.atMicros), timeOf(test, alert));
  check('count', expected.count, alert.count);
  for (const [name, value] of expected.group) check(name, value, alert.group[name]);
  for (const [name, value] of expected.values) check(`values.${name}`, value, alert.values[name]);
  if (wrong.length > 0) wrong.push(`the alert was: ${describe(test, alert)}`);
  return wrong;
}

const since = (start: number, micros: number): string => (micros === start ? '0s' : formatDuration(micros - start));
const timeOf = (test: RuleTest, alert: Alert): string => since(test.startMicros, parseTimeMicros(alert.at));

function spoken({ state, atMicros, group }: TestExpectation): string {
  const at = atMicros === undefined ? '' : ` at ${since(0, atMicros)}`;
  return `${state}${at}${[...group].map(([name, value]) => ` ${name}=${value}`).join('')}`;
}

function describe(test: RuleTest, alert: Alert): string {
  const pairs = Object.entries({ ...alert.group, ...alert.values }).map(([name, value]) => `${name}=${value}`);
  return [`${alert.state} at ${timeOf(test, alert)}`, ...pairs].join(' ');
}
