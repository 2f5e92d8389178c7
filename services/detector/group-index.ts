/** The groups of one tenant that rules with the same `group-by` share: each key is looked up once, whatever the rules. */

/**
 * A group, and where each rule keeps what it knows of it. The first three rules have a place in the object itself, which
 * is in the cache when it is looked at; few groups are known to more.
 */
export class Group {
  // In the order in which they are looked at: what comes first shares a line of the cache.
  /** Undefined when it was let go: whoever still holds it looks it up anew. */
  index: GroupIndex | undefined;
  private count = 0;
  private owner0 = -1;
  private place0 = -1;
  private owner1 = -1;
  private place1 = -1;
  private owner2 = -1;
  private place2 = -1;
  /** Numbers of more rules' groups and the places in them. */
  private others: Map<number, number> | undefined = undefined;
  readonly key: string;

  constructor(key: string, index: GroupIndex) {
    this.index = index;
    this.key = key;
  }

  /** How many rules know it. */
  get size(): number {
    return this.count;
  }

  /** -1 when the rule does not know the group. */
  placeIn(owner: number): number {
    if (this.owner0 === owner) return this.place0;
    if (this.owner1 === owner) return this.place1;
    if (this.owner2 === owner) return this.place2;
    return this.others?.get(owner) ?? -1;
  }

  setPlace(owner: number, place: number): void {
    const known = this.placeIn(owner);
    if (known < 0) this.count++;
    if (this.owner0 === owner) this.place0 = place;
    else if (this.owner1 === owner) this.place1 = place;
    else if (this.owner2 === owner) this.place2 = place;
    else if (known >= 0) this.others?.set(owner, place);
    else if (this.owner0 < 0) {
      this.owner0 = owner;
      this.place0 = place;
    } else if (this.owner1 < 0) {
      this.owner1 = owner;
      this.place1 = place;
    } else if (this.owner2 < 0) {
      this.owner2 = owner;
      this.place2 = place;
    } else {
      this.others ??= new Map();
      this.others.set(owner, place);
    }
  }

  /** The last rule that forgets the group lets it go. */
  removePlace(owner: number): void {
    if (this.placeIn(owner) < 0) return;
    this.count--;
    if (this.owner0 === owner) this.owner0 = -1;
    else if (this.owner1 === owner) this.owner1 = -1;
    else if (this.owner2 === owner) this.owner2 = -1;
    else this.others?.delete(owner);
    this.dropUnused();
  }

  /** Lets the group go when no rule knows it. */
  dropUnused(): void {
    if (this.count === 0) this.index?.drop(this);
  }
}

/** Whoever hands out values remembers the group of each, so that most events need no look-up. */
export interface Grouped {
  readonly text: string;
  group: Group | undefined;
}

export class GroupIndex {
  private readonly groups = new Map<string, Group>();

  find(key: string): Group | undefined {
    return this.groups.get(key);
  }

  /** The group of a key, made when it is not there. One that no rule takes in must be dropped again. */
  of(key: string): Group {
    let group = this.groups.get(key);
    if (group === undefined) {
      group = new Group(key, this);
      this.groups.set(key, group);
    }
    return group;
  }

  ofValue(value: Grouped): Group {
    let { group } = value;
    if (group === undefined || group.index !== this) {
      group = this.of(value.text);
      value.group = group;
    }
    return group;
  }

  drop(group: Group): void {
    group.index = undefined;
    this.groups.delete(group.key);
  }
}
