/**
 * Tumbling windows [k·size, (k+1)·size), aligned to the epoch, and session windows (events at most a gap apart). Each
 * open window is one accumulator: its cost does not depend on how many events it holds.
 */
import { type Happening, late, type Trigger } from './evaluator.js';
import type { Threshold, Window } from './rule.js';
import { holds } from './rule.js';

/** What is measured over the events of a window. */
export interface Measure<A = unknown> {
  readonly name: string;
  /** More events only bring a gt/gte condition nearer: it may be judged before the window is complete. */
  readonly grows: boolean;
  create(): A;
  /** False when a limit kept the value out. */
  add(accumulator: A, value: string, roles: number): boolean;
  merge(into: A, from: A): void;
  /** Undefined: nothing to judge. */
  result(accumulator: A): number | undefined;
  save(accumulator: A): unknown;
  load(saved: unknown): A;
  /** Bytes of memory, roughly. */
  bytes(accumulator: A): number;
}

interface Bucket {
  start: number;
  /** First and last event. */
  first: number;
  last: number;
  /** Stream's time of the last record that was added: a backlog that comes in late keeps its windows open. */
  recorded: number;
  accumulator: unknown;
}

type SavedBucket = [start: number, first: number, last: number, recorded: number, accumulator: unknown];

export interface BucketState {
  buckets: Bucket[];
  /** Event time through which windows were closed; what belongs into one of them is late. */
  closed: number;
  overflow: number;
}

export class Buckets {
  private readonly eager: boolean;

  constructor(
    private readonly window: Window,
    private readonly latenessMicros: number,
    private readonly measure: Measure,
    private readonly threshold: Threshold,
  ) {
    this.eager = measure.grows && (threshold.comparison === 'gt' || threshold.comparison === 'gte');
  }

  private values(result: number): Trigger['values'] {
    return { [this.measure.name]: result, threshold: this.threshold.value };
  }

  create(): BucketState {
    return { buckets: [], closed: Number.NEGATIVE_INFINITY, overflow: 0 };
  }

  /** Takes an event; a growing measure is judged at once. */
  insert(state: BucketState, happening: Happening): Trigger | typeof late | undefined {
    const { time, recorded, value, roles } = happening;
    const bucket =
      this.window.kind === 'tumbling' ? this.tumbling(state, time, recorded) : this.session(state, time, recorded);
    if (bucket === undefined) return late;
    bucket.recorded = recorded;
    if (!this.measure.add(bucket.accumulator, value, roles)) state.overflow++;
    if (!this.eager) return undefined;
    const result = this.measure.result(bucket.accumulator);
    return result !== undefined && holds(this.threshold, result)
      ? { at: time, values: this.values(result) }
      : undefined;
  }

  /**
   * A window that can only be judged complete is not opened after its time is over by the stream's clock: it may have
   * been judged before.
   */
  private over(end: number, recorded: number): boolean {
    return !this.eager && end + this.latenessMicros < recorded;
  }

  private tumbling(state: BucketState, time: number, recorded: number): Bucket | undefined {
    const start = Math.floor(time / this.window.sizeMicros) * this.window.sizeMicros;
    let bucket = state.buckets.find((each) => each.start === start);
    if (bucket === undefined) {
      if (start < state.closed || this.over(start + this.window.sizeMicros, recorded)) return undefined;
      bucket = { start, first: time, last: time, recorded, accumulator: this.measure.create() };
      state.buckets.push(bucket);
      state.buckets.sort((left, right) => left.start - right.start);
    }
    bucket.first = Math.min(bucket.first, time);
    bucket.last = Math.max(bucket.last, time);
    return bucket;
  }

  private session(state: BucketState, time: number, recorded: number): Bucket | undefined {
    const gap = this.window.sizeMicros;
    const near = state.buckets.filter((each) => time >= each.first - gap && time <= each.last + gap);
    if (near.length === 0 && (time <= state.closed || this.over(time + gap, recorded))) return undefined;
    const bucket = near[0] ?? { start: time, first: time, last: time, recorded, accumulator: this.measure.create() };
    if (near.length === 0) state.buckets.push(bucket);
    for (const other of near.slice(1)) {
      this.measure.merge(bucket.accumulator, other.accumulator);
      bucket.last = Math.max(bucket.last, other.last);
      state.buckets.splice(state.buckets.indexOf(other), 1);
    }
    bucket.first = Math.min(bucket.first, time);
    bucket.last = Math.max(bucket.last, time);
    bucket.start = bucket.first;
    state.buckets.sort((left, right) => left.start - right.start);
    return bucket;
  }

  private endOf(bucket: Bucket): number {
    return this.window.kind === 'tumbling'
      ? bucket.start + this.window.sizeMicros
      : bucket.last + this.window.sizeMicros;
  }

  private dueOf(bucket: Bucket): number {
    // Complete only when no event at the very end of a session's gap can come any more.
    return Math.max(this.endOf(bucket), bucket.recorded) + this.latenessMicros + 1;
  }

  due(state: BucketState): number {
    let due = Number.POSITIVE_INFINITY;
    for (const bucket of state.buckets) due = Math.min(due, this.dueOf(bucket));
    return due;
  }

  /** Closes windows that nothing can be added to any more; what may only be judged complete is judged now. */
  elapsed(state: BucketState, clock: number): Trigger[] {
    const triggers: Trigger[] = [];
    const open: Bucket[] = [];
    for (const bucket of state.buckets) {
      if (this.dueOf(bucket) > clock) {
        open.push(bucket);
        continue;
      }
      const end = this.endOf(bucket);
      state.closed = Math.max(state.closed, end);
      if (!this.eager) {
        const result = this.measure.result(bucket.accumulator);
        if (result !== undefined && holds(this.threshold, result))
          triggers.push({ at: end, values: this.values(result) });
      }
    }
    state.buckets = open;
    return triggers;
  }

  save(state: BucketState): unknown {
    const buckets = state.buckets.map(({ start, first, last, recorded, accumulator }) => [
      start,
      first,
      last,
      recorded,
      this.measure.save(accumulator),
    ]);
    return Number.isFinite(state.closed) ? [buckets, state.closed] : [buckets];
  }

  load(saved: unknown): BucketState {
    const [rows, closed = Number.NEGATIVE_INFINITY] = saved as [SavedBucket[], number?];
    const buckets = rows.map(([start, first, last, recorded, accumulator]) => ({
      start,
      first,
      last,
      recorded,
      accumulator: this.measure.load(accumulator),
    }));
    return { buckets, closed, overflow: 0 };
  }

  bytes(state: BucketState): number {
    let bytes = 64;
    for (const bucket of state.buckets) bytes += 120 + this.measure.bytes(bucket.accumulator);
    return bytes;
  }
}
