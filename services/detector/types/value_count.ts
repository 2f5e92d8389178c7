/** `value_count`: how many distinct values of a field a group has in a window. */
import { z } from 'zod';
import { conditionShape, volumeShape, windowedShape } from '../../../schemas/rule.js';
import type { Measure } from '../buckets.js';
import type { Evaluator } from '../evaluator.js';
import { defaultLateness, type RuleType, type Threshold } from '../rule.js';
import { SlidingDistinct } from '../sliding-distinct.js';
import { atLeast, bucketed, mostValuesFor, needWindow } from '../windowed.js';

function measure(mostValues: number): Measure<Set<string>> {
  return {
    name: 'distinct',
    grows: true,
    create: () => new Set(),
    add(accumulator, value) {
      if (accumulator.size >= mostValues && !accumulator.has(value)) return false;
      accumulator.add(value);
      return true;
    },
    merge(into, from) {
      for (const value of from) into.add(value);
    },
    result: (accumulator) => accumulator.size,
    save: (accumulator) => [...accumulator],
    load: (saved) => new Set(saved as string[]),
    bytes: ({ size }) => 64 + size * 80,
  };
}

export const valueCount: RuleType = {
  name: 'value_count',
  summary: 'A field has so many distinct values in a window.',
  shape: {
    ...windowedShape,
    ...volumeShape,
    condition: conditionShape,
    field: z.string().describe('Field whose distinct values are counted.'),
  },
  needsDetection: true,
  volume: true,
  windows: ['sliding', 'tumbling', 'session'],
  defaultLatenessMicros: defaultLateness,
  read(draft) {
    needWindow(draft, true);
    const field = draft.field(String(draft.keys.field), 'field');
    return {
      roles: [{ name: 'detection', expression: draft.main, ...(field && { valueField: field }) }],
      options: {},
      resolveAfterMicros: draft.window?.sizeMicros ?? 1,
    };
  },
  evaluator(rule, memory) {
    const least = atLeast(rule.threshold as Threshold);
    if (rule.window?.kind !== 'sliding') return bucketed(rule, measure(mostValuesFor(least)) as Measure);
    return new SlidingDistinct(rule, memory, least, 'distinct') as Evaluator;
  },
};
