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
 * What is known of a group besides its state stands side by side in one array of numbers: a quarter of the memory of an
 * object, and one line of the cache.
 */
import type { Evaluator } from './evaluator.js';
import type { Group, GroupIndex } from './group-index.js';

/** Groups that are compared when one has to go. With 8, one of the worst quarter goes in nine of ten cases. */
const compared = 8;
const maxScore = 1e6;
/**
 * Counters of the sketch, in each of its 4 rows, for each group that is kept: 64 bytes beside the 300 and more of a
 * group, made when the first one is let go. A flood may bring twelve times the keys that are kept between two events of a
 * slow attack, and the attack is known when it returns.
 */
const countersPerGroup = 16;

/** What one element of `facts` says of the group at `place`: `facts[place * width + …]`. */
const width = 4;
/** Greatest event time. */
const newestFact = 0;
/** The stream's time of the last record. */
const recordedFact = 1;
/** When the state's timer was set for; Infinity without one. */
const timerFact = 2;
const scoreFact = 3;
/** Bytes of a group besides its state: its places here and in the index, and its key. */
const bytesPerGroup = 230;

export interface SavedGroup {
  readonly key: string;
  readonly newest: number;
  readonly recorded: number;
  readonly score: number;
  readonly state: unknown;
}

let owners = 0;

export class Groups {
  private readonly groups: Group[] = [];
  readonly states: unknown[] = [];
  private facts = new Float64Array(16 * width);
  private weights = new Uint32Array(16);
  private readonly owner = owners++;
  private sketch: Uint8Array | undefined;
  private forgotten = 0;
  private random = 0x2545f491;
  private cursor = 0;
  /** Bytes of all states, roughly. */
  private stateBytes = 0;
  /** The sum of what was read only to have it near. */
  private fetched = 0;
  /** Groups that had to go. */
  evicted = 0;

  constructor(
    readonly index: GroupIndex,
    private readonly evaluator: Evaluator,
    private readonly limit: number,
    private readonly isOpen: (key: string) => boolean,
  ) {}

  get size(): number {
    return this.groups.length;
  }

  get bytes(): number {
    return this.stateBytes + this.size * bytesPerGroup;
  }

  /** Where the group is; -1 when it is not known. */
  find(group: Group): number {
    return group.placeIn(this.owner);
  }

  /** Brings what is known of a place near; returns its state. */
  fetch(place: number): unknown {
    this.fetched += this.facts[place * width] as number;
    return this.states[place];
  }

  findKey(key: string): number {
    return this.index.find(key)?.placeIn(this.owner) ?? -1;
  }

  keyAt(place: number): string {
    return (this.groups[place] as Group).key;
  }

  newest(place: number): number {
    return this.facts[place * width + newestFact] as number;
  }

  timer(place: number): number {
    return this.facts[place * width + timerFact] as number;
  }

  setTimer(place: number, at: number): void {
    this.facts[place * width + timerFact] = at;
  }

  /** Notes an event of the group. */
  touch(place: number, newest: number, recorded: number): void {
    const { facts } = this;
    const at = place * width;
    const silent = recorded - (facts[at + recordedFact] as number);
    const score = facts[at + scoreFact] as number;
    // A power for each event would cost more than it says.
    const left = silent * 4 > this.evaluator.keepMicros ? score * this.fading(silent) : score;
    facts[at + scoreFact] = left < maxScore ? left + 1 : maxScore;
    facts[at + newestFact] = newest;
    facts[at + recordedFact] = recorded;
  }

  /** Takes a new group in, and lets another one go where there are too many. Returns its place. */
  add(group: Group, time: number, recorded: number, state: unknown): number {
    if (this.size >= this.limit) this.makeRoom(recorded);
    const place = this.groups.length;
    if (place === this.weights.length) this.grow();
    group.setPlace(this.owner, place);
    this.groups.push(group);
    this.states.push(state);
    const at = place * width;
    this.facts[at + newestFact] = time;
    this.facts[at + recordedFact] = recorded;
    this.facts[at + timerFact] = Number.POSITIVE_INFINITY;
    this.facts[at + scoreFact] = this.remembered(group.key);
    this.weights[place] = 0;
    this.weigh(place);
    return place;
  }

  /** Counts the bytes of a state anew. */
  weigh(place: number): void {
    const bytes = this.evaluator.bytes(this.states[place]);
    this.stateBytes += bytes - (this.weights[place] as number);
    this.weights[place] = bytes;
  }

  remove(place: number): void {
    this.stateBytes -= this.weights[place] as number;
    this.evaluator.free?.(this.states[place]);
    (this.groups[place] as Group).removePlace(this.owner);
    const last = this.groups.length - 1;
    if (place !== last) {
      const group = this.groups[last] as Group;
      this.groups[place] = group;
      this.states[place] = this.states[last];
      this.facts.copyWithin(place * width, last * width, (last + 1) * width);
      this.weights[place] = this.weights[last] as number;
      group.setPlace(this.owner, place);
    }
    this.groups.pop();
    this.states.pop();
  }

  /** What is left of a score of 1 after so much silence. */
  private fading(silent: number): number {
    return silent <= 0 ? 1 : 2 ** ((-2 * silent) / this.evaluator.keepMicros);
  }

  isOver(place: number, clock: number): boolean {
    return clock > (this.facts[place * width + recordedFact] as number) + this.evaluator.keepMicros;
  }

  /** Looks at some groups in turn, weighs them, and drops those that say no more than a new one would. */
  sweep(count: number, clock: number): void {
    for (let looked = 0; looked < count && this.groups.length > 0; looked++) {
      if (this.cursor >= this.groups.length) this.cursor = 0;
      if (this.isOver(this.cursor, clock) && !this.isOpen(this.keyAt(this.cursor))) this.remove(this.cursor);
      else this.weigh(this.cursor++);
    }
  }

  /** Lets the group go that has the least to lose of some. Returns its bytes. */
  makeRoom(clock: number): number {
    let least = -1;
    let leastScore = Number.POSITIVE_INFINITY;
    for (let look = 0; look < compared && leastScore >= 0; look++) {
      const place = this.draw() % this.groups.length;
      const at = place * width;
      // What is over goes for nothing. What fires goes last: its alert would be resolved by nobody.
      const score = this.isOpen(this.keyAt(place))
        ? Number.MAX_VALUE
        : this.isOver(place, clock)
          ? -1
          : (this.facts[at + scoreFact] as number) * this.fading(clock - (this.facts[at + recordedFact] as number));
      if (least < 0 || score < leastScore) {
        least = place;
        leastScore = score;
      }
    }
    const bytes = (this.weights[least] as number) + bytesPerGroup;
    if (leastScore >= 0) {
      this.evicted++;
      this.remember(this.keyAt(least), Math.min(leastScore, maxScore));
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
    const facts = new Float64Array(this.facts.length * 2);
    facts.set(this.facts);
    this.facts = facts;
    const weights = new Uint32Array(this.weights.length * 2);
    weights.set(this.weights);
    this.weights = weights;
  }

  save(): unknown {
    const { random, cursor, forgotten, evicted, sketch } = this;
    return { random, cursor, forgotten, evicted, sketch };
  }

  load(saved: unknown): void {
    Object.assign(this, saved);
  }

  saveGroup(place: number): SavedGroup {
    const at = place * width;
    return {
      key: this.keyAt(place),
      newest: this.facts[at + newestFact] as number,
      recorded: this.facts[at + recordedFact] as number,
      score: this.facts[at + scoreFact] as number,
      state: this.evaluator.save(this.states[place]),
    };
  }

  loadGroup({ key, newest, recorded, score, state }: SavedGroup): void {
    const place = this.add(this.index.of(key), newest, recorded, this.evaluator.load(state));
    this.facts[place * width + scoreFact] = score;
  }
}
