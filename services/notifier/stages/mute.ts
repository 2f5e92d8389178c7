import type { MuteTimes } from '../settings.js';
import type { Flush, Held } from './flush.js';

const minuteMs = 60_000;
/** A mute that never ends within so long is looked at again then: five weeks hold any run of holidays. */
const longestLookMs = 35 * 86_400_000;

/** Delays everything while one of the route's times without messages lasts. */
export function mute(flush: Flush): Flush | Held {
  const until = mutedUntil(flush.lane.timing.mute, flush.now);
  return until === undefined ? flush : { held: 'muted', until };
}

function isMuted({ hours, days }: MuteTimes, ms: number): boolean {
  return hours.isOpen(ms * 1_000) || days.isHoliday(ms * 1_000);
}

/** The first moment from now on at which none of the times holds; undefined when none does now. */
export function mutedUntil(times: readonly MuteTimes[], now: number): number | undefined {
  if (!times.some((each) => isMuted(each, now))) return undefined;
  // Times begin and end on whole minutes of every zone.
  let at = Math.floor(now / minuteMs) * minuteMs + minuteMs;
  while (at - now < longestLookMs && times.some((each) => isMuted(each, at))) at += minuteMs;
  return at;
}
