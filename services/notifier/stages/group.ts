import { changeOf, type Flush, type Held } from './flush.js';

/**
 * Waits for more of the same: a new conversation for its `group_wait`, one that has spoken for its `group_interval`.
 * That somebody took an alert on is told at once.
 */
export function group(flush: Flush): Flush | Held {
  const { lane, now } = flush;
  const { waitMs, intervalMs } = lane.timing;
  const earliest = lane.lastMs === undefined ? lane.openedAtMs + waitMs : lane.lastMs + intervalMs;
  if (now >= earliest) return flush;
  const acknowledged = flush.alerts.some((current) => changeOf(flush, current) === 'acknowledged');
  return acknowledged ? flush : { held: 'waiting', until: earliest };
}
