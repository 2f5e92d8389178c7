import { type Flush, type Held, wasTold } from './flush.js';

/** Takes out alerts that a more important one hides. The end of what was told before is told all the same. */
export function inhibit(flush: Flush): Flush | Held {
  const { world, lane } = flush;
  const alerts = flush.alerts.filter(
    (current) => (wasTold(lane, current) && world.isOver(current)) || !world.isInhibited(current),
  );
  // When the alert that hides them ends, every lane is looked at again.
  if (alerts.length === 0 && flush.alerts.length > 0)
    return { held: 'inhibited', until: flush.wakes.length === 0 ? undefined : Math.min(...flush.wakes) };
  return { ...flush, alerts };
}
