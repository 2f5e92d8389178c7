/** From a trigger to the record of an alert. */
import { createHash } from 'node:crypto';
import type { Alert, AlertState } from '../../schemas/alert.js';
import { formatDuration } from '../../schemas/duration.js';
import { formatTimeMicros } from '../../schemas/time.js';
import type { Trigger } from './evaluator.js';
import { evidenceSql } from './evidence.js';
import { groupValues } from './group-key.js';
import type { Rule } from './rule.js';

/** Ids of events in one alert: enough to look at, little to send. */
export const mostEvidence = 20;

/** What an alert is about. */
export interface Subject {
  readonly rule: Rule;
  readonly tenant: string;
  /** As `groupKey` made it. */
  readonly key: string;
  readonly also: Readonly<Record<string, string>> | undefined;
}

/** Where an alert stands. Times in microseconds. */
export interface Standing {
  readonly state: AlertState;
  readonly revision: number;
  readonly startedAt: number;
  readonly at: number;
  readonly firstAt: number;
  readonly lastAt: number;
  readonly recorded: number;
  readonly count: number;
  readonly values: Trigger['values'];
  readonly evidence: readonly string[];
  readonly flags: readonly string[];
}

/** One identity for one episode: a replay makes the same again. First 32 hex digits of SHA-256. */
export function alertId({ rule, tenant, key, also }: Subject, startedAt: number): string {
  const identity = JSON.stringify([rule.id, rule.version, tenant, key, startedAt, Object.entries(also ?? {}).sort()]);
  return createHash('sha256').update(identity).digest('hex').slice(0, 32);
}

const symbols = { gt: '>', gte: '≥', lt: '<', lte: '≤', eq: '=', neq: '≠' } as const;

/** What held, in words: "count 301 ≥ 300 in 5m". */
function reasonOf({ type, threshold, window, roles }: Rule, values: Trigger['values']): string {
  const span =
    window === undefined ? '' : ` in ${window.kind === 'session' ? 'a session' : formatDuration(window.sizeMicros)}`;
  if (threshold !== undefined) {
    const [name, measured] = Object.entries(values).find(([each]) => each !== 'threshold') ?? [type, ''];
    return `${name} ${measured} ${symbols[threshold.comparison]} ${threshold.value}${span}`;
  }
  if (type === 'temporal' || type === 'temporal_ordered') return `all ${values.steps} steps${span}`;
  if (type === 'new_value') return `new ${roles[0]?.valueField?.name ?? 'value'}: ${values.value}`;
  if (type === 'absence') return `no event${span}`;
  const all = Object.entries(values).map(([name, value]) => `${name} ${value}`);
  return all.length === 0 ? 'an event matches' : all.join(', ');
}

export function makeAlert(subject: Subject, standing: Standing): Alert {
  const { rule, tenant, key, also } = subject;
  const values = groupValues(key, rule.groupNames.length);
  const fields = rule.roles[0]?.groupBy ?? [];
  const windowMicros = rule.window?.sizeMicros ?? 0;
  const { startedAt, firstAt, lastAt, evidence } = standing;
  return {
    alert_id: alertId(subject, startedAt),
    revision: standing.revision,
    state: standing.state,
    rule_id: rule.id,
    rule_version: rule.version,
    title: rule.title,
    description: rule.description,
    level: rule.level,
    tags: rule.tags,
    runbook: rule.runbook,
    actions: rule.actions,
    dry_run: rule.dryRun,
    tenant,
    group: { ...Object.fromEntries(rule.groupNames.map((name, index) => [name, values[index] ?? ''])), ...also },
    started_at: formatTimeMicros(startedAt),
    at: formatTimeMicros(standing.at),
    first_at: formatTimeMicros(firstAt),
    last_at: formatTimeMicros(lastAt),
    caused_at: formatTimeMicros(standing.recorded),
    count: standing.count,
    values: standing.values,
    reason: reasonOf(rule, standing.values),
    evidence,
    evidence_sql: evidenceSql({
      tenant,
      fromMicros: firstAt - windowMicros,
      toMicros: lastAt,
      group: fields.map((field, index) => ({ field, value: values[index] ?? '' })),
      selections: rule.roles.map(({ expression }) => expression),
      ...(also?.event_id !== undefined && { eventId: also.event_id }),
    }),
    flags: standing.flags,
  };
}
