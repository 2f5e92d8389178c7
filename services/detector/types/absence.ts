/** `absence`: a group that was heard of is silent for a whole window. Time passes by any record on the stream. */
import type { z } from 'zod';
import { ruleShape, windowedShape } from '../../../schemas/rule.js';
import { type Evaluator, nothingElapsed } from '../evaluator.js';
import { defaultLateness, minute, type RuleType, type Window } from '../rule.js';

interface State {
  /** Greatest event time. */
  last: number;
  /** Stream's time of the last record: a backlog that arrives at once is a sign of life too. */
  recorded: number;
  silent: boolean;
  /** Silent for so long that nobody waits for it any more. */
  forgotten: boolean;
  ended: number | undefined;
}

export const absence: RuleType = {
  name: 'absence',
  summary: 'A group that was heard of falls silent.',
  shape: {
    ...windowedShape,
    forget: ruleShape.lateness.describe('A group is forgotten after so much silence. Default 7d.'),
  } satisfies Record<string, z.ZodType>,
  needsDetection: false,
  windows: ['sliding'],
  defaultLatenessMicros: defaultLateness,
  read(draft) {
    if (draft.window === undefined) draft.problem('window', 'absence needs a window, for example timespan: 10m');
    return {
      roles: [{ name: 'detection', expression: draft.main }],
      options: { forget: draft.duration('forget') ?? 7 * 24 * 60 * minute },
      // Only an event ends the silence.
      resolveAfterMicros: Number.POSITIVE_INFINITY,
    };
  },
  evaluator(rule): Evaluator<State> {
    const size = (rule.window as Window).sizeMicros;
    const lateness = rule.latenessMicros;
    const forgetMicros = Math.max(Number(rule.options.forget), size) + lateness;
    return {
      keepMicros: forgetMicros,
      create: ({ time, recorded }) => ({ last: time, recorded, silent: false, forgotten: false, ended: undefined }),
      event(state, { time, recorded }) {
        state.recorded = recorded;
        if (time > state.last) {
          if (state.silent) state.ended = time;
          state.last = time;
          state.silent = false;
          state.forgotten = false;
        }
        return undefined;
      },
      due({ last, recorded, silent, forgotten }) {
        if (forgotten) return Number.POSITIVE_INFINITY;
        return silent ? recorded + forgetMicros : Math.max(last + size, recorded) + lateness + 1;
      },
      elapsed(state, clock) {
        const { last, recorded, silent } = state;
        if (silent) {
          // What is forgotten is no longer missed.
          state.forgotten = true;
          return { triggers: [], resolved: last + forgetMicros };
        }
        if (clock <= Math.max(last + size, recorded) + lateness) return nothingElapsed;
        state.silent = true;
        return { triggers: [{ at: last + size, values: { silent_for_s: size / 1e6 } }] };
      },
      resolved(state) {
        const { ended } = state;
        state.ended = undefined;
        return ended;
      },
      save: ({ last, recorded, silent, forgotten }) => [last, recorded, silent, forgotten],
      load(saved) {
        const [last, recorded, silent, forgotten] = saved as [number, number, boolean, boolean];
        return { last, recorded, silent, forgotten, ended: undefined };
      },
      bytes: () => 56,
    };
  },
};
