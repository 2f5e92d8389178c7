/** The configuration's section as the stages read it: matchers parsed, durations in milliseconds, defaults filled in. */
import type { Calendar } from '../../schemas/calendar.js';
import { type Matcher, parseMatcher } from '../../schemas/matcher.js';
import { calendarsOf, durationMs, type NotifierSection, type RouteSection } from '../../schemas/notification.js';
import type { Store } from '../store/store.js';

/** The store, where there is one; it may not answer yet, and nothing that is sent waits for it for long. */
export type OpenStore = () => Promise<Store>;

/** When and how alerts of one route are told. */
export interface Timing {
  readonly groupBy: readonly string[];
  readonly waitMs: number;
  readonly intervalMs: number;
  /** undefined: never. */
  readonly repeat: { readonly everyMs: number; readonly factor: number; readonly maxMs: number } | undefined;
  readonly mute: readonly MuteTimes[];
}

export interface Route extends Timing {
  /** `name` of the configuration, else its place in the tree: `routes[0].routes[2]`. */
  readonly name: string;
  readonly channels: readonly string[];
  readonly match: readonly Matcher[];
  readonly continues: boolean;
  readonly routes: readonly Route[];
}

export interface MuteTimes {
  readonly name: string;
  readonly hours: Calendar;
  readonly days: Calendar;
}

export interface Inhibition {
  readonly source: readonly Matcher[];
  readonly target: readonly Matcher[];
  readonly equal: readonly string[];
}

export interface ChannelSettings {
  readonly sendResolved: boolean;
  readonly groupsPerMinute: number;
  readonly fallback: string | undefined;
  readonly fallbackAfterMs: number;
  readonly giveUpAfterMs: number;
}

export interface Settings {
  readonly route: Route;
  readonly inhibitions: readonly Inhibition[];
  readonly channels: ReadonlyMap<string, ChannelSettings>;
  readonly trouble: readonly string[];
  readonly horizonMs: number;
}

/** An interval of 5 minutes and repetitions from 4 hours on are Alertmanager's; a wait of 10 s suits calls better. */
const defaultTiming = {
  groupBy: ['rule'],
  waitMs: 10_000,
  intervalMs: 300_000,
  repeat: { everyMs: 4 * 3_600_000, factor: 2, maxMs: 24 * 3_600_000 },
  mute: [],
} as const;

/** Reads the section, whose names and texts were checked before. */
export function readSettings(section: NotifierSection): Settings {
  const muteTimes = new Map(
    Object.entries(section.mute_times).map(([name, times]) => [name, { name, ...calendarsOf(times) }] as const),
  );
  const routeOf = (
    node: Partial<RouteSection>,
    above: Timing & { channels: readonly string[] },
    place: string,
  ): Route => {
    const { repeat } = node;
    const own = {
      channels: node.channels ?? above.channels,
      groupBy: node.group_by ?? above.groupBy,
      waitMs: node.group_wait === undefined ? above.waitMs : durationMs(node.group_wait),
      intervalMs: node.group_interval === undefined ? above.intervalMs : durationMs(node.group_interval),
      repeat:
        repeat === undefined
          ? above.repeat
          : repeat === 'never'
            ? undefined
            : { everyMs: durationMs(repeat.every), factor: repeat.factor, maxMs: durationMs(repeat.max) },
      mute: node.mute === undefined ? above.mute : node.mute.map((name) => muteTimes.get(name)!),
    };
    return {
      ...own,
      name: node.name ?? (place === '' ? 'route' : place),
      match: (node.match ?? []).map(parseMatcher),
      continues: node.continue ?? false,
      routes: (node.routes ?? []).map((child, at) =>
        routeOf(child, own, `${place === '' ? '' : `${place}.`}routes[${at}]`),
      ),
    };
  };
  return {
    route: routeOf(section.route as Partial<RouteSection>, { ...defaultTiming, channels: [] }, ''),
    inhibitions: section.inhibit.map(({ source, target, equal }) => ({
      source: source.map(parseMatcher),
      target: target.map(parseMatcher),
      equal,
    })),
    channels: new Map(
      Object.entries(section.channels).map(([name, channel]) => [
        name,
        {
          sendResolved: channel.send_resolved,
          groupsPerMinute: channel.groups_per_minute,
          fallback: channel.fallback,
          fallbackAfterMs: durationMs(channel.fallback_after),
          giveUpAfterMs: durationMs(channel.give_up_after),
        },
      ]),
    ),
    trouble: section.trouble,
    horizonMs: durationMs(section.horizon),
  };
}
