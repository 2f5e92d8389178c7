/**
 * The ids of the newest events, so that one that was delivered twice counts once. A ring in the order of arrival and an
 * open-addressing table (linear probing, half full at most): 40 bytes an id, grown up to the limit. The table
 * has the hash beside the place, so that what only lies near is passed without looking at the ring.
 *
 * What was forgotten could come again and count again. So `forgottenThrough` says up to which of the stream's times ids
 * were forgotten: an event that occurred before it may be a repetition.
 */
import { randomBytes } from 'node:crypto';

const initialIds = 4_096;
const growth = 16;

export class RecentIds {
  private capacity: number;
  private words: Uint32Array;
  private recorded: Float64Array;
  /** Of each slot the place in the ring plus one, 0 where it is free, and the id's hash. */
  private table: Int32Array;
  private next = 0;
  private oldest = 0;
  forgottenThrough = Number.NEGATIVE_INFINITY;
  /** Of what was read only to have it near. */
  private fetched = 0;
  private readonly id = new Uint32Array(4);
  private readonly owners = new Map<string, number>();
  private lastTenant: string | undefined;
  private lastOwner = 0;
  /** So that a producer cannot choose ids that fall on one another. It changes where ids lie and nothing else. */
  private readonly seed = randomBytes(4).readInt32LE(0);

  /** @param limit Most ids that are remembered, a power of two. */
  constructor(private readonly limit: number) {
    if (limit < 1_024 || !Number.isInteger(Math.log2(limit)))
      throw new RangeError(`the number of remembered ids is ${limit}; expected a power of two from 1024`);
    this.capacity = Math.min(initialIds, limit);
    this.words = new Uint32Array(this.capacity * 4);
    this.recorded = new Float64Array(this.capacity);
    this.table = new Int32Array(this.capacity * 4);
  }

  private get size(): number {
    return this.next - this.oldest;
  }

  get bytes(): number {
    return this.capacity * 40;
  }

  /**
   * Remembers the id; false when it was remembered already.
   *
   * @param id The four words of a UUID.
   * @param tenant Whose the event is: two tenants do not know each other's ids.
   */
  see(id: Uint32Array, tenant: string, recorded: number): boolean {
    // One by one: a call of `set` takes as long as all the rest.
    const own = this.id;
    own[0] = (id[0] as number) ^ this.ownerOf(tenant);
    own[1] = id[1] as number;
    own[2] = id[2] as number;
    own[3] = id[3] as number;
    const hash = this.hash(own[0] as number, own[1] as number, own[2] as number, own[3] as number);
    let slot = this.find(hash);
    if (this.table[slot] !== 0) return false;
    if (this.next - this.oldest === this.capacity) {
      if (this.capacity < this.limit) this.grow();
      else this.forget();
      slot = this.find(hash);
    }
    const place = this.next & (this.capacity - 1);
    const { words } = this;
    const at = place * 4;
    words[at] = own[0] as number;
    words[at + 1] = own[1] as number;
    words[at + 2] = own[2] as number;
    words[at + 3] = own[3] as number;
    this.recorded[place] = recorded;
    this.table[slot] = place + 1;
    this.table[slot + 1] = hash;
    this.next++;
    return true;
  }

  /** Brings the id's place in the table near, for the look-up to come. */
  fetch(id: Uint32Array, tenant: string): void {
    const hash = this.hash((id[0] as number) ^ this.ownerOf(tenant), id[1] as number, id[2] as number, id[3] as number);
    this.fetched ^= this.table[(hash << 1) & (this.table.length - 2)] as number;
  }

  /** A number for a tenant. */
  private ownerOf(tenant: string): number {
    if (tenant === this.lastTenant) return this.lastOwner;
    let owner = this.owners.get(tenant);
    if (owner === undefined) {
      owner = 0x811c9dc5;
      for (let at = 0; at < tenant.length; at++) owner = Math.imul(owner ^ tenant.charCodeAt(at), 0x01000193);
      if (this.owners.size >= 10_000) this.owners.clear();
      this.owners.set(tenant, owner);
    }
    this.lastTenant = tenant;
    this.lastOwner = owner;
    return owner;
  }

  /** Multiply and shift as in MurmurHash3. */
  private hash(first: number, second: number, third: number, fourth: number): number {
    let hash = Math.imul(first ^ this.seed, 0x85ebca6b);
    hash = Math.imul(hash ^ (hash >>> 13) ^ second, 0xc2b2ae35);
    hash = Math.imul(hash ^ (hash >>> 16) ^ third, 0x85ebca6b);
    hash = Math.imul(hash ^ (hash >>> 13) ^ fourth, 0xc2b2ae35);
    return hash ^ (hash >>> 16);
  }

  /** The slot of the id in `this.id`, or the free one where it belongs. */
  private find(hash: number): number {
    const { id, words, table } = this;
    const mask = table.length - 2;
    let slot = (hash << 1) & mask;
    for (;;) {
      const entry = table[slot] as number;
      if (entry === 0) return slot;
      if (table[slot + 1] === hash) {
        const at = (entry - 1) * 4;
        if (words[at] === id[0] && words[at + 1] === id[1] && words[at + 2] === id[2] && words[at + 3] === id[3])
          return slot;
      }
      slot = (slot + 2) & mask;
    }
  }

  private hashOfPlace(place: number): number {
    const { words } = this;
    const at = place * 4;
    return this.hash(words[at] as number, words[at + 1] as number, words[at + 2] as number, words[at + 3] as number);
  }

  private forget(): void {
    const place = this.oldest % this.capacity;
    this.forgottenThrough = Math.max(this.forgottenThrough, this.recorded[place] as number);
    const { table } = this;
    const mask = table.length - 2;
    let hole = (this.hashOfPlace(place) << 1) & mask;
    while (table[hole] !== place + 1) hole = (hole + 2) & mask;
    // What was pushed past the slot moves back, so that no search ends too early (Knuth, volume 3, 6.4, algorithm R).
    let probe = hole;
    for (;;) {
      probe = (probe + 2) & mask;
      const entry = table[probe] as number;
      if (entry === 0) break;
      const home = ((table[probe + 1] as number) << 1) & mask;
      if (((probe - home) & mask) < ((probe - hole) & mask)) continue;
      table[hole] = entry;
      table[hole + 1] = table[probe + 1] as number;
      hole = probe;
    }
    table[hole] = 0;
    this.oldest++;
  }

  /**
   * Ids are forgotten at the limit only, so that what is kept stays at its place. The table is gone through in its order,
   * which is that of a few places in the new one: in the order of arrival every id would wait for memory far away.
   */
  private grow(): void {
    const { words, recorded, table } = this;
    this.capacity = Math.min(this.capacity * growth, this.limit);
    this.words = new Uint32Array(this.capacity * 4);
    this.words.set(words);
    this.recorded = new Float64Array(this.capacity);
    this.recorded.set(recorded);
    this.table = new Int32Array(this.capacity * 4);
    for (let slot = 0; slot < table.length; slot += 2)
      if (table[slot] !== 0) this.enter(table[slot] as number, table[slot + 1] as number);
  }

  /** Takes an id that is not there into the table. */
  private enter(entry: number, hash: number): void {
    const { table } = this;
    const mask = table.length - 2;
    let slot = (hash << 1) & mask;
    while (table[slot] !== 0) slot = (slot + 2) & mask;
    table[slot] = entry;
    table[slot + 1] = hash;
  }

  save(): unknown {
    const words = new Uint32Array(this.size * 4);
    const recorded = new Float64Array(this.size);
    for (let order = this.oldest; order < this.next; order++) {
      const place = order % this.capacity;
      words.set(this.words.subarray(place * 4, place * 4 + 4), (order - this.oldest) * 4);
      recorded[order - this.oldest] = this.recorded[place] as number;
    }
    return { words, recorded, forgottenThrough: this.forgottenThrough };
  }

  load(saved: unknown): void {
    const { words, recorded, forgottenThrough } = saved as {
      words: Uint32Array;
      recorded: Float64Array;
      forgottenThrough: number;
    };
    while (this.capacity < recorded.length && this.capacity < this.limit) this.grow();
    // With a smaller limit than before the oldest are forgotten.
    const skipped = Math.max(0, recorded.length - this.capacity);
    this.forgottenThrough = skipped === 0 ? forgottenThrough : (recorded[skipped - 1] as number);
    this.words.set(words.subarray(skipped * 4));
    this.recorded.set(recorded.subarray(skipped));
    this.next = recorded.length - skipped;
    for (let place = 0; place < this.next; place++) this.enter(place + 1, this.hashOfPlace(place));
  }
}
