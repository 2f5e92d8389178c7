/**
 * Alerts that were begun and not ended, from the table. A detector without a checkpoint, because it takes over on another
 * machine or its disk was lost, goes on with them: the same alert is told of further, and resolved when it is over.
 */
import { groupKey } from './group-key.js';
import type { Ask } from './history.js';
import type { Rule } from './rule.js';

/** An alert as it was last told. Times in microseconds. */
export interface OpenAlert {
  readonly ruleId: string;
  readonly tenant: string;
  /** As `groupKey` makes it. */
  readonly key: string;
  readonly revision: number;
  readonly startedAt: number;
  readonly firstAt: number;
  readonly lastAt: number;
  readonly at: number;
  readonly recorded: number;
  readonly count: number;
  readonly values: Readonly<Record<string, string | number>>;
  readonly evidence: readonly string[];
  readonly flags: readonly string[];
}

/** At about 1 KiB each, 100 MB. */
const mostAlerts = 100_000;
/** Versions that are named in the question: 100 KB of it. */
const mostVersions = 5_000;

interface Row {
  readonly rule_id: string;
  readonly rule_version: string;
  readonly tenant: string;
  readonly group: Readonly<Record<string, string>>;
  readonly revision: number;
  /** started_at, first_at, last_at, at, caused_at. */
  readonly times: readonly string[];
  readonly told: string;
  readonly values: Readonly<Record<string, string>>;
  readonly evidence: readonly string[];
  readonly flags: readonly string[];
}

/** @param untilMicros The stream's time: what a later record caused is told again when that record is taken again. */
export async function openAlerts(ask: Ask, rules: readonly Rule[], untilMicros: number): Promise<OpenAlert[]> {
  // Facts are never resolved.
  const byId = new Map(rules.filter(({ resolveAfterMicros }) => resolveAfterMicros > 0).map((rule) => [rule.id, rule]));
  if (byId.size === 0) return [];
  const versions = [...byId.values()].map(({ version }) => `'${version}'`);
  const some = versions.length <= mostVersions ? ` AND rule_version IN (${versions.join()})` : '';
  const times = ['started_at', 'first_at', 'last_at', 'at', 'caused_at'];
  const sql = `SELECT rule_id, rule_version, tenant, group, revision, [${times.map((name) => `toString(toUnixTimestamp64Micro(${name}))`).join()}] AS times, toString(count) AS told, values, evidence, flags
    FROM (SELECT * FROM alerts WHERE caused_at <= fromUnixTimestamp64Micro(${Math.floor(untilMicros)}, 'UTC')${some} ORDER BY alert_id, revision DESC LIMIT 1 BY alert_id)
    WHERE state != 'resolved' ORDER BY started_at LIMIT ${mostAlerts}`;
  const chunks: Buffer[] = [];
  for await (const chunk of ask(sql, 'JSONEachRow')) chunks.push(Buffer.from(chunk));
  const lines = Buffer.concat(chunks).toString().split('\n');
  return lines.flatMap((line): OpenAlert[] => {
    if (line === '') return [];
    const row = JSON.parse(line) as Row;
    const rule = byId.get(row.rule_id);
    if (rule?.version !== row.rule_version) return [];
    const [startedAt, firstAt, lastAt, at, recorded] = row.times.map(Number) as [
      number,
      number,
      number,
      number,
      number,
    ];
    const { tenant, revision, evidence, flags } = row;
    const values = Object.fromEntries(Object.entries(row.values).map(([name, value]) => [name, numberOr(value)]));
    const key = groupKey(rule.groupNames.map((name) => row.group[name] ?? ''));
    return [
      {
        ruleId: rule.id,
        tenant,
        key,
        revision,
        startedAt,
        firstAt,
        lastAt,
        at,
        recorded,
        count: Number(row.told),
        values,
        evidence,
        flags,
      },
    ];
  });
}

/** The table has texts. */
function numberOr(text: string): string | number {
  return String(Number(text)) === text ? Number(text) : text;
}
