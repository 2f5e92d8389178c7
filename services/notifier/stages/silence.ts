import { type Flush, type Held, wasTold } from './flush.js';

/** Takes out alerts that somebody silenced. The end of what was told before is told all the same. */
export function silence(flush: Flush): Flush | Held {
  const { world, lane, now } = flush;
  const wakes: number[] = [];
  const alerts = flush.alerts.filter((current) => {
    if (wasTold(lane, current) && world.isOver(current)) return true;
    const until = world.silencedUntil(current, now);
    if (until !== undefined) wakes.push(until);
    return until === undefined;
  });
  if (alerts.length === 0 && flush.alerts.length > 0) return { held: 'silenced', until: Math.min(...wakes) };
  return { ...flush, alerts, wakes: [...flush.wakes, ...wakes] };
}
