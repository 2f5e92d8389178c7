/**
 * The configuration's section `notifier`: channels, routes, times without messages, inhibition, digests. Words are
 * Prometheus Alertmanager's wherever it has one.
 */
import { validateDetailed } from 'node-cron';
import { z } from 'zod';
import { Calendar } from './calendar.js';
import { parseDuration } from './duration.js';
import { longestMatcher, parseMatcher } from './matcher.js';
import { nearestName } from './nearest.js';
import { durationText } from './notification-channel.js';
import { emailSection } from './notification-email.js';
import { slackSection } from './notification-slack.js';
import { webhookSection } from './notification-webhook.js';

const channelSection = z.discriminatedUnion('type', [slackSection, emailSection, webhookSection]);

const name = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/, 'expected letters, digits and . _ - only');

const matcher = z
  .string()
  .max(longestMatcher)
  .check((context) => {
    try {
      parseMatcher(context.value);
    } catch (error) {
      context.issues.push({ code: 'custom', message: (error as Error).message, input: context.value });
    }
  });

const zone = z.string().refine((text) => {
  try {
    new Intl.DateTimeFormat('en', { timeZone: text });
    return true;
  } catch {
    return false;
  }
}, 'expected a time zone such as Europe/Amsterdam');

const repeat = z.strictObject({
  every: durationText().describe('First repetition while something still fires.'),
  factor: z.number().min(1).max(100).default(2).describe('Each pause is so many times the one before.'),
  max: durationText().default('24h').describe('Longest pause.'),
});

/** What a route says; what it leaves out it has from the route above it. */
const routeKeys = {
  channels: z.array(name).optional().describe('Channels that are told.'),
  group_by: z
    .array(z.string().min(1).max(256))
    .max(16)
    .optional()
    .describe('Labels whose values make one conversation. Tenants are never mixed. Default: rule.'),
  group_wait: durationText()
    .optional()
    .describe('How long a new conversation waits for more of the same. Default 10s.'),
  group_interval: durationText().optional().describe('Least time between messages of one conversation. Default 5m.'),
  repeat: z
    .union([repeat, z.literal('never')])
    .optional()
    .describe('Reminders while something fires and nobody acknowledged it. Default: every 4h, factor 2, max 24h.'),
  mute: z.array(name).optional().describe('Names under mute_times: messages wait until these times end.'),
} as const;

interface RouteShape {
  channels?: string[] | undefined;
  group_by?: string[] | undefined;
  group_wait?: string | undefined;
  group_interval?: string | undefined;
  repeat?: z.infer<typeof repeat> | 'never' | undefined;
  mute?: string[] | undefined;
  match: string[];
  continue: boolean;
  name?: string | undefined;
  routes: RouteShape[];
}
export type RouteSection = RouteShape;

const route: z.ZodType<RouteShape> = z.strictObject({
  name: z.string().max(128).optional().describe('How `notify route` calls it.'),
  match: z
    .array(matcher)
    .max(64)
    .default([])
    .describe('Matchers, all of which must match: level>=high, tenant=acme, actor=~svc-.*, tag!=test.'),
  continue: z.boolean().default(false).describe('Whether the routes after this one are looked at too.'),
  ...routeKeys,
  get routes() {
    return z.array(route).max(1_000).default([]).describe('Routes below: the first that matches decides.');
  },
}) as never;

const muteTimes = z
  .strictObject({
    zone: zone.default('UTC').describe('Time zone of the times and of the days.'),
    times: z.array(z.string()).default([]).describe('As in "sat-sun 00:00-24:00" or "mon-fri 18:00-08:00".'),
    holidays: z
      .union([z.string(), z.array(z.string())])
      .default([])
      .describe('Public holidays of a country, state or region, all day: NL, US-CA, DE-BY.'),
    dates: z.array(z.string()).default([]).describe('Single days: 2026-12-24.'),
  })
  .check((context) => {
    try {
      calendarsOf(context.value);
    } catch (error) {
      context.issues.push({ code: 'custom', message: (error as Error).message, input: undefined });
    }
  });

/** The two calendars of a time without messages: its hours, and its days. */
export function calendarsOf(times: z.infer<typeof muteTimes>): { hours: Calendar; days: Calendar } {
  const holidays = typeof times.holidays === 'string' ? [times.holidays] : times.holidays;
  const { zone, dates } = times;
  return {
    hours: new Calendar({ zone, open: times.times, holidays: [], closed: [] }),
    days: new Calendar({ zone, open: [], holidays, closed: dates }),
  };
}

const inhibition = z.strictObject({
  source: z.array(matcher).min(1).describe('Alerts that hide others while they fire.'),
  target: z.array(matcher).min(1).describe('Alerts that are hidden.'),
  equal: z.array(z.string()).default([]).describe('Labels that both must have with one value, for example actor.'),
});

const digest = z.strictObject({
  cron: z
    .string()
    .check((context) => {
      const { errors } = validateDetailed(context.value);
      if (errors.length > 0) context.issues.push({ code: 'custom', message: errors[0]!.message, input: context.value });
    })
    .describe('When, as cron writes it: "0 9 * * 1-5" is 9:00 from Monday to Friday.'),
  zone: zone.default('UTC').describe('Time zone of cron and of the days in the digest.'),
  period: durationText().default('24h').describe('How far back it looks.'),
  channels: z.array(name).min(1).describe('Channels that get it.'),
  tenant: z.string().default('').describe('Only this tenant’s calls and alerts; empty: all.'),
});
export type DigestSection = z.infer<typeof digest>;

/** Keys that the YAML file alone can say: they have no environment variable. */
const inFileOnly = { 'x-file-only': true };

export const notifierSection = z
  .strictObject({
    zone: zone.default('UTC').describe('Time zone of times that a reader’s own program does not convert.'),
    public_url: z
      .url({ protocol: /^https?$/ })
      .optional()
      .describe('Address of the dashboard as readers of messages reach it; links are left out without one.'),
    channels: z
      .record(name, channelSection)
      .default({})
      .meta({ description: 'Where messages go, by name.', ...inFileOnly }),
    route: z
      .strictObject({
        ...routeKeys,
        routes: z.array(route).max(1_000).default([]).describe('Routes by matchers, as a tree.'),
      })
      .prefault({})
      .meta({
        description:
          'Which alerts go to which channels. Its own channels get what no route and no rule sends elsewhere.',
        ...inFileOnly,
      }),
    mute_times: z
      .record(name, muteTimes)
      .default({})
      .meta({ description: 'Times in which messages wait, by name.', ...inFileOnly }),
    inhibit: z
      .array(inhibition)
      .max(100)
      .default([])
      .meta({ description: 'Alerts that hide others.', ...inFileOnly }),
    digests: z
      .record(name, digest)
      .default({})
      .meta({ description: 'Regular summaries, by name.', ...inFileOnly }),
    trouble: z
      .array(name)
      .default([])
      .meta({
        description: 'Channels that are told when another one fails. Default: every channel but the failing one.',
        ...inFileOnly,
      }),
    picture_wait_ms: z
      .int()
      .min(0)
      .max(10_000)
      .default(100)
      .describe('Milliseconds that a message may wait for its picture of the rate; 0 leaves pictures out.'),
    horizon: durationText()
      .default('3d')
      .describe('Alerts older than this are not told after an outage; that some were is an alert itself.'),
  })
  .check((context) => checkNames(context.value, (path, message) => context.issues.push(issue(path, message))));

export type NotifierSection = z.infer<typeof notifierSection>;

function issue(path: (string | number)[], message: string) {
  return { code: 'custom' as const, message, input: undefined, path };
}

/** Names that refer to others must exist. */
function checkNames(
  section: z.infer<typeof notifierSection>,
  refuse: (path: (string | number)[], message: string) => void,
) {
  const need = (
    kind: string,
    known: object,
    wanted: readonly string[] | undefined,
    path: (string | number)[],
  ): void => {
    for (const [at, each] of (wanted ?? []).entries()) {
      if (Object.hasOwn(known, each)) continue;
      const near = nearestName(each, Object.keys(known));
      refuse([...path, at], `there is no ${kind} ${each}${near === undefined ? '' : `, did you mean ${near}?`}`);
    }
  };
  const { channels, mute_times } = section;
  const visit = (node: Pick<RouteShape, 'channels' | 'mute' | 'routes'>, path: (string | number)[]): void => {
    need('channel', channels, node.channels, [...path, 'channels']);
    need('time under mute_times', mute_times, node.mute, [...path, 'mute']);
    for (const [at, child] of node.routes.entries()) visit(child, [...path, 'routes', at]);
  };
  visit(section.route, ['route']);
  need('channel', channels, section.trouble, ['trouble']);
  for (const [key, each] of Object.entries(section.digests))
    need('channel', channels, each.channels, ['digests', key, 'channels']);
  for (const [key, each] of Object.entries(channels)) {
    if (each.fallback === key) refuse(['channels', key, 'fallback'], 'expected another channel than this one');
    else if (each.fallback !== undefined) need('channel', channels, [each.fallback], ['channels', key, 'fallback']);
  }
}

/** Milliseconds of a duration that was checked. */
export function durationMs(text: string): number {
  return parseDuration(text) / 1_000;
}
