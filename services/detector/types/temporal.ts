/** `temporal` (all steps, any order) and `temporal_ordered` (in order, with `unless` between) within a span. */
import { z } from 'zod';
import { selectionShape, windowedShape } from '../../../schemas/rule.js';
import type { Evaluator, Happening } from '../evaluator.js';
import type { Expression } from '../expression.js';
import { type Draft, defaultLateness, type RuleType, type Window } from '../rule.js';
import { Sequence } from '../sequence.js';
import { SlidingDistinct } from '../sliding-distinct.js';
import { keepMicros } from '../windowed.js';
import { child } from '../yaml.js';

/** Steps and forbidden steps together fit the bits of a small integer. */
const mostSteps = 16;

interface Steps {
  roles: { name: string; expression: Expression }[];
  steps: number;
  /** Role index of each forbidden step, and the step it must not follow. */
  forbidden: [role: number, after: number][];
}

function readSteps(draft: Draft, ordered: boolean): Steps {
  const located = child(draft.located, 'steps');
  const steps: Steps['roles'] = [];
  const unless: { after: number; expression: Expression }[] = [];
  const items = located?.kind === 'list' ? located.items : [];
  for (const [index, item] of items.entries()) {
    const forbidden = child(item, 'unless');
    if (forbidden === undefined) steps.push({ name: `step ${steps.length + 1}`, expression: draft.selection(item) });
    else if (!ordered) draft.problem('steps', '"unless" needs an order; use temporal_ordered');
    else if (steps.length === 0 || index === items.length - 1 || (item.kind === 'map' && item.entries.length > 1)) {
      draft.problem('steps', '"unless" stands alone between two steps');
    } else unless.push({ after: steps.length - 1, expression: draft.selection(forbidden) });
  }
  if (steps.length < 2) draft.problem('steps', 'at least two steps are needed');
  if (steps.length + unless.length > mostSteps) draft.problem('steps', `at most ${mostSteps} steps are taken`);
  const roles = [
    ...steps,
    ...unless.map(({ expression, after }) => ({ name: `unless after step ${after + 1}`, expression })),
  ];
  return { roles, steps: steps.length, forbidden: unless.map(({ after }, index) => [steps.length + index, after]) };
}

const shape = {
  ...windowedShape,
  steps: z
    .array(selectionShape)
    .describe('Selections; {unless: SELECTION} between two steps of temporal_ordered forbids it there.'),
};

export const temporal: RuleType = {
  name: 'temporal',
  summary: 'All steps happen within a span, in any order.',
  unordered: true,
  shape,
  needsDetection: false,
  windows: ['sliding'],
  defaultLatenessMicros: defaultLateness,
  read(draft) {
    if (draft.window === undefined) draft.problem('timespan', 'temporal needs a timespan, for example 10m');
    const { roles, steps } = readSteps(draft, false);
    return { roles, options: { steps }, resolveAfterMicros: draft.window?.sizeMicros ?? 1 };
  },
  // All steps within a window: as many distinct steps as there are.
  evaluator(rule, memory) {
    const steps = Number(rule.options.steps);
    const names = rule.roles.map((_, index) => String(index));
    const held = ({ roles }: Happening): string[] => names.filter((_, index) => (roles & (1 << index)) !== 0);
    return new SlidingDistinct(rule, memory, steps, 'steps', held) as Evaluator;
  },
};

export const temporalOrdered: RuleType = {
  name: 'temporal_ordered',
  summary: 'Steps happen in order within a span, and nothing forbidden between them.',
  shape,
  needsDetection: false,
  windows: ['sliding'],
  defaultLatenessMicros: defaultLateness,
  read(draft) {
    if (draft.window === undefined) draft.problem('timespan', 'temporal_ordered needs a timespan, for example 10m');
    const { roles, steps, forbidden } = readSteps(draft, true);
    return { roles, options: { steps, forbidden }, resolveAfterMicros: draft.window?.sizeMicros ?? 1 };
  },
  evaluator(rule): Evaluator {
    const steps = Number(rule.options.steps);
    const size = (rule.window as Window).sizeMicros;
    const masks: number[] = new Array(steps).fill(0);
    for (const [role, after] of (rule.options.forbidden ?? []) as [number, number][]) masks[after]! |= 1 << role;
    const evaluator: Evaluator<Sequence> = {
      keepMicros: keepMicros(rule),
      create: () => new Sequence(steps, masks, size),
      event(state, { time, roles, newest }) {
        const at = state.insert(time, roles, newest - rule.latenessMicros);
        return at === undefined ? undefined : { at, values: { steps } };
      },
      save: (state) => state.save(),
      load: (saved) => new Sequence(steps, masks, size).restore(saved),
      bytes: (state) => state.bytes,
    };
    return evaluator as Evaluator;
  },
};
