/** What the counting rule types share: reading window and condition, and choosing the structure for the window. */
import { type BucketState, Buckets, type Measure } from './buckets.js';
import type { Evaluator, Happening, Trigger } from './evaluator.js';
import type { Draft, Rule, Threshold, Window } from './rule.js';
import { SlidingCount } from './sliding-count.js';
import { SlidingDistinct } from './sliding-distinct.js';

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

export const mostValuesFor = (threshold: Threshold): number => Math.max(mostValues, 4 * atLeast(threshold));

/**
 * Micros without a record after which no window of a group can hold more than the next event: its length and how late an
 * event may come.
 */
export function keepMicros(rule: Rule): number {
  return (rule.window as Window).sizeMicros + rule.latenessMicros;
}

export function slidingCount(rule: Rule): Evaluator<SlidingCount> {
  const size = (rule.window as Window).sizeMicros;
  const threshold = rule.threshold as Threshold;
  const least = atLeast(threshold);
  const { latenessMicros } = rule;
  return {
    keepMicros: keepMicros(rule),
    create: () => new SlidingCount(size, least),
    event(state, { time, newest }) {
      const crossing = state.insert(time, newest - latenessMicros);
      return crossing && { at: crossing.at, values: { count: crossing.count, threshold: threshold.value } };
    },
    fetch: (state) => state.fetch(),
    save: (state) => state.save(),
    load: (saved) => new SlidingCount(size, least, saved as number[]),
    bytes: (state) => state.bytes,
  };
}

/** Distinct values; `valuesOf` says which ones an event brings. */
export function slidingDistinct(
  rule: Rule,
  threshold: number,
  measured: string,
  valuesOf: (happening: Happening) => readonly string[],
): Evaluator<SlidingDistinct> {
  const size = (rule.window as Window).sizeMicros;
  const most = Math.max(mostValues, 4 * threshold);
  return {
    keepMicros: keepMicros(rule),
    create: () => new SlidingDistinct(size, threshold, most),
    event(state, happening) {
      let found: Trigger | undefined;
      for (const value of valuesOf(happening)) {
        const crossing = state.insert(value, happening.time, happening.newest - rule.latenessMicros);
        if (
          crossing !== undefined &&
          (found === undefined || crossing.at < found.at || crossing.count > Number(found.values[measured]))
        ) {
          found = { at: crossing.at, values: { [measured]: crossing.count, threshold } };
        }
      }
      return found;
    },
    fetch: (state) => state.fetch(),
    save: (state) => state.save(),
    load: (saved) => new SlidingDistinct(size, threshold, most).restore(saved),
    bytes: (state) => state.bytes,
    overflow: takeOverflow,
  };
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
