/**
 * A sorted multiset of numbers (times in microseconds, or values), exact and cheap at both ends: sorted chunks, and a
 * cursor that remembers where the last question was asked. An append, a removal at the front and a rank near the last
 * one asked cost O(1); anything else moves at most one chunk and walks over the chunks between.
 *
 * A quiet key has one chunk of a few numbers. A key with a million numbers has about 2,000 chunks, and because events
 * come nearly in order and window edges only move forward, it pays no more for each event.
 */

/** Halved when full: a move inside a chunk is at most 4 KiB. */
const chunkLength = 512;

export class SortedNumbers {
  private chunks: number[][] = [];
  size = 0;
  /** Chunk of the last rank, and how many numbers the chunks before it hold. */
  private cursor = 0;
  private before = 0;

  constructor(sorted: readonly number[] = []) {
    for (let at = 0; at < sorted.length; at += chunkLength / 2)
      this.chunks.push(sorted.slice(at, at + chunkLength / 2));
    this.size = sorted.length;
  }

  /** Moves the cursor to the last chunk whose first number is < value (or <= value), or to the first chunk. */
  private seek(value: number, inclusive: boolean): void {
    const chunks = this.chunks;
    while (this.cursor + 1 < chunks.length) {
      const first = (chunks[this.cursor + 1] as number[])[0] as number;
      if (!(first < value || (inclusive && first === value))) break;
      this.before += (chunks[this.cursor] as number[]).length;
      this.cursor++;
    }
    while (this.cursor > 0) {
      const first = (chunks[this.cursor] as number[])[0] as number;
      if (first < value || (inclusive && first === value)) break;
      this.cursor--;
      this.before -= (chunks[this.cursor] as number[]).length;
    }
  }

  /** How many numbers are < value, or <= value. */
  rank(value: number, inclusive: boolean): number {
    if (this.size === 0) return 0;
    this.seek(value, inclusive);
    return this.before + position(this.chunks[this.cursor] as number[], value, inclusive);
  }

  insert(value: number): void {
    const chunks = this.chunks;
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
    this.seek(value, true);
    const chunk = chunks[this.cursor] as number[];
    chunk.splice(position(chunk, value, true), 0, value);
    if (chunk.length > chunkLength) chunks.splice(this.cursor + 1, 0, chunk.splice(chunkLength / 2));
  }

  /** Removes one occurrence. Returns false when there is none. */
  remove(value: number): boolean {
    if (this.size === 0) return false;
    this.seek(value, true);
    const chunk = this.chunks[this.cursor] as number[];
    const at = position(chunk, value, true) - 1;
    if (at < 0 || chunk[at] !== value) return false;
    chunk.splice(at, 1);
    this.size--;
    if (chunk.length === 0) {
      this.chunks.splice(this.cursor, 1);
      if (this.cursor === this.chunks.length && this.cursor > 0) {
        this.cursor--;
        this.before -= (this.chunks[this.cursor] as number[]).length;
      }
    }
    return true;
  }

  /** Lets go of numbers <= value: all whole chunks of them, and more where that is cheap. */
  dropThrough(value: number): void {
    const chunks = this.chunks;
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
      if (this.cursor >= whole) {
        this.cursor -= whole;
        this.before -= dropped;
      } else {
        this.cursor = 0;
        this.before = 0;
      }
      this.size -= dropped;
      if (chunks.length === 0) {
        this.cursor = 0;
        this.before = 0;
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
    if (this.cursor > 0) this.before -= count;
  }

  /** The number at an index in order. Walks from the cursor. */
  at(index: number): number {
    while (index >= this.before + (this.chunks[this.cursor] as number[]).length) {
      this.before += (this.chunks[this.cursor] as number[]).length;
      this.cursor++;
    }
    while (index < this.before) {
      this.cursor--;
      this.before -= (this.chunks[this.cursor] as number[]).length;
    }
    return (this.chunks[this.cursor] as number[])[index - this.before] as number;
  }

  last(): number {
    const tail = this.chunks[this.chunks.length - 1];
    return tail === undefined ? Number.NEGATIVE_INFINITY : (tail[tail.length - 1] as number);
  }

  first(): number {
    const head = this.chunks[0];
    return head === undefined ? Number.POSITIVE_INFINITY : (head[0] as number);
  }

  /** Bytes of memory, roughly: objects, and 8 for each number. */
  get bytes(): number {
    return 160 + this.chunks.length * 48 + this.size * 8;
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
