/** The record of an alert on the stream, one for each change of its state. */

export const alertStates = ['firing', 'updated', 'resolved'] as const;
export type AlertState = (typeof alertStates)[number];

export const levels = ['informational', 'low', 'medium', 'high', 'critical'] as const;
export type Level = (typeof levels)[number];

/** Notify a channel, or slow the group's caller down. */
export type AlertAction =
  | { readonly notify: string }
  | { readonly throttle: { readonly rate: string; readonly ttl: string; readonly message?: string | undefined } };

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
  /** The stream's time of the record that caused this change. */
  readonly recorded_at: string;
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
