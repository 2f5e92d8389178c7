/** `match`: every matching event. Without `group-by` each is an alert of its own; with it they share an episode. */
import type { Evaluator } from '../evaluator.js';
import { minute, type RuleType } from '../rule.js';

export const match: RuleType = {
  name: 'match',
  summary: 'An event matches.',
  shape: {},
  needsDetection: true,
  windows: [],
  // A fact stays one however late it is reported; a second delivery makes the same alert id again.
  defaultLatenessMicros: Number.POSITIVE_INFINITY,
  read: (draft) => ({
    roles: [{ name: 'detection', expression: draft.main }],
    options: {},
    resolveAfterMicros: draft.keys['group-by'] === undefined ? 0 : 60 * minute,
  }),
  evaluator(rule): Evaluator<null> {
    const grouped = rule.resolveAfterMicros > 0;
    return {
      keepMicros: 0,
      create: () => null,
      event: (_state, { time, eventId }) =>
        grouped ? { at: time, values: {} } : { at: time, values: {}, once: true, also: { event_id: eventId } },
      save: () => null,
      load: () => null,
      bytes: () => 0,
    };
  },
};
