/** `value_sum`, `value_avg`, `value_median`, `value_percentile` and `ratio`: measures that rise and fall. */
import { z } from 'zod';
import { conditionShape, selectionShape, volumeShape, windowedShape } from '../../../schemas/rule.js';
import type { Measure } from '../buckets.js';
import type { Evaluator } from '../evaluator.js';
import { RecentValues } from '../recent.js';
import { defaultLateness, holds, type Rule, type RuleType, type Threshold, type Window } from '../rule.js';
import { bucketed, keepMicros, needWindow } from '../windowed.js';
import { child } from '../yaml.js';

interface Kind {
  readonly name: string;
  readonly summary: string;
  /** Needs the values in order. */
  readonly ordered: boolean;
  measure(values: RecentValues, rule: Rule): number;
}

const mostBucketValues = 100_000;

/** A window's values, measured by the same code as the newest sliding one: a window without an end to its length. */
function measureOf(kind: Kind, rule: Rule, numberOf: (value: string, roles: number) => number): Measure<RecentValues> {
  const minimum = Number(rule.options.min_events ?? 1);
  const all = (): RecentValues => new RecentValues(Number.POSITIVE_INFINITY, kind.ordered);
  return {
    name: kind.name,
    grows: false,
    create: all,
    add(accumulator, value, roles) {
      const number = numberOf(value, roles);
      if (Number.isNaN(number)) return true;
      if (accumulator.count >= mostBucketValues) return false;
      // One time for all: the order of events does not matter to a whole window.
      return accumulator.insert(0, number);
    },
    merge(into, from) {
      for (const [, values] of from.save() as [number[], number[]][]) for (const value of values) into.insert(0, value);
    },
    result: (accumulator) => (accumulator.count < minimum ? undefined : kind.measure(accumulator, rule)),
    save: (accumulator) => accumulator.save(),
    load: (saved) => RecentValues.load(Number.POSITIVE_INFINITY, kind.ordered, saved),
    bytes: (accumulator) => accumulator.bytes,
  };
}

function evaluator(kind: Kind, rule: Rule, numberOf: (value: string, roles: number) => number): Evaluator {
  if (rule.window?.kind !== 'sliding') return bucketed(rule, measureOf(kind, rule, numberOf) as Measure) as Evaluator;
  const size = (rule.window as Window).sizeMicros;
  const threshold = rule.threshold as Threshold;
  const minimum = Number(rule.options.min_events ?? 1);
  const sliding: Evaluator<RecentValues> = {
    keepMicros: keepMicros(rule),
    create: () => new RecentValues(size, kind.ordered),
    event(state, { time, value, roles }) {
      const number = numberOf(value, roles);
      if (Number.isNaN(number) || !state.insert(time, number) || state.count < minimum) return undefined;
      const measured = kind.measure(state, rule);
      if (!holds(threshold, measured)) return undefined;
      return { at: state.newest(), values: { [kind.name]: measured, events: state.count, threshold: threshold.value } };
    },
    save: (state) => state.save(),
    load: (saved) => RecentValues.load(size, kind.ordered, saved),
    bytes: (state) => state.bytes,
  };
  return sliding as Evaluator;
}

/** Text of a value field as a number; missing and other text counts as no value. */
function numberOfText(value: string): number {
  return value === '' ? Number.NaN : Number(value);
}

const minimumEvents = z
  .number()
  .int()
  .min(1)
  .optional()
  .describe('Fewer events in the window are not judged. Default 1.');

function valueType(kind: Kind, own: Readonly<Record<string, z.ZodType>> = {}): RuleType {
  return {
    name: kind.name,
    summary: kind.summary,
    shape: {
      ...windowedShape,
      ...volumeShape,
      ...own,
      condition: conditionShape,
      field: z.string().describe('Field whose values are measured.'),
      min_events: minimumEvents,
    },
    needsDetection: true,
    volume: true,
    windows: ['sliding', 'tumbling', 'session'],
    defaultLatenessMicros: defaultLateness,
    read(draft) {
      needWindow(draft, false);
      const field = draft.field(String(draft.keys.field), 'field');
      return {
        roles: [{ name: 'detection', expression: draft.main, ...(field && { valueField: field }) }],
        options: { min_events: draft.keys.min_events ?? 1, percentile: draft.keys.percentile ?? 95 },
        resolveAfterMicros: draft.window?.sizeMicros ?? 1,
      };
    },
    evaluator: (rule) => evaluator(kind, rule, numberOfText),
  };
}

export const valueSum = valueType({
  name: 'value_sum',
  summary: 'The values of a field add up to so much in a window.',
  ordered: false,
  measure: (values) => values.sum,
});
export const valueAvg = valueType({
  name: 'value_avg',
  summary: 'The average of a field in a window.',
  ordered: false,
  measure: (values) => values.sum / values.count,
});
export const valueMedian = valueType({
  name: 'value_median',
  summary: 'The median (nearest rank) of a field in a window.',
  ordered: true,
  measure: (values) => values.percentile(50),
});
export const valuePercentile = valueType(
  {
    name: 'value_percentile',
    summary: 'A percentile (nearest rank) of a field in a window.',
    ordered: true,
    measure: (values, rule) => values.percentile(Number(rule.options.percentile)),
  },
  { percentile: z.number().gt(0).max(100).optional().describe('Default 95.') },
);

const ratioKind: Kind = {
  name: 'ratio',
  summary: 'The share of events that match `of` too.',
  ordered: false,
  measure: (values) => values.sum / values.count,
};

/** `ratio`: of the events that match the detection, the share that matches `of` too. */
export const ratio: RuleType = {
  name: ratioKind.name,
  summary: ratioKind.summary,
  shape: {
    ...windowedShape,
    ...volumeShape,
    condition: conditionShape,
    of: selectionShape.describe('The part whose share is measured: a selection, or a condition over macros.'),
    min_events: minimumEvents,
  },
  needsDetection: true,
  windows: ['sliding', 'tumbling', 'session'],
  defaultLatenessMicros: defaultLateness,
  read(draft) {
    needWindow(draft, false);
    const of = child(draft.located, 'of');
    const part = of === undefined ? draft.main : draft.selection(of);
    return {
      roles: [
        { name: 'detection', expression: draft.main },
        { name: 'of', expression: { op: 'and', children: [draft.main, part] } },
      ],
      options: { min_events: draft.keys.min_events ?? 10 },
      resolveAfterMicros: draft.window?.sizeMicros ?? 1,
    };
  },
  evaluator: (rule) => evaluator(ratioKind, rule, (_value, roles) => ((roles & 2) === 0 ? 0 : 1)),
};
