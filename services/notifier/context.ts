/** What the store knows around an alert: the rate before it, and whether its actor was verified. */
import type { Alert } from '../../schemas/alert.js';
import { eventFields } from '../../schemas/event.js';
import type { QueryLimits } from '../store/store.js';
import type { Context } from './render/view.js';
import type { OpenStore } from './settings.js';
import { milliseconds } from './world.js';

/** Thirty spans, so that a picture fits a phone: half a minute each for a short episode, up to an hour for a long one. */
const spans = 30;
const spanChoicesMs = [30_000, 60_000, 300_000, 900_000, 3_600_000];
const limits: QueryLimits = {
  timeMs: 2_000,
  memoryBytes: 256 * 1024 * 1024,
  resultRows: 1_000,
  resultBytes: 1024 * 1024,
};

/** Columns that a group may be looked up by: fields of the contract that are text. */
function isColumn(name: string): boolean {
  const field = (eventFields as Readonly<Record<string, { readonly kind: string }>>)[name];
  return field !== undefined && ['name', 'text', 'outcome', 'choice'].includes(field.kind);
}

/**
 * Asks for at most `waitMs`; a store that is slow or away leaves the message without a picture, never late.
 * `failed` is told of errors, not of lateness.
 */
export async function contextOf(
  alert: Alert,
  openStore: OpenStore | undefined,
  waitMs: number,
  failed: (error: unknown) => void,
): Promise<Context> {
  if (openStore === undefined || waitMs === 0) return {};
  const late = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  const waited = new Promise<Context>((resolve) => {
    timer = setTimeout(() => {
      late.abort();
      resolve({});
    }, waitMs);
  });
  const asked = ask(alert, openStore, late.signal).catch((error: unknown): Context => {
    if (!late.signal.aborted) failed(error);
    return {};
  });
  const context = await Promise.race([asked, waited]);
  clearTimeout(timer);
  return context;
}

async function ask(alert: Alert, openStore: OpenStore, signal: AbortSignal): Promise<Context> {
  const store = await openStore();
  if (signal.aborted) return {};
  const endMs = milliseconds(alert.last_at);
  const lastedMs = endMs - milliseconds(alert.started_at);
  const spanMs = spanChoicesMs.find((each) => each * (spans - 5) >= lastedMs) ?? 3_600_000;
  const lastStartMs = Math.floor(endMs / spanMs) * spanMs;
  const fromMs = lastStartMs - (spans - 1) * spanMs;
  const parameters: Record<string, string> = { tenant: alert.tenant, from: String(fromMs), to: String(endMs + 1) };
  const conditions = Object.entries(alert.group)
    .filter(([name]) => isColumn(name))
    .map(([name, value], at) => {
      parameters[`value${at}`] = value;
      return `AND ${name} = {value${at}:String}`;
    });
  const sql = `
    SELECT
      intDiv(toUnixTimestamp64Milli(occurred_at) - {from:Int64}, ${spanMs}) AS span,
      count() AS calls,
      min(actor_verified) AS verified,
      topK(3)(server_name) AS servers,
      topK(3)(tool_name) AS tools
    FROM calls
    WHERE tenant = {tenant:String} ${conditions.join(' ')}
      AND occurred_at >= fromUnixTimestamp64Milli({from:Int64}, 'UTC')
      AND occurred_at < fromUnixTimestamp64Milli({to:Int64}, 'UTC')
    GROUP BY span ORDER BY span`;
  let text = '';
  const decoder = new TextDecoder();
  for await (const chunk of store.query(sql, { format: 'JSONEachRow', parameters, limits, signal }))
    text += decoder.decode(chunk, { stream: true });
  const rows = text
    .split('\n')
    .filter((line) => line !== '')
    .map(
      (line) =>
        JSON.parse(line) as {
          span: string | number;
          calls: string | number;
          verified: boolean;
          servers: string[];
          tools: string[];
        },
    );
  if (rows.length === 0) return {};
  const counts = new Array<number>(spans).fill(0);
  for (const { span, calls } of rows)
    if (Number(span) >= 0 && Number(span) < spans) counts[Number(span)] = Number(calls);
  const newest = rows.at(-1)!;
  return {
    series: { counts, spanMs, endMs: lastStartMs + spanMs },
    ...(alert.group.actor_id === undefined ? {} : { actorVerified: rows.every(({ verified }) => Boolean(verified)) }),
    servers: newest.servers.filter((name) => name !== ''),
    tools: newest.tools.filter((name) => name !== ''),
  };
}
