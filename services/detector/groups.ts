/**
 * The groups of one rule and tenant, with the state of each. Bounded: when there are too many, the one with the least to
 * lose goes.
 *
 * What a group has to lose is its score: one for each event, halved for each half of `keep` in silence. A group that is
 * let go leaves its score in a sketch of counters and gets it back when it returns. So a flood of fresh keys (one event
 * each) pushes out fresh keys: a slow attack, one event now and then, loses its first event at most, because with the
 * second it is worth more than any key of the flood. To push it out, the flood has to give every one of its keys as many
 * events as the attack has, and is an alert itself by then.
 *
 * Parallel arrays instead of an object for each group: about 90 bytes less for each.
 */
import type { Evaluator } from './evaluator.js';

/** Groups that are compared when one has to go. With 8, one of the worst quarter goes in nine of ten cases. */
const compared = 8;
const maxScore = 1e6;
/**
 * Counters of the sketch, in each of its 4 rows, for each group that is kept: 64 bytes beside the 300 and more of a
 * group, made when the first one is let go. A flood may bring twelve times the keys that are kept between two events of a
 * slow attack, and the attack is known when it returns.
 */
const countersPerGroup = 16;

export interface SavedGroup {
  readonly key: string;
  readonly newest: number;
  readonly recorded: number;
  readonly score: number;
  readonly state: unknown;
}

export class Groups {
  private readonly places = new Map<string, number>();
  private readonly keys: string[] = [];
  readonly states: unknown[] = [];
  /** Greatest event time, and the stream's time of the last record. */
  newest = new Float64Array(16);
  recorded = new Float64Array(16);
  /** When the state's timer was set for; Infinity without one. */
  timer = new Float64Array(16);
  private score = new Float32Array(16);
  private weight = new Uint32Array(16);
  private sketch: Uint8Array | undefined;
  private forgotten = 0;
  private random = 0x2545f491;
  private cursor = 0;
  /** Bytes of all states, roughly. */
  stateBytes = 0;
  /** Groups that had to go. */
  evicted = 0;

  constructor(
    private readonly evaluator: Evaluator,
    private readonly limit: number,
    private readonly isOpen: (key: string) => boolean,
  ) {}

  get size(): number {
    return this.keys.length;
  }

  /** The key with its place in the map and the arrays is about 150 bytes. */
  get bytes(): number {
    return this.stateBytes + this.size * 150;
  }

  find(key: string): number {
    return this.places.get(key) ?? -1;
  }

  keyAt(place: number): string {
    return this.keys[place] as string;
  }

  /** Notes an event of the group for its score. */
  touch(place: number, recorded: number): void {
    const silent = recorded - (this.recorded[place] as number);
    const score = this.score[place] as number;
    // A power for each event would cost more than it says.
    const left = silent * 4 > this.evaluator.keepMicros ? score * this.fading(silent) : score;
    this.score[place] = Math.min(left + 1, maxScore);
    this.recorded[place] = recorded;
  }

  /** Takes a new group in, and lets another one go where there are too many. Returns its place. */
  add(key: string, time: number, recorded: number, state: unknown): number {
    if (this.size >= this.limit) this.makeRoom(recorded);
    const place = this.keys.length;
    if (place === this.newest.length) this.grow();
    this.places.set(key, place);
    this.keys.push(key);
    this.states.push(state);
    this.newest[place] = time;
    this.recorded[place] = recorded;
    this.timer[place] = Number.POSITIVE_INFINITY;
    this.score[place] = this.remembered(key);
    this.weight[place] = 0;
    this.weigh(place);
    return place;
  }

  /** Counts the bytes of a state anew. */
  weigh(place: number): void {
    const bytes = this.evaluator.bytes(this.states[place]);
    this.stateBytes += bytes - (this.weight[place] as number);
    this.weight[place] = bytes;
  }

  /** What is left of a score of 1 after so much silence. */
  private fading(silent: number): number {
    return silent <= 0 ? 1 : 2 ** ((-2 * silent) / this.evaluator.keepMicros);
  }

  remove(place: number): void {
    this.stateBytes -= this.weight[place] as number;
    this.places.delete(this.keys[place] as string);
    const last = this.keys.length - 1;
    if (place !== last) {
      const key = this.keys[last] as string;
      this.keys[place] = key;
      this.states[place] = this.states[last];
      for (const column of [this.newest, this.recorded, this.timer, this.score, this.weight])
        column[place] = column[last] as number;
      this.places.set(key, place);
    }
    this.keys.pop();
    this.states.pop();
  }

  isOver(place: number, clock: number): boolean {
    return clock > (this.recorded[place] as number) + this.evaluator.keepMicros;
  }

  /** Looks at some groups in turn, and drops those that say no more than a new one would. */
  sweep(count: number, clock: number): void {
    for (let looked = 0; looked < count && this.keys.length > 0; looked++) {
      if (this.cursor >= this.keys.length) this.cursor = 0;
      if (this.isOver(this.cursor, clock) && !this.isOpen(this.keys[this.cursor] as string)) this.remove(this.cursor);
      else this.cursor++;
    }
  }

  /** Lets the group go that has the least to lose of some. Returns its bytes. */
  makeRoom(clock: number): number {
    let least = -1;
    let leastScore = Number.POSITIVE_INFINITY;
    for (let look = 0; look < compared && leastScore >= 0; look++) {
      const place = this.draw() % this.keys.length;
      const open = this.isOpen(this.keys[place] as string);
      // What is over goes for nothing. What fires goes last: its alert would be resolved by nobody.
      const score = open
        ? Number.MAX_VALUE
        : this.isOver(place, clock)
          ? -1
          : (this.score[place] as number) * this.fading(clock - (this.recorded[place] as number));
      if (least < 0 || score < leastScore) {
        least = place;
        leastScore = score;
      }
    }
    const bytes = (this.weight[least] as number) + 150;
    if (leastScore >= 0) {
      this.evicted++;
      this.remember(this.keys[least] as string, Math.min(leastScore, maxScore));
    }
    this.remove(least);
    return bytes;
  }

  /** Marsaglia's xorshift: saved with the state, so that a replay lets the same groups go. */
  private draw(): number {
    let x = this.random;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.random = x;
    return x >>> 0;
  }

  /** A count-min sketch of 4 rows, halved when it is about as full as it may be: three quarters of a row's counters. */
  private remember(key: string, score: number): void {
    this.sketch ??= new Uint8Array(4 * 2 ** Math.ceil(Math.log2(Math.max(this.limit, 256) * countersPerGroup)));
    if (++this.forgotten > this.sketch.length / 5) {
      this.forgotten = 0;
      for (let at = 0; at < this.sketch.length; at++) this.sketch[at] = (this.sketch[at] as number) >> 1;
    }
    const whole = Math.min(255, Math.max(1, Math.round(score)));
    for (const at of this.counters(key)) this.sketch[at] = Math.max(this.sketch[at] as number, whole);
  }

  private remembered(key: string): number {
    const { sketch } = this;
    if (sketch === undefined) return 0;
    return Math.min(...this.counters(key).map((at) => sketch[at] as number));
  }

  private counters(key: string): number[] {
    const mask = (this.sketch as Uint8Array).length / 4 - 1;
    let hash = 0x811c9dc5;
    for (let at = 0; at < key.length; at++) hash = Math.imul(hash ^ key.charCodeAt(at), 0x01000193);
    return [0, 1, 2, 3].map((row) => {
      const mixed = Math.imul(hash ^ (hash >>> 15) ^ (row * 0x9e3779b9), 0x85ebca6b);
      return row * (mask + 1) + ((mixed ^ (mixed >>> 13)) & mask);
    });
  }

  private grow(): void {
    const larger = <T extends Float64Array | Float32Array | Uint32Array>(column: T, into: T): T => {
      into.set(column);
      return into;
    };
    const length = this.newest.length * 2;
    this.newest = larger(this.newest, new Float64Array(length));
    this.recorded = larger(this.recorded, new Float64Array(length));
    this.timer = larger(this.timer, new Float64Array(length));
    this.score = larger(this.score, new Float32Array(length));
    this.weight = larger(this.weight, new Uint32Array(length));
  }

  save(): unknown {
    const { random, cursor, forgotten, evicted, sketch } = this;
    return { random, cursor, forgotten, evicted, sketch };
  }

  load(saved: unknown): void {
    Object.assign(this, saved);
  }

  saveGroup(place: number): SavedGroup {
    return {
      key: this.keys[place] as string,
      newest: this.newest[place] as number,
      recorded: this.recorded[place] as number,
      score: this.score[place] as number,
      state: this.evaluator.save(this.states[place]),
    };
  }

  loadGroup({ key, newest, recorded, score, state }: SavedGroup): number {
    const place = this.add(key, newest, recorded, this.evaluator.load(state));
    this.score[place] = score;
    return place;
  }
}
