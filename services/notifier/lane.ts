/**
 * A lane: one conversation about one group of alerts in one channel, from its first alert until all are over.
 *
 * Everything that a lane knows follows from records: of the alerts that joined it, and of its deliveries (`fold`). So a
 * notifier that starts, or takes a channel over, goes on where the records end.
 *
 * States: open (alerts that are not told as over) → over. A later alert of the same group opens a new lane.
 */
import type { Delivery, Told } from '../../schemas/delivery.js';
import type { Timing } from './settings.js';
import { milliseconds } from './world.js';

export interface Lane {
  readonly key: string;
  readonly channel: string;
  readonly group: Readonly<Record<string, string>>;
  readonly openedAtMs: number;
  /** It took what came after the channel had opened all the lanes of its minute. */
  readonly storm: boolean;
  timing: Timing;
  /** Whether `timing` is that of an alert, and not yet a default. */
  timed: boolean;
  /** Ids of the alerts that joined. */
  readonly alerts: Set<string>;
  readonly told: Map<string, Told>;
  /** Deliveries that were planned. */
  sequence: number;
  /** In hand: planned and neither sent nor given up. */
  delivery: Delivery | undefined;
  /** The last delivery, where it was given up: a person may have it tried again. */
  gaveUp: Delivery | undefined;
  /** The last delivery that was sent or given up: when, and how many reminders since something was new. */
  lastMs: number | undefined;
  reminders: number;
  /** Name of the first message on the far side. */
  root: string;
  /** When its newest record was written. */
  recordedMs: number;
  /** When it is to be looked at again; undefined: when something happens. */
  wakeMs: number | undefined;
}

export function makeLane(head: Pick<Lane, 'key' | 'channel' | 'group' | 'openedAtMs' | 'storm' | 'timing'>): Lane {
  return {
    ...head,
    timed: false,
    alerts: new Set(),
    told: new Map(),
    sequence: 0,
    delivery: undefined,
    gaveUp: undefined,
    lastMs: undefined,
    reminders: 0,
    root: '',
    recordedMs: head.openedAtMs,
    wakeMs: undefined,
  };
}

/** Label of the lane that a storm is folded into. */
export const stormLabel = 'storm';

const ended: ReadonlySet<string> = new Set(['sent', 'given_up', 'withdrawn', 'noted']);

/** Whether a delivery needs nothing more by itself. */
export function isEnded(delivery: Delivery): boolean {
  return ended.has(delivery.state);
}

/** Takes a record of one of the lane's deliveries. Records that were taken before change nothing. */
export function fold(lane: Lane, record: Delivery): void {
  lane.recordedMs = Math.max(lane.recordedMs, milliseconds(record.at));
  if (record.state === 'noted') {
    for (const [id, told] of Object.entries(record.told ?? {})) tell(lane, id, told);
    lane.sequence = Math.max(lane.sequence, record.sequence);
    if (record.root !== '') lane.root = record.root;
    lane.lastMs ??= milliseconds(record.planned_at);
    return;
  }
  const { delivery } = lane;
  if (delivery?.delivery_id === record.delivery_id && delivery.revision >= record.revision) return;
  if (record.sequence < lane.sequence) return;
  lane.sequence = record.sequence;
  if (record.root !== '') lane.root = record.root;
  if (!isEnded(record)) {
    lane.delivery = record;
    return;
  }
  lane.delivery = undefined;
  if (record.state === 'withdrawn') return;
  lane.gaveUp = record.state === 'given_up' ? record : undefined;
  // What was given up counts as told: only something new, or a person, makes the lane speak of it again.
  for (const [id, told] of Object.entries(record.telling)) tell(lane, id, told);
  lane.lastMs = milliseconds(record.at);
  if (record.reason === 'repeat') lane.reminders++;
  else if (record.reason === 'new') lane.reminders = 0;
}

/** Forgets that a given-up delivery counts as told, so that the lane speaks of its alerts again at once. */
export function untell(lane: Lane): void {
  for (const id of Object.keys(lane.gaveUp?.telling ?? {})) lane.told.delete(id);
  lane.gaveUp = undefined;
  lane.lastMs = undefined;
}

function tell(lane: Lane, id: string, told: Told): void {
  lane.alerts.add(id);
  const before = lane.told.get(id);
  if (
    before === undefined ||
    before[0] < told[0] ||
    (before[0] === told[0] && before[1] + before[2] < told[1] + told[2])
  )
    lane.told.set(id, told);
}
