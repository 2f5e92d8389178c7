/** What the counting rule types share: reading window and condition, and choosing the structure for the window. */
import { type BucketState, Buckets, type Measure } from './buckets.js';
import type { Draft, Evaluator, Happening, Rule, Threshold, Trigger, Window } from './rule.js';
import { SlidingCount, SlidingDistinct } from './sliding.js';
import { SortedNumbers } from './times.js';

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

/** Where a window's events no longer matter: its end, and how late one may still come. */
function keepMicros(rule: Rule): number {
  return (rule.window as Window).sizeMicros + rule.latenessMicros;
}

export function slidingCount(rule: Rule): Evaluator<SlidingCount> {
  const size = (rule.window as Window).sizeMicros;
  const threshold = atLeast(rule.threshold as Threshold);
  return {
    create: () => new SlidingCount(size, threshold),
    event(state, { time, clock }) {
      const crossing = state.insert(time, clock - rule.latenessMicros);
      return crossing && { at: crossing.at, values: { count: crossing.count, threshold: rule.threshold!.value } };
    },
    due: () => Number.POSITIVE_INFINITY,
    elapsed: () => ({ triggers: [] }),
    expires: (state) => state.times.last() + keepMicros(rule),
    save: (state) => state.times.toArray(),
    load: (saved) => new SlidingCount(size, threshold, new SortedNumbers(saved as number[])),
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
    create: () => new SlidingDistinct(size, threshold, most),
    event(state, happening) {
      let found: Trigger | undefined;
      for (const value of valuesOf(happening)) {
        const crossing = state.insert(value, happening.time, happening.clock - rule.latenessMicros);
        if (
          crossing !== undefined &&
          (found === undefined || crossing.at < found.at || crossing.count > Number(found.values[measured]))
        ) {
          found = { at: crossing.at, values: { [measured]: crossing.count, threshold } };
        }
      }
      return found;
    },
    due: () => Number.POSITIVE_INFINITY,
    elapsed: () => ({ triggers: [] }),
    expires: (state) => state.newest + keepMicros(rule),
    save: (state) => state.save(),
    load: (saved) => new SlidingDistinct(size, threshold, most).restore(saved),
    overflow(state) {
      const count = state.overflow;
      state.overflow = 0;
      return count;
    },
  };
}

export function bucketed(rule: Rule, measure: Measure): Evaluator<BucketState> {
  const buckets = new Buckets(rule.window as Window, rule.latenessMicros, measure, rule.threshold as Threshold);
  return {
    create: () => ({ buckets: [], overflow: 0 }),
    event: (state, { time, value, roles }) => buckets.insert(state, time, value, roles),
    due: (state) => buckets.due(state),
    elapsed: (state, clock) => ({ triggers: buckets.elapsed(state, clock) }),
    expires: (state) => (state.buckets.length === 0 ? 0 : Number.POSITIVE_INFINITY),
    save: (state) => buckets.save(state),
    load: (saved) => buckets.load(saved),
    overflow(state) {
      const count = state.overflow;
      state.overflow = 0;
      return count;
    },
  };
}
