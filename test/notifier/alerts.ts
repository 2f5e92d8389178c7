/** Alerts and responses for tests. */
import type { Alert } from '../../schemas/alert.js';
import type { Response } from '../../schemas/response.js';
import { formatTimeMicros } from '../../schemas/time.js';

/** 2026-11-24T09:00:00Z, a Tuesday. */
export const startMs = Date.UTC(2026, 10, 24, 9);

export function timeText(ms: number): string {
  return formatTimeMicros(ms * 1_000);
}

export function alert(over: Partial<Alert> = {}): Alert {
  const at = over.at ?? timeText(startMs);
  return {
    alert_id: 'a1',
    revision: 1,
    state: 'firing',
    rule_id: 'volume',
    rule_version: '1',
    title: 'Many calls of one actor',
    description: '',
    level: 'high',
    tags: [],
    runbook: '',
    actions: [],
    dry_run: false,
    tenant: 'default',
    group: { actor_id: 'alice' },
    started_at: at,
    at,
    first_at: at,
    last_at: at,
    caused_at: at,
    count: 301,
    values: { count: 301, threshold: 300 },
    reason: '301 calls in 5 minutes, more than 300',
    evidence: [],
    evidence_sql: '',
    flags: [],
    ...over,
  };
}

export function response(over: Partial<Response> = {}): Response {
  return {
    response_id: 'r1',
    revision: 1,
    kind: 'silence',
    target: '',
    matchers: [],
    reason: 'planned work',
    author: 'bob',
    author_key: 'responder',
    tenant: '',
    at: timeText(startMs),
    ...over,
  };
}
