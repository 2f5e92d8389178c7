/**
 * The end of the spool, kept in memory as well while delivery keeps up: it then takes events from here and reads
 * nothing back. The file holds everything; what is here may be thrown away at any time.
 */
export interface TailEntry {
  /** The whole event. */
  readonly text: string;
  readonly sequence: number;
  /** Index of the frame that completes the event. */
  readonly index: number;
  /** Call and index of its beginning; call 0 where the frame is the whole event. */
  readonly call: number;
  readonly beganAt: number;
}

export class Tail {
  #entries: TailEntry[] = [];
  #first = 0;
  #characters = 0;
  readonly #maxLength: number;

  constructor(maxLength: number) {
    this.#maxLength = maxLength;
  }

  get characters(): number {
    return this.#characters;
  }

  /** False, and nothing is kept, when there is no room for it. */
  push(entry: TailEntry): boolean {
    if (this.#characters + entry.text.length > this.#maxLength) return false;
    this.#entries.push(entry);
    this.#characters += entry.text.length;
    return true;
  }

  shift(): TailEntry | undefined {
    const entry = this.#entries[this.#first];
    if (entry === undefined) return undefined;
    this.#first += 1;
    this.#characters -= entry.text.length;
    if (this.#first === this.#entries.length) this.#clearTaken();
    return entry;
  }

  /** Throws everything away, and returns what it was. */
  clear(): TailEntry[] {
    const left = this.#entries.slice(this.#first);
    this.#clearTaken();
    this.#characters = 0;
    return left;
  }

  /** Lowest index at which one of its events began. */
  get oldest(): number {
    let oldest = Number.POSITIVE_INFINITY;
    for (let at = this.#first; at < this.#entries.length; at++) {
      oldest = Math.min(oldest, this.#entries[at]!.beganAt);
    }
    return oldest;
  }

  #clearTaken(): void {
    this.#entries = [];
    this.#first = 0;
  }
}
