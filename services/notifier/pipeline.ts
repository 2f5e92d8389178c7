/**
 * An alert's way to people, in order. `route` finds the channels when the alert's record comes; the next five decide,
 * when a lane is looked at, whether something is said now, and are pure; `render`, `deliver` and `record` say it, when
 * the channel has room.
 *
 *   route ▸ silence ▸ inhibit ▸ mute ▸ group ▸ deduplicate ▸ render ▸ deliver ▸ record
 */
import { deduplicate } from './stages/deduplicate.js';
import type { Flush, Held, Stage } from './stages/flush.js';
import { group } from './stages/group.js';
import { inhibit } from './stages/inhibit.js';
import { mute } from './stages/mute.js';
import { silence } from './stages/silence.js';

/** Whether something is said now. */
export const deciding: readonly Stage[] = [silence, inhibit, mute, group, deduplicate];

/** What is said, at the moment when it leaves: nobody waits any more, but what was silenced meanwhile is left out. */
export const leaving: readonly Stage[] = [silence, inhibit, deduplicate];

export function run(stages: readonly Stage[], flush: Flush): Flush | Held {
  let current = flush;
  for (const stage of stages) {
    const next = stage(current);
    if ('held' in next) return next;
    current = next;
  }
  return current;
}
