/**
 * Distinct values in sliding windows (τ − size, τ], exact to the microsecond, for events in any order.
 *
 * A value is in the windows that end in [t, t + size) for each of its events t; what counts is the union of these, so a
 * value with a million events keeps one interval. The number of values at τ is the number of intervals that hold τ, and it
 * grows only where an interval starts. So the windows that an event can bring over the threshold are the one that ends
 * with it, and those that end with a later start inside its own interval.
 *
 * A group with few intervals keeps them in one block of numbers and looks at all of them; one with more gets sorted starts
 * and ends (`many-distinct.ts`).
 */
import type { Evaluator, Happening, Trigger } from './evaluator.js';
import { ManyDistinct } from './many-distinct.js';
import { type Memory, Rows, rowWidth } from './memory.js';
import type { Rule, Window } from './rule.js';
import type { Crossing } from './times.js';
import { keepMicros, mostValuesFor } from './windowed.js';

/** Intervals that are looked at one by one: 2 KiB, less than sorted starts and ends cost. */
const mostPlain = 128;
/** The smallest block has room for three intervals. */
const leastClass = 3;

/** What a state's row holds. Where its block is; -1 when its intervals are in `many`. */
const blockAt = 0;
const classAt = 1;
const countAt = 2;
const overflowAt = 3;

/**
 * Intervals that a block of 2^size numbers has room for. It begins with the number of each one's text, two to a number,
 * and then has start and end of each.
 */
const roomIn = Uint8Array.from({ length: 10 }, (_, size) => Math.floor(2 ** size / 2.5));

export class SlidingDistinct implements Evaluator<number> {
  readonly keepMicros: number;
  private readonly rows = new Rows();
  private readonly many = new Map<number, ManyDistinct>();
  private readonly size: number;
  private readonly lateness: number;
  private readonly mostValues: number;

  /**
   * @param measured What the number is called in an alert.
   * @param valuesOf The values that an event brings; without it the happening's own one.
   */
  constructor(
    rule: Rule,
    private readonly memory: Memory,
    private readonly least: number,
    private readonly measured: string,
    private readonly valuesOf?: (happening: Happening) => readonly string[],
  ) {
    this.keepMicros = keepMicros(rule);
    this.size = (rule.window as Window).sizeMicros;
    this.lateness = rule.latenessMicros;
    this.mostValues = mostValuesFor(least);
  }

  create(): number {
    const state = this.rows.take();
    const row = state * rowWidth;
    this.rows.numbers[row + blockAt] = this.memory.blocks.take(leastClass);
    this.rows.numbers[row + classAt] = leastClass;
    return state;
  }

  free(state: number): void {
    this.clear(state);
    this.rows.give(state);
  }

  event(state: number, happening: Happening): Trigger | undefined {
    const { time, newest } = happening;
    const horizon = newest - this.lateness;
    if (this.valuesOf === undefined) {
      const crossing = this.insert(state, happening.value, time, horizon);
      return crossing && this.trigger(crossing);
    }
    let found: Crossing | undefined;
    for (const value of this.valuesOf(happening)) {
      const crossing = this.insert(state, value, time, horizon);
      if (crossing === undefined) continue;
      if (found === undefined || crossing.at < found.at || crossing.count > found.count) found = crossing;
    }
    return found && this.trigger(found);
  }

  private trigger({ at, count }: Crossing): Trigger {
    return { at, values: { [this.measured]: count, threshold: this.least } };
  }

  /** Takes a value and forgets what no window that ends after `horizon` needs. Returns the crossing, if any. */
  private insert(state: number, value: string, time: number, horizon: number): Crossing | undefined {
    const { numbers } = this.rows;
    const row = state * rowWidth;
    if ((numbers[row + blockAt] as number) < 0) return this.insertMany(state, value, time, horizon);
    const end = time + this.size;
    const text = this.memory.texts.find(value);
    if (text < 0 || !this.join(state, text, time, end)) {
      if ((numbers[row + countAt] as number) >= mostPlain) this.forget(state, horizon);
      if ((numbers[row + countAt] as number) >= mostPlain) {
        this.becomeMany(state);
        return this.insertMany(state, value, time, horizon);
      }
      this.add(state, value, time, end);
    }
    // Fewer intervals than wanted in all windows together.
    if ((numbers[row + countAt] as number) < this.least) return undefined;
    const own = this.countAt(state, time);
    if (own >= this.least) return { at: time, count: own };
    const spans = this.spans(state);
    let found: Crossing | undefined;
    for (let at = 0; at < spans.length; at += 2) {
      const start = spans[at] as number;
      if (start <= time || start >= end || (found !== undefined && start >= found.at)) continue;
      const count = this.countAt(state, start);
      if (count >= this.least) found = { at: start, count };
    }
    return found;
  }

  private insertMany(state: number, value: string, time: number, horizon: number): Crossing | undefined {
    const many = this.many.get(state) as ManyDistinct;
    const crossing = many.insert(value, time, horizon);
    this.rows.numbers[state * rowWidth + overflowAt]! += many.overflow;
    many.overflow = 0;
    return crossing;
  }

  /** Where the first interval's start lies in its page. */
  private firstSpan(row: number): number {
    const { numbers } = this.rows;
    return (
      this.memory.blocks.within(numbers[row + blockAt] as number) +
      (((roomIn[numbers[row + classAt] as number] as number) + 1) >> 1)
    );
  }

  /** Start and end of each interval. */
  private spans(state: number): Float64Array {
    const row = state * rowWidth;
    const from = this.firstSpan(row);
    const count = this.rows.numbers[row + countAt] as number;
    return this.memory.blocks.page(this.rows.numbers[row + blockAt] as number).subarray(from, from + count * 2);
  }

  /** The numbers of the intervals' texts. */
  private texts(state: number): Int32Array {
    const row = state * rowWidth;
    const block = this.rows.numbers[row + blockAt] as number;
    const from = this.memory.blocks.within(block) * 2;
    return this.memory.blocks.wholePage(block).subarray(from, from + (this.rows.numbers[row + countAt] as number));
  }

  private values(state: number): readonly string[] {
    return Array.from(this.texts(state), (text) => this.memory.texts.text(text));
  }

  private add(state: number, value: string, start: number, end: number): void {
    const { numbers } = this.rows;
    const { blocks, texts } = this.memory;
    const row = state * rowWidth;
    const count = numbers[row + countAt] as number;
    if (count === roomIn[numbers[row + classAt] as number]) this.grow(state);
    const block = numbers[row + blockAt] as number;
    blocks.wholePage(block)[blocks.within(block) * 2 + count] = texts.hold(value);
    const page = blocks.page(block);
    const at = this.firstSpan(row) + count * 2;
    page[at] = start;
    page[at + 1] = end;
    numbers[row + countAt] = count + 1;
  }

  private grow(state: number): void {
    const { numbers } = this.rows;
    const { blocks } = this.memory;
    const row = state * rowWidth;
    const texts = this.texts(state);
    const spans = this.spans(state);
    const old = numbers[row + blockAt] as number;
    const size = numbers[row + classAt] as number;
    const block = blocks.take(size + 1);
    numbers[row + blockAt] = block;
    numbers[row + classAt] = size + 1;
    blocks.wholePage(block).set(texts, blocks.within(block) * 2);
    blocks.page(block).set(spans, this.firstSpan(row));
    blocks.give(old, size);
  }

  /** Joins [time, end) with the value's intervals that touch it; false when none does. */
  private join(state: number, text: number, time: number, end: number): boolean {
    const { numbers } = this.rows;
    const { blocks } = this.memory;
    const row = state * rowWidth;
    const block = numbers[row + blockAt] as number;
    const whole = blocks.wholePage(block);
    const page = blocks.page(block);
    const firstText = blocks.within(block) * 2;
    const firstSpan = this.firstSpan(row);
    let joined = -1;
    for (let index = 0; index < (numbers[row + countAt] as number); index++) {
      if (whole[firstText + index] !== text) continue;
      const at = firstSpan + index * 2;
      const start = page[at] as number;
      const stop = page[at + 1] as number;
      if (time > stop || end < start) continue;
      if (joined < 0) {
        joined = at;
        if (time < start) page[at] = time;
        if (end > stop) page[at + 1] = end;
        continue;
      }
      page[joined] = Math.min(page[joined] as number, start);
      page[joined + 1] = Math.max(page[joined + 1] as number, stop);
      this.remove(state, index);
      index--;
    }
    return joined >= 0;
  }

  /** The last interval takes its place. */
  private remove(state: number, index: number): void {
    const texts = this.texts(state);
    const spans = this.spans(state);
    const last = texts.length - 1;
    this.memory.texts.release(texts[index] as number);
    texts[index] = texts[last] as number;
    spans.copyWithin(index * 2, last * 2, last * 2 + 2);
    this.rows.numbers[state * rowWidth + countAt] = last;
  }

  private forget(state: number, horizon: number): void {
    const spans = this.spans(state);
    for (let index = spans.length / 2 - 1; index >= 0; index--)
      if ((spans[index * 2 + 1] as number) < horizon) this.remove(state, index);
  }

  private countAt(state: number, time: number): number {
    const row = state * rowWidth;
    const page = this.memory.blocks.page(this.rows.numbers[row + blockAt] as number);
    const first = this.firstSpan(row);
    const last = first + (this.rows.numbers[row + countAt] as number) * 2;
    let count = 0;
    for (let at = first; at < last; at += 2)
      if ((page[at] as number) <= time && (page[at + 1] as number) > time) count++;
    return count;
  }

  private becomeMany(state: number): void {
    const many = new ManyDistinct(this.size, this.least, this.mostValues).take(this.values(state), this.spans(state));
    this.clear(state);
    this.keepMany(state, many);
  }

  private keepMany(state: number, many: ManyDistinct): void {
    this.many.set(state, many);
    this.rows.numbers[state * rowWidth + blockAt] = -1;
  }

  /** Reads what the next value will be compared with: a number of every line of the cache. */
  fetch(state: number): number {
    const { numbers } = this.rows;
    const row = state * rowWidth;
    const block = numbers[row + blockAt] as number;
    if (block < 0) return 0;
    const { blocks } = this.memory;
    const whole = blocks.wholePage(block);
    const first = blocks.within(block) * 2;
    const count = numbers[row + countAt] as number;
    let sum = 0;
    for (let index = 0; index < count; index += 16) sum += whole[first + index] as number;
    return sum;
  }

  /** Roughly: the row, the block, and a share of the texts, which other groups may have too. */
  bytes(state: number): number {
    const { numbers } = this.rows;
    const row = state * rowWidth;
    const many = this.many.get(state);
    if (many !== undefined) return rowWidth * 4 + many.bytes;
    const texts = (numbers[row + countAt] as number) * this.memory.texts.bytesPerHolder;
    return rowWidth * 4 + 8 * 2 ** (numbers[row + classAt] as number) + Math.round(texts);
  }

  overflow(state: number): number {
    const row = state * rowWidth;
    const overflow = this.rows.numbers[row + overflowAt] as number;
    if (overflow > 0) this.rows.numbers[row + overflowAt] = 0;
    return overflow;
  }

  save(state: number): unknown {
    const many = this.many.get(state);
    if (many !== undefined) return { many: many.save() };
    return { values: this.values(state), intervals: [...this.spans(state)] };
  }

  load(saved: unknown): number {
    const from = saved as { values?: readonly string[]; intervals: readonly number[]; many: unknown };
    const state = this.create();
    if (from.values === undefined) {
      this.clear(state);
      const many = new ManyDistinct(this.size, this.least, this.mostValues);
      this.keepMany(state, many.restore(structuredClone(from.many)));
    } else
      for (const [index, value] of from.values.entries())
        this.add(state, value, from.intervals[index * 2] as number, from.intervals[index * 2 + 1] as number);
    return state;
  }

  /** Lets go of a state's intervals, and leaves its row without meaning. */
  private clear(state: number): void {
    if (this.many.delete(state)) return;
    for (const text of this.texts(state)) this.memory.texts.release(text);
    const row = state * rowWidth;
    this.memory.blocks.give(this.rows.numbers[row + blockAt] as number, this.rows.numbers[row + classAt] as number);
  }
}
