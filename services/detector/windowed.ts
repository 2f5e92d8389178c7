/** What the counting rule types share: reading window and condition, and the windows that are no sliding ones. */
import { type BucketState, Buckets, type Measure } from './buckets.js';
import type { Evaluator } from './evaluator.js';
import type { Draft, Rule, Threshold, Window } from './rule.js';

/** Distinct values kept for one key: at 100 bytes each, 1 MB. A threshold above a quarter of it raises it. */
const mostValues = 10_000;

/** Window and threshold are required; a sliding window takes only conditions that it can judge before it is complete. */
export function needWindow(draft: Draft, growing: boolean): void {
  const { window, threshold } = draft;
  if (window === undefined) draft.problem('window', 'this rule type needs a window, for example window: {size: 5m}');
  if (threshold === undefined)
    draft.problem('condition', 'this rule type needs a condition, for example condition: {gte: 100}');
  else if (window?.kind === 'sliding') {
    const { comparison } = threshold;
    if (growing ? comparison !== 'gt' && comparison !== 'gte' : comparison === 'eq' || comparison === 'neq') {
      draft.problem(
        'condition',
        `"${comparison}" is not supported in a sliding window, where it would hold at the first event; use a tumbling or session window, or ${growing ? 'gt or gte' : 'gt, gte, lt or lte'}`,
      );
    }
  }
}

/** The smallest whole number for which a gt or gte condition holds. */
export function atLeast({ comparison, value }: Threshold): number {
  return Math.max(1, comparison === 'gt' ? Math.floor(value) + 1 : Math.ceil(value));
}

export const mostValuesFor = (least: number): number => Math.max(mostValues, 4 * least);

/**
 * Micros without a record after which no window of a group can hold more than the next event: its length and how late an
 * event may come.
 */
export function keepMicros(rule: Rule): number {
  return (rule.window as Window).sizeMicros + rule.latenessMicros;
}

export function bucketed(rule: Rule, measure: Measure): Evaluator<BucketState> {
  const buckets = new Buckets(rule.window as Window, rule.latenessMicros, measure, rule.threshold as Threshold);
  return {
    keepMicros: keepMicros(rule),
    create: () => buckets.create(),
    event: (state, happening) => buckets.insert(state, happening),
    due: (state) => buckets.due(state),
    elapsed: (state, clock) => ({ triggers: buckets.elapsed(state, clock) }),
    save: (state) => buckets.save(state),
    load: (saved) => buckets.load(saved),
    bytes: (state) => buckets.bytes(state),
    overflow: takeOverflow,
  };
}

/** Values that a limit kept out, counted anew from here. */
export function takeOverflow(state: { overflow: number }): number {
  const { overflow } = state;
  state.overflow = 0;
  return overflow;
}
