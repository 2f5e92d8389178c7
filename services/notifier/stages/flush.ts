/** What goes through the stages when a lane is looked at. */
import type { DeliveryReason } from '../../../schemas/delivery.js';
import type { Lane } from '../lane.js';
import type { CurrentAlert, World } from '../world.js';

/** What there is to say of an alert that has not been said. */
export type Change = 'new' | 'changed' | 'resolved' | 'acknowledged';

export interface Flush {
  readonly lane: Lane;
  readonly world: World;
  /** Milliseconds since the epoch. */
  readonly now: number;
  readonly sendResolved: boolean;
  /** What is left of the lane's alerts. */
  readonly alerts: readonly CurrentAlert[];
  /** When what was taken out may come back. */
  readonly wakes: readonly number[];
  readonly changes: ReadonlyMap<string, Change>;
  readonly reason: DeliveryReason | undefined;
}

/** Nothing is said now. `until`: when to look again; undefined: when something happens. */
export interface Held {
  readonly held: 'silenced' | 'inhibited' | 'muted' | 'waiting' | 'told';
  readonly until: number | undefined;
}

export type Stage = (flush: Flush) => Flush | Held;

/** What has not been said of an alert, if anything. */
export function changeOf(
  flush: Pick<Flush, 'lane' | 'world' | 'sendResolved'>,
  current: CurrentAlert,
): Change | undefined {
  const { lane, world, sendResolved } = flush;
  const told = lane.told.get(current.alert.alert_id);
  const over = world.isOver(current);
  // A burst that was over before anybody heard of it is still told; what was hidden or closed by hand is not.
  if (told === undefined)
    return over && (current.endedHidden || world.resolutions.has(current.alert.alert_id)) ? undefined : 'new';
  const [revision, toldOver, toldAcknowledged] = told;
  if (over) return toldOver === 0 && sendResolved ? 'resolved' : undefined;
  if (toldOver === 1) return revision < current.alert.revision ? 'new' : undefined;
  if (world.isAcknowledged(current)) return toldAcknowledged === 0 ? 'acknowledged' : undefined;
  return revision < current.alert.revision ? 'changed' : undefined;
}

/** Whether the alert was told as firing, so that its end may be told whatever hides new ones. */
export function wasTold(lane: Lane, current: CurrentAlert): boolean {
  return lane.told.get(current.alert.alert_id)?.[1] === 0;
}
