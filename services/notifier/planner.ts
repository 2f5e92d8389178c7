/**
 * The heart of the notifier: from records and time to what is said next. Pure: no clock, no network, no randomness but
 * what is handed in. Whoever drives it makes each record durable before the next step (see notifier.ts).
 *
 * What always holds:
 * - A lane has at most one delivery in hand, so what is said of one group keeps its order.
 * - Nothing leaves before its `sending` record is durable, and nothing that is recorded as sent is said again.
 * - All state follows from records: the same records give the same plans, whoever reads them.
 */
import type { Alert } from '../../schemas/alert.js';
import type { Delivery, DeliveryReason, DeliveryState, Told } from '../../schemas/delivery.js';
import type { Response } from '../../schemas/response.js';
import { formatTimeMicros } from '../../schemas/time.js';
import { isEnded, type Lane, untell } from './lane.js';
import { Lanes } from './lanes.js';
import { deciding, leaving, run } from './pipeline.js';
import { decide, type Failure, type Outcome } from './retry.js';
import type { Settings } from './settings.js';
import type { Flush } from './stages/flush.js';
import { deliveryId } from './stages/route.js';
import { Troubles } from './trouble.js';
import { type CurrentAlert, milliseconds, mostAlerts, World } from './world.js';

/** A delivery that may leave now. `ask`: an earlier attempt may have arrived, so the far side is asked first. */
export interface Ready {
  readonly delivery: Delivery;
  readonly ask: boolean;
}

/** What leaves: the record that must be durable first, and the alerts that it tells. */
export interface Leaving {
  readonly record: Delivery;
  readonly lane: Lane;
  readonly alerts: readonly CurrentAlert[];
  /** When the attempt began. Milliseconds. */
  readonly atMs: number;
}

/** Ids in a record; a message names ten and counts the rest. */
const mostIds = 1_000;
/** Alerts of one delivery: 20,000 of 50 bytes are 1 MB of its record. What is beyond is the next delivery's. */
const mostTold = 20_000;
/** Records of lanes that live longer are written again, so that no retention takes them away. */
const keptAfterMs = 86_400_000;
/** Retries by hand that are remembered for channels that are taken over later. */
const mostRetries = 1_000;
const oftenestWakeMs = 1;

export class Planner {
  readonly world: World;
  readonly lanes: Lanes;
  readonly troubles: Troubles;
  /** Kept, because they may be read before the channel's records are. */
  private readonly retries: { readonly id: string; readonly atMs: number }[] = [];

  /** `owner` names this process in records. */
  constructor(
    readonly settings: Settings,
    private readonly owner: string,
    /** Milliseconds after which no attempt of another owner can still be under way. 0 where there is no other. */
    private readonly takeoverMs: number,
  ) {
    this.world = new World(settings);
    this.lanes = new Lanes(settings, this.world);
    this.troubles = new Troubles();
  }

  takeAlert(alert: Alert, recordedMs: number): void {
    const current = this.world.takeAlert(alert, recordedMs);
    if (current === undefined) return;
    const cleared = this.world.noteInhibitor(current);
    this.lanes.place(current, recordedMs);
    if (cleared) this.lanes.wakeAll(recordedMs);
    if (this.world.alerts.size > mostAlerts) this.evict();
  }

  takeResponse(response: Response, now: number): void {
    this.world.takeResponse(response);
    if (response.kind === 'retry') this.retry(response.target, milliseconds(response.at), now);
    const about = this.world.alerts.get(response.target);
    if (about !== undefined && this.world.noteInhibitor(about)) this.lanes.wakeAll(now);
    if (response.kind === 'silence') this.lanes.wakeAll(now);
    else this.lanes.wakeAlert(response.target, now);
  }

  /**
   * Takes channels over, with the records of their deliveries that were read back, oldest first. A channel without any
   * opens: what was before `startedMs`, when this process began, is not told there.
   */
  own(channels: readonly string[], records: readonly Delivery[], now: number, startedMs: number): Delivery[] {
    const opened = this.lanes.own(channels, records, now, startedMs);
    for (const record of records)
      if (record.attempt > 0) this.troubles.note(record.via, record, this.settings.channels.get(record.via));
    for (const { id, atMs } of this.retries.splice(0)) this.retry(id, atMs, now);
    return opened.map((channel) => this.note(this.lanes.notesOf(channel), 'channel_opened', now));
  }

  disown(channels: readonly string[]): void {
    this.lanes.disown(channels);
    this.troubles.forget(channels);
  }

  /** Looks at every lane that is due and returns the `pending` records of what is to be said. */
  plan(now: number): Delivery[] {
    const records: Delivery[] = [];
    for (const lane of this.lanes.due(now)) {
      const flush = run(deciding, this.flushOf(lane, now));
      if ('held' in flush) {
        lane.wakeMs = flush.until === undefined ? undefined : Math.max(flush.until, now + oftenestWakeMs);
        if (flush.held === 'told') this.lanes.closeIfOver(lane);
        continue;
      }
      lane.wakeMs = undefined;
      const record = this.pending(lane, flush, now);
      lane.delivery = record;
      records.push(record);
    }
    return records;
  }

  /** The record that plans a digest for a channel; undefined when this time's was planned before. */
  planDigest(name: string, channel: string, scheduledMs: number, now: number): Delivery | undefined {
    const lane = this.lanes.digest(name, channel, scheduledMs);
    if (lane === undefined) return undefined;
    const record = { ...this.draft(lane, 'digest', [], now), state: 'pending' as const };
    lane.delivery = record;
    return record;
  }

  /** What may leave through a channel now, the most severe first. */
  ready(via: string, now: number): Ready[] {
    const found: Ready[] = [];
    for (const { delivery } of this.lanes.speaking()) {
      if (delivery === undefined || delivery.via !== via || this.nextMs(delivery) > now) continue;
      const ask = delivery.state === 'sending' || delivery.error_kind === 'ambiguous';
      found.push({ delivery, ask });
    }
    return found.sort(
      (left, right) =>
        severity(right.delivery) - severity(left.delivery) ||
        milliseconds(left.delivery.planned_at) - milliseconds(right.delivery.planned_at),
    );
  }

  /**
   * Begins an attempt: what is said is what holds at this moment. When everything was silenced meanwhile, `record` is
   * a withdrawal and `alerts` is empty. `possibleDuplicate`: an earlier attempt may have arrived and cannot be found.
   */
  begin(delivery: Delivery, now: number, possibleDuplicate: boolean): Leaving | undefined {
    const lane = this.lanes.of(delivery);
    if (lane?.delivery?.delivery_id !== delivery.delivery_id) return undefined;
    const before = lane.delivery;
    const next = {
      ...before,
      revision: before.revision + 1,
      attempt: before.attempt + 1,
      at: timeText(now),
      next_attempt_at: undefined,
      possible_duplicate: before.possible_duplicate || possibleDuplicate,
      owner: this.owner,
    };
    if (before.reason === 'digest') return this.leave(lane, { ...next, state: 'sending' }, []);
    // Who has it already must be able to know it again by its id: the same id never carries something else.
    if (next.possible_duplicate) {
      const alerts = this.lanes.alertsOf(lane).filter(({ alert }) => Object.hasOwn(before.telling, alert.alert_id));
      return this.leave(lane, { ...next, state: 'sending' }, alerts);
    }
    const flush = run(leaving, this.flushOf(lane, now));
    if ('held' in flush) return this.leave(lane, { ...next, attempt: before.attempt, state: 'withdrawn' }, []);
    const content = this.content(flush);
    return this.leave(lane, { ...next, ...content, state: 'sending' }, flush.alerts);
  }

  private leave(lane: Lane, record: Delivery, alerts: readonly CurrentAlert[]): Leaving {
    this.lanes.fold(lane, record);
    if (isEnded(record)) lane.wakeMs = milliseconds(record.at);
    return { record, lane, alerts, atMs: milliseconds(record.at) };
  }

  /**
   * The record of an attempt's outcome. `durationMs` of the attempt; `random` in [0, 1). A channel that was taken away
   * during the attempt has it on record too: whoever owns it next, this process perhaps, goes on from there.
   */
  finish(delivery: Delivery, outcome: Outcome, now: number, durationMs: number, random: number): Delivery | undefined {
    const lane = this.lanes.of(delivery);
    if (lane !== undefined && lane.delivery?.delivery_id !== delivery.delivery_id) return undefined;
    // Read back meanwhile, it may be older there than the attempt is.
    const known = lane?.delivery;
    const before = known === undefined || known.revision < delivery.revision ? delivery : known;
    const base = {
      ...before,
      revision: before.revision + 1,
      at: timeText(now),
      duration_ms: durationMs,
      owner: this.owner,
    };
    let record: Delivery;
    if (outcome.kind === 'sent') {
      const conversation = lane?.root ?? before.root;
      const { reference, root = conversation === '' ? reference : conversation, answer } = outcome;
      // A message through the fallback channel is no part of the conversation on this one.
      const own = before.via === before.channel;
      record = {
        ...base,
        state: 'sent',
        error_kind: '',
        error: '',
        answer,
        reference,
        root: own ? root : conversation,
      };
    } else record = this.failed(before, base, outcome, now, random);
    if (lane !== undefined) {
      this.lanes.fold(lane, record);
      if (isEnded(record)) lane.wakeMs = now;
    }
    this.troubles.note(before.via, record, this.settings.channels.get(before.via));
    return record;
  }

  private failed(before: Delivery, base: Delivery, failure: Failure, now: number, random: number): Delivery {
    const told = { error_kind: failure.kind, error: failure.message.slice(0, 500), answer: '' };
    // The plainest form was refused too: what is wrong is not its content.
    const kind = failure.kind === 'content' && before.error_kind === 'content' ? 'refused' : failure.kind;
    const decision = decide(before, { ...failure, kind }, this.settings.channels.get(before.channel), now, random);
    if (decision.state === 'given_up') return { ...base, ...told, state: 'given_up' };
    return { ...base, ...told, state: 'failed', via: decision.via, next_attempt_at: timeText(decision.atMs) };
  }

  /** Notes for lanes and channels whose records retention would take away; forgets what is long over. Once an hour. */
  keep(now: number): Delivery[] {
    this.lanes.forget(now);
    return this.lanes.quietSince(now - keptAfterMs).map(({ lane, isNotes }) => {
      const record = this.note(lane, isNotes ? 'channel_opened' : 'lane_kept', now);
      this.lanes.fold(lane, record);
      return record;
    });
  }

  /** When something is due by itself after `now`; undefined: when something happens. */
  nextWakeMs(now: number): number | undefined {
    let next: number | undefined;
    for (const lane of this.lanes.all()) {
      const ms = lane.delivery === undefined ? lane.wakeMs : this.nextMs(lane.delivery);
      // What may leave already waits for its channel, not for time.
      if (ms === undefined || !Number.isFinite(ms) || (lane.delivery !== undefined && ms <= now)) continue;
      if (next === undefined || ms < next) next = ms;
    }
    return next;
  }

  /**
   * Takes a record that another owner of the channel wrote, or this process before the channel was taken away and given
   * back: an attempt of before may have ended after the takeover.
   */
  observe(record: Delivery): void {
    const lane = this.lanes.of(record);
    // Of its own ones it has taken all others already.
    const isOfBefore = lane?.delivery?.delivery_id === record.delivery_id && lane.delivery.revision < record.revision;
    if (lane !== undefined && (record.owner !== this.owner || isOfBefore)) this.lanes.fold(lane, record);
  }

  private flushOf(lane: Lane, now: number): Flush {
    return {
      lane,
      world: this.world,
      now,
      sendResolved: this.settings.channels.get(lane.channel)?.sendResolved ?? true,
      alerts: this.lanes.alertsOf(lane),
      wakes: [],
      changes: new Map(),
      reason: undefined,
    };
  }

  private pending(lane: Lane, flush: Flush, now: number): Delivery {
    return { ...this.draft(lane, flush.reason!, flush.alerts, now), ...this.content(flush), state: 'pending' };
  }

  /** What a delivery tells, as its records say it. */
  private content(flush: Flush): Pick<Delivery, 'reason' | 'telling' | 'alert_ids' | 'level'> {
    const telling: Record<string, Told> = {};
    const about = flush.alerts
      .filter((current) => flush.reason === 'repeat' || flush.changes.has(current.alert.alert_id))
      .slice(0, mostTold);
    for (const current of about) {
      const over = this.world.isOver(current);
      const acknowledged = this.world.isAcknowledged(current);
      telling[current.alert.alert_id] = [current.alert.revision, over ? 1 : 0, acknowledged ? 1 : 0];
    }
    return {
      reason: flush.reason!,
      telling,
      alert_ids: about.slice(0, mostIds).map(({ alert }) => alert.alert_id),
      level: highestLevel(about),
    };
  }

  private draft(lane: Lane, reason: DeliveryReason, alerts: readonly CurrentAlert[], now: number): Delivery {
    const sequence = lane.sequence + 1;
    const tenants = new Set(alerts.map(({ alert }) => alert.tenant));
    return {
      delivery_id: deliveryId(lane, sequence),
      revision: 1,
      state: 'pending' as DeliveryState,
      reason,
      channel: lane.channel,
      via: lane.channel,
      tenant: tenants.size === 1 ? [...tenants][0]! : '',
      lane: lane.key,
      opened_at: timeText(lane.openedAtMs),
      sequence,
      group: lane.group,
      level: highestLevel(alerts),
      alert_ids: [],
      telling: {},
      attempt: 0,
      planned_at: timeText(now),
      at: timeText(now),
      error_kind: '',
      error: '',
      answer: '',
      reference: '',
      root: lane.root,
      possible_duplicate: false,
      owner: this.owner,
    };
  }

  private note(lane: Lane, reason: 'channel_opened' | 'lane_kept', now: number): Delivery {
    return {
      ...this.draft(lane, reason, [], now),
      sequence: lane.sequence,
      delivery_id: deliveryId(lane, -1),
      revision: Math.floor(now / 1_000),
      state: 'noted',
      planned_at: timeText(lane.lastMs ?? now),
      told: Object.fromEntries(lane.told),
    };
  }

  /**
   * Takes a delivery in hand again that was given up or waits: a person said so. What was said before the delivery's
   * own last record concerns an earlier time.
   */
  private retry(id: string, saidMs: number, now: number): void {
    this.retries.push({ id, atMs: saidMs });
    if (this.retries.length > mostRetries) this.retries.shift();
    const lane = this.lanes.lastOf(id);
    if (lane === undefined) return;
    const { delivery, gaveUp } = lane;
    if (gaveUp !== undefined && delivery === undefined) {
      if (milliseconds(gaveUp.at) > saidMs) return;
      untell(lane);
      lane.wakeMs = now;
    } else if (delivery !== undefined && delivery.state !== 'sending' && milliseconds(delivery.planned_at) < saidMs) {
      const at = timeText(saidMs);
      lane.delivery = { ...delivery, via: delivery.channel, planned_at: at, next_attempt_at: at };
    }
  }

  private evict(): void {
    const { alerts } = this.world;
    let over: string | undefined;
    for (const [id, current] of alerts) {
      if (!this.world.isOver(current) || this.lanes.isUntold(current)) continue;
      over = id;
      break;
    }
    const id = over ?? alerts.keys().next().value!;
    this.world.evicted++;
    this.world.forget(id);
  }

  /** When a delivery in hand may go on. Whose attempt is under way in this process its caller knows. */
  private nextMs({ state, at, next_attempt_at }: Delivery): number {
    if (state === 'sending') return milliseconds(at) + this.takeoverMs;
    return next_attempt_at === undefined ? 0 : milliseconds(next_attempt_at);
  }
}

const order = ['informational', 'low', 'medium', 'high', 'critical'];
function severity(delivery: Delivery): number {
  return order.indexOf(delivery.level);
}

function highestLevel(alerts: readonly CurrentAlert[]): string {
  let highest = -1;
  for (const { alert } of alerts) highest = Math.max(highest, order.indexOf(alert.level));
  return order[highest] ?? '';
}

export function timeText(ms: number): string {
  return formatTimeMicros(Math.floor(ms) * 1_000);
}
