/**
 * Distinct values in sliding windows for any number of intervals: sorted starts and ends, in which the number of values at
 * τ is the number of starts up to τ less the number of ends up to τ.
 */
import { type Crossing, SortedNumbers } from './times.js';

export class ManyDistinct {
  private readonly coverage = new Map<string, number[]>();
  private starts = new SortedNumbers();
  private ends = new SortedNumbers();
  /** Starts less ends that were let go of. */
  private base = 0;
  overflow = 0;
  private sweepAt = 64;
  private newest = Number.NEGATIVE_INFINITY;

  constructor(
    private readonly size: number,
    private readonly threshold: number,
    private readonly mostValues: number,
  ) {}

  /**
   * Takes in what was kept elsewhere, when nothing is kept here yet. Intervals of one value touch one another nowhere.
   * @param spans Start and end of each value's interval; a value may come several times.
   */
  take(values: readonly string[], spans: Float64Array): this {
    const starts = spans.filter((_, at) => at % 2 === 0).sort();
    const ends = spans.filter((_, at) => at % 2 === 1).sort();
    for (const [at, value] of values.entries()) {
      const intervals = [...(this.coverage.get(value) ?? []), spans[at * 2] as number, spans[at * 2 + 1] as number];
      // Of intervals apart from one another the ends are in the order of the starts.
      this.coverage.set(value, intervals.length > 2 ? [...Float64Array.from(intervals).sort()] : intervals);
    }
    this.starts = new SortedNumbers([...starts]);
    this.ends = new SortedNumbers([...ends]);
    this.newest = Math.max(this.newest, (ends[ends.length - 1] as number) - this.size);
    return this;
  }

  insert(value: string, time: number, horizon: number): Crossing | undefined {
    this.forget(horizon);
    const { size, threshold } = this;
    const end = time + size;
    const inOrder = time >= this.newest;
    if (inOrder) this.newest = time;
    let intervals = this.coverage.get(value);
    if (intervals === undefined) {
      if (this.coverage.size >= this.mostValues) {
        this.overflow++;
        return undefined;
      }
      intervals = [time, end];
      this.coverage.set(value, intervals);
      this.starts.insert(time);
      this.ends.insert(end);
    } else this.extend(intervals, time, end);

    const own = this.countAt(time);
    if (own >= threshold) return { at: time, count: own };
    if (inOrder) return undefined;
    const first = this.starts.rank(time, true);
    const last = this.starts.rank(end, false);
    for (let index = first; index < last; index++) {
      const at = this.starts.at(index);
      const count = this.countAt(at);
      if (count >= threshold) return { at, count };
    }
    return undefined;
  }

  private countAt(time: number): number {
    return this.base + this.starts.rank(time, true) - this.ends.rank(time, true);
  }

  /** Joins [time, end) with the intervals that touch it. */
  private extend(intervals: number[], time: number, end: number): void {
    const length = intervals.length;
    const lastEnd = intervals[length - 1] as number;
    if (time >= (intervals[length - 2] as number) && time <= lastEnd) {
      if (end > lastEnd) {
        this.ends.remove(lastEnd);
        this.ends.insert(end);
        intervals[length - 1] = end;
      }
      return;
    }
    let low = 0;
    while (low < length && (intervals[low + 1] as number) < time) low += 2;
    let high = low;
    let start = time;
    let stop = end;
    while (high < length && (intervals[high] as number) <= end) {
      start = Math.min(start, intervals[high] as number);
      stop = Math.max(stop, intervals[high + 1] as number);
      this.dropStart(intervals[high] as number);
      this.ends.remove(intervals[high + 1] as number);
      high += 2;
    }
    this.starts.insert(start);
    this.ends.insert(stop);
    intervals.splice(low, high - low, start, stop);
  }

  private dropStart(start: number): void {
    // A start that was let go of stands in `base`.
    if (!this.starts.remove(start)) this.base--;
  }

  private forget(horizon: number): void {
    const starts = this.starts.size;
    const ends = this.ends.size;
    this.starts.dropThrough(horizon - 1);
    this.ends.dropThrough(horizon - 1);
    this.base += starts - this.starts.size - (ends - this.ends.size);
    if (this.coverage.size < this.sweepAt) return;
    for (const [value, intervals] of this.coverage) {
      let gone = 0;
      while (gone < intervals.length && (intervals[gone + 1] as number) < horizon) gone += 2;
      if (gone === intervals.length) this.coverage.delete(value);
      else if (gone > 0) intervals.splice(0, gone);
    }
    // Twice what is left: each value is looked at a constant number of times for each one that is added.
    this.sweepAt = Math.max(64, this.coverage.size * 2);
  }

  /** Bytes of memory, roughly: a value with its text, its entry of the map and its interval is about 160. */
  get bytes(): number {
    return 200 + this.coverage.size * 160 + this.starts.bytes + this.ends.bytes;
  }

  save(): unknown {
    return {
      coverage: [...this.coverage],
      starts: this.starts.toArray(),
      ends: this.ends.toArray(),
      base: this.base,
      newest: this.newest,
      sweepAt: this.sweepAt,
    };
  }

  restore(saved: unknown): this {
    const from = saved as {
      coverage: [string, number[]][];
      starts: number[];
      ends: number[];
      base: number;
      newest: number;
      sweepAt: number;
    };
    for (const [value, intervals] of from.coverage) this.coverage.set(value, [...intervals]);
    this.starts = new SortedNumbers(from.starts);
    this.ends = new SortedNumbers(from.ends);
    this.base = from.base;
    this.newest = from.newest;
    this.sweepAt = from.sweepAt;
    return this;
  }
}
