/**
 * The ids of a partition's newest events, exact about what it knows and about what it may have forgotten.
 *
 * An id's time is the one inside a UUIDv7, a function of nothing but the id; an id of another kind has time 0. Neither a
 * producer's order nor its clock nor `occurred_at` enters. For each tenant there is one number, `forgottenUpToMs`: the
 * greatest time of an id of this tenant that was seen and is no longer remembered. So an id that is not remembered and
 * is newer than that number was never seen; about any other the table has to be asked.
 *
 * By tenant, because a tenant that sends ids of the year 9999 must slow down nobody but itself.
 */
import { randomBytes } from 'node:crypto';
import { timeOfUuid } from '../../schemas/uuid.js';

/** `new`: certainly not seen. `repeated`: certainly seen. `unknown`: may have been seen and forgotten. */
export type Verdict = 'new' | 'repeated' | 'unknown';

/** Ids grow from this number to the capacity by doubling, so that a quiet partition costs 120 kB and not 27 MB. */
const initialIds = 4_096;
/** Tenants that a partition keeps apart, by a number of 16 bits. The gateway has at most 1,000 keys, so tenants. */
const tenantsLimit = 65_000;
const removed = 0xffff;

/**
 * An open-addressing table (linear probing, half full at most) of places in a ring of ids in the order of their arrival.
 * 16 bytes an id, 2 for the tenant, 8 for the table. Not for use from several threads.
 */
export class RecentIds {
  private capacity: number;
  private words: Uint32Array;
  private tenantOf: Uint16Array;
  /** Place in the ring plus one; 0 is free. */
  private table: Int32Array;
  private mask: number;
  /** Places given out since the beginning; the ring holds the last `capacity` of them. */
  private next = 0;
  private oldest = 0;
  private held = 0;
  private readonly tenants = new Map<string, number>();
  private readonly forgottenUpToMs: number[] = [];
  private readonly startMs: (tenant: string) => number;
  private readonly seed = randomBytes(4).readUInt32LE(0);
  private readonly limit: number;
  private readonly forgotten = new Uint32Array(4);
  private lastTenant: string | undefined;
  private lastNumber = -1;

  /**
   * @param limit Most ids that are remembered, a power of two.
   * @param startMs For each tenant the greatest time of an id that was seen before this object was made.
   */
  constructor(limit: number, startMs: (tenant: string) => number) {
    if (!Number.isInteger(Math.log2(limit)) || limit < 2)
      throw new RangeError(`The number of ids is ${limit}; expected a power of two.`);
    this.limit = limit;
    this.startMs = startMs;
    this.capacity = Math.min(limit, initialIds);
    this.words = new Uint32Array(this.capacity * 4);
    this.tenantOf = new Uint16Array(this.capacity).fill(removed);
    this.table = new Int32Array(this.capacity * 2);
    this.mask = this.table.length - 1;
  }

  /** Ids that are remembered. */
  get size(): number {
    return this.held;
  }

  /** False for a tenant beyond the 65,000 that are kept apart; `see` must not be called for it. */
  hasRoomFor(tenant: string): boolean {
    return tenant === this.lastTenant || this.tenants.size < tenantsLimit || this.tenants.has(tenant);
  }

  /** What is known about the id, in four words; unless it is `repeated`, it is remembered from now on. */
  see(tenant: string, id: Uint32Array): Verdict {
    const tenantNumber = this.numberOf(tenant);
    let slot = this.find(id, tenantNumber);
    if ((this.table[slot] as number) !== 0) return 'repeated';
    if (this.next - this.oldest === this.capacity) {
      if (this.capacity < this.limit) this.grow();
      else this.forgetOldest();
      slot = this.find(id, tenantNumber);
    }
    // Read after forgetting: the number must cover what was just let go.
    const verdict = timeOfUuid(id) > (this.forgottenUpToMs[tenantNumber] as number) ? 'new' : 'unknown';
    const place = this.next % this.capacity;
    this.words.set(id, place * 4);
    this.tenantOf[place] = tenantNumber;
    this.table[slot] = place + 1;
    this.next++;
    this.held++;
    return verdict;
  }

  /** Takes back an id whose event was not stored after all, so that it may come again. */
  remove(tenant: string, id: Uint32Array): void {
    const slot = this.find(id, this.numberOf(tenant));
    const place = (this.table[slot] as number) - 1;
    if (place < 0) return;
    this.freeSlot(slot);
    this.tenantOf[place] = removed;
    this.held--;
  }

  private numberOf(tenant: string): number {
    if (tenant === this.lastTenant) return this.lastNumber;
    let number = this.tenants.get(tenant);
    if (number === undefined) {
      number = this.tenants.size;
      this.tenants.set(tenant, number);
      this.forgottenUpToMs[number] = this.startMs(tenant);
    }
    this.lastTenant = tenant;
    this.lastNumber = number;
    return number;
  }

  /** The slot of the id, or the free slot where it belongs. */
  private find(id: Uint32Array, tenantNumber: number): number {
    const { words, table, mask, tenantOf } = this;
    let slot = this.hash(id[0] as number, id[1] as number, id[2] as number, id[3] as number, tenantNumber) & mask;
    for (;;) {
      const place = (table[slot] as number) - 1;
      if (place < 0) return slot;
      const at = place * 4;
      if (
        words[at] === id[0] &&
        words[at + 1] === id[1] &&
        words[at + 2] === id[2] &&
        words[at + 3] === id[3] &&
        tenantOf[place] === tenantNumber
      )
        return slot;
      slot = (slot + 1) & mask;
    }
  }

  /** Seeded, so that a producer cannot choose ids that fall on one another. Multiply and shift as in MurmurHash3. */
  private hash(first: number, second: number, third: number, fourth: number, tenantNumber: number): number {
    let hash = this.seed ^ tenantNumber;
    hash = Math.imul(hash ^ first, 0x85ebca6b);
    hash = Math.imul(hash ^ (hash >>> 13) ^ second, 0xc2b2ae35);
    hash = Math.imul(hash ^ (hash >>> 16) ^ third, 0x85ebca6b);
    hash = Math.imul(hash ^ (hash >>> 13) ^ fourth, 0xc2b2ae35);
    return (hash ^ (hash >>> 16)) >>> 0;
  }

  private hashOfPlace(place: number): number {
    const at = place * 4;
    const { words } = this;
    return this.hash(
      words[at] as number,
      words[at + 1] as number,
      words[at + 2] as number,
      words[at + 3] as number,
      this.tenantOf[place] as number,
    );
  }

  private forgetOldest(): void {
    const place = this.oldest % this.capacity;
    this.oldest++;
    const tenantNumber = this.tenantOf[place] as number;
    if (tenantNumber === removed) return;
    const { forgotten } = this;
    for (let word = 0; word < 4; word++) forgotten[word] = this.words[place * 4 + word] as number;
    this.forgottenUpToMs[tenantNumber] = Math.max(this.forgottenUpToMs[tenantNumber] as number, timeOfUuid(forgotten));
    this.freeSlot(this.find(forgotten, tenantNumber));
    this.tenantOf[place] = removed;
    this.held--;
  }

  /** Moves what was pushed past the slot back, so that no search ends too early (Knuth, volume 3, 6.4, algorithm R). */
  private freeSlot(slot: number): void {
    const { table, mask } = this;
    let hole = slot;
    let probe = slot;
    for (;;) {
      probe = (probe + 1) & mask;
      const entry = table[probe] as number;
      if (entry === 0) break;
      const home = this.hashOfPlace(entry - 1) & mask;
      if (((probe - home) & mask) < ((probe - hole) & mask)) continue;
      table[hole] = entry;
      hole = probe;
    }
    table[hole] = 0;
  }

  private grow(): void {
    const { words, tenantOf, capacity, oldest, next } = this;
    this.capacity = capacity * 2;
    this.words = new Uint32Array(this.capacity * 4);
    this.tenantOf = new Uint16Array(this.capacity).fill(removed);
    this.table = new Int32Array(this.capacity * 2);
    this.mask = this.table.length - 1;
    for (let order = oldest; order < next; order++) {
      const from = order % capacity;
      const to = order % this.capacity;
      this.words.set(words.subarray(from * 4, from * 4 + 4), to * 4);
      this.tenantOf[to] = tenantOf[from] as number;
      if (this.tenantOf[to] === removed) continue;
      let slot = this.hashOfPlace(to) & this.mask;
      while (this.table[slot] !== 0) slot = (slot + 1) & this.mask;
      this.table[slot] = to + 1;
    }
  }
}
