/**
 * What the API under /api/v1 takes and answers, as zod schemas: requests are checked with them, docs/openapi.json is made
 * from them, and the dashboard has its types from them.
 *
 * Times are RFC 3339 in UTC. Counts are numbers. Lists that may be long have `next`, the cursor of what follows.
 */
import { z } from 'zod';
import { alertStates, levels } from '../../../schemas/alert.js';
import { outcomes } from '../../../schemas/event.js';
import { responseKinds, responseRequestSchema } from '../../../schemas/response.js';
import { savedQueryRequestSchema } from '../../../schemas/saved-query.js';
import { keyRoles } from '../../access/keys.js';

const time = z.string().meta({ format: 'date-time' });
const map = z.record(z.string(), z.string());
const textList = z.array(z.string());

/** A query parameter that may stand several times. */
const many = z
  .union([z.string(), z.array(z.string())])
  .default([])
  .transform((value) => (Array.isArray(value) ? value : [value]));

const instant = z
  .string()
  .refine((text) => /^\d{4}-\d\d-\d\dT/.test(text) && !Number.isNaN(Date.parse(text)), 'expected an RFC 3339 time')
  .transform((text) => Date.parse(text));

/** The calls that a request is about. */
export const callsRange = z.strictObject({
  from: instant.optional().describe('First time of the calls. Default: an hour before `to`.'),
  to: instant.optional().describe('Exclusive. Default: now.'),
  filter: many.describe(
    'Field, operator and value, as `tool=read_file`, `outcome!=success`, `duration_ms>100`, `arguments~passwd`. Of several with `=` on one field any may hold; all others hold together. At most 32.',
  ),
});
export type CallsRange = z.output<typeof callsRange>;

const limit = (most: number, usual: number) => z.coerce.number().int().min(1).max(most).default(usual);

/** Characters of the arguments that a row shows. */
export const briefArguments = 200;

export const callRow = z.object({
  event_id: z.string(),
  occurred_at: time,
  tenant: z.string(),
  actor_id: z.string(),
  actor_verified: z.boolean(),
  client_name: z.string(),
  session_id: z.string(),
  server_name: z.string(),
  method: z.string(),
  /** The tool, resource or prompt that the call names. */
  target: z.string(),
  tool_name: z.string(),
  outcome: z.enum(outcomes),
  error_message: z.string(),
  arguments: z.string().optional().describe('Their beginning, where it is at hand: in live calls and evidence.'),
  duration_ms: z.number().nullable(),
  arguments_bytes: z.number(),
  result_bytes: z.number(),
  redactions: z.number().describe('How many values were hidden.'),
});
export type CallRow = z.infer<typeof callRow>;

export const callList = z.object({ calls: z.array(callRow), next: z.string().nullable() });
export type CallList = z.infer<typeof callList>;

export const callQuery = callsRange.extend({
  order: z.enum(['newest', 'oldest']).default('newest'),
  limit: limit(1000, 100),
  cursor: z.string().max(200).optional(),
});

export const fullCall = z.looseObject({
  event_id: z.string(),
  occurred_at: time,
  arguments: z.string().describe('JSON text, redacted.'),
  result: z.string().describe('JSON text, redacted.'),
  redactions: textList.describe('Path and kind of what was hidden.'),
  truncated: z.boolean(),
  attributes: map,
});
export type FullCall = z.infer<typeof fullCall> & CallRow & Readonly<Record<string, unknown>>;

export const tailQuery = z.strictObject({
  filter: many.describe('As of /calls.'),
  most: limit(1000, 100).describe(
    'Calls a second that are sent, on average. Each second `event: rate` tells how many there were and how many were sent.',
  ),
});

export const neighbours = z.object({ before: z.array(callRow), after: z.array(callRow) });
export type Neighbours = z.infer<typeof neighbours>;

export const seriesQuery = callsRange.extend({
  by: z.string().max(200).optional().describe('Field whose eight most frequent values become lines.'),
  points: limit(2000, 240).describe('Points at most; the step is rounded up to a usual one.'),
  latency: z.stringbool().default(false).describe('Also percentiles of the duration.'),
});
export const series = z.object({
  step_ms: z.number(),
  /** Seconds since the epoch, one for each point. */
  times: z.array(z.number()),
  lines: z.array(z.object({ name: z.string(), calls: z.array(z.number()), failed: z.array(z.number()).optional() })),
  latency: z
    .object({
      p50: z.array(z.number().nullable()),
      p95: z.array(z.number().nullable()),
      p99: z.array(z.number().nullable()),
    })
    .optional(),
});
export type Series = z.infer<typeof series>;

export const summary = z.object({
  calls: z.number(),
  failed: z.number(),
  actors: z.number(),
  sessions: z.number(),
  tools: z.number(),
  p50: z.number().nullable(),
  p95: z.number().nullable(),
  p99: z.number().nullable(),
  outcomes: z.record(z.string(), z.number()),
});
export type Summary = z.infer<typeof summary>;

export const groupsQuery = callsRange.extend({
  by: z.string().max(200).describe('A field of docs/events.md, or `attributes.KEY`.'),
  order: z.enum(['calls', 'failed', 'p95', 'last']).default('calls'),
  limit: limit(1000, 50),
});
export const groups = z.object({
  groups: z.array(
    z.object({
      value: z.string(),
      calls: z.number(),
      failed: z.number(),
      p50: z.number().nullable(),
      p95: z.number().nullable(),
      actors: z.number(),
      tools: z.number(),
      sessions: z.number(),
      first_at: time,
      last_at: time,
    }),
  ),
  distinct: z.number(),
});
export type Groups = z.infer<typeof groups>;

export const toolRow = z.object({
  server_name: z.string(),
  tool_name: z.string(),
  calls: z.number(),
  failed: z.number(),
  actors: z.number(),
  p50: z.number().nullable(),
  p95: z.number().nullable(),
  definitions: z.number().describe('Different definitions that were listed.'),
  read_only: z.boolean().nullable(),
  destructive: z.boolean().nullable(),
  first_at: time.nullable(),
  last_at: time.nullable().describe('null: listed and never called.'),
});
export type ToolRow = z.infer<typeof toolRow>;
export const toolList = z.object({ tools: z.array(toolRow) });

export const toolDefinitions = z.object({
  definitions: z.array(
    z.object({
      definition: z.string().describe('JSON text, as the server listed it.'),
      first_at: time,
      last_at: time,
      listed: z.number(),
    }),
  ),
});
export type ToolDefinitions = z.infer<typeof toolDefinitions>;

export const sessionRow = z.object({
  session_id: z.string(),
  actor_id: z.string(),
  client_name: z.string(),
  servers: textList,
  tools: z.number(),
  calls: z.number(),
  failed: z.number(),
  first_at: time,
  last_at: time,
});
export type SessionRow = z.infer<typeof sessionRow>;
export const sessionQuery = callsRange.extend({ limit: limit(500, 100) });
export const sessionList = z.object({ sessions: z.array(sessionRow) });

export const alertRow = z.object({
  alert_id: z.string(),
  state: z.enum(alertStates),
  standing: z.enum(['firing', 'acknowledged', 'resolved']),
  rule_id: z.string(),
  title: z.string(),
  level: z.enum(levels),
  tenant: z.string(),
  group: map,
  started_at: time,
  at: time,
  count: z.number(),
  reason: z.string(),
  dry_run: z.boolean(),
  acknowledged_by: z.string(),
  resolved_by: z.string(),
});
export type AlertRow = z.infer<typeof alertRow>;

export const alertQuery = z.strictObject({
  standing: z.enum(['open', 'resolved', 'all']).default('open'),
  level: z.enum(levels).optional().describe('This level and above.'),
  rule: z.string().max(256).optional(),
  group: z.string().max(1024).optional().describe('Only alerts whose group has this value.'),
  limit: limit(500, 100),
  cursor: z.string().max(200).optional(),
});
export const alertList = z.object({
  alerts: z.array(alertRow),
  next: z.string().nullable(),
  counts: z.object({ firing: z.number(), acknowledged: z.number(), resolved: z.number() }),
});
export type AlertList = z.infer<typeof alertList>;

const decision = z.object({
  response_id: z.string(),
  at: time,
  kind: z.enum(responseKinds),
  author: z.string(),
  author_key: z.string(),
  reason: z.string(),
});
export const fullAlert = alertRow.extend({
  rule_version: z.string(),
  description: z.string(),
  tags: textList,
  runbook: z.string(),
  actions: z.string().describe('JSON text.'),
  first_at: time,
  last_at: time,
  values: map.describe('What crossed, for example count and threshold.'),
  flags: textList,
  evidence_sql: z.string(),
  evidence: z.array(callRow),
  changes: z.array(
    z.object({ revision: z.number(), state: z.enum(alertStates), at: time, count: z.number(), reason: z.string() }),
  ),
  decisions: z.array(decision),
  deliveries: z.array(
    z.object({
      delivery_id: z.string(),
      channel: z.string(),
      via: z.string(),
      reason: z.string(),
      state: z.string(),
      at: time,
      error: z.string(),
    }),
  ),
  throttles: textList.describe('Ids of the signals that it set.'),
});
export type FullAlert = z.infer<typeof fullAlert>;

export const alertChart = z.object({
  /** Seconds since the epoch. */
  times: z.array(z.number()),
  calls: z.array(z.number()).describe('Calls that the rule selects, of this group, in each step.'),
  how: z
    .enum(['count', 'distinct', 'sum', 'share'])
    .nullable()
    .describe('What the rule measures of them; null: nothing that has a threshold.'),
  window: z.array(z.number()).nullable().describe("That measure within the rule's window up to that time."),
  step_ms: z.number(),
  window_ms: z.number().nullable(),
  threshold: z.number().nullable(),
});
export type AlertChart = z.infer<typeof alertChart>;

export const throttleRow = z.object({
  signal_id: z.string(),
  state: z.string(),
  origin: z.string(),
  tenant: z.string(),
  scope: map,
  each: textList,
  block: z.boolean(),
  interval_micros: z.number(),
  burst: z.number(),
  delay_ms: z.number(),
  dry_run: z.boolean(),
  reason: z.string(),
  author: z.string(),
  alert_ids: textList,
  rule_ids: textList,
  issued_at: time,
  expires_at: time,
  holds: z.boolean(),
});
export type ThrottleRow = z.infer<typeof throttleRow>;
export const throttleQuery = z.strictObject({ all: z.stringbool().default(false) });
export const throttleList = z.object({ throttles: z.array(throttleRow) });

export const silenceRow = z.object({
  response_id: z.string(),
  revision: z.number(),
  matchers: textList,
  starts_at: time,
  ends_at: time,
  author: z.string(),
  reason: z.string(),
});
export type SilenceRow = z.infer<typeof silenceRow>;
export const silenceList = z.object({ silences: z.array(silenceRow) });

export const responseRequest = responseRequestSchema;
export const responseAnswer = z.looseObject({
  response_id: z.string(),
  revision: z.number(),
  kind: z.enum(responseKinds),
});

export const ruleRow = z.object({
  id: z.string(),
  title: z.string(),
  type: z.string(),
  level: z.enum(levels),
  enabled: z.boolean(),
  dry_run: z.boolean(),
  version: z.string(),
  tags: textList,
  watches: z.string().describe('In words: condition, window, group.'),
  tests: z.number(),
  failing_tests: z.number(),
  firing: z.number(),
  alerts_30d: z.number(),
  last_fired_at: time.nullable(),
});
export type RuleRow = z.infer<typeof ruleRow>;
export const ruleList = z.object({ rules: z.array(ruleRow), problems: textList });
export type RuleList = z.infer<typeof ruleList>;

export const fullRule = ruleRow.extend({
  description: z.string(),
  runbook: z.string(),
  references: textList,
  source: z.string().describe('Its text, as it stands in its file.'),
  file: z.string(),
  line: z.number(),
  test_results: z.array(z.object({ name: z.string(), failures: textList })),
});
export type FullRule = z.infer<typeof fullRule>;

export const backtestQuery = z.strictObject({ days: z.coerce.number().int().min(1).max(30).default(7) });
export const backtestAnswer = z.object({
  events: z.number(),
  seconds: z.number(),
  alerts: z.number(),
  keys: z.number(),
  matched: z.number(),
  from: time,
  to: time,
  histogram: z.array(z.number()),
  noisiest: z.array(z.object({ group: map, alerts: z.number() })),
});
export type Backtest = z.infer<typeof backtestAnswer>;

export const sqlRequest = z.strictObject({
  sql: z
    .string()
    .min(1)
    .max(256 * 1024),
  limit: z
    .number()
    .int()
    .min(1)
    .max(100_000)
    .default(1000)
    .describe('Rows that are answered; more are left out and told.'),
});
export const sqlAnswer = z.object({
  columns: z.array(z.object({ name: z.string(), type: z.string() })),
  rows: z.array(z.array(z.unknown())),
  more: z.boolean().describe('There are more rows than were asked for.'),
  elapsed_ms: z.number(),
});
export type SqlAnswer = z.infer<typeof sqlAnswer>;
export const sqlSchema = z.object({
  tables: z.array(z.object({ name: z.string(), columns: textList })),
  functions: textList,
});
export type SqlSchema = z.infer<typeof sqlSchema>;

export const savedQueryRequest = savedQueryRequestSchema;
export const savedQuery = z.object({
  name: z.string(),
  tenant: z.string(),
  statement: z.string().describe('Empty where the name was forgotten.'),
  author: z.string(),
  author_key: z.string(),
  saved_at: time,
});
export const savedQueryList = z.object({ queries: z.array(savedQuery) });
export type SavedQueryList = z.infer<typeof savedQueryList>;

export const health = z.looseObject({
  version: z.string(),
  started_at: time,
  calls_per_second: z.number(),
  dead_letters: z.number(),
  dead: z.array(z.object({ reason: z.string(), records: z.number(), last_at: time, message: z.string() })),
  gaps: z.array(z.object({ producer_id: z.string(), missing: z.number(), seen: z.number(), last_at: time })),
  ingest_delay_ms: z.object({ p50: z.number().nullable(), p99: z.number().nullable() }),
});
export type Health = z.infer<typeof health>;

export const sessionRequest = z.strictObject({
  token: z.string().min(1).max(256).describe('A one-time token, or a key with the role read or admin.'),
});
export const sessionAnswer = z.object({
  key: z.string(),
  tenant: z.string(),
  role: z.enum(['viewer', 'responder', 'admin']),
  expires_at: time.nullable(),
  version: z.string(),
  trace_url: z.string().nullable().describe('Where traces are kept, with {trace_id} in it.'),
});
export type SessionAnswer = z.infer<typeof sessionAnswer>;

export const loginTokenRequest = z.strictObject({
  respond_key: z
    .string()
    .max(256)
    .optional()
    .describe(
      'A key with the role respond or admin; the session may then decide too, and manage keys where both keys are of an admin.',
    ),
});
export const loginTokenAnswer = z.object({
  token: z.string(),
  path: z.string().describe('What to open, after the address of the server.'),
  expires_at: time,
});

const key = z.object({
  name: z.string(),
  role: z.enum(keyRoles),
  tenant: z.string().describe('`*`: sees every tenant.'),
  created_at: time,
});
export const keyList = z.object({ keys: z.array(key) });
export const keyMade = key.extend({ key: z.string().describe('Its text, which is kept nowhere.') });
export const keyRequest = z.strictObject({
  name: z.string().max(256),
  role: z.enum(keyRoles),
  tenant: z.string().max(256).optional().describe("Default: the admin's own, or `default` where that is `*`."),
});

export const problem = z.object({
  error: z.object({
    code: z.string().describe('Stable; docs/errors.md lists them.'),
    message: z.string(),
    mend: z.string(),
  }),
});
