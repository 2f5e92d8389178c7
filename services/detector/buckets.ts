/**
 * Tumbling windows [k·size, (k+1)·size), aligned to the epoch, and session windows (events at most a gap apart). Each
 * open window is one accumulator: its cost does not depend on how many events it holds.
 */
import type { Threshold, Trigger, Window } from './rule.js';
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
}

interface Bucket {
  start: number;
  /** First and last event. */
  first: number;
  last: number;
  accumulator: unknown;
}

export interface BucketState {
  buckets: Bucket[];
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

  /** Takes an event; a growing measure is judged at once. */
  insert(state: BucketState, time: number, value: string, roles: number): Trigger | undefined {
    const bucket = this.window.kind === 'tumbling' ? this.tumbling(state, time) : this.session(state, time);
    if (!this.measure.add(bucket.accumulator, value, roles)) state.overflow++;
    if (!this.eager) return undefined;
    const result = this.measure.result(bucket.accumulator);
    return result !== undefined && holds(this.threshold, result)
      ? { at: time, values: this.values(result) }
      : undefined;
  }

  private tumbling(state: BucketState, time: number): Bucket {
    const start = Math.floor(time / this.window.sizeMicros) * this.window.sizeMicros;
    let bucket = state.buckets.find((each) => each.start === start);
    if (bucket === undefined) {
      bucket = { start, first: time, last: time, accumulator: this.measure.create() };
      state.buckets.push(bucket);
      state.buckets.sort((left, right) => left.start - right.start);
    }
    bucket.first = Math.min(bucket.first, time);
    bucket.last = Math.max(bucket.last, time);
    return bucket;
  }

  private session(state: BucketState, time: number): Bucket {
    const gap = this.window.sizeMicros;
    const near = state.buckets.filter((each) => time >= each.first - gap && time <= each.last + gap);
    const bucket = near[0] ?? { start: time, first: time, last: time, accumulator: this.measure.create() };
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

  due(state: BucketState): number {
    let due = Number.POSITIVE_INFINITY;
    for (const bucket of state.buckets) due = Math.min(due, this.endOf(bucket) + this.latenessMicros);
    // Complete only when no event at the very end of a session's gap can come any more.
    return due + 1;
  }

  /** Closes windows that nothing can be added to any more; what may only be judged complete is judged now. */
  elapsed(state: BucketState, clock: number): Trigger[] {
    const triggers: Trigger[] = [];
    const open: Bucket[] = [];
    for (const bucket of state.buckets) {
      const end = this.endOf(bucket);
      if (end + this.latenessMicros >= clock) open.push(bucket);
      else if (!this.eager) {
        const result = this.measure.result(bucket.accumulator);
        if (result !== undefined && holds(this.threshold, result))
          triggers.push({ at: end, values: this.values(result) });
      }
    }
    state.buckets = open;
    return triggers;
  }

  save(state: BucketState): unknown {
    return state.buckets.map(({ start, first, last, accumulator }) => [
      start,
      first,
      last,
      this.measure.save(accumulator),
    ]);
  }

  load(saved: unknown): BucketState {
    const buckets = (saved as [number, number, number, unknown][]).map(([start, first, last, accumulator]) => ({
      start,
      first,
      last,
      accumulator: this.measure.load(accumulator),
    }));
    return { buckets, overflow: 0 };
  }
}
