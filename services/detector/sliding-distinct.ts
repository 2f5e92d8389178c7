/**
 * Distinct values in sliding windows (τ − size, τ], exact to the microsecond, for events in any order.
 *
 * A value is in the windows that end in [t, t + size) for each of its events t; what counts is the union of these, so a
 * value with a million events keeps one interval. The number of values at τ is the number of intervals that hold τ, and it
 * grows only where an interval starts. So the windows that an event can bring over the threshold are the one that ends
 * with it, and those that end with a later start inside its own interval.
 *
 * A group with few intervals keeps them in plain arrays and looks at all of them; one with more gets sorted starts and
 * ends, in which the number at τ is the number of starts up to τ less the number of ends up to τ.
 */
import { type Crossing, SortedNumbers } from './times.js';

/** Intervals that are looked at one by one: about 100 ns for all. */
const mostPlain = 64;
/** Numbers of one interval: start and end. */
const stride = 2;

export class SlidingDistinct {
  overflow = 0;
  /** The value of each interval and a hash of it, which is all that is looked at of most intervals; start and end. */
  private values: string[] = [];
  private hashes: number[] = [];
  private spans: number[] = [];
  private many: ManyDistinct | undefined;

  constructor(
    private readonly size: number,
    private readonly threshold: number,
    private readonly mostValues: number,
  ) {}

  /** Takes a value and forgets what no window that ends after `horizon` needs. Returns the crossing, if any. */
  insert(value: string, time: number, horizon: number): Crossing | undefined {
    if (this.many !== undefined) return this.insertMany(this.many, value, time, horizon);
    const { size, threshold } = this;
    const end = time + size;
    const hash = hashOf(value);
    if (!this.join(value, hash, time, end)) {
      if (this.values.length >= mostPlain) this.forget(horizon);
      if (this.values.length >= mostPlain) return this.insertMany(this.becomeMany(), value, time, horizon);
      // Most groups never get a second value: arrays of one take room for one.
      if (this.values.length === 0) {
        this.values = [value];
        this.hashes = [hash];
        this.spans = [time, end];
      } else {
        this.values.push(value);
        this.hashes.push(hash);
        this.spans.push(time, end);
      }
    }
    // Fewer intervals than the threshold in all windows together.
    if (this.values.length < threshold) return undefined;
    const own = this.countAt(time);
    if (own >= threshold) return { at: time, count: own };
    let found: Crossing | undefined;
    for (let at = 0; at < this.spans.length; at += stride) {
      const start = this.spans[at] as number;
      if (start <= time || start >= end || (found !== undefined && start >= found.at)) continue;
      const count = this.countAt(start);
      if (count >= threshold) found = { at: start, count };
    }
    return found;
  }

  private becomeMany(): ManyDistinct {
    const many = new ManyDistinct(this.size, this.threshold, this.mostValues);
    for (const [index, value] of this.values.entries())
      many.cover(value, this.spans[index * stride] as number, this.spans[index * stride + 1] as number);
    this.many = many;
    this.values = [];
    this.hashes = [];
    this.spans = [];
    return many;
  }

  /** Joins [time, end) with the value's intervals that touch it; false when none does. */
  private join(value: string, hash: number, time: number, end: number): boolean {
    const { values, hashes, spans } = this;
    let whole = -1;
    for (let index = 0; index < hashes.length; index++) {
      if (hashes[index] !== hash || values[index] !== value) continue;
      const at = index * stride;
      const start = spans[at] as number;
      const stop = spans[at + 1] as number;
      if (time > stop || end < start) continue;
      if (whole < 0) {
        whole = at;
        if (time < start) spans[at] = time;
        if (end > stop) spans[at + 1] = end;
        continue;
      }
      spans[whole] = Math.min(spans[whole] as number, start);
      spans[whole + 1] = Math.max(spans[whole + 1] as number, stop);
      this.remove(index);
      index--;
    }
    return whole >= 0;
  }

  /** The last interval takes its place. */
  private remove(index: number): void {
    const { values, hashes, spans } = this;
    const last = values.length - 1;
    values[index] = values[last] as string;
    hashes[index] = hashes[last] as number;
    spans[index * stride] = spans[last * stride] as number;
    spans[index * stride + 1] = spans[last * stride + 1] as number;
    values.pop();
    hashes.pop();
    spans.length = last * stride;
  }

  private forget(horizon: number): void {
    for (let index = this.values.length - 1; index >= 0; index--)
      if ((this.spans[index * stride + 1] as number) < horizon) this.remove(index);
  }

  private countAt(time: number): number {
    const { spans } = this;
    let count = 0;
    for (let at = 0; at < spans.length; at += stride)
      if ((spans[at] as number) <= time && (spans[at + 1] as number) > time) count++;
    return count;
  }

  private insertMany(many: ManyDistinct, value: string, time: number, horizon: number): Crossing | undefined {
    const crossing = many.insert(value, time, horizon);
    this.overflow += many.overflow;
    many.overflow = 0;
    return crossing;
  }

  /** Reads what the next value will be compared with: a number of every line of the cache. */
  fetch(): number {
    const { hashes } = this;
    let sum = 0;
    for (let at = 0; at < hashes.length; at += 8) sum += hashes[at] as number;
    return sum;
  }

  /** Bytes of memory, roughly. */
  get bytes(): number {
    return 220 + this.values.length * 50 + (this.many?.bytes ?? 0);
  }

  save(): unknown {
    const { values, spans, many } = this;
    return many === undefined ? { values, intervals: spans } : { many: many.save() };
  }

  restore(saved: unknown): this {
    const from = structuredClone(saved) as { values?: string[]; intervals: number[]; many: unknown };
    if (from.values === undefined)
      this.many = new ManyDistinct(this.size, this.threshold, this.mostValues).restore(from.many);
    else {
      this.values = from.values;
      this.hashes = from.values.map(hashOf);
      this.spans = from.intervals;
    }
    return this;
  }
}

/** FNV-1a, small enough to be no object. */
function hashOf(text: string): number {
  let hash = 0x811c9dc5 | 0;
  for (let at = 0; at < text.length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  return hash >> 1;
}

/** The same for any number of intervals. */
class ManyDistinct {
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

  /** Adds an interval of a value that touches no other of it. */
  cover(value: string, start: number, end: number): void {
    const intervals = [...(this.coverage.get(value) ?? []), start, end];
    const pairs = Array.from({ length: intervals.length / 2 }, (_, at) => intervals.slice(at * 2, at * 2 + 2));
    pairs.sort((left, right) => (left[0] as number) - (right[0] as number));
    this.coverage.set(value, pairs.flat());
    this.starts.insert(start);
    this.ends.insert(end);
    this.newest = Math.max(this.newest, end - this.size);
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
