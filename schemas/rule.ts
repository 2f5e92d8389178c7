/**
 * The rule language: what every rule may say. What a rule type adds stands in its own file,
 * `services/detector/types/<type>.ts`. Words are Sigma's wherever Sigma has one; unknown keys are errors.
 */
import { z } from 'zod';
import { alertStates, levels } from './alert.js';
import { parseDuration } from './duration.js';
import { longestDelayMicros, parseRate, type ScopeName, scopeNames } from './throttle.js';

const duration = z
  .string('expected a duration such as 30s, 5m, 1h or 7d')
  .regex(/^\d{1,9}(\.\d{1,3})?(ms|s|m|h|d|w|M|y)$/, 'expected a duration such as 30s, 5m, 1h or 7d')
  .describe('A number and a unit: ms, s, m, h, d, w, M (30 days), y (365 days).');
const names = z.union([z.string(), z.array(z.string())]);
const scalar = z.union([z.string(), z.number(), z.boolean(), z.null()]);
const date = z.string().regex(/^\d{4}-\d\d-\d\d$/, 'expected a date such as 2027-01-31');
/** Names in `rules list`, alert ids and SQL. */
const identifier = z
  .string()
  .min(1)
  .max(128)
  .regex(/^[A-Za-z0-9][A-Za-z0-9._:/-]*$/, 'expected letters, digits and . _ : / - only');

export const selectionShape: z.ZodType = z
  .union([z.record(z.string(), z.unknown()), z.array(z.unknown()), z.string()])
  .describe(
    'Sigma selection: field|modifier: value or list of values; or a list of such maps, a detection with its condition, or a condition over macros.',
  );
export const detectionShape = z
  .record(z.string(), z.unknown())
  .describe('As in Sigma: named selections, and a condition such as "selection and not filter".');

export const windowShape = z
  .strictObject({
    kind: z.enum(['sliding', 'tumbling', 'session']).optional().describe('Default sliding.'),
    size: duration.optional().describe('Length of a sliding or tumbling window.'),
    gap: duration.optional().describe('A session ends after this much silence.'),
    lateness: duration.optional().describe('How late an event may be recorded and still count. Default 2m.'),
  })
  .describe('Windows are in event time.');

export const conditionShape = z
  .strictObject({
    gt: z.number().optional().describe('Greater.'),
    gte: z.number().optional().describe('Greater or equal.'),
    lt: z.number().optional().describe('Less.'),
    lte: z.number().optional().describe('Less or equal.'),
    eq: z.number().optional().describe('Equal.'),
    neq: z.number().optional().describe('Not equal.'),
  })
  .describe('One comparison with what is measured, for example {gte: 100}.');

export const whenShape = z.strictObject({
  calendar: z.string().describe('Name under calendars.'),
  is: z.enum(['open', 'closed', 'holiday']).describe('closed is every time that is not open, holidays included.'),
  for: selectionShape.optional().describe('Only for events that match; the first entry of the list that does decides.'),
});

const exceptionShape = z.strictObject({
  name: z.string().describe('What it is for.'),
  fields: names.describe('Field or fields, with modifiers if wanted.'),
  values: z
    .array(z.union([scalar, z.array(z.union([scalar, z.array(scalar)]))]))
    .describe('Of one field its values; of several fields rows, a value or a list of values for each field.'),
  reason: z.string().optional().describe('Why it is no anomaly, for whoever reads it next.'),
  expires: date.optional().describe('Last day, in UTC, on which the exception holds.'),
});

export const testShape = z.strictObject({
  name: z.string().describe('What the events show.'),
  start: z.iso
    .datetime('expected a time such as 2026-01-05T09:00:00Z')
    .optional()
    .describe('Time of 0s. Default 2026-01-05T09:00:00Z, a Monday.'),
  events: z
    .array(
      z.looseObject({
        at: duration,
        late: duration.optional().describe('How long after that the stream recorded it. Default 0s.'),
        repeat: z.number().int().min(1).max(100_000).optional(),
        every: duration.optional().describe('Time between repeated events. Default 1s.'),
      }),
    )
    .max(1_000)
    .describe('Events by their fields; what is left out has the default of its kind, method is tools/call.'),
  until: duration.optional().describe('Time passes up to here. Default: an hour after the last event.'),
  expect: z
    .array(
      z.looseObject({
        at: duration.optional(),
        state: z.enum(alertStates).optional().describe('Default firing.'),
        count: z.number().optional(),
        values: z.record(z.string(), z.union([z.string(), z.number()])).optional(),
      }),
    )
    .describe(
      'The alerts, in order, by what is to be checked: time, fields of the group, values. Of other states than firing only those are compared that the test names. [] is no alert.',
    ),
});

/** How callers are held back, in the words of rules, of `limits` and of `throttles add`. */
export const limitShape = {
  rate: z
    .string()
    .refine((text) => !Number.isNaN(parseRate(text)), 'expected a rate such as 1/s, 100/m or 20/h')
    .optional()
    .describe('Calls a second, minute or hour.'),
  burst: z.number().int().min(1).max(1_000_000).optional().describe('Calls that may come at once. Default 1.'),
  delay: duration
    .refine((text) => !(parseDuration(text) > longestDelayMicros), 'a call waits at most 60s')
    .optional()
    .describe('Each call waits so long before the server sees it, at most 60s.'),
  block: z.boolean().optional().describe('Every call is refused.'),
} as const;

const scopeName = z.enum(Object.keys(scopeNames) as [ScopeName, ...ScopeName[]]);

const throttleActionShape = z
  .strictObject({
    ...limitShape,
    scope: z
      .union([scopeName, z.array(scopeName).min(1)])
      .optional()
      .describe('Which fields of the group say who is held back. Default: all that a scope may have.'),
    ttl: duration.optional().describe('Default 15m, counted from the alert’s newest record; at most 24h.'),
    until: z.enum(['resolved', 'expiry']).optional().describe('Default resolved: it ends with the alert.'),
    dry_run: z.boolean().optional().describe('Recorded only.'),
    message: z.string().max(500).optional().describe('For the caller, in a sentence.'),
  })
  .refine(
    ({ rate, delay, block }) => rate !== undefined || delay !== undefined || block === true,
    'expected a rate, a delay or block: true',
  )
  .refine(({ rate, burst }) => burst === undefined || rate !== undefined, 'a burst needs a rate');

/** Keys that every rule type has. */
export const ruleShape = {
  id: identifier.describe('Its name in alerts, lists and SQL. It stays when the title changes.'),
  title: z.string().max(256).optional().describe('What happened, in a few words. Default: the id.'),
  description: z.string().max(4_096).optional().describe('What it means, and what else it may be.'),
  level: z.enum(levels).optional().describe('Default medium.'),
  severity: z.enum(levels).optional().describe('Another word for level.'),
  tags: z.array(z.string()).optional().describe('For example attack.t1078, atlas.aml.t0051, owasp.llm01.'),
  references: z.array(z.string()).optional().describe('Addresses to read on.'),
  runbook: z.string().max(16_384).optional().describe('What to do; it is part of every alert.'),
  enabled: z.boolean().optional().describe('false: it is checked and tested, and never fires.'),
  dry_run: z.boolean().optional().describe('Alerts are recorded and start no action.'),
  detection: detectionShape.optional(),
  'group-by': names
    .optional()
    .describe('Field or fields: each combination of their values is counted and alerted on by itself.'),
  lateness: duration
    .optional()
    .describe('How much older than the newest event of its group an event may be and still count. Default 2m.'),
  when: z
    .union([whenShape, z.array(whenShape)])
    .optional()
    .describe("Only while a calendar is open or closed, by the event's own time: {calendar: office, is: closed}."),
  exceptions: z.array(exceptionShape).optional().describe('Events that are no anomaly, by fields and values.'),
  realert: z
    .strictObject({
      every: duration.describe('Time to the first reminder.'),
      factor: z.number().min(1).max(100).optional().describe('How much longer each next one takes. Default 2.'),
      max: duration.optional().describe('Longest time between two.'),
    })
    .optional()
    .describe('While it fires, a reminder after `every`, then after `factor` (2) times as long, up to `max`.'),
  resolve_after: duration.optional().describe('Resolved when the condition did not hold for so long.'),
  max_keys: z
    .number()
    .int()
    .min(1)
    .max(10_000_000)
    .optional()
    .describe('Groups of the rule and a tenant that are kept at a time. Default 1000000.'),
  actions: z
    .array(
      z.union([
        z.strictObject({ notify: z.string() }),
        z.strictObject({
          throttle: throttleActionShape,
        }),
      ]),
    )
    .optional()
    .describe(
      'What follows an alert besides the routes of the configuration: {notify: CHANNEL} or {throttle: {rate: 1/s, ttl: 15m, message: TEXT}}.',
    ),
  tests: z
    .array(testShape)
    .max(100)
    .optional()
    .describe('Events and the alerts they raise; mcp-auditd rules test runs them.'),
} as const;

/** Keys of rule types with a window. */
export const windowedShape = {
  window: windowShape.optional(),
  timespan: duration.optional().describe('Short for a sliding window of this size.'),
} as const;

/** Keys of rule types that count volume. */
export const volumeShape = {
  count_refused: z
    .boolean()
    .optional()
    .describe('Count throttled and denied calls too. Default: only when the detection names outcome.'),
} as const;

export const calendarShape = z.strictObject({
  tz: z.string().describe('Time zone, for example Europe/Amsterdam.'),
  open: names.describe('Opening times: mon-fri 08:00-18:00, sat,sun 10:00-14:00, daily 22:00-06:00.'),
  holidays: names.optional().describe('Public holidays of a country, state or region: NL, US-CA, DE-BY.'),
  closed: z.array(date).optional().describe('Days on which it is closed as on a holiday, 2026-12-24.'),
});

/** A file of ours; `rules` and what `tune` changes are checked one by one by their type. */
export const ruleFileShape = z.strictObject({
  lists: z
    .record(z.string(), z.array(scalar))
    .optional()
    .describe('Values with a name; $name stands for them wherever a value may stand.'),
  macros: z
    .record(z.string(), z.unknown())
    .optional()
    .describe('Detections with a name, to be used in conditions, steps and other macros.'),
  calendars: z.record(z.string(), calendarShape).optional().describe('When a place of work is open, in its own zone.'),
  fields: z
    .record(z.string(), z.string())
    .optional()
    .describe('Fields that imported Sigma rules name, by ours: {CommandLine: arguments.command}.'),
  rules: z.array(z.unknown()).optional().describe('The rules; see below.'),
  tune: z
    .record(z.string(), z.record(z.string(), z.unknown()))
    .optional()
    .describe('Changes to rules that are defined elsewhere, such as the shipped ones: id, then keys to replace.'),
});

const sigmaCommon = {
  title: z.string().optional(),
  id: z.string().optional(),
  name: z.string().optional(),
  related: z.unknown().optional(),
  taxonomy: z.string().optional(),
  status: z.string().optional(),
  description: z.string().optional(),
  license: z.string().optional(),
  references: z.array(z.string()).optional(),
  author: z.string().optional(),
  date: z.unknown().optional(),
  modified: z.unknown().optional(),
  tags: z.array(z.string()).optional(),
  scope: z.unknown().optional(),
  falsepositives: z.unknown().optional(),
  level: z.enum(levels).optional(),
  fields: z.array(z.string()).optional(),
  'sigma-version': z.unknown().optional(),
  regression_tests_path: z.unknown().optional(),
  simulation: z.unknown().optional(),
} as const;

/** A rule of Sigma's own, https://sigmahq.io/sigma-specification (2.1). Keys of one's own are allowed there. */
export const sigmaRuleShape = z.looseObject({
  ...sigmaCommon,
  logsource: z.record(z.string(), z.unknown()).optional(),
  detection: detectionShape,
});

export const sigmaCorrelationShape = z.looseObject({
  ...sigmaCommon,
  correlation: z.strictObject({
    type: z.string(),
    rules: names,
    'group-by': names.optional(),
    timespan: duration,
    aliases: z.record(z.string(), z.record(z.string(), z.string())).optional(),
    generate: z.boolean().optional(),
    condition: z
      .strictObject({
        ...conditionShape.shape,
        field: z.string().optional(),
        percentile: z.number().optional(),
      })
      .optional(),
  }),
});
