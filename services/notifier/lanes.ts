/** The lanes of the channels that are ours, and which alert is in which. */
import type { Delivery } from '../../schemas/delivery.js';
import { fold, isEnded, type Lane, makeLane, stormLabel } from './lane.js';
import type { Settings, Timing } from './settings.js';
import { changeOf } from './stages/flush.js';
import { groupOf, laneKey, type Way, waysOf } from './stages/route.js';
import { type CurrentAlert, milliseconds, type World } from './world.js';

const minuteMs = 60_000;
/** A storm's lane waits for more and speaks at most once a minute, so that 10,000 alerts are a few messages. */
const stormWaitMs = 5_000;
const stormIntervalMs = 60_000;
/** Openings are remembered for so long behind the newest; a minute is asked for. */
const openingsKeptMs = 10 * minuteMs;

interface ChannelLanes {
  readonly name: string;
  /** The channel's own notes hang here. */
  readonly notes: Lane;
  /** Alerts whose newest record is older were there before the channel was, or before the longest outage. */
  openedMs: number;
  historyMs: number;
  readonly open: Map<string, Lane>;
  readonly byAlert: Map<string, Lane>;
  /** Alerts of lanes that are over, with the revision that was told and whether as over. */
  readonly settled: Map<string, { readonly revision: number; readonly over: boolean }>;
  /** When lanes opened, storms apart. */
  openings: number[];
  /** By digest: the time for which the newest was planned. */
  readonly digests: Map<string, number>;
}

export class Lanes {
  private readonly channels = new Map<string, ChannelLanes>();
  /** Alerts that were not told because they were older than `horizon` when a channel was taken over. */
  beyondHorizon = 0;

  constructor(
    private readonly settings: Settings,
    private readonly world: World,
  ) {}

  /**
   * Takes channels over and returns those that were never opened before. Alerts and the records that were read back are
   * gone through together in the order of time, so that each alert joins the lane that it joined then.
   */
  own(channels: readonly string[], records: readonly Delivery[], now: number, startedMs: number): string[] {
    const opened: string[] = [];
    for (const name of channels) {
      const own = records.filter((record) => record.channel === name);
      const openings = own.filter(({ reason }) => reason === 'channel_opened');
      const lanes = this.makeChannel(name, startedMs);
      this.channels.set(name, lanes);
      if (own.length === 0) {
        // From the process's start on: an alert that came while it joined the group is none of before.
        lanes.openedMs = startedMs;
        opened.push(name);
      } else if (openings.length > 0)
        lanes.openedMs = Math.min(...openings.map((each) => milliseconds(each.opened_at)));
      lanes.historyMs = Math.max(lanes.openedMs, now - this.settings.horizonMs);
      this.replay(lanes, own);
      for (const lane of lanes.open.values()) lane.wakeMs = now;
    }
    return opened;
  }

  private replay(lanes: ChannelLanes, records: readonly Delivery[]): void {
    const ways: { readonly way: Way; readonly current: CurrentAlert; readonly joinMs: number }[] = [];
    for (const current of this.world.alerts.values()) {
      const way = waysOf(current.alert, current.labels, this.settings).find(({ channel }) => channel === lanes.name);
      if (way === undefined) continue;
      const joinMs = current.firstMs >= lanes.historyMs ? current.firstMs : current.lastMs;
      ways.push({ way, current, joinMs });
    }
    ways.sort((left, right) => left.joinMs - right.joinMs);
    let next = 0;
    const placeUntil = (ms: number): void => {
      for (let each = ways[next]; each !== undefined && each.joinMs <= ms; each = ways[++next])
        this.placeIn(lanes, each.way, each.current, each.joinMs);
    };
    for (const record of records) {
      placeUntil(milliseconds(record.at));
      this.restore(lanes, record);
    }
    placeUntil(Number.POSITIVE_INFINITY);
  }

  disown(channels: readonly string[]): void {
    for (const name of channels) this.channels.delete(name);
  }

  private makeChannel(name: string, openedAtMs: number): ChannelLanes {
    return {
      name,
      notes: makeLane({
        key: laneKey(name, { channel: name }),
        channel: name,
        group: {},
        openedAtMs,
        storm: false,
        timing: this.settings.route,
      }),
      openedMs: 0,
      historyMs: 0,
      open: new Map(),
      byAlert: new Map(),
      settled: new Map(),
      openings: [],
      digests: new Map(),
    };
  }

  /** Takes a record that was read back. */
  private restore(lanes: ChannelLanes, record: Delivery): void {
    const openedAtMs = milliseconds(record.opened_at);
    if (record.reason === 'channel_opened') {
      fold(lanes.notes, record);
      return;
    }
    const { digest } = record.group;
    if (digest !== undefined) lanes.digests.set(digest, Math.max(lanes.digests.get(digest) ?? 0, openedAtMs));
    let lane = lanes.open.get(record.lane);
    if (lane !== undefined && lane.openedAtMs > openedAtMs) return;
    if (lane === undefined || lane.openedAtMs < openedAtMs) {
      if (lane !== undefined) this.settle(lanes, lane);
      lane = this.open(lanes, record.lane, record.group, openedAtMs, undefined);
    }
    fold(lane, record);
    for (const id of lane.alerts) this.move(lanes, id, lane);
  }

  /** An alert that was told in a lane stays there, although routes may say otherwise by now. */
  private move(lanes: ChannelLanes, id: string, lane: Lane): void {
    const other = lanes.byAlert.get(id);
    lanes.byAlert.set(id, lane);
    if (other === undefined || other === lane) return;
    other.alerts.delete(id);
    if (other.alerts.size === 0 && lanes.open.get(other.key) === other) lanes.open.delete(other.key);
  }

  private open(
    lanes: ChannelLanes,
    key: string,
    group: Readonly<Record<string, string>>,
    openedAtMs: number,
    timing: Timing | undefined,
  ): Lane {
    const storm = group[stormLabel] !== undefined;
    const lane = makeLane({ key, channel: lanes.name, group, openedAtMs, storm, timing: this.settings.route });
    if (timing !== undefined) setTiming(lane, timing);
    lanes.open.set(key, lane);
    if (!storm && group.digest === undefined) {
      lanes.openings.push(openedAtMs);
      if (lanes.openings[0]! < openedAtMs - openingsKeptMs && lanes.historyMs > 0)
        lanes.openings = lanes.openings.filter((each) => each >= openedAtMs - openingsKeptMs);
    }
    return lane;
  }

  /** Puts an alert, whose record came at `recordedMs`, into its lane of each of its channels. */
  place(current: CurrentAlert, recordedMs: number): void {
    for (const way of waysOf(current.alert, current.labels, this.settings)) {
      const lanes = this.channels.get(way.channel);
      if (lanes !== undefined) this.placeIn(lanes, way, current, recordedMs);
    }
  }

  private placeIn(lanes: ChannelLanes, way: Way, current: CurrentAlert, recordedMs: number): void {
    const id = current.alert.alert_id;
    const joined = lanes.byAlert.get(id);
    if (joined !== undefined) {
      if (!joined.timed) setTiming(joined, way.route);
      joined.wakeMs = recordedMs;
      return;
    }
    const settled = lanes.settled.get(id);
    if (
      settled !== undefined &&
      !(settled.over && settled.revision < current.alert.revision && !this.world.isOver(current))
    )
      return;
    if (current.lastMs < lanes.historyMs) {
      if (current.lastMs >= lanes.openedMs && settled === undefined) this.beyondHorizon++;
      return;
    }
    const lane = this.laneFor(lanes, way, current, recordedMs);
    if (!lane.timed) setTiming(lane, way.route);
    lane.alerts.add(id);
    lanes.byAlert.set(id, lane);
    lane.wakeMs = recordedMs;
  }

  private laneFor(lanes: ChannelLanes, way: Way, current: CurrentAlert, recordedMs: number): Lane {
    const group = groupOf(current.labels, way.route);
    const key = laneKey(lanes.name, group);
    const lane = this.openLane(lanes, key, recordedMs);
    if (lane !== undefined) return lane;
    const openings = lanes.openings.reduce(
      (count, each) => count + (each > recordedMs - minuteMs && each <= recordedMs ? 1 : 0),
      0,
    );
    const limit = this.settings.channels.get(lanes.name)?.groupsPerMinute ?? Number.POSITIVE_INFINITY;
    if (openings < limit) return this.open(lanes, key, group, recordedMs, way.route);
    const storm = { tenant: group.tenant ?? '', [stormLabel]: 'more than groups_per_minute' };
    const stormKey = laneKey(lanes.name, storm);
    return this.openLane(lanes, stormKey, recordedMs) ?? this.open(lanes, stormKey, storm, recordedMs, way.route);
  }

  /** The open lane of a key; one that was over at that time makes room. */
  private openLane(lanes: ChannelLanes, key: string, atMs: number): Lane | undefined {
    const lane = lanes.open.get(key);
    if (lane === undefined || !this.isOver(lane, atMs)) return lane;
    this.close(lanes, lane);
    return undefined;
  }

  /** Whether nothing was left to say in a lane, whatever time passes; `atMs`: now, unless the past is gone through. */
  private isOver(lane: Lane, atMs: number = Number.POSITIVE_INFINITY): boolean {
    if (lane.delivery !== undefined || lane.gaveUp !== undefined) return false;
    const sendResolved = this.settings.channels.get(lane.channel)?.sendResolved ?? true;
    // Mostly the first alert says no: a storm's lane has 10,000, and is asked for each that joins.
    for (const id of lane.alerts) {
      const current = this.world.alerts.get(id);
      if (current === undefined) continue;
      if (!this.world.isOver(current, atMs)) return false;
      if (changeOf({ lane, world: this.world, sendResolved }, current) !== undefined) return false;
    }
    return true;
  }

  closeIfOver(lane: Lane): void {
    const lanes = this.channels.get(lane.channel);
    if (lanes !== undefined && this.isOver(lane)) this.close(lanes, lane);
  }

  private close(lanes: ChannelLanes, lane: Lane): void {
    if (lanes.open.get(lane.key) === lane) lanes.open.delete(lane.key);
    this.settle(lanes, lane);
  }

  private settle(lanes: ChannelLanes, lane: Lane): void {
    for (const id of lane.alerts) {
      if (lanes.byAlert.get(id) === lane) lanes.byAlert.delete(id);
      const [revision = 0, over = 1] = lane.told.get(id) ?? [];
      lanes.settled.set(id, { revision, over: over === 1 });
    }
  }

  /** The lane that a digest of this time is said in; undefined when it was planned before. */
  digest(name: string, channel: string, scheduledMs: number): Lane | undefined {
    const lanes = this.channels.get(channel);
    if (lanes === undefined || Math.max(lanes.openedMs, lanes.digests.get(name) ?? 0) >= scheduledMs) return undefined;
    lanes.digests.set(name, scheduledMs);
    const group = { digest: name };
    return this.open(lanes, laneKey(channel, group), group, scheduledMs, this.settings.route);
  }

  fold(lane: Lane, record: Delivery): void {
    fold(lane, record);
    const lanes = this.channels.get(lane.channel);
    if (lanes === undefined || record.state !== 'withdrawn') return;
    // Withdrawn for good: what was hidden and has ended is not said later.
    this.closeIfOver(lane);
  }

  alertsOf(lane: Lane): CurrentAlert[] {
    const found: CurrentAlert[] = [];
    for (const id of lane.alerts) {
      const current = this.world.alerts.get(id);
      if (current !== undefined) found.push(current);
    }
    return found;
  }

  *all(): Iterable<Lane> {
    for (const lanes of this.channels.values()) yield* lanes.open.values();
  }

  /** Lanes to look at now. */
  due(now: number): Lane[] {
    return [...this.all()].filter(
      ({ delivery, wakeMs }) => delivery === undefined && wakeMs !== undefined && wakeMs <= now,
    );
  }

  /** Lanes with a delivery in hand. */
  speaking(): Lane[] {
    return [...this.all()].filter(({ delivery }) => delivery !== undefined);
  }

  /** The lane of a delivery's record. */
  of(delivery: Pick<Delivery, 'channel' | 'lane' | 'opened_at'>): Lane | undefined {
    const lane = this.channels.get(delivery.channel)?.open.get(delivery.lane);
    return lane?.openedAtMs === milliseconds(delivery.opened_at) ? lane : undefined;
  }

  /** The lane whose delivery in hand, or whose given-up last one, has this id. */
  lastOf(id: string): Lane | undefined {
    for (const lane of this.all())
      if (lane.delivery?.delivery_id === id || lane.gaveUp?.delivery_id === id) return lane;
    return undefined;
  }

  wakeAll(now: number): void {
    for (const lane of this.all()) lane.wakeMs = Math.min(lane.wakeMs ?? now, now);
  }

  wakeAlert(id: string, now: number): void {
    for (const lanes of this.channels.values()) {
      const lane = lanes.byAlert.get(id);
      if (lane !== undefined) lane.wakeMs = Math.min(lane.wakeMs ?? now, now);
    }
  }

  /** Whether a channel of ours has something to say of an alert. */
  isUntold(current: CurrentAlert): boolean {
    for (const lanes of this.channels.values()) {
      const lane = lanes.byAlert.get(current.alert.alert_id);
      if (lane !== undefined && !(lane.delivery === undefined && this.isOver(lane))) return true;
    }
    return false;
  }

  /** The lane of a channel's own notes. */
  notesOf(channel: string): Lane {
    return this.channels.get(channel)!.notes;
  }

  /** Lanes (a channel's own notes among them) whose newest record is older. */
  quietSince(beforeMs: number): { lane: Lane; isNotes: boolean }[] {
    const found: { lane: Lane; isNotes: boolean }[] = [];
    for (const lanes of this.channels.values()) {
      if (lanes.notes.recordedMs < beforeMs) found.push({ lane: lanes.notes, isNotes: true });
      for (const lane of lanes.open.values())
        if (lane.recordedMs < beforeMs && lane.told.size > 0 && lane.delivery === undefined)
          found.push({ lane, isNotes: false });
    }
    return found;
  }

  /** Forgets what no replay can bring back: alerts that are over, told, and beyond the horizon. */
  forget(now: number): void {
    const beforeMs = now - this.settings.horizonMs;
    for (const [id, current] of this.world.alerts)
      if (current.lastMs < beforeMs && this.world.isOver(current) && !this.isUntold(current)) this.world.forget(id);
    for (const lanes of this.channels.values()) {
      lanes.historyMs = Math.max(lanes.historyMs, beforeMs);
      for (const id of lanes.settled.keys()) if (!this.world.alerts.has(id)) lanes.settled.delete(id);
      for (const lane of [...lanes.open.values()]) if (lane.recordedMs < beforeMs) this.closeIfOver(lane);
    }
    this.world.forgetEnded(beforeMs);
  }

  counts(): { channel: string; lanes: number; inHand: number }[] {
    return [...this.channels.values()].map(({ name, open }) => ({
      channel: name,
      lanes: open.size,
      inHand: [...open.values()].filter((lane) => lane.delivery !== undefined && !isEnded(lane.delivery)).length,
    }));
  }
}

/** A lane has the timing of the alert that opened it. */
function setTiming(lane: Lane, timing: Timing): void {
  lane.timed = true;
  lane.timing = lane.storm ? stormTiming(timing) : timing;
}

function stormTiming(timing: Timing): Timing {
  return {
    ...timing,
    waitMs: Math.max(timing.waitMs, stormWaitMs),
    intervalMs: Math.max(timing.intervalMs, stormIntervalMs),
  };
}
