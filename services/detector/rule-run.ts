/** One rule at work: its groups and episodes for each tenant, and what it counts. */
import { type Cause, type Emit, Episodes } from './episodes.js';
import { type Evaluator, type Happening, late, type Trigger } from './evaluator.js';
import type { EventReader } from './event-reader.js';
import { KnownValue } from './field-values.js';
import type { Group, GroupIndex } from './group-index.js';
import { groupKey } from './group-key.js';
import { Groups } from './groups.js';
import type { Slots } from './matcher.js';
import type { Memory } from './memory.js';
import type { Rule } from './rule.js';
import type { Timers } from './timers.js';
import { ruleTypes } from './types.js';

/** Roles that look for their group in the same fields, and for their value. */
interface Lane {
  readonly roles: number;
  readonly group: readonly number[];
  readonly value: number | undefined;
}

/** What a rule saw, since the engine was made. */
export interface RuleCounts {
  /** Events of which a selection held. */
  matched: number;
  /** Events that came too late for their window. */
  late: number;
  alerts: number;
  /** Groups that had to go because there were too many. */
  evicted: number;
  /** Values that a limit kept out of a group. */
  overflow: number;
}

/** Groups whose timers are set in one step. */
const groupsAtOnce = 1024;

/** One rule in one tenant. */
export interface Share {
  readonly tenant: string;
  readonly groups: Groups;
  readonly episodes: Episodes;
  /** Own time of the first event that the rule saw. */
  watchedSince: number;
}

/** What the engine offers the rules it runs. */
export interface Surroundings {
  readonly timers: Timers;
  readonly memory: Memory;
  readonly slots: Slots;
  readonly moment: Moment;
  /** The groups that rules with the same fields share. */
  indexOf(tenant: string, fields: string): GroupIndex;
  /** The rule has its first share. */
  began(rule: RuleRun): void;
  emit(rule: RuleRun, tenant: string, ...alert: Parameters<Emit>): void;
  /** A limit dropped something. */
  limited(rule: RuleRun, tenant: string, limit: 'groups' | 'values', count: number): void;
}

/** The event in hand; one object that is filled anew for each. */
export interface Moment {
  time: number;
  recorded: number;
  /** Events that occurred before may be repetitions of forgotten ones. */
  forgottenThrough: number;
  flags: readonly string[];
  readonly eventId: string;
}

/** What an evaluator is told of an event; one object for all events of a rule. */
class CurrentHappening implements Happening {
  time = 0;
  recorded = 0;
  newest = 0;
  roles = 0;
  value = '';
  watchedSince = 0;

  constructor(private readonly moment: Moment) {}

  get eventId(): string {
    return this.moment.eventId;
  }
}

export class RuleRun {
  readonly counts: RuleCounts = { matched: 0, late: 0, alerts: 0, evicted: 0, overflow: 0 };
  readonly shares = new Map<string, Share>();
  private readonly evaluator: Evaluator;
  private readonly lanes: readonly Lane[];
  /** The fields of all lanes: rules in which they are the same share their groups' keys. */
  private readonly groupFields: string;
  private readonly happening: CurrentHappening;
  private lastShare: Share | undefined;

  /** @param index Place of the rule in its set. */
  constructor(
    readonly rule: Rule,
    readonly index: number,
    private readonly around: Surroundings,
  ) {
    const type = ruleTypes.get(rule.type);
    if (type === undefined) throw new Error(`there is no rule type "${rule.type}"`);
    this.evaluator = type.evaluator(rule, around.memory);
    const lanes = new Map<string, Lane>();
    for (const [role, { groupBy, valueField }] of rule.roles.entries()) {
      const group = groupBy.map((field) => around.slots.of(field));
      const value = valueField === undefined ? undefined : around.slots.of(valueField);
      const name = `${group.join()} ${value ?? ''}`;
      const known = lanes.get(name);
      lanes.set(name, { group, value: known?.value ?? value, roles: (known?.roles ?? 0) | (1 << role) });
    }
    this.lanes = [...lanes.values()];
    this.groupFields = [...new Set(this.lanes.map(({ group }) => group.join()))].join(';');
    this.happening = new CurrentHappening(around.moment);
  }

  /** Micros of the stream's time that a group is remembered after its last record. */
  get keepMicros(): number {
    return this.evaluator.keepMicros;
  }

  share(tenant: string): Share {
    let share = this.lastShare;
    if (share !== undefined && share.tenant === tenant) return share;
    share = this.shares.get(tenant);
    if (share === undefined) {
      const emit: Emit = (state, make) => {
        this.counts.alerts++;
        this.around.emit(this, tenant, state, make);
      };
      const episodes = new Episodes(this.rule, tenant, emit);
      const index = this.around.indexOf(tenant, this.groupFields);
      const groups = new Groups(index, this.evaluator, this.rule.maxKeys, (key) => episodes.isOpen(key));
      share = { tenant, groups, episodes, watchedSince: Number.POSITIVE_INFINITY };
      if (this.shares.size === 0) this.around.began(this);
      this.shares.set(tenant, share);
    }
    this.lastShare = share;
    return share;
  }

  /** Takes the event in hand, of which the selections in `roles` hold. */
  event(tenant: string, roles: number, reader: EventReader): void {
    const { moment } = this.around;
    this.counts.matched++;
    const share = this.share(tenant);
    // The first-run guard counts from what the rule saw first, not from the oldest event that came late.
    if (share.watchedSince === Number.POSITIVE_INFINITY) share.watchedSince = moment.time;
    for (const lane of this.lanes) {
      const held = roles & lane.roles;
      if (held === 0) continue;
      const group = groupOf(share.groups.index, lane.group, reader);
      const items = lane.value === undefined ? undefined : reader.items(lane.value);
      if (items !== undefined) for (const each of items) this.happen(share, group, held, each);
      else this.happen(share, group, held, lane.value === undefined ? '' : reader.text(lane.value));
    }
  }

  /** The field that names the groups, where there is only one. */
  get groupSlot(): number | undefined {
    const [lane] = this.lanes;
    return this.lanes.length === 1 && lane?.group.length === 1 ? lane.group[0] : undefined;
  }

  /** The state of the group in the share that was asked for last, its other numbers brought near. */
  fetchState(group: Group): unknown {
    const groups = this.lastShare?.groups;
    const place = groups?.find(group) ?? -1;
    return place < 0 ? undefined : groups?.fetch(place);
  }

  fetchEvents(state: unknown): number {
    return this.evaluator.fetch?.(state) ?? 0;
  }

  private happen(share: Share, found: Group, roles: number, value: string): void {
    const { evaluator, happening } = this;
    const { moment } = this.around;
    const { groups } = share;
    const { time, recorded } = moment;
    let group = found;
    let place = groups.find(group);
    if (place >= 0 && groups.isOver(place, recorded)) {
      groups.remove(place);
      place = -1;
    }
    const newest = place < 0 ? time : Math.max(time, groups.newest(place));
    const { latenessMicros } = this.rule;
    if (time < newest - latenessMicros || (time < moment.forgottenThrough && latenessMicros !== Infinity)) {
      this.counts.late++;
      group.dropUnused();
      return;
    }
    happening.time = time;
    happening.recorded = recorded;
    happening.newest = newest;
    happening.roles = roles;
    happening.value = value;
    happening.watchedSince = share.watchedSince;
    if (place < 0) {
      // It was let go with the last that was known of it.
      if (group.index === undefined) group = groups.index.of(group.key);
      place = this.add(share, group, happening);
    }
    groups.touch(place, newest, recorded);
    const state = groups.states[place];
    const trigger = evaluator.event(state, happening);
    if (trigger === late) this.counts.late++;
    else if (trigger !== undefined) this.trigger(share, group.key, trigger, moment);
    if (evaluator.overflow !== undefined) this.overflow(share, evaluator.overflow(state));
    if (evaluator.resolved !== undefined) {
      const at = evaluator.resolved(state);
      if (at !== undefined) share.episodes.resolve(group.key, at, recorded);
    }
    if (evaluator.due !== undefined) this.setTimer(share, group.key, place);
    // A group with much traffic is weighed now and then, and one with little when it is looked at in turn.
    if ((this.counts.matched & 15) === 0) groups.weigh(place);
  }

  private add({ tenant, groups }: Share, group: Group, happening: Happening): number {
    const before = groups.evicted;
    const place = groups.add(group, happening.time, happening.recorded, this.evaluator.create(happening));
    this.evicted(tenant, groups.evicted - before);
    return place;
  }

  evicted(tenant: string, count: number): void {
    if (count === 0) return;
    this.counts.evicted += count;
    this.around.limited(this, tenant, 'groups', count);
  }

  private overflow({ tenant }: Share, count: number): void {
    if (count === 0) return;
    this.counts.overflow += count;
    this.around.limited(this, tenant, 'values', count);
  }

  private trigger({ tenant, episodes }: Share, key: string, trigger: Trigger, cause: Cause): void {
    if (!episodes.trigger(key, trigger, cause)) return;
    const at = episodes.due(key);
    if (at < Number.POSITIVE_INFINITY) this.around.timers.set({ at, rule: this.index, tenant, key, of: 'episode' });
  }

  private setTimer({ tenant, groups }: Share, key: string, place: number): void {
    if (this.evaluator.due === undefined) return;
    const at = this.evaluator.due(groups.states[place]);
    if (at >= groups.timer(place)) return;
    groups.setTimer(place, at);
    this.around.timers.set({ at, rule: this.index, tenant, key, of: 'state' });
  }

  /** A timer went off. What it waited for may have moved on since it was set: then it is set again. */
  due(tenant: string, key: string, of: 'state' | 'episode', clock: number): void {
    const share = this.shares.get(tenant);
    if (share === undefined) return;
    if (of === 'episode') {
      const at = share.episodes.due(key);
      if (at <= clock) share.episodes.resolve(key, undefined, at);
      else if (at < Number.POSITIVE_INFINITY)
        this.around.timers.set({ at, rule: this.index, tenant, key, of: 'episode' });
      return;
    }
    const place = share.groups.findKey(key);
    const { due, elapsed } = this.evaluator;
    if (place < 0 || due === undefined || elapsed === undefined) return;
    const { groups } = share;
    groups.setTimer(place, Number.POSITIVE_INFINITY);
    const state = groups.states[place];
    const at = due(state);
    if (at <= clock) {
      const { triggers, resolved } = elapsed(state, at);
      for (const trigger of triggers)
        this.trigger(share, key, trigger, { recorded: at, eventId: undefined, flags: [] });
      if (resolved !== undefined) share.episodes.resolve(key, resolved, at);
      groups.weigh(place);
      // An evaluator that does not move on would hold up everything for ever.
      if (due(state) <= at) throw new Error(`${this.rule.type} waits again for what has passed`);
    }
    this.setTimer(share, key, place);
  }

  /** Sets the timers of everything that waits, after loading. */
  *setTimers(): Generator<void> {
    for (const share of this.shares.values()) {
      for (let place = 0; place < share.groups.size; place++) {
        if (place % groupsAtOnce === 0) yield;
        this.setTimer(share, share.groups.keyAt(place), place);
      }
      for (const key of share.episodes.keys()) {
        const at = share.episodes.due(key);
        if (at < Number.POSITIVE_INFINITY)
          this.around.timers.set({ at, rule: this.index, tenant: share.tenant, key, of: 'episode' });
      }
    }
  }
}

function groupOf(index: GroupIndex, fields: readonly number[], reader: EventReader): Group {
  if (fields.length !== 1) return index.of(groupKey(fields.map((slot) => reader.text(slot))));
  const [slot] = fields as [number];
  const value = reader.value(slot);
  return value instanceof KnownValue ? index.ofValue(value) : index.of(reader.text(slot));
}
