/** One rule at work: its groups and episodes for each tenant, and what it counts. */
import type { Alert } from '../../schemas/alert.js';
import { Episodes } from './episodes.js';
import { type Evaluator, type Happening, late } from './evaluator.js';
import type { EventReader, FieldText } from './event-reader.js';
import { groupKey } from './group-key.js';
import { Groups } from './groups.js';
import type { Slots } from './matcher.js';
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
  readonly slots: Slots;
  emit(rule: RuleRun, alert: Alert): void;
  /** A limit dropped something. */
  limited(rule: RuleRun, tenant: string, limit: 'groups' | 'values', count: number): void;
}

/** The event in hand. */
export interface Moment {
  readonly time: number;
  readonly recorded: number;
  readonly eventId: string;
  /** Events that occurred before may be repetitions of forgotten ones. */
  readonly forgottenThrough: number;
  readonly flags: readonly string[];
}

export class RuleRun {
  readonly counts: RuleCounts = { matched: 0, late: 0, alerts: 0, evicted: 0, overflow: 0 };
  readonly shares = new Map<string, Share>();
  private readonly evaluator: Evaluator;
  private readonly lanes: readonly Lane[];
  private lastShare: Share | undefined;

  /** @param index Place of the rule in its set. */
  constructor(
    readonly rule: Rule,
    readonly index: number,
    private readonly around: Surroundings,
  ) {
    const type = ruleTypes.get(rule.type);
    if (type === undefined) throw new Error(`there is no rule type "${rule.type}"`);
    this.evaluator = type.evaluator(rule);
    const lanes = new Map<string, Lane>();
    for (const [role, { groupBy, valueField }] of rule.roles.entries()) {
      const group = groupBy.map((field) => around.slots.of(field));
      const value = valueField === undefined ? undefined : around.slots.of(valueField);
      const name = `${group.join()} ${value ?? ''}`;
      const known = lanes.get(name);
      lanes.set(name, { group, value: known?.value ?? value, roles: (known?.roles ?? 0) | (1 << role) });
    }
    this.lanes = [...lanes.values()];
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
      const emit = (alert: Alert): void => {
        this.counts.alerts++;
        this.around.emit(this, alert);
      };
      const episodes = new Episodes(this.rule, tenant, emit);
      const groups = new Groups(this.evaluator, this.rule.maxKeys, (key) => episodes.isOpen(key));
      share = { tenant, groups, episodes, watchedSince: Number.POSITIVE_INFINITY };
      this.shares.set(tenant, share);
    }
    this.lastShare = share;
    return share;
  }

  /** Takes an event of which the selections in `roles` hold. */
  event(tenant: string, roles: number, reader: EventReader, moment: Moment): void {
    this.counts.matched++;
    const share = this.share(tenant);
    // The first-run guard counts from what the rule saw first, not from the oldest event that came late.
    if (share.watchedSince === Number.POSITIVE_INFINITY) share.watchedSince = moment.time;
    for (const lane of this.lanes) {
      const held = roles & lane.roles;
      if (held === 0) continue;
      const key = keyOf(lane.group, reader);
      const value = lane.value === undefined ? '' : reader.text(lane.value);
      if (typeof value === 'string') this.happen(share, key, held, value, moment);
      else for (const each of value) this.happen(share, key, held, each, moment);
    }
  }

  private happen(share: Share, key: string, roles: number, value: string, moment: Moment): void {
    const { evaluator } = this;
    const { groups } = share;
    const { time, recorded } = moment;
    let place = groups.find(key);
    if (place >= 0 && groups.isOver(place, recorded)) {
      groups.remove(place);
      place = -1;
    }
    const newest = place < 0 ? time : Math.max(time, groups.newest[place] as number);
    if (
      time < newest - this.rule.latenessMicros ||
      (time < moment.forgottenThrough && this.rule.latenessMicros < Infinity)
    ) {
      this.counts.late++;
      return;
    }
    const happening: Happening = {
      time,
      recorded,
      newest,
      roles,
      value,
      eventId: moment.eventId,
      watchedSince: share.watchedSince,
    };
    if (place < 0) place = this.add(share, key, happening);
    groups.touch(place, recorded);
    groups.newest[place] = newest;
    const state = groups.states[place];
    const trigger = evaluator.event(state, happening);
    groups.weigh(place);
    if (trigger === late) this.counts.late++;
    else if (trigger !== undefined) this.trigger(share, key, trigger, moment);
    if (evaluator.overflow !== undefined) this.overflow(share, evaluator.overflow(state));
    if (evaluator.resolved !== undefined) {
      const at = evaluator.resolved(state);
      if (at !== undefined) share.episodes.resolve(key, at, recorded);
    }
    this.setTimer(share, key, place);
  }

  private add({ tenant, groups }: Share, key: string, happening: Happening): number {
    const before = groups.evicted;
    const place = groups.add(key, happening.time, happening.recorded, this.evaluator.create(happening));
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

  private trigger(
    { tenant, episodes }: Share,
    key: string,
    trigger: Parameters<Episodes['trigger']>[1],
    { recorded, eventId, flags }: { recorded: number; eventId?: string; flags: readonly string[] },
  ): void {
    const wasOpen = episodes.isOpen(key);
    episodes.trigger(key, trigger, { recorded, eventId, flags });
    if (wasOpen || !episodes.isOpen(key)) return;
    const at = episodes.due(key);
    if (at < Number.POSITIVE_INFINITY) this.around.timers.set({ at, rule: this.index, tenant, key, of: 'episode' });
  }

  private setTimer({ tenant, groups }: Share, key: string, place: number): void {
    if (this.evaluator.due === undefined) return;
    const at = this.evaluator.due(groups.states[place]);
    if (at >= (groups.timer[place] as number)) return;
    groups.timer[place] = at;
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
    const place = share.groups.find(key);
    const { due, elapsed } = this.evaluator;
    if (place < 0 || due === undefined || elapsed === undefined) return;
    const { groups } = share;
    groups.timer[place] = Number.POSITIVE_INFINITY;
    const state = groups.states[place];
    const at = due(state);
    if (at <= clock) {
      const { triggers, resolved } = elapsed(state, at);
      for (const trigger of triggers) this.trigger(share, key, trigger, { recorded: at, flags: [] });
      if (resolved !== undefined) share.episodes.resolve(key, resolved, at);
      groups.weigh(place);
    }
    this.setTimer(share, key, place);
  }

  /** Sets the timers of everything that waits, after loading. */
  setTimers(): void {
    for (const share of this.shares.values()) {
      for (let place = 0; place < share.groups.size; place++) this.setTimer(share, share.groups.keyAt(place), place);
      for (const key of share.episodes.keys()) {
        const at = share.episodes.due(key);
        if (at < Number.POSITIVE_INFINITY)
          this.around.timers.set({ at, rule: this.index, tenant: share.tenant, key, of: 'episode' });
      }
    }
  }
}

function keyOf(group: readonly number[], reader: EventReader): string {
  if (group.length === 1) return plain(reader.text(group[0] as number));
  return groupKey(group.map((slot) => plain(reader.text(slot))));
}

function plain(text: FieldText): string {
  return typeof text === 'string' ? text : text.join(',');
}
