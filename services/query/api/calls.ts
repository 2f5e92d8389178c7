/** Calls: lists, one in full, over time, and by the values of a field. */
import { AuditdError } from '../../../schemas/errors.js';
import { outcomes } from '../../../schemas/event.js';
import {
  type CallRow,
  callList,
  callQuery,
  callsRange,
  type FullCall,
  fullCall,
  groups,
  groupsQuery,
  neighbours,
  series,
  seriesQuery,
  summary,
} from './contract.js';
import { type Condition, columnOf, conditionOf } from './filters.js';
import { type AskRows, cursorOf, readCursor, route } from './routes.js';

/** Outcomes of calls that went as they should. */
export const fine = "('success', 'task_created', 'input_required')";

export const rowColumns = `toString(calls.event_id) AS event_id, calls.occurred_at AS occurred_at, calls.tenant AS tenant,
  calls.actor_id AS actor_id, calls.actor_verified AS actor_verified, calls.client_name AS client_name,
  calls.session_id AS session_id, calls.server_name AS server_name, calls.method AS method,
  multiIf(calls.tool_name != '', toString(calls.tool_name), calls.resource_uri != '', calls.resource_uri, toString(calls.prompt_name)) AS target,
  calls.tool_name AS tool_name, calls.outcome AS outcome, substringUTF8(calls.error_message, 1, 400) AS error_message,
  toFloat64(calls.duration_ms) AS duration_ms, calls.arguments_bytes AS arguments_bytes, calls.result_bytes AS result_bytes,
  length(calls.redactions) AS redactions`;

const between = `calls.occurred_at >= fromUnixTimestamp64Milli({from:Int64}, 'UTC') AND calls.occurred_at < fromUnixTimestamp64Milli({to:Int64}, 'UTC')`;
/** The same in whole minutes, which the projections of `calls` have. */
const betweenMinutes = `toStartOfMinute(calls.occurred_at) >= toStartOfMinute(fromUnixTimestamp64Milli({from:Int64}, 'UTC')) AND toStartOfMinute(calls.occurred_at) < fromUnixTimestamp64Milli({to:Int64}, 'UTC')`;

/** Steps that people read: seconds. */
const steps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 21_600, 43_200, 86_400, 604_800];
const mostLines = 8;

/** Seconds of a step, so that no more than `points` cover the range. */
export function stepOf(fromMs: number, toMs: number, points: number): number {
  const least = (toMs - fromMs) / 1000 / points;
  return steps.find((step) => step >= least) ?? steps.at(-1)!;
}

/** Percentiles of durations, each within 1 %: a sketch of buckets, at a third of a t-digest's time on 10 million calls. */
export const quantilesOf = (levels: string): string => `quantilesDD(0.01, ${levels})(toFloat64(calls.duration_ms))`;

const failedIf = `NOT calls.outcome IN ${fine}`;

export async function listCalls(
  ask: AskRows,
  condition: Condition,
  order: 'newest' | 'oldest',
  most: number,
  cursor?: string,
) {
  const after = readCursor(cursor, 2);
  const [sign, direction] = order === 'newest' ? ['<', 'DESC'] : ['>', 'ASC'];
  const beyond =
    after === undefined
      ? ''
      : `AND (calls.occurred_at, calls.event_id) ${sign} (parseDateTime64BestEffort({cursorTime:String}, 6, 'UTC'), toUUIDOrZero({cursorId:String}))`;
  const parameters = after === undefined ? {} : { cursorTime: after[0]!, cursorId: after[1]! };
  const rows = await ask<CallRow>(
    `SELECT ${rowColumns} FROM calls WHERE ${between} AND ${condition.sql} ${beyond} ORDER BY calls.occurred_at ${direction}, calls.event_id ${direction} LIMIT ${most + 1}`,
    { ...condition.parameters, ...parameters },
  );
  const last = rows.length > most ? rows[most - 1] : undefined;
  return { calls: rows.slice(0, most), next: last === undefined ? null : cursorOf([last.occurred_at, last.event_id]) };
}

async function oneCall(ask: AskRows, id: string): Promise<FullCall> {
  if (!/^[0-9a-f-]{36}$/i.test(id)) throw new AuditdError('not_found', `${id.slice(0, 80)} is no id of a call.`);
  const [row] = await ask<FullCall>(
    `SELECT calls.* EXCEPT (duration_ms), ${rowColumns.replace(/length\(calls.redactions\) AS redactions/, 'calls.redactions AS redactions').replace('substringUTF8(calls.error_message, 1, 400)', 'calls.error_message')}
     FROM calls WHERE calls.event_id = toUUID({id:String}) AND UUIDv7ToDateTime(calls.event_id) = UUIDv7ToDateTime(toUUID({id:String})) LIMIT 1`,
    { id },
  );
  if (row === undefined) throw new AuditdError('not_found', `There is no call ${id}, or its time of keeping is over.`);
  return row;
}

export const callRoutes = [
  route('GET', '/calls', 'Calls, a page at a time', {
    query: callQuery,
    answer: callList,
    handle: async ({ query, ask, now }) =>
      listCalls(ask, conditionOf(query, now), query.order, query.limit, query.cursor),
  }),
  route('GET', '/calls/:id', 'One call with its arguments and its result', {
    answer: fullCall,
    handle: async ({ params, ask }) => oneCall(ask, params.id!),
  }),
  route('GET', '/calls/:id/neighbours', 'What the same session did before and after', {
    answer: neighbours,
    handle: async ({ params, ask }) => {
      const { session_id, actor_id, tenant, occurred_at } = await oneCall(ask, params.id!);
      const side = (sign: string, direction: string) =>
        ask<CallRow>(
          `SELECT ${rowColumns} FROM calls WHERE calls.tenant = {tenant:String} AND calls.actor_id = {actor:String} AND calls.session_id = {session:String}
           AND calls.event_id != toUUID({id:String}) AND calls.occurred_at ${sign} parseDateTime64BestEffort({at:String}, 6, 'UTC') ORDER BY calls.occurred_at ${direction} LIMIT 8`,
          { tenant, actor: actor_id, session: session_id, id: params.id!, at: occurred_at },
        );
      const [before, after] = await Promise.all([side('<', 'DESC'), side('>=', 'ASC')]);
      return { before: before.reverse(), after };
    },
  }),
  route('GET', '/summary', 'How many calls, by whom, how they went and how long they took', {
    query: callsRange,
    answer: summary,
    handle: async ({ query, ask, now }) => summarize(ask, conditionOf(query, now)),
  }),
  route('GET', '/series', 'Calls over time', {
    query: seriesQuery,
    answer: series,
    handle: async ({ query, ask, now }) => seriesOf(ask, conditionOf(query, now), query),
  }),
  route('GET', '/groups', 'Calls by the values of a field', {
    query: groupsQuery,
    answer: groups,
    handle: async ({ query, ask, now }) => {
      const condition = conditionOf(query, now);
      const parameters = { ...condition.parameters };
      const column = columnOf(query.by);
      const value = column.sql((key) => {
        (parameters as Record<string, string>).key = key;
        return '{key:String}';
      });
      const order = { calls: 'calls', failed: 'failed', p95: 'p95', last: 'last_at' }[query.order];
      const rows = await ask<Record<string, never>>(
        `SELECT * EXCEPT (durations), count() OVER () AS distinct_values FROM (SELECT toString(${value}) AS value, count() AS calls, countIf(${failedIf}) AS failed,
           ${quantilesOf('0.5, 0.95')} AS durations, durations[1] AS p50, durations[2] AS p95,
           uniq(calls.actor_id) AS actors, uniq(calls.tool_name) AS tools, uniq(calls.session_id) AS sessions,
           min(calls.occurred_at) AS first_at, max(calls.occurred_at) AS last_at
         FROM calls WHERE ${between} AND ${condition.sql} GROUP BY value) ORDER BY ${order} DESC, value LIMIT ${query.limit}`,
        parameters,
      );
      const distinct = (rows[0]?.distinct_values as number | undefined) ?? 0;
      return { groups: rows.map(({ distinct_values: _, ...row }) => row), distinct };
    },
  }),
];

async function summarize(ask: AskRows, { sql, parameters }: Condition) {
  const [found] = await ask<Record<string, number | (number | null)[]> & { ended: number[] }>(
    `SELECT count() AS calls, countIf(${failedIf}) AS failed, uniq(calls.actor_id) AS actors, uniq(calls.session_id) AS sessions,
      uniqIf((calls.server_name, calls.tool_name), calls.tool_name != '') AS tools,
      ${quantilesOf('0.5, 0.95, 0.99')} AS percentiles, [${outcomes.map((each) => `countIf(calls.outcome = '${each}')`).join(', ')}] AS ended
     FROM calls WHERE ${between} AND ${sql}`,
    parameters,
  );
  const { percentiles, ended, ...rest } = found!;
  const [p50 = null, p95 = null, p99 = null] = percentiles as (number | null)[];
  const told = outcomes.map((outcome, index) => [outcome, ended[index]!] as const).filter(([, calls]) => calls > 0);
  return { ...rest, p50, p95, p99, outcomes: Object.fromEntries(told.sort(([, a], [, b]) => b - a)) };
}

async function seriesOf(
  ask: AskRows,
  condition: Condition,
  asked: { by?: string | undefined; points: number; latency: boolean },
) {
  const { fromMs, toMs, sql, parameters } = condition;
  const step = stepOf(fromMs, toMs, asked.points);
  const first = Math.floor(fromMs / 1000 / step) * step;
  const count = Math.max(1, Math.ceil((toMs / 1000 - first) / step));
  const times = Array.from({ length: count }, (_, index) => first + index * step);
  const byMinute = step >= 60;
  const at = byMinute ? 'toStartOfMinute(calls.occurred_at)' : 'calls.occurred_at';
  const bucket = `intDiv(toUnixTimestamp(${at}) - ${first}, ${step})`;
  const where = `${byMinute ? betweenMinutes : between} AND ${sql}`;
  const zeros = (): number[] => new Array<number>(count).fill(0);
  const place = (list: number[], index: number, value: number): void => {
    if (index >= 0 && index < count) list[index] = value;
  };
  const lines: { name: string; calls: number[]; failed?: number[] }[] = [];
  if (asked.by === undefined) {
    const rows = await ask<{ bucket: number; calls: number; failed: number }>(
      `SELECT ${bucket} AS bucket, count() AS calls, countIf(${failedIf}) AS failed FROM calls WHERE ${where} GROUP BY bucket`,
      parameters,
    );
    const line = { name: 'calls', calls: zeros(), failed: zeros() };
    for (const row of rows) {
      place(line.calls, row.bucket, row.calls);
      place(line.failed, row.bucket, row.failed);
    }
    lines.push(line);
  } else {
    const bound: Record<string, string> = { ...parameters };
    const value = columnOf(asked.by).sql((key) => {
      bound.key = key;
      return '{key:String}';
    });
    const rows = await ask<{ bucket: number; name: string; calls: number }>(
      `WITH top AS (SELECT toString(${value}) AS name FROM calls WHERE ${where} GROUP BY name ORDER BY count() DESC LIMIT ${mostLines})
       SELECT ${bucket} AS bucket, if(toString(${value}) GLOBAL IN top, toString(${value}), '…') AS name, count() AS calls FROM calls WHERE ${where} GROUP BY bucket, name`,
      bound,
    );
    const found = new Map<string, number[]>();
    for (const row of rows) {
      const list = found.get(row.name) ?? zeros();
      found.set(row.name, list);
      place(list, row.bucket, row.calls);
    }
    const total = (list: number[]): number => list.reduce((sum, each) => sum + each, 0);
    const sorted = [...found].sort(([a, x], [b, y]) => (a === '…' ? 1 : b === '…' ? -1 : total(y) - total(x)));
    for (const [name, calls] of sorted) lines.push({ name, calls });
  }
  return {
    step_ms: step * 1000,
    times,
    lines,
    ...(asked.latency ? { latency: await latencyOf(ask, condition, bucket, count) } : {}),
  };
}

async function latencyOf(ask: AskRows, { sql, parameters }: Condition, bucket: string, count: number) {
  const rows = await ask<{ bucket: number; percentiles: (number | null)[] }>(
    `SELECT ${bucket} AS bucket, ${quantilesOf('0.5, 0.95, 0.99')} AS percentiles
     FROM calls WHERE ${between} AND ${sql} AND calls.duration_ms IS NOT NULL GROUP BY bucket`,
    parameters,
  );
  const empty = (): (number | null)[] => new Array<number | null>(count).fill(null);
  const latency = { p50: empty(), p95: empty(), p99: empty() };
  for (const { bucket: index, percentiles } of rows) {
    if (index < 0 || index >= count) continue;
    [latency.p50[index], latency.p95[index], latency.p99[index]] = percentiles as [number, number, number];
  }
  return latency;
}
