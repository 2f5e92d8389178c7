/** What a digest says: volume, who and what, alerts and how fast they were taken on, noisy rules, gaps of the record. */
import type { Delivery } from '../../schemas/delivery.js';
import { type DigestSection, durationMs, type NotifierSection } from '../../schemas/notification.js';
import type { QueryLimits } from '../store/store.js';
import { plain } from './render/text.js';
import type { Table, View } from './render/view.js';
import type { OpenStore } from './settings.js';
import { milliseconds } from './world.js';

const limits: QueryLimits = { timeMs: 30_000, memoryBytes: 1024 ** 3, resultRows: 1_000, resultBytes: 1024 * 1024 };
const rowsShown = 5;
/** A rule with so many alerts, of which nobody took on one, is noise to whoever reads them. */
const noisyAlerts = 10;

type Row = Readonly<Record<string, unknown>>;
type Ask = (sql: string) => Promise<Row[]>;

/** Everything is asked of the half-open time before the digest's own. */
export async function digestView(
  delivery: Delivery,
  section: NotifierSection,
  openStore: OpenStore | undefined,
  failed: (error: unknown) => void,
): Promise<View> {
  const name = delivery.group.digest ?? '';
  const digest: DigestSection | undefined = section.digests[name];
  const endMs = milliseconds(delivery.opened_at);
  const periodMs = durationMs(digest?.period ?? '24h');
  const zone = digest?.zone ?? section.zone;
  const parameters = {
    from: String(endMs - periodMs),
    before: String(endMs - 2 * periodMs),
    to: String(endMs),
    tenant: digest?.tenant ?? '',
  };
  const ask: Ask = async (sql) => {
    if (openStore === undefined) throw new Error('a digest needs the store, and there is none');
    const store = await openStore();
    let text = '';
    const decoder = new TextDecoder();
    for await (const chunk of store.query(sql, { format: 'JSONEachRow', parameters, limits }))
      text += decoder.decode(chunk, { stream: true });
    return text
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as Row);
  };
  const tables: Table[] = [];
  for (const part of [topActors, topTools, newTools, alertsByRule, noisyRules, gaps]) {
    try {
      tables.push(await part(ask));
    } catch (error) {
      failed(error);
      tables.push({ heading: headings[part.name] ?? part.name, columns: [], rows: [], empty: 'could not be read' });
    }
  }
  const sentence = await volume(ask).catch((error: unknown) => {
    failed(error);
    return 'The volume of calls could not be read';
  });
  const day = new Intl.DateTimeFormat('en-GB', { timeZone: zone, dateStyle: 'medium' }).format(endMs);
  return {
    tone: 'low',
    state: 'Digest',
    title: plain(`${name} · ${day}`, 150),
    sentence,
    details: '',
    facts: [{ name: 'From, to', fromMs: endMs - periodMs, toMs: endMs }],
    lines: [],
    more: 0,
    picture: undefined,
    sql: '',
    runbook: undefined,
    tables,
    links: section.public_url === undefined ? [] : [{ text: 'Open the dashboard', url: section.public_url }],
    footer: [`digest ${plain(name, 64)}, zone ${zone}`],
  };
}

const headings: Readonly<Record<string, string>> = {
  topActors: 'Who called most',
  topTools: 'What was called most',
  newTools: 'Tools that are new',
  alertsByRule: 'Alerts by rule',
  noisyRules: 'Rules to tune',
  gaps: 'Gaps in the record',
};

const ofTenant = "({tenant:String} = '' OR tenant = {tenant:String})";
const between = (column: string, from = 'from', to = 'to') =>
  `${column} >= fromUnixTimestamp64Milli({${from}:Int64}, 'UTC') AND ${column} < fromUnixTimestamp64Milli({${to}:Int64}, 'UTC')`;
const failedCall = "outcome NOT IN ('success', 'task_created', 'input_required')";

function text(value: unknown): string {
  return plain(String(value ?? ''), 60) || '(none)';
}

async function volume(ask: Ask): Promise<string> {
  const [row] = await ask(`
    SELECT countIf(${between('occurred_at')}) AS calls, countIf(${between('occurred_at', 'before', 'from')}) AS earlier,
      countIf(${between('occurred_at')} AND ${failedCall}) AS failures,
      uniqExactIf(actor_id, ${between('occurred_at')}) AS actors, uniqExactIf(server_name, ${between('occurred_at')}) AS servers
    FROM calls WHERE ${ofTenant} AND ${between('occurred_at', 'before', 'to')}`);
  const calls = Number(row?.calls ?? 0);
  const earlier = Number(row?.earlier ?? 0);
  const change =
    earlier === 0
      ? ''
      : ` (${calls >= earlier ? '+' : ''}${Math.round(((calls - earlier) / earlier) * 100)} % on the time before)`;
  const share = calls === 0 ? 0 : (Number(row?.failures ?? 0) / calls) * 100;
  return `${counted(calls, 'call')}${change} of ${counted(Number(row?.actors ?? 0), 'actor')} on ${counted(Number(row?.servers ?? 0), 'server')}, ${share.toFixed(1)} % failed`;
}

function counted(count: number, name: string): string {
  return `${count.toLocaleString('en')} ${name}${count === 1 ? '' : 's'}`;
}

async function topActors(ask: Ask): Promise<Table> {
  const rows = await ask(`
    SELECT actor_id, count() AS calls, countIf(${failedCall}) AS failures FROM calls
    WHERE ${ofTenant} AND ${between('occurred_at')} GROUP BY actor_id ORDER BY calls DESC, actor_id LIMIT ${rowsShown}`);
  return {
    heading: headings.topActors!,
    columns: ['actor', 'calls', 'failed'],
    rows: rows.map((row) => [text(row.actor_id), text(row.calls), text(row.failures)]),
    empty: 'nobody',
  };
}

async function topTools(ask: Ask): Promise<Table> {
  const rows = await ask(`
    SELECT server_name, tool_name, count() AS calls, countIf(${failedCall}) AS failures FROM calls
    WHERE ${ofTenant} AND ${between('occurred_at')} AND tool_name != ''
    GROUP BY server_name, tool_name ORDER BY calls DESC, server_name, tool_name LIMIT ${rowsShown}`);
  return {
    heading: headings.topTools!,
    columns: ['tool', 'server', 'calls', 'failed'],
    rows: rows.map((row) => [text(row.tool_name), text(row.server_name), text(row.calls), text(row.failures)]),
    empty: 'nothing',
  };
}

async function newTools(ask: Ask): Promise<Table> {
  const rows = await ask(`
    SELECT server_name, tool_name, min(occurred_at) AS first, count() AS calls FROM calls
    WHERE ${ofTenant} AND tool_name != ''
      AND occurred_at >= fromUnixTimestamp64Milli({from:Int64}, 'UTC') - toIntervalDay(30)
      AND occurred_at < fromUnixTimestamp64Milli({to:Int64}, 'UTC')
    GROUP BY server_name, tool_name HAVING ${between('first')} ORDER BY first LIMIT ${rowsShown * 2}`);
  return {
    heading: headings.newTools!,
    columns: ['tool', 'server', 'calls'],
    rows: rows.map((row) => [text(row.tool_name), text(row.server_name), text(row.calls)]),
    empty: 'none in the 30 days before',
  };
}

/**
 * Alerts whose first record is of the digest's time, as they are by now. Somebody took one on who acknowledged or closed
 * it; that counts from whoever may decide about its tenant, as it does for messages (world.ts).
 */
const alertsTakenOn = `
  SELECT alert_id, any(a.rule) AS rule, countIf(concerns) > 0 AS is_taken,
    any(a.last) = 'resolved' OR countIf(concerns AND kind = 'resolve') > 0 AS is_over,
    dateDiff('second', any(a.fired), minIf(said, concerns)) AS seconds
  FROM (
    SELECT a.*, r.kind AS kind, r.said AS said, r.target != '' AND r.by IN ('', 'default', a.whose) AS concerns
    FROM (
      SELECT alert_id, any(rule_id) AS rule, any(tenant) AS whose, min(recorded_at) AS fired, argMax(state, revision) AS last
      FROM alerts WHERE ${ofTenant} AND NOT dry_run AND ${between('recorded_at')}
      GROUP BY alert_id HAVING min(revision) = 1
    ) AS a
    LEFT JOIN (
      SELECT target, kind, tenant AS by, recorded_at AS said FROM responses WHERE kind IN ('acknowledge', 'resolve')
    ) AS r ON a.alert_id = r.target
  ) AS a
  GROUP BY alert_id`;

async function alertsByRule(ask: Ask): Promise<Table> {
  const rows = await ask(`
    SELECT rule, count() AS alerts, countIf(NOT is_over) AS firing, countIf(is_taken) AS acknowledged,
      medianIf(seconds, is_taken) AS median
    FROM (${alertsTakenOn}) GROUP BY rule ORDER BY alerts DESC, rule LIMIT ${rowsShown * 2}`);
  return {
    heading: headings.alertsByRule!,
    columns: ['rule', 'alerts', 'still firing', 'acknowledged', 'median time to that'],
    rows: rows.map((row) => [
      text(row.rule),
      text(row.alerts),
      text(row.firing),
      text(row.acknowledged),
      Number(row.acknowledged) === 0 ? '–' : spanText(Number(row.median)),
    ]),
    empty: 'none',
  };
}

async function noisyRules(ask: Ask): Promise<Table> {
  const rows = await ask(`
    SELECT rule, count() AS alerts, countIf(is_taken) AS acknowledged
    FROM (${alertsTakenOn}) GROUP BY rule HAVING alerts >= ${noisyAlerts} AND acknowledged * 20 < alerts ORDER BY alerts DESC LIMIT ${rowsShown}`);
  return {
    heading: headings.noisyRules!,
    columns: ['rule', 'alerts', 'hint'],
    rows: rows.map((row) => [
      text(row.rule),
      text(row.alerts),
      Number(row.acknowledged) === 0
        ? 'nobody acknowledged one: raise the threshold, add an exception, or send it to a digest only'
        : `${text(row.acknowledged)} of ${text(row.alerts)} were acknowledged: raise the threshold or add exceptions`,
    ]),
    empty: 'none is noisy',
  };
}

/**
 * Numbers are counted on from the last one of the time before, so that what is missing between the two is seen. They are
 * held as bitmaps: a producer's numbers rise one by one, so a week of ten million calls takes megabytes.
 */
async function gaps(ask: Ask): Promise<Table> {
  const now = between('recorded_at');
  const earlier = between('recorded_at', 'before', 'from');
  const rows = await ask(`
    SELECT producer_id, sum(missing) AS missing FROM (
      SELECT tenant, producer_id,
        if(countIf(${earlier}) > 0, maxIf(producer_sequence, ${earlier}), minIf(producer_sequence, ${now}) - 1) AS last,
        toInt64(maxIf(producer_sequence, ${now})) - toInt64(last)
          - toInt64(bitmapCardinality(bitmapSubsetInRange(groupBitmapStateIf(producer_sequence, ${now}), toUInt64(last + 1), toUInt64(9223372036854775807)))) AS missing
      FROM calls WHERE ${ofTenant} AND ${between('recorded_at', 'before', 'to')} AND producer_sequence > 0
      GROUP BY tenant, producer_id HAVING missing > 0
    ) GROUP BY producer_id ORDER BY missing DESC LIMIT ${rowsShown}`);
  return {
    heading: headings.gaps!,
    columns: ['producer', 'missing'],
    rows: rows.map((row) => [text(row.producer_id), text(row.missing)]),
    empty: 'none: every producer’s events are there',
  };
}

function spanText(seconds: number): string {
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7_200) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3_600).toFixed(1)} h`;
}
