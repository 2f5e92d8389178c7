/** Alerts of the notifier about itself: a channel that fails, alerts that came too late to be told. */
import { createHash } from 'node:crypto';
import type { Alert } from '../../schemas/alert.js';
import type { Delivery } from '../../schemas/delivery.js';
import { formatTimeMicros } from '../../schemas/time.js';
import type { ChannelSettings } from './settings.js';
import { failingChannelLabel, troubleRule } from './stages/route.js';
import { milliseconds } from './world.js';

interface Episode {
  readonly sinceMs: number;
  readonly error: string;
  deliveries: number;
}

export class Troubles {
  /** By channel, from the first delivery that is in trouble to the next one that is sent. */
  private readonly failing = new Map<string, Episode>();
  private raised: Alert[] = [];

  /** Takes the record of an attempt through a channel. */
  note(via: string, record: Delivery, settings: ChannelSettings | undefined): void {
    const atMs = milliseconds(record.at);
    const episode = this.failing.get(via);
    if (record.state === 'sent') {
      if (episode === undefined) return;
      this.failing.delete(via);
      this.raised.push(alertOf(via, episode, 2, atMs));
    } else if (isTrouble(record, settings)) {
      if (episode === undefined) {
        const begun = { sinceMs: atMs, error: record.error, deliveries: 1 };
        this.failing.set(via, begun);
        this.raised.push(alertOf(via, begun, 1, atMs));
      } else episode.deliveries++;
    }
  }

  forget(channels: readonly string[]): void {
    for (const channel of channels) this.failing.delete(channel);
  }

  /** Alerts to raise: those of records that were read back are raised again under the same ids, which changes nothing. */
  drain(): Alert[] {
    const { raised } = this;
    this.raised = [];
    return raised;
  }

  /** Alerts that were older than the horizon when their channels were taken over. */
  beyondHorizon(count: number, horizon: string, now: number): void {
    this.raised.push({
      ...blank(['beyond_horizon', String(now)], now),
      rule_id: 'mcp-auditd.alerts_not_told',
      title: 'Alerts were too old to be told',
      level: 'medium',
      count,
      values: { alerts: count },
      reason: `${count} alerts were older than ${horizon} when the notifier came back, so nobody was told of them. They are in the table alerts.`,
      runbook: 'Read them with mcp-auditd alerts list. Raise notifier.horizon where outages may last longer.',
    });
  }
}

/** Given up, refused at once, or failing for as long as a fallback waits. */
function isTrouble(record: Delivery, settings: ChannelSettings | undefined): boolean {
  if (record.state === 'given_up' || record.error_kind === 'unauthorized' || record.error_kind === 'refused')
    return true;
  return (
    record.state === 'failed' &&
    milliseconds(record.at) - milliseconds(record.planned_at) >= (settings?.fallbackAfterMs ?? Number.POSITIVE_INFINITY)
  );
}

function blank(identity: readonly string[], ms: number): Omit<Alert, 'rule_id' | 'title' | 'level' | 'reason'> {
  const at = formatTimeMicros(Math.floor(ms) * 1_000);
  return {
    alert_id: createHash('sha256').update(JSON.stringify(identity)).digest('hex').slice(0, 32),
    revision: 1,
    state: 'firing',
    rule_version: '1',
    description: '',
    tags: ['mcp-auditd'],
    runbook: '',
    actions: [],
    dry_run: false,
    tenant: '',
    group: {},
    started_at: at,
    at,
    first_at: at,
    last_at: at,
    caused_at: at,
    count: 1,
    values: {},
    evidence: [],
    evidence_sql: '',
    flags: [],
  };
}

function alertOf(channel: string, episode: Episode, revision: 1 | 2, ms: number): Alert {
  const started = blank([troubleRule, channel, String(episode.sinceMs)], episode.sinceMs);
  const { at } = blank([], ms);
  return {
    ...started,
    revision,
    state: revision === 1 ? 'firing' : 'resolved',
    rule_id: troubleRule,
    title: `Messages do not arrive in ${channel}`,
    level: 'high',
    group: { [failingChannelLabel]: channel },
    at,
    last_at: at,
    count: episode.deliveries,
    values: { deliveries: episode.deliveries },
    reason:
      revision === 1
        ? `The channel ${channel} does not take messages: ${episode.error}`
        : `The channel ${channel} takes messages again.`,
    evidence_sql: `SELECT at, state, reason, attempt, error_kind, error FROM deliveries WHERE channel = '${channel}' ORDER BY at DESC LIMIT 50`,
    runbook:
      'Try it with mcp-auditd notify test, mend what it says, then send what was given up again: mcp-auditd deliveries retry --failed.',
  };
}
