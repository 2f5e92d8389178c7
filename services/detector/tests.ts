/** The tests inside a rule, from checked YAML. Who runs them is `verify.ts`. */

import type { AlertState } from '../../schemas/alert.js';
import { parseDuration } from '../../schemas/duration.js';
import { type DetectionContext, fieldOf } from './detection.js';
import type { RuleTest, TestEvents, TestExpectation } from './rule.js';
import { child, type Located, plain } from './yaml.js';

/** A Monday. */
const defaultStart = '2026-01-05T09:00:00Z';
const hourMicros = 3_600e6;

const items = (located: Located | undefined): readonly Located[] => (located?.kind === 'list' ? located.items : []);

export function readTests(located: Located | undefined, context: DetectionContext): RuleTest[] {
  return items(located).map((each) => readTest(each, context));
}

function scalarOf(located: Located, key: string): string | undefined {
  const value = child(located, key);
  return value?.kind === 'scalar' && value.value !== null ? String(value.value) : undefined;
}

function micros(located: Located, key: string, otherwise: number): number {
  const text = scalarOf(located, key);
  return text === undefined ? otherwise : parseDuration(text);
}

function readTest(located: Located, context: DetectionContext): RuleTest {
  const events = items(child(located, 'events')).map((each) => readEvents(each, context));
  const last = events.reduce(
    (latest, { atMicros, lateMicros, repeat, everyMicros }) =>
      Math.max(latest, atMicros + lateMicros + (repeat - 1) * everyMicros),
    0,
  );
  return {
    name: scalarOf(located, 'name') ?? '',
    place: located.place,
    startMicros: Date.parse(scalarOf(located, 'start') ?? defaultStart) * 1000,
    events,
    untilMicros: micros(located, 'until', last + hourMicros),
    expect: items(child(located, 'expect')).map((each) => readExpectation(each, context)),
  };
}

function readEvents(located: Located, context: DetectionContext): TestEvents {
  const fields = new Map<string, unknown>();
  for (const entry of located.kind === 'map' ? located.entries : []) {
    if (['at', 'late', 'repeat', 'every'].includes(entry.key)) continue;
    const field = fieldOf(entry.key, entry.keyPlace, context);
    if (field !== undefined) fields.set(field.name, plain(entry.value));
  }
  return {
    atMicros: micros(located, 'at', 0),
    lateMicros: micros(located, 'late', 0),
    repeat: Number(scalarOf(located, 'repeat') ?? 1),
    everyMicros: micros(located, 'every', 1e6),
    fields,
  };
}

function readExpectation(located: Located, context: DetectionContext): TestExpectation {
  const group = new Map<string, string>();
  const values = new Map<string, string | number>();
  for (const entry of located.kind === 'map' ? located.entries : []) {
    if (['at', 'state', 'count'].includes(entry.key)) continue;
    if (entry.key === 'values') {
      for (const [name, value] of Object.entries(plain(entry.value) as Record<string, string | number>))
        values.set(name, value);
      continue;
    }
    const field = fieldOf(entry.key, entry.keyPlace, context);
    if (field !== undefined && entry.value.kind === 'scalar') group.set(field.name, String(entry.value.value));
  }
  const at = scalarOf(located, 'at');
  const count = scalarOf(located, 'count');
  return {
    ...(at !== undefined && { atMicros: parseDuration(at) }),
    ...(count !== undefined && { count: Number(count) }),
    state: (scalarOf(located, 'state') ?? 'firing') as AlertState,
    group,
    values,
    place: located.place,
  };
}
