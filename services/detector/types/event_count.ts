/** `event_count`: how many matching events a group has in a window. */
import type { z } from 'zod';
import { conditionShape, volumeShape, windowedShape } from '../../../schemas/rule.js';
import type { Measure } from '../buckets.js';
import type { Evaluator } from '../evaluator.js';
import { defaultLateness, type RuleType } from '../rule.js';
import { SlidingCount } from '../sliding-count.js';
import { bucketed, needWindow } from '../windowed.js';

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
  evaluator: (rule, memory) =>
    rule.window?.kind === 'sliding'
      ? (new SlidingCount(rule, memory) as Evaluator)
      : bucketed(rule, measure as Measure),
};
