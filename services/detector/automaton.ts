/**
 * Many substrings found in one pass (Aho and Corasick, "Efficient string matching", 1975), without regard to case.
 *
 * Code units that are in no pattern share one class, so that a row of the table is short, and states are numbered from
 * the root outwards, so that those in which nearly all time is spent lie together. A step is two look-ups. A transition
 * into a state in which patterns end is stored as its complement, so that a step asks nothing else.
 *
 * When there are very many patterns only their first characters are in the table; the rest is compared where these were
 * found.
 */

/** Entries of the table: 64 MB. */
const mostEntries = 2 ** 24;
/** States that are linked in one step: a millisecond at most. */
const statesAtOnce = 1024;

/** The tree of all patterns: by state the next states by class, and the patterns that end there. */
interface Trie {
  readonly children: Map<number, number>[];
  readonly ends: number[][];
}

export class Automaton {
  /** Class of each code unit below 128, the same for both cases of a letter; the others stand in a map. 0: in no pattern. */
  private readonly classOf = new Uint8Array(128);
  private readonly otherClasses = new Map<number, number>();
  /** By state times `width` plus class: where the next state's row begins. */
  private table!: Int32Array;
  private readonly shift: number;
  /** Patterns that end in a state: from its place in `first` to that of the next state. */
  private first!: Int32Array;
  private patterns!: Int32Array;
  /** Characters of each pattern that are in the table. */
  private depth!: Int32Array;

  /**
   * Made in steps.
   * @param literals In lower case, not empty each; the same text may stand there more than once.
   */
  static *making(literals: readonly string[]): Generator<void, Automaton> {
    const automaton = new Automaton(literals);
    yield* automaton.prepare();
    return automaton;
  }

  private constructor(private readonly literals: readonly string[]) {
    let classes = 1;
    for (const literal of literals) {
      for (let at = 0; at < literal.length; at++) {
        const code = literal.charCodeAt(at);
        if (this.kindOf(code) !== 0) continue;
        // Beyond 255 kinds of characters the rarer ones share the last class, and what is found is compared.
        const kind = Math.min(classes, 255);
        classes = kind + 1;
        if (code < 128) this.classOf[code] = kind;
        else this.otherClasses.set(code, kind);
      }
    }
    for (let code = 65; code <= 90; code++) this.classOf[code] = this.classOf[code + 32] as number;
    this.shift = Math.max(1, Math.ceil(Math.log2(classes)));
  }

  private *prepare(): Generator<void> {
    const { literals } = this;
    const most = Math.max(2, mostEntries >> this.shift);
    let longest = literals.reduce((length, literal) => Math.max(length, literal.length), 1);
    let trie = yield* this.build(longest, most);
    while (trie === undefined) {
      longest = Math.max(1, longest >> 1);
      trie = yield* this.build(longest, longest === 1 ? Number.POSITIVE_INFINITY : most);
    }
    this.depth = Int32Array.from(literals, (literal) => Math.min(literal.length, longest));
    yield* this.link(trie);
  }

  private kindOf(code: number): number {
    return code < 128 ? (this.classOf[code] as number) : (this.otherClasses.get(code) ?? 0);
  }

  /** The tree of the literals' first characters; undefined when it has too many states. */
  private *build(longest: number, most: number): Generator<void, Trie | undefined> {
    const children: Map<number, number>[] = [new Map()];
    const ends: number[][] = [[]];
    for (const [pattern, literal] of this.literals.entries()) {
      let state = 0;
      for (let at = 0; at < Math.min(literal.length, longest); at++) {
        const kind = this.kindOf(literal.charCodeAt(at));
        let next = (children[state] as Map<number, number>).get(kind);
        if (next === undefined) {
          if (children.length >= most) return undefined;
          next = children.length;
          (children[state] as Map<number, number>).set(kind, next);
          children.push(new Map());
          ends.push([]);
        }
        state = next;
      }
      (ends[state] as number[]).push(pattern);
      yield;
    }
    return { children, ends };
  }

  private *link({ children, ends }: Trie): Generator<void> {
    const { shift } = this;
    const width = 1 << shift;
    const order = [0];
    const numbers = new Int32Array(children.length);
    for (let head = 0; head < order.length; head++) {
      for (const child of (children[order[head] as number] as Map<number, number>).values()) {
        numbers[child] = order.length;
        order.push(child);
      }
    }
    const table = new Int32Array(children.length << shift);
    const suffix = new Int32Array(children.length);
    const all: (readonly number[])[] = [ends[0] as number[]];
    for (let state = 0; state < order.length; state++) {
      if (state % statesAtOnce === 0) yield;
      const row = state << shift;
      const shorter = (suffix[state] as number) << shift;
      if (state > 0) for (let kind = 0; kind < width; kind++) table[row + kind] = table[shorter + kind] as number;
      for (const [kind, child] of children[order[state] as number] as Map<number, number>) {
        const next = numbers[child] as number;
        suffix[next] = state === 0 ? 0 : (table[shorter + kind] as number);
        table[row + kind] = next;
        const inherited = all[suffix[next] as number] as readonly number[];
        const own = ends[child] as number[];
        all[next] = own.length === 0 ? inherited : inherited.length === 0 ? own : [...own, ...inherited];
      }
    }
    const first = new Int32Array(order.length + 1);
    for (const [state, patterns] of all.entries()) first[state + 1] = (first[state] as number) + patterns.length;
    for (let at = 0; at < table.length; at++) {
      if (at % (statesAtOnce << shift) === 0) yield;
      const next = table[at] as number;
      table[at] = (all[next] as readonly number[]).length > 0 ? ~(next << shift) : next << shift;
    }
    this.table = table;
    this.first = first;
    this.patterns = Int32Array.from(all.flat());
  }

  /** Calls `found` with each pattern in a text in lower case, and where it begins. */
  scan(text: string, found: (pattern: number, start: number) => void): void {
    const { table, classOf } = this;
    let row = 0;
    for (let at = 0; at < text.length; at++) {
      const code = text.charCodeAt(at);
      row = table[row + (code < 128 ? (classOf[code] as number) : (this.otherClasses.get(code) ?? 0))] as number;
      if (row < 0) {
        row = ~row;
        this.tell(row, at + 1, text, found);
      }
    }
  }

  private tell(row: number, end: number, text: string, found: (pattern: number, start: number) => void): void {
    const state = row >> this.shift;
    const until = this.first[state + 1] as number;
    for (let index = this.first[state] as number; index < until; index++) {
      const pattern = this.patterns[index] as number;
      const start = end - (this.depth[pattern] as number);
      if (text.startsWith(this.literals[pattern] as string, start)) found(pattern, start);
    }
  }

  /**
   * Whether any pattern may be in a JSON string, from its bytes between the quotes. A byte beyond ASCII, or an escape for
   * one, is a yes: folding is not looked into here.
   */
  mayFind(bytes: Uint8Array, start: number, end: number): boolean {
    const { table, classOf } = this;
    let row = 0;
    for (let at = start; at < end; at++) {
      let code = bytes[at] as number;
      if (code === 92) {
        code = bytes[++at] as number;
        if (code === 117) return true;
        // n, t, r, b and f stand for others.
        if (code > 92) code = escapes[code] as number;
      }
      if (code > 127) return true;
      row = table[row + (classOf[code] as number)] as number;
      if (row < 0) return true;
    }
    return false;
  }
}

const escapes = new Uint8Array(128);
for (const [letter, meaning] of [
  ['b', 8],
  ['t', 9],
  ['n', 10],
  ['f', 12],
  ['r', 13],
] as const)
  escapes[letter.charCodeAt(0)] = meaning;
