/**
 * `sequence_gap`: a counter that should rise by one skipped numbers, and they did not come within the lateness either.
 * The audit trail itself has a hole.
 */
import { z } from 'zod';
import type { Evaluator, Trigger } from '../evaluator.js';
import { defaultLateness, minute, type RuleType } from '../rule.js';

/** Holes of one group that are waited for at a time; with more of them the oldest are reported at once. */
const mostHoles = 64;

interface Hole {
  from: number;
  to: number;
  /** Event time, and the stream's, when it was noticed. */
  at: number;
  noticed: number;
}

interface State {
  next: number;
  holes: Hole[];
}

function report({ from, to, at }: Hole): Trigger {
  return {
    at,
    values: { missing_from: from, missing_to: to, missing: to - from + 1 },
    once: true,
    also: { missing_from: String(from) },
  };
}

export const sequenceGap: RuleType = {
  name: 'sequence_gap',
  summary: 'A counter that should rise by one skipped numbers.',
  shape: { field: z.string().optional().describe('Default producer_sequence.') },
  needsDetection: false,
  windows: [],
  defaultLatenessMicros: defaultLateness,
  read(draft) {
    const field = draft.field(String(draft.keys.field ?? 'producer_sequence'), 'field');
    return {
      roles: [{ name: 'detection', expression: draft.main, ...(field && { valueField: field }) }],
      options: {},
      resolveAfterMicros: 0,
    };
  },
  evaluator(rule): Evaluator<State> {
    const lateness = rule.latenessMicros;
    const day = 24 * 60 * minute;
    return {
      keepMicros: 7 * day + lateness,
      create: ({ value }) => ({ next: Number(value) || 0, holes: [] }),
      event(state, { value, time, recorded }) {
        const number = Number(value);
        if (!Number.isSafeInteger(number) || number <= 0) return undefined;
        if (state.next === 0) state.next = number;
        if (number >= state.next) {
          const skipped = number > state.next;
          if (skipped) state.holes.push({ from: state.next, to: number - 1, at: time, noticed: recorded });
          state.next = number + 1;
          return state.holes.length > mostHoles ? report(state.holes.shift() as Hole) : undefined;
        }
        const at = state.holes.findIndex((hole) => number >= hole.from && number <= hole.to);
        if (at >= 0) {
          const hole = state.holes[at] as Hole;
          const rest = [
            { ...hole, to: number - 1 },
            { ...hole, from: number + 1 },
          ].filter(({ from, to }) => from <= to);
          state.holes.splice(at, 1, ...rest);
        }
        return undefined;
      },
      due: ({ holes }) => (holes.length === 0 ? Number.POSITIVE_INFINITY : (holes[0] as Hole).noticed + lateness + 1),
      elapsed(state, clock) {
        const gone = state.holes.filter(({ noticed }) => noticed + lateness < clock);
        state.holes = state.holes.filter(({ noticed }) => noticed + lateness >= clock);
        return {
          triggers: gone.map(report),
        };
      },
      save: ({ next, holes }) => ({ next, holes }),
      load: (saved) => structuredClone(saved) as State,
      bytes: ({ holes }) => 64 + holes.length * 80,
    };
  },
};
