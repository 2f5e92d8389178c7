/** `event_count`: how many matching events a group has in a window. */
import type { z } from 'zod';
import { conditionShape, volumeShape, windowedShape } from '../../../schemas/rule.js';
import type { Measure } from '../buckets.js';
import { defaultLateness, type RuleType } from '../rule.js';
import { bucketed, needWindow, slidingCount } from '../windowed.js';

const measure: Measure<{ count: number }> = {
  name: 'count',
  grows: true,
  create: () => ({ count: 0 }),
  add(accumulator) {
    accumulator.count++;
    return true;
  },
  merge(into, from) {
    into.count += from.count;
  },
  result: ({ count }) => count,
  save: ({ count }) => count,
  load: (saved) => ({ count: saved as number }),
  bytes: () => 24,
};

export const eventCount: RuleType = {
  name: 'event_count',
  summary: 'A group has so many matching events in a window.',
  shape: { ...windowedShape, ...volumeShape, condition: conditionShape } satisfies Record<string, z.ZodType>,
  needsDetection: true,
  volume: true,
  windows: ['sliding', 'tumbling', 'session'],
  defaultLatenessMicros: defaultLateness,
  read(draft) {
    needWindow(draft, true);
    return {
      roles: [{ name: 'detection', expression: draft.main }],
      options: {},
      resolveAfterMicros: draft.window?.sizeMicros ?? 1,
    };
  },
  evaluator: (rule) => (rule.window?.kind === 'sliding' ? slidingCount(rule) : bucketed(rule, measure as Measure)),
};
