/**
 * Counts in sliding windows (τ − size, τ], exact to the microsecond, for events in any order.
 *
 * An event triggers when some window that ends at an event's time and contains it meets the condition; the crossing is
 * the earliest such end. Only these windows can have changed. Both structures keep every event (or every value's
 * coverage) that such a window may still need, that is up to size + lateness back.
 */
import { type Crossing, SortedNumbers } from './times.js';

/** Events of a quiet group, in one plain array; a busier one gets the structure that is cheap at any size. */
const mostPlain = 1_024;
/** Times that are let go of together: moving what stays costs less than a look at each. */
const dropped = 32;
/** Times that are kept without a look at their age: as long as all of them are too few, nobody needs to know it. */
const mostUnseen = 64;

/** Counts events. */
export class SlidingCount {
  private times: number[] = [];
  /** First time that is kept, and the first that is in the newest window. */
  private head = 0;
  private edge = 0;
  private many: SortedNumbers | undefined;

  constructor(
    private readonly size: number,
    /** Condition as count >= threshold. */
    private readonly threshold: number,
    sorted: readonly number[] = [],
  ) {
    if (sorted.length > mostPlain) this.many = new SortedNumbers(sorted);
    else this.times = [...sorted];
  }

  /** Takes an event and forgets what is before `horizon` − size. Returns the crossing, if any. */
  insert(time: number, horizon: number): Crossing | undefined {
    const { times, size } = this;
    if (this.many !== undefined) return this.insertMany(this.many, time, horizon);
    const length = times.length;
    if (length > 0 && time < (times[length - 1] as number)) {
      this.many = new SortedNumbers(times.slice(this.head));
      const crossing = this.insertMany(this.many, time, horizon);
      this.becomePlain(this.many);
      return crossing;
    }
    // An array that grows by push takes room for 17 more at once: a group of few events is most groups.
    if (length === 0) this.times = [time];
    else if (length === 1) this.times = [times[0] as number, time];
    else if (length === 2) this.times = [times[0] as number, times[1] as number, time];
    else times.push(time);
    // Looking at the oldest means fetching them from memory, which is most of what a quiet group costs.
    const kept = this.times.length - this.head;
    if (kept < this.threshold && kept < mostUnseen) return undefined;
    this.forget(time - size, horizon - size);
    const count = this.times.length - this.edge;
    if (count >= this.threshold) return { at: time, count };
    if (this.times.length - this.head > mostPlain) {
      this.many = new SortedNumbers(this.times.slice(this.head));
      this.times = [];
      this.head = 0;
      this.edge = 0;
    }
    return undefined;
  }

  private forget(before: number, through: number): void {
    const { times } = this;
    let { head, edge } = this;
    const { length } = times;
    while (edge < length && (times[edge] as number) <= before) edge++;
    while (head < edge && (times[head] as number) <= through) head++;
    if (head >= dropped && head * 2 >= length) {
      this.times = times.slice(head);
      edge -= head;
      head = 0;
    }
    this.head = head;
    this.edge = edge;
  }

  /** Back to the plain array after an event out of order. */
  private becomePlain(many: SortedNumbers): void {
    if (many.size > mostPlain) {
      this.times = [];
      this.head = 0;
      this.edge = 0;
      return;
    }
    this.times = many.toArray();
    this.head = 0;
    this.edge = many.rank(many.last() - this.size, true);
    this.many = undefined;
  }

  private insertMany(times: SortedNumbers, time: number, horizon: number): Crossing | undefined {
    const { size, threshold } = this;
    times.dropThrough(horizon - size);
    const inOrder = time >= times.last();
    times.insert(time);
    if (times.size < threshold) return undefined;
    const own = (inOrder ? times.size : times.rank(time, true)) - times.rank(time - size, true);
    if (own >= threshold) return { at: time, count: own };
    if (inOrder) return undefined;
    // Fewer than the threshold in all windows together: none can hold it.
    const below = times.rank(time - size, true);
    if (times.rank(time + size, false) - below < threshold) return undefined;
    // A window ending at the j-th event holds enough iff the (j − threshold + 1)-th is inside it.
    const end = times.rank(time + size, false);
    for (let j = Math.max(times.rank(time, true), below + threshold - 1); j < end; j++) {
      const at = times.at(j);
      if (at - times.at(j - threshold + 1) < size) {
        return { at, count: times.rank(at, true) - times.rank(at - size, true) };
      }
    }
    return undefined;
  }

  /** Reads what the next event will touch. */
  fetch(): number {
    const { times } = this;
    return times.length === 0 ? 0 : (times[times.length - 1] as number);
  }

  /** Bytes of memory, roughly. */
  get bytes(): number {
    return 120 + this.times.length * 8 + (this.many?.bytes ?? 0);
  }

  /** The times that are kept, in order. */
  save(): readonly number[] {
    return this.many?.toArray() ?? this.times.slice(this.head);
  }
}
