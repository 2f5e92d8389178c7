/**
 * Where the states of groups lie, for all rules of one engine: blocks of numbers in a few large arrays. A group is then no
 * object that the garbage collector visits, moves and copies when it grows, and what is looked at together lies together.
 */

/** A page: 32,768 numbers, 256 KB. */
const pageClass = 15;
const withinPage = (1 << pageClass) - 1;

/** Blocks of 2^class numbers; each place is one whole number: the page, and where in it the block begins. */
export class Blocks {
  private readonly doubles: Float64Array[] = [];
  /** The same memory as whole numbers, two for each number. */
  private readonly integers: Int32Array[] = [];
  /** By class: blocks that nobody holds. */
  private readonly free: number[][] = Array.from({ length: pageClass + 1 }, () => []);

  /** The page of a block; the block begins at `within(block)`. */
  page(block: number): Float64Array {
    return this.doubles[block >>> pageClass] as Float64Array;
  }

  /** The page as whole numbers; the block begins at twice `within(block)`. */
  wholePage(block: number): Int32Array {
    return this.integers[block >>> pageClass] as Int32Array;
  }

  within(block: number): number {
    return block & withinPage;
  }

  /** A block of 2^size numbers, of which nothing is known. Larger free blocks are halved, and never joined again. */
  take(size: number): number {
    const block = (this.free[size] as number[]).pop();
    if (block !== undefined) return block;
    if (size === pageClass) {
      const page = new Float64Array(1 << pageClass);
      this.integers.push(new Int32Array(page.buffer));
      return (this.doubles.push(page) - 1) << pageClass;
    }
    const larger = this.take(size + 1);
    (this.free[size] as number[]).push(larger + (1 << size));
    return larger;
  }

  give(block: number, size: number): void {
    (this.free[size] as number[]).push(block);
  }
}

/** Numbers of a row. */
export const rowWidth = 4;

/** A row of four whole numbers for each state, which is known by the number of its row. */
export class Rows {
  numbers = new Int32Array(16 * rowWidth);
  private count = 0;
  private readonly free: number[] = [];

  /** A row of zeros. */
  take(): number {
    const row = this.free.pop() ?? this.count++;
    if (row * rowWidth === this.numbers.length) {
      const numbers = new Int32Array(this.numbers.length * 2);
      numbers.set(this.numbers);
      this.numbers = numbers;
    }
    this.numbers.fill(0, row * rowWidth, (row + 1) * rowWidth);
    return row;
  }

  give(row: number): void {
    this.free.push(row);
  }
}

/** A text of 20 characters, its entry of the map and its number: 90 to 105 were measured, by how full the map is. */
const bytesPerText = 110;
/** A map takes 2^24 entries and throws at one more. */
const mostInMap = 2 ** 24 - 1;

/** Texts that groups hold, each of them once, and a number that stands for one as long as anybody holds it. */
export class Texts {
  /** One map, and one more when that is full. */
  private readonly numbers: Map<string, number>[] = [new Map()];
  private readonly texts: string[] = [];
  private readonly holders: number[] = [];
  private readonly free: number[] = [];
  private held = 0;

  /** @param most Texts in one map. */
  constructor(private readonly most = mostInMap) {}

  /** -1 when nobody holds it. */
  find(text: string): number {
    const { numbers } = this;
    for (let at = 0; at < numbers.length; at++) {
      const number = (numbers[at] as Map<string, number>).get(text);
      if (number !== undefined) return number;
    }
    return -1;
  }

  /** The text has one holder more. */
  hold(text: string): number {
    let number = this.find(text);
    if (number < 0) {
      number = this.free.pop() ?? this.texts.length;
      this.mapWithRoom().set(text, number);
      this.texts[number] = text;
      this.holders[number] = 0;
    }
    this.holders[number]!++;
    this.held++;
    return number;
  }

  /** Bytes of all texts, shared out among all who hold one. */
  get bytesPerHolder(): number {
    return (bytesPerText * (this.texts.length - this.free.length)) / Math.max(1, this.held);
  }

  private mapWithRoom(): Map<string, number> {
    let map = this.numbers.find(({ size }) => size < this.most);
    if (map !== undefined) return map;
    map = new Map();
    this.numbers.push(map);
    return map;
  }

  release(number: number): void {
    this.held--;
    if (--this.holders[number]! > 0) return;
    const text = this.texts[number] as string;
    for (const map of this.numbers) map.delete(text);
    this.texts[number] = '';
    this.free.push(number);
  }

  text(number: number): string {
    return this.texts[number] as string;
  }
}

export class Memory {
  readonly blocks = new Blocks();
  readonly texts: Texts;

  constructor(mostTexts?: number) {
    this.texts = new Texts(mostTexts);
  }
}
