/**
 * A sorted multiset of numbers (times in microseconds, or values), exact and cheap where it is asked: sorted chunks, and
 * cursors that remember where the last questions were. An append, a removal at the front and a rank near one of the last
 * asked cost O(1); anything else moves at most one chunk and walks over the chunks between.
 *
 * A quiet key has one chunk of a few numbers. A key with a million numbers has about 2,000 chunks, and because events
 * come nearly in order and window edges only move forward, it pays no more for each event.
 */

/** Halved when full: a move inside a chunk is at most 4 KiB. */
const chunkLength = 512;

/** A window that holds enough: when it ends, and how much is in it. */
export interface Crossing {
  readonly at: number;
  readonly count: number;
}

/** A chunk, and how many numbers the chunks before it hold. */
interface Cursor {
  chunk: number;
  before: number;
}

export class SortedNumbers {
  private chunks: number[][] = [];
  size = 0;
  /** A window has two ends, and both are asked for again and again: whichever cursor is nearer goes there. */
  private readonly cursors: readonly [Cursor, Cursor] = [
    { chunk: 0, before: 0 },
    { chunk: 0, before: 0 },
  ];

  constructor(sorted: readonly number[] = []) {
    for (let at = 0; at < sorted.length; at += chunkLength / 2)
      this.chunks.push(sorted.slice(at, at + chunkLength / 2));
    this.size = sorted.length;
  }

  /** The cursor at the last chunk whose first number is < value (or <= value), or at the first chunk. */
  private seek(value: number, inclusive: boolean): Cursor {
    const { chunks } = this;
    const [one, other] = this.cursors;
    const firstOf = (chunk: number): number => (chunks[chunk] as number[])[0] as number;
    const cursor = Math.abs(firstOf(one.chunk) - value) <= Math.abs(firstOf(other.chunk) - value) ? one : other;
    while (cursor.chunk + 1 < chunks.length) {
      const first = firstOf(cursor.chunk + 1);
      if (!(first < value || (inclusive && first === value))) break;
      cursor.before += (chunks[cursor.chunk] as number[]).length;
      cursor.chunk++;
    }
    while (cursor.chunk > 0) {
      const first = firstOf(cursor.chunk);
      if (first < value || (inclusive && first === value)) break;
      cursor.chunk--;
      cursor.before -= (chunks[cursor.chunk] as number[]).length;
    }
    return cursor;
  }

  /** How many numbers are < value, or <= value. */
  rank(value: number, inclusive: boolean): number {
    if (this.size === 0) return 0;
    const { chunk, before } = this.seek(value, inclusive);
    return before + position(this.chunks[chunk] as number[], value, inclusive);
  }

  insert(value: number): void {
    const { chunks } = this;
    this.size++;
    const last = chunks.length - 1;
    if (last < 0) {
      chunks.push([value]);
      return;
    }
    const tail = chunks[last] as number[];
    if (value >= (tail[tail.length - 1] as number)) {
      // A full last chunk stays full: in-order numbers fill chunks to the brim and split nothing.
      if (tail.length < chunkLength) tail.push(value);
      else chunks.push([value]);
      return;
    }
    const { chunk: at } = this.seek(value, true);
    const chunk = chunks[at] as number[];
    chunk.splice(position(chunk, value, true), 0, value);
    for (const cursor of this.cursors) if (cursor.chunk > at) cursor.before++;
    if (chunk.length <= chunkLength) return;
    chunks.splice(at + 1, 0, chunk.splice(chunkLength / 2));
    for (const cursor of this.cursors) if (cursor.chunk > at) cursor.chunk++;
  }

  /** Removes one occurrence. Returns false when there is none. */
  remove(value: number): boolean {
    if (this.size === 0) return false;
    const { chunk: at } = this.seek(value, true);
    const chunk = this.chunks[at] as number[];
    const index = position(chunk, value, true) - 1;
    if (index < 0 || chunk[index] !== value) return false;
    chunk.splice(index, 1);
    this.size--;
    for (const cursor of this.cursors) if (cursor.chunk > at) cursor.before--;
    if (chunk.length > 0) return true;
    this.chunks.splice(at, 1);
    for (const cursor of this.cursors) {
      if (cursor.chunk > at) cursor.chunk--;
      else if (cursor.chunk === this.chunks.length && cursor.chunk > 0) {
        cursor.chunk--;
        cursor.before -= (this.chunks[cursor.chunk] as number[]).length;
      }
    }
    return true;
  }

  /** Lets go of numbers <= value: all whole chunks of them, and more where that is cheap. */
  dropThrough(value: number): void {
    const { chunks } = this;
    let whole = 0;
    let dropped = 0;
    while (whole < chunks.length) {
      const chunk = chunks[whole] as number[];
      if ((chunk[chunk.length - 1] as number) > value) break;
      dropped += chunk.length;
      whole++;
    }
    if (whole > 0) {
      chunks.splice(0, whole);
      this.size -= dropped;
      for (const cursor of this.cursors) {
        const stays = cursor.chunk >= whole && chunks.length > 0;
        cursor.chunk = stays ? cursor.chunk - whole : 0;
        cursor.before = stays ? cursor.before - dropped : 0;
      }
    }
    const first = chunks[0];
    if (first === undefined || (first[0] as number) > value) return;
    // A partly expired chunk is trimmed only when half of it goes, so that each number is moved a few times at most.
    // What stays below `value` is harmless: every question is a rank above it.
    const count = position(first, value, true);
    if (count * 2 < first.length) return;
    first.splice(0, count);
    this.size -= count;
    for (const cursor of this.cursors) if (cursor.chunk > 0) cursor.before -= count;
  }

  /** The number at an index in order. Walks from a cursor. */
  at(index: number): number {
    const { chunks } = this;
    const [one, other] = this.cursors;
    const cursor = Math.abs(one.before - index) <= Math.abs(other.before - index) ? one : other;
    while (index >= cursor.before + (chunks[cursor.chunk] as number[]).length) {
      cursor.before += (chunks[cursor.chunk] as number[]).length;
      cursor.chunk++;
    }
    while (index < cursor.before) {
      cursor.chunk--;
      cursor.before -= (chunks[cursor.chunk] as number[]).length;
    }
    return (chunks[cursor.chunk] as number[])[index - cursor.before] as number;
  }

  last(): number {
    const tail = this.chunks[this.chunks.length - 1];
    return tail === undefined ? Number.NEGATIVE_INFINITY : (tail[tail.length - 1] as number);
  }

  /** Bytes of memory, roughly: objects, and 8 for each number. */
  get bytes(): number {
    return 250 + this.chunks.length * 48 + this.size * 8;
  }

  toArray(): number[] {
    return this.chunks.flat();
  }
}

/** How many numbers of a sorted array are < value, or <= value. */
function position(sorted: readonly number[], value: number, inclusive: boolean): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const found = sorted[middle] as number;
    if (found < value || (inclusive && found === value)) low = middle + 1;
    else high = middle;
  }
  return low;
}
