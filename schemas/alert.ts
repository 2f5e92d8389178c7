/** The record of an alert on the stream, one for each change of its state, and its columns in the table `alerts`. */
import { type Field, type Fields, positionFields } from './field.js';
import { jsonTopic } from './record-topic.js';
import type { ScopeName } from './throttle.js';

export const alertStates = ['firing', 'updated', 'resolved'] as const;
export type AlertState = (typeof alertStates)[number];

export const levels = ['informational', 'low', 'medium', 'high', 'critical'] as const;
export type Level = (typeof levels)[number];

/** Notify a channel, or slow the group's caller down. */
export type AlertAction = { readonly notify: string } | { readonly throttle: ThrottleAction };

/** In the words of rules. What they mean: schemas/throttle.ts. */
export interface ThrottleAction {
  /** Which of the group's fields say who is held back. Default: all of them that a scope may have. */
  readonly scope?: ScopeName | readonly ScopeName[] | undefined;
  readonly rate?: string | undefined;
  readonly burst?: number | undefined;
  readonly delay?: string | undefined;
  readonly block?: boolean | undefined;
  /** Default 15m, counted from the alert's newest record; at most a day. */
  readonly ttl?: string | undefined;
  /** Default `resolved`: it ends with the alert, if that comes first. */
  readonly until?: 'resolved' | 'expiry' | undefined;
  readonly dry_run?: boolean | undefined;
  /** For the caller, in a sentence. */
  readonly message?: string | undefined;
}

export interface Alert {
  /** SHA-256 of rule, rule version, tenant, group and start of the episode, first 32 hex digits. */
  readonly alert_id: string;
  /** Counts the records of one alert from 1: a consumer keeps the highest. */
  readonly revision: number;
  readonly state: AlertState;
  readonly rule_id: string;
  readonly rule_version: string;
  readonly title: string;
  readonly description: string;
  readonly level: Level;
  readonly tags: readonly string[];
  readonly runbook: string;
  readonly actions: readonly AlertAction[];
  readonly dry_run: boolean;
  readonly tenant: string;
  /** Group key: field → value. */
  readonly group: Readonly<Record<string, string>>;
  /** Event time at which the condition first held: the start of the episode. RFC 3339, microseconds. */
  readonly started_at: string;
  /** Event time of this change. */
  readonly at: string;
  /** Event times of the first and the last event for which the condition held. */
  readonly first_at: string;
  readonly last_at: string;
  /** The stream's time of the call that caused this change. `recorded_at` is that of the alert's own record. */
  readonly caused_at: string;
  /** Events for which the condition held so far in this episode. */
  readonly count: number;
  /** What crossed, for example {"count": 301, "threshold": 300}. */
  readonly values: Readonly<Record<string, number | string>>;
  /** In words. */
  readonly reason: string;
  /** Ids of at most 20 events. */
  readonly evidence: readonly string[];
  /** SQL that shows the evidence. */
  readonly evidence_sql: string;
  /** `future_time`: an event's time was ahead of the stream's and was set back; `late`: it came after its turn. */
  readonly flags: readonly string[];
}

/** Longest texts of a rule, whose limits are in characters of up to four bytes. */
const ruleTextBytes = 64 * 1024;

export const alertFields = {
  alert_id: {
    kind: 'text',
    required: true,
    maxBytes: 64,
    description: 'One episode: hash of rule, rule version, tenant, group and start.',
  },
  revision: { kind: 'size', required: true, description: 'Counts the records of one alert from 1.' },
  state: { kind: 'choice', required: true, values: alertStates, description: 'What this record says of the alert.' },
  rule_id: { kind: 'name', required: true, description: 'The rule that fired.' },
  rule_version: { kind: 'name', description: "Hash of the rule's meaning." },
  title: { kind: 'text', description: 'One line for people.' },
  description: { kind: 'text', maxBytes: ruleTextBytes, description: "The rule's description." },
  level: { kind: 'choice', required: true, values: levels, description: 'Severity.' },
  tags: { kind: 'list', description: "The rule's tags." },
  runbook: { kind: 'text', maxBytes: ruleTextBytes, description: 'What to do.' },
  actions: { kind: 'body', description: 'JSON: channels to notify and throttles to set.' },
  dry_run: { kind: 'flag', description: 'Recorded only: no action was taken.' },
  tenant: { kind: 'name', description: 'Whose calls.' },
  group: { kind: 'map', description: 'Group key: field and value.' },
  started_at: { kind: 'time_micros', required: true, description: 'Event time at which the condition first held.' },
  at: { kind: 'time_micros', required: true, description: 'Event time of this change.' },
  first_at: { kind: 'time_micros', required: true, description: 'First event for which the condition held.' },
  last_at: { kind: 'time_micros', required: true, description: 'Last event for which the condition held.' },
  caused_at: { kind: 'time_micros', required: true, description: "The stream's time of the call that caused it." },
  count: { kind: 'counter', description: 'Events for which the condition held so far.' },
  values: { kind: 'map', description: 'What crossed, for example count and threshold; numbers as text.' },
  reason: { kind: 'text', maxBytes: ruleTextBytes, description: 'In words.' },
  evidence: { kind: 'list', description: 'Ids of at most 20 events.' },
  evidence_sql: { kind: 'text', maxBytes: ruleTextBytes, description: 'SQL that shows the evidence.' },
  flags: { kind: 'list', description: 'future_time, late.' },
  attributes: { kind: 'map', description: 'Fields of a record that this program does not know.' },
  ...positionFields,
} as const satisfies Fields & Record<keyof Alert, Field>;

/**
 * A detector that goes on after a crash sends some alerts again: same id, same revision, same content. The id is a hash
 * that the tenant is part of.
 */
export const alertsTopic = jsonTopic(alertFields, ['alert_id', 'revision']);
