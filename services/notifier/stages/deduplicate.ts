import type { Change, Flush, Held } from './flush.js';
import { changeOf } from './flush.js';

/** Keeps what has not been said, or everything that fires when a reminder is due; else nothing is said. */
export function deduplicate(flush: Flush): Flush | Held {
  const { world, now } = flush;
  const changes = new Map<string, Change>();
  for (const current of flush.alerts) {
    const change = changeOf(flush, current);
    if (change !== undefined) changes.set(current.alert.alert_id, change);
  }
  if (changes.size > 0) return { ...flush, changes, reason: reasonOf(new Set(changes.values()), flush) };
  const firing = flush.alerts.filter((current) => !world.isOver(current) && !world.isAcknowledged(current));
  const reminder = reminderMs(flush);
  if (firing.length === 0 || reminder === undefined) return { held: 'told', until: earliest(flush.wakes) };
  if (now < reminder) return { held: 'told', until: earliest([...flush.wakes, reminder]) };
  return { ...flush, alerts: firing, changes, reason: 'repeat' };
}

function earliest(times: readonly number[]): number | undefined {
  return times.length === 0 ? undefined : times.reduce((least, each) => Math.min(least, each));
}

function reasonOf(changes: ReadonlySet<Change>, { lane, world }: Flush): Flush['reason'] {
  if (changes.has('new')) return 'new';
  const allOver = [...lane.alerts].every((id) => {
    const current = world.alerts.get(id);
    return current === undefined || world.isOver(current);
  });
  if (allOver) return 'resolved';
  return changes.has('changed') || changes.has('resolved') ? 'changed' : 'acknowledged';
}

/** When the lane's next reminder is due: each pause is longer than the one before. */
export function reminderMs({ lane }: Pick<Flush, 'lane'>): number | undefined {
  const { repeat, intervalMs } = lane.timing;
  if (repeat === undefined || lane.lastMs === undefined) return undefined;
  const pause = Math.min(repeat.maxMs, repeat.everyMs * repeat.factor ** Math.min(lane.reminders, 64));
  return lane.lastMs + Math.max(intervalMs, pause);
}
