/** Alerts, throttles and silences: what fires, what is held back, and what people decide about it. */
import { randomUUID } from 'node:crypto';
import { levels } from '../../../schemas/alert.js';
import { AuditdError } from '../../../schemas/errors.js';
import type { Response } from '../../../schemas/response.js';
import { formatTimeMicros } from '../../../schemas/time.js';
import { tenantDecided } from '../../access/keys.js';
import type { Stream } from '../../stream/stream.js';
import type { Access } from './access.js';
import { rowColumns, stepOf } from './calls.js';
import {
  type AlertRow,
  alertChart,
  alertList,
  alertQuery,
  briefArguments,
  type CallRow,
  type FullAlert,
  fullAlert,
  responseAnswer,
  responseRequest,
  silenceList,
  throttleList,
  throttleQuery,
} from './contract.js';
import { type AskRows, cursorOf, type Route, readCursor, route } from './routes.js';
import type { RuleBook, RuleView } from './rules.js';

const alertColumns =
  'alert_id, state, standing, rule_id, title, level, tenant, `group`, started_at, at, count, reason, dry_run, acknowledged_by, resolved_by';

async function oneAlert(ask: AskRows, id: string): Promise<FullAlert> {
  if (!/^[0-9a-f]{4,64}$/.test(id)) throw new AuditdError('not_found', `${id.slice(0, 80)} is no id of an alert.`);
  const [row, another] = await ask<FullAlert>(
    `SELECT ${alertColumns}, rule_version, description, tags, runbook, actions, first_at, last_at, \`values\`, flags, evidence_sql, evidence
     FROM alert_states WHERE startsWith(alert_id, {id:String}) LIMIT 2`,
    { id },
  );
  if (row === undefined || another !== undefined)
    throw new AuditdError(
      'not_found',
      row === undefined ? `There is no alert ${id}.` : `Several alerts begin with ${id}.`,
    );
  return row;
}

/** Rows of the calls that the rule selects for the alert's group, at any time: what its evidence_sql says but the time. */
function selectionOf(evidenceSql: string): string | undefined {
  const time = "toDateTime64\\('[0-9 :.-]{26}', 6, 'UTC'\\)";
  const match = new RegExp(
    `^SELECT \\* FROM calls WHERE (tenant = .*?) AND occurred_at >= ${time} AND occurred_at <= ${time}(.*) ORDER BY occurred_at LIMIT \\d+$`,
    's',
  ).exec(evidenceSql);
  return match === null ? undefined : `${match[1]}${match[2]}`;
}

const pointsOfChart = 240;
const quarterMs = 900_000;

async function chartOf(ask: AskRows, id: string, rules: RuleBook | undefined, now: number) {
  const alert = await oneAlert(ask, id);
  const rule = (await rules?.rules())?.find((each) => each.id === alert.rule_id);
  const windowMs = rule?.window_ms ?? null;
  const firstMs = Date.parse(alert.first_at);
  const lastMs = Date.parse(alert.last_at);
  const around = Math.max(quarterMs, 2 * (windowMs ?? 0), (lastMs - firstMs) / 4);
  const fromMs = firstMs - around;
  const toMs = Math.min(Math.max(now, lastMs + 1_000), lastMs + around);
  const step = stepOf(fromMs, toMs, pointsOfChart);
  // The window's calls before the first point count as well.
  const lead = Math.ceil((windowMs ?? 0) / 1000 / step);
  const first = (Math.floor(fromMs / 1000 / step) - lead) * step;
  const count = Math.max(1, Math.ceil((toMs / 1000 - first) / step));
  const selection = selectionOf(alert.evidence_sql);
  const group = Object.keys(alert.group);
  const parameters: Record<string, string> = { from: String(first * 1000), to: String(Math.ceil(toMs)) };
  const where =
    selection ?? group.map((field) => `toString(${field}) = ${bound(parameters, alert.group[field]!)}`).join(' AND ');
  const measure = windowMs === null || rule === undefined || rule.threshold === null ? null : rule.measure;
  const rows = await ask<Bucket>(
    `SELECT intDiv(toUnixTimestamp(occurred_at) - ${first}, ${step}) AS bucket, count() AS calls${measure === null ? '' : `, ${measured(measure)} AS measured`} FROM calls
     WHERE occurred_at >= fromUnixTimestamp64Milli({from:Int64}, 'UTC') AND occurred_at < fromUnixTimestamp64Milli({to:Int64}, 'UTC') AND (${where || '1'}) GROUP BY bucket`,
    parameters,
  );
  const buckets = new Map(rows.map((row) => [row.bucket, row]));
  const found = Array.from({ length: count }, (_, index) => buckets.get(index));
  const steps = windowMs === null ? 1 : Math.max(1, Math.round(windowMs / 1000 / step));
  return {
    times: found.map((_, index) => first + index * step).slice(lead),
    calls: found.map((bucket) => bucket?.calls ?? 0).slice(lead),
    how: measure?.how ?? null,
    window: measure === null ? null : rolling(found, steps, measure.how).slice(lead),
    step_ms: step * 1000,
    window_ms: windowMs,
    threshold: measure === null ? null : rule!.threshold,
  };
}

interface Bucket {
  readonly bucket: number;
  readonly calls: number;
  readonly measured?: number | readonly string[];
}

type Measure = NonNullable<RuleView['measure']>;

/** Different values of one step that are told apart: 240 steps of them are a few megabytes. */
const mostDistinct = 1_000;

function measured({ how, of }: Measure): string {
  return how === 'distinct' ? `groupUniqArray(${mostDistinct})(${of})` : `sum(${of})`;
}

/** What is measured of each step and those before it, `width` of them together. */
function rolling(buckets: readonly (Bucket | undefined)[], width: number, how: Measure['how']): number[] {
  let [sum, calls] = [0, 0];
  const held = new Map<string, number>();
  const move = (bucket: Bucket | undefined, by: 1 | -1): void => {
    if (bucket === undefined) return;
    calls += by * bucket.calls;
    if (typeof bucket.measured === 'number') sum += by * bucket.measured;
    for (const value of Array.isArray(bucket.measured) ? (bucket.measured as string[]) : []) {
      const left = (held.get(value) ?? 0) + by;
      if (left === 0) held.delete(value);
      else held.set(value, left);
    }
  };
  return buckets.map((bucket, index) => {
    move(bucket, 1);
    move(buckets[index - width], -1);
    if (how === 'distinct') return held.size;
    return how === 'share' ? sum / Math.max(1, calls) : sum;
  });
}

function bound(parameters: Record<string, string>, value: string): string {
  const name = `g${Object.keys(parameters).length}`;
  parameters[name] = value;
  return `{${name}:String}`;
}

export function alertRoutes(stream: Stream, access: Access, rules: RuleBook | undefined): Route[] {
  return [
    route('GET', '/alerts', 'Alerts, the newest first', {
      query: alertQuery,
      answer: alertList,
      handle: async ({ query, ask }) => {
        const after = readCursor(query.cursor, 2);
        const parameters: Record<string, string> = {};
        const conditions = [
          query.standing === 'all'
            ? '1'
            : query.standing === 'open'
              ? "standing != 'resolved'"
              : "standing = 'resolved'",
        ];
        if (query.level !== undefined)
          conditions.push(
            `level IN (${levels
              .slice(levels.indexOf(query.level))
              .map((each) => `'${each}'`)
              .join(', ')})`,
          );
        if (query.rule !== undefined) conditions.push(`rule_id = ${bound(parameters, query.rule)}`);
        if (query.group !== undefined) conditions.push(`has(mapValues(\`group\`), ${bound(parameters, query.group)})`);
        if (after !== undefined)
          conditions.push(
            `(at, alert_id) < (parseDateTime64BestEffort(${bound(parameters, after[0]!)}, 6, 'UTC'), ${bound(parameters, after[1]!)})`,
          );
        const [rows, counted] = await Promise.all([
          ask<AlertRow>(
            `SELECT ${alertColumns} FROM alert_states WHERE ${conditions.join(' AND ')} ORDER BY at DESC, alert_id DESC LIMIT ${query.limit + 1}`,
            parameters,
          ),
          ask<{ standing: string; alerts: number }>(
            'SELECT standing, count() AS alerts FROM alert_states GROUP BY standing',
          ),
        ]);
        const last = rows.length > query.limit ? rows[query.limit - 1] : undefined;
        const counts = {
          firing: 0,
          acknowledged: 0,
          resolved: 0,
          ...Object.fromEntries(counted.map((each) => [each.standing, each.alerts])),
        };
        return {
          alerts: rows.slice(0, query.limit),
          next: last === undefined ? null : cursorOf([last.at, last.alert_id]),
          counts,
        };
      },
    }),
    route('GET', '/alerts/:id', 'One alert with its evidence, its changes, messages and decisions', {
      answer: fullAlert,
      handle: async ({ params, ask }) => {
        const alert = await oneAlert(ask, params.id!);
        const id = { id: alert.alert_id };
        const evidence = alert.evidence as unknown as string[];
        const [rows, changes, decisions, deliveries, throttles] = await Promise.all([
          evidence.length === 0
            ? []
            : ask<CallRow>(
                `SELECT ${rowColumns}, substringUTF8(calls.arguments, 1, ${briefArguments}) AS arguments FROM calls WHERE calls.event_id IN (SELECT toUUIDOrZero(arrayJoin(evidence)) FROM alerts_latest WHERE alert_id = {id:String})
                 AND calls.occurred_at BETWEEN (SELECT min(first_at) FROM alerts WHERE alert_id = {id:String}) - INTERVAL 7 DAY AND (SELECT max(last_at) FROM alerts WHERE alert_id = {id:String}) + INTERVAL 1 DAY
                 ORDER BY calls.occurred_at`,
                id,
              ),
          ask(
            'SELECT revision, state, at, count, reason FROM alerts WHERE alert_id = {id:String} ORDER BY revision DESC LIMIT 100',
            id,
          ),
          ask(
            'SELECT response_id, at, kind, author, author_key, reason FROM responses_latest WHERE target = {id:String} ORDER BY at LIMIT 100',
            id,
          ),
          ask(
            'SELECT delivery_id, channel, via, reason, state, at, error FROM deliveries_latest WHERE has(alert_ids, {id:String}) ORDER BY planned_at LIMIT 100',
            id,
          ),
          ask<{ signal_id: string }>('SELECT signal_id FROM throttles WHERE has(alert_ids, {id:String}) LIMIT 20', id),
        ]);
        return {
          ...alert,
          evidence: rows,
          changes,
          decisions,
          deliveries,
          throttles: throttles.map(({ signal_id }) => signal_id),
        };
      },
    }),
    route('GET', '/alerts/:id/chart', 'The calls around an alert, and the threshold of its rule', {
      answer: alertChart,
      handle: async ({ params, ask, now }) => chartOf(ask, params.id!, rules, now),
    }),
    route('GET', '/throttles', 'Who is held back', {
      query: throttleQuery,
      answer: throttleList,
      handle: async ({ query, ask }) => ({
        throttles: await ask(
          `SELECT signal_id, state, origin, tenant, scope, each, block, interval_micros, burst, delay_ms, dry_run, reason, author, alert_ids, rule_ids, issued_at, expires_at, holds
           FROM throttles ${query.all ? '' : 'WHERE holds'} ORDER BY expires_at DESC LIMIT 1000`,
        ),
      }),
    }),
    route('GET', '/silences', 'Silences that have not ended', {
      answer: silenceList,
      handle: async ({ ask }) => ({
        silences: await ask(
          "SELECT response_id, revision, matchers, starts_at, ends_at, author, reason FROM responses_latest WHERE kind = 'silence' AND ends_at > now64(6, 'UTC') ORDER BY ends_at LIMIT 1000",
        ),
      }),
    }),
    route('POST', '/responses', 'Acknowledge, resolve, silence, retry, throttle or lift', {
      role: 'responder',
      body: responseRequest,
      answer: responseAnswer,
      status: 201,
      handle: async ({ body, request, now }) => {
        const entry = access.responder(request);
        const { name } = entry;
        const tenant = tenantDecided(entry);
        const at = formatTimeMicros(now * 1000);
        const record: Response = {
          // Whoever ends a silence sends its beginning again.
          ...(body.kind === 'silence' ? { starts_at: at } : {}),
          ...body,
          response_id: body.response_id ?? randomUUID(),
          author_key: name,
          tenant,
          at,
        };
        await stream.append('responses', [
          {
            key: record.response_id,
            value: Buffer.from(JSON.stringify(record)),
            headers: { tenant, author_key: name },
          },
        ]);
        return record;
      },
    }),
  ];
}
