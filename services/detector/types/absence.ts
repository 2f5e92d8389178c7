/** `absence`: a group that was heard of is silent for a whole window. Time passes by any record on the stream. */
import type { z } from 'zod';
import { ruleShape, windowedShape } from '../../../schemas/rule.js';
import { defaultLateness, type Evaluator, minute, type RuleType, type Window } from '../rule.js';

interface State {
  last: number;
  /** When it was declared silent, or NaN. */
  silentSince: number;
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
    const forgetAfter = Math.max(Number(rule.options['forget']), size) + rule.latenessMicros;
    const silent = (state: State): boolean => !Number.isNaN(state.silentSince);
    return {
      create: ({ time }) => ({ last: time, silentSince: Number.NaN, ended: undefined }),
      event(state, { time }) {
        if (time > state.last) {
          if (silent(state)) state.ended = time;
          state.last = time;
          state.silentSince = Number.NaN;
        }
        return undefined;
      },
      due: (state) => (silent(state) ? state.last + forgetAfter : state.last + size + rule.latenessMicros) + 1,
      elapsed(state, clock) {
        const silence = state.last + size;
        if (silent(state))
          return clock > state.last + forgetAfter
            ? { triggers: [], resolved: state.last + forgetAfter }
            : { triggers: [] };
        if (clock <= silence + rule.latenessMicros) return { triggers: [] };
        state.silentSince = silence;
        return { triggers: [{ at: silence, values: { silent_for_s: size / 1e6 } }] };
      },
      resolved(state) {
        const ended = state.ended;
        state.ended = undefined;
        return ended;
      },
      expires: (state) => state.last + forgetAfter,
      save: ({ last, silentSince }) => [last, silentSince],
      load(saved) {
        const [last, silentSince] = saved as [number, number];
        return { last, silentSince, ended: undefined };
      },
    };
  },
};
