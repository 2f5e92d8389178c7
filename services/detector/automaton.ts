/**
 * Many substrings found in one pass (Aho and Corasick, "Efficient string matching", 1975), over UTF-16 code units.
 *
 * Code units that are in no pattern share one class, so a table of states by classes is small and a step is one look-up.
 */
export class Automaton {
  /** Class of each code unit below 128; the others stand in a map. 0: in no pattern. */
  private readonly asciiClass = new Uint16Array(128);
  private readonly otherClass = new Map<number, number>();
  private readonly classes: number;
  /** Next state by state and class; of a state without a way on, that of its longest suffix that has one. */
  private readonly next: Int32Array;
  /** Patterns that end in a state stand in `patterns` from `first` of the state to that of the next one. */
  private readonly first: Int32Array;
  private readonly patterns: Int32Array;

  /** @param literals Not empty each; the same text may stand there more than once. */
  constructor(literals: readonly string[]) {
    let classes = 1;
    let longest = 1;
    for (const literal of literals) {
      longest += literal.length;
      for (let at = 0; at < literal.length; at++) {
        const code = literal.charCodeAt(at);
        if (this.classOf(code) !== 0) continue;
        if (code < 128) this.asciiClass[code] = classes++;
        else this.otherClass.set(code, classes++);
      }
    }
    this.classes = classes;
    const next = new Int32Array(longest * classes);
    const own: number[][] = [[]];
    for (const [pattern, literal] of literals.entries()) {
      let state = 0;
      for (let at = 0; at < literal.length; at++) {
        const slot = state * classes + this.classOf(literal.charCodeAt(at));
        if (next[slot] === 0) {
          next[slot] = own.length;
          own.push([]);
        }
        state = next[slot] as number;
      }
      (own[state] as number[]).push(pattern);
    }
    const suffix = new Int32Array(own.length);
    const queue: number[] = [];
    for (let each = 0; each < classes; each++) if (next[each] !== 0) queue.push(next[each] as number);
    for (let head = 0; head < queue.length; head++) {
      const state = queue[head] as number;
      const shorter = suffix[state] as number;
      own[state] = [...(own[state] as number[]), ...(own[shorter] as number[])];
      for (let each = 0; each < classes; each++) {
        const slot = state * classes + each;
        const onward = next[shorter * classes + each] as number;
        if (next[slot] === 0) next[slot] = onward;
        else {
          suffix[next[slot] as number] = onward;
          queue.push(next[slot] as number);
        }
      }
    }
    this.next = next.slice(0, own.length * classes);
    this.first = new Int32Array(own.length + 1);
    for (const [state, ends] of own.entries()) this.first[state + 1] = (this.first[state] as number) + ends.length;
    this.patterns = Int32Array.from(own.flat());
  }

  private classOf(code: number): number {
    return code < 128 ? (this.asciiClass[code] as number) : (this.otherClass.get(code) ?? 0);
  }

  /** Calls `found` with each pattern and where it ends, in the order of the ends. */
  scan(text: string, found: (pattern: number, end: number) => void): void {
    const { next, first, patterns, asciiClass, otherClass, classes } = this;
    let state = 0;
    for (let at = 0; at < text.length; at++) {
      const code = text.charCodeAt(at);
      const kind = code < 128 ? (asciiClass[code] as number) : (otherClass.get(code) ?? 0);
      state = next[state * classes + kind] as number;
      const end = first[state + 1] as number;
      for (let index = first[state] as number; index < end; index++) found(patterns[index] as number, at + 1);
    }
  }
}
