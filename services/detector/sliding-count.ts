/**
 * Counts in sliding windows (τ − size, τ], exact to the microsecond, for events in any order.
 *
 * An event triggers when some window that ends at an event's time and contains it meets the condition; the crossing is
 * the earliest such end. Only these windows can have changed. The times of every event that such a window may still need
 * are kept, that is up to size + lateness back: in one block of numbers, in order, and those of a busy group in a
 * structure that is cheap at any size.
 */
import type { Evaluator, Happening, Trigger } from './evaluator.js';
import { type Memory, Rows, rowWidth } from './memory.js';
import type { Rule, Threshold, Window } from './rule.js';
import { type Crossing, SortedNumbers } from './times.js';
import { atLeast, keepMicros } from './windowed.js';

/** Times in a block at most; a class of blocks. */
const mostPlain = 1_024;
/** The smallest block: four times. */
const leastClass = 2;

/** What a state's row holds. Where its block is; -1 when its times are in `many`. */
const blockAt = 0;
/** Times in the block, and of these the first that is kept and the first that may be in the newest window. */
const lengthAt = 1;
const headAt = 2;
const edgeAt = 3;

/** The class of the block in which so many times are: the smallest that holds them. */
function classOf(length: number): number {
  return length <= 1 << leastClass ? leastClass : 32 - Math.clz32(length - 1);
}

/** A block with as many times as one of its class holds. */
function isFull(length: number): boolean {
  return length >= 1 << leastClass && (length & (length - 1)) === 0;
}

/** Counts events. */
export class SlidingCount implements Evaluator<number> {
  readonly keepMicros: number;
  private readonly rows = new Rows();
  private readonly many = new Map<number, SortedNumbers>();
  private readonly size: number;
  private readonly lateness: number;
  private readonly wanted: Threshold;
  /** The condition as count >= least. */
  private readonly least: number;

  constructor(
    rule: Rule,
    private readonly memory: Memory,
  ) {
    this.keepMicros = keepMicros(rule);
    this.size = (rule.window as Window).sizeMicros;
    this.lateness = rule.latenessMicros;
    this.wanted = rule.threshold as Threshold;
    this.least = atLeast(this.wanted);
  }

  create(): number {
    const state = this.rows.take();
    this.rows.numbers[state * rowWidth + blockAt] = this.memory.blocks.take(leastClass);
    return state;
  }

  free(state: number): void {
    this.clear(state);
    this.rows.give(state);
  }

  event(state: number, { time, newest }: Happening): Trigger | undefined {
    const crossing = this.insert(state, time, newest - this.lateness);
    return crossing && { at: crossing.at, values: { count: crossing.count, threshold: this.wanted.value } };
  }

  /** Takes an event and forgets what is before `horizon` − size. Returns the crossing, if any. */
  private insert(state: number, time: number, horizon: number): Crossing | undefined {
    const { least, size } = this;
    const { blocks } = this.memory;
    const { numbers } = this.rows;
    const row = state * rowWidth;
    let block = numbers[row + blockAt] as number;
    if (block < 0) return this.insertMany(this.many.get(state) as SortedNumbers, time, horizon);
    let length = numbers[row + lengthAt] as number;
    if (length > 0 && time < (blocks.page(block)[blocks.within(block) + length - 1] as number))
      return this.insertLate(state, time, horizon);
    if (isFull(length)) {
      this.forget(state, time - size, horizon - size);
      if (!this.makeRoom(state)) return this.insertMany(this.many.get(state) as SortedNumbers, time, horizon);
      block = numbers[row + blockAt] as number;
      length = numbers[row + lengthAt] as number;
    }
    blocks.page(block)[blocks.within(block) + length] = time;
    numbers[row + lengthAt] = ++length;
    // Looking at the oldest means fetching them from memory, which is most of what a quiet group costs.
    if (length - (numbers[row + headAt] as number) < least) return undefined;
    this.forget(state, time - size, horizon - size);
    const count = length - (numbers[row + edgeAt] as number);
    return count >= least ? { at: time, count } : undefined;
  }

  private forget(state: number, before: number, through: number): void {
    const { numbers } = this.rows;
    const row = state * rowWidth;
    const block = numbers[row + blockAt] as number;
    const page = this.memory.blocks.page(block);
    const start = this.memory.blocks.within(block);
    const length = numbers[row + lengthAt] as number;
    let edge = numbers[row + edgeAt] as number;
    let head = numbers[row + headAt] as number;
    while (edge < length && (page[start + edge] as number) <= before) edge++;
    while (head < edge && (page[start + head] as number) <= through) head++;
    numbers[row + edgeAt] = edge;
    numbers[row + headAt] = head;
  }

  /** Moves what is kept to where one more has room, and must then be put. False when that is in `many`. */
  private makeRoom(state: number): boolean {
    const { blocks } = this.memory;
    const { numbers } = this.rows;
    const row = state * rowWidth;
    const block = numbers[row + blockAt] as number;
    const length = numbers[row + lengthAt] as number;
    const head = numbers[row + headAt] as number;
    if (length - head >= mostPlain) {
      const sorted = new SortedNumbers(this.save(state));
      this.clear(state);
      this.many.set(state, sorted);
      numbers[row + blockAt] = -1;
      return false;
    }
    const wanted = classOf(length - head + 1);
    const to = wanted === classOf(length) ? block : blocks.take(wanted);
    const from = blocks.within(block);
    blocks.page(to).set(blocks.page(block).subarray(from + head, from + length), blocks.within(to));
    if (to !== block) blocks.give(block, classOf(length));
    numbers[row + blockAt] = to;
    numbers[row + lengthAt] = length - head;
    numbers[row + headAt] = 0;
    numbers[row + edgeAt] = (numbers[row + edgeAt] as number) - head;
    return true;
  }

  /** An event out of order. */
  private insertLate(state: number, time: number, horizon: number): Crossing | undefined {
    const { numbers } = this.rows;
    const row = state * rowWidth;
    const length = numbers[row + lengthAt] as number;
    const head = numbers[row + headAt] as number;
    if (length - head + 1 >= this.least || isFull(length)) {
      const sorted = new SortedNumbers(this.save(state));
      const crossing = this.insertMany(sorted, time, horizon);
      this.clear(state);
      this.put(state, sorted);
      return crossing;
    }
    // Too few for any window.
    const { blocks } = this.memory;
    const block = numbers[row + blockAt] as number;
    const page = blocks.page(block);
    const start = blocks.within(block);
    let at = length;
    for (; at > head && (page[start + at - 1] as number) > time; at--)
      page[start + at] = page[start + at - 1] as number;
    page[start + at] = time;
    numbers[row + lengthAt] = length + 1;
    numbers[row + edgeAt] = Math.min(at, numbers[row + edgeAt] as number);
    return undefined;
  }

  private insertMany(times: SortedNumbers, time: number, horizon: number): Crossing | undefined {
    const { size, least } = this;
    times.dropThrough(horizon - size);
    const inOrder = time >= times.last();
    times.insert(time);
    if (times.size < least) return undefined;
    const own = (inOrder ? times.size : times.rank(time, true)) - times.rank(time - size, true);
    if (own >= least) return { at: time, count: own };
    if (inOrder) return undefined;
    // Fewer than wanted in all windows together: none can hold it.
    const below = times.rank(time - size, true);
    if (times.rank(time + size, false) - below < least) return undefined;
    // A window ending at the j-th event holds enough iff the (j − least + 1)-th is inside it.
    const end = times.rank(time + size, false);
    for (let j = Math.max(times.rank(time, true), below + least - 1); j < end; j++) {
      const at = times.at(j);
      if (at - times.at(j - least + 1) < size) {
        return { at, count: times.rank(at, true) - times.rank(at - size, true) };
      }
    }
    return undefined;
  }

  fetch(state: number): number {
    const row = state * rowWidth;
    const { numbers } = this.rows;
    const block = numbers[row + blockAt] as number;
    if (block < 0) return 0;
    const { blocks } = this.memory;
    return blocks.page(block)[blocks.within(block) + (numbers[row + lengthAt] as number)] as number;
  }

  bytes(state: number): number {
    const many = this.many.get(state);
    const length = this.rows.numbers[state * rowWidth + lengthAt] as number;
    return rowWidth * 4 + (many === undefined ? 8 * 2 ** classOf(length) : many.bytes);
  }

  /** The times that are kept, in order. */
  save(state: number): readonly number[] {
    const many = this.many.get(state);
    if (many !== undefined) return many.toArray();
    const { numbers } = this.rows;
    const row = state * rowWidth;
    const block = numbers[row + blockAt] as number;
    const from = this.memory.blocks.within(block);
    const until = from + (numbers[row + lengthAt] as number);
    return [...this.memory.blocks.page(block).subarray(from + (numbers[row + headAt] as number), until)];
  }

  load(saved: unknown): number {
    const state = this.rows.take();
    this.put(state, new SortedNumbers(saved as readonly number[]));
    return state;
  }

  /** Gives a state without times its times. */
  private put(state: number, sorted: SortedNumbers): void {
    const { blocks } = this.memory;
    const { numbers } = this.rows;
    const row = state * rowWidth;
    if (sorted.size > mostPlain) {
      this.many.set(state, sorted);
      numbers[row + blockAt] = -1;
      return;
    }
    const block = blocks.take(classOf(sorted.size));
    blocks.page(block).set(sorted.toArray(), blocks.within(block));
    numbers[row + blockAt] = block;
    numbers[row + lengthAt] = sorted.size;
    numbers[row + headAt] = 0;
    numbers[row + edgeAt] = 0;
  }

  /** Lets go of a state's times, and leaves its row without meaning. */
  private clear(state: number): void {
    if (this.many.delete(state)) return;
    const row = state * rowWidth;
    const block = this.rows.numbers[row + blockAt] as number;
    this.memory.blocks.give(block, classOf(this.rows.numbers[row + lengthAt] as number));
  }
}
