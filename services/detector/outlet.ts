/**
 * Where alerts leave the engine: so many of one rule and tenant in a minute of the stream's time, and what a limit dropped
 * raises an alert of `mcp-auditd.limit`.
 */
import type { Alert, AlertState } from '../../schemas/alert.js';
import type { EngineCounts } from './engine.js';
import { Episodes } from './episodes.js';
import { groupKey } from './group-key.js';
import { limitRule } from './limit-rule.js';
import type { Timers } from './timers.js';

const minuteMicros = 60e6;

export interface SavedOutlet {
  readonly minute: number;
  readonly alertsOfMinute: readonly (readonly [string, number])[];
  readonly limitAlerts: unknown;
}

export class Outlet {
  /** Alerts of this minute by rule and tenant. */
  private minute = 0;
  private readonly alertsOfMinute = new Map<string, number>();
  private readonly limitAlerts = new Map<string, Episodes>();

  constructor(
    private readonly emit: (alert: Alert) => void,
    private readonly counts: EngineCounts,
    private readonly timers: Timers,
    private readonly alertsPerMinute: number,
  ) {}

  /** @param clock The stream's time. */
  alert(ruleId: string, tenant: string, state: AlertState, make: () => Alert, clock: number): void {
    const minute = Math.floor(clock / minuteMicros);
    if (minute !== this.minute) {
      this.minute = minute;
      this.alertsOfMinute.clear();
    }
    // What began is also ended: only new alerts and reminders are left out.
    if (state !== 'resolved') {
      const key = groupKey([ruleId, tenant]);
      const count = (this.alertsOfMinute.get(key) ?? 0) + 1;
      this.alertsOfMinute.set(key, count);
      if (count > this.alertsPerMinute) {
        this.counts.alertsLeftOut++;
        this.limited(ruleId, tenant, 'alerts', 1, clock);
        return;
      }
    }
    this.counts.alerts++;
    this.emit(make());
  }

  /** A limit of a rule dropped something. */
  limited(ruleId: string, tenant: string, limit: string, count: number, clock: number): void {
    const episodes = this.episodes(tenant);
    const key = groupKey([limit, ruleId]);
    const trigger = { at: clock, values: { dropped: count } };
    const began = episodes.trigger(key, trigger, { recorded: clock, eventId: undefined, flags: [] });
    if (began) this.timers.set({ at: episodes.due(key), rule: -1, tenant, key, of: 'episode' });
  }

  private episodes(tenant: string): Episodes {
    let episodes = this.limitAlerts.get(tenant);
    if (episodes === undefined) {
      episodes = new Episodes(limitRule, tenant, (_, make) => {
        this.counts.alerts++;
        this.emit(make());
      });
      this.limitAlerts.set(tenant, episodes);
    }
    return episodes;
  }

  /** The timer of a limit's episode went off. */
  due(tenant: string, key: string, clock: number): void {
    const episodes = this.episodes(tenant);
    const at = episodes.due(key);
    if (at <= clock) episodes.resolve(key, undefined, clock);
    else if (at < Number.POSITIVE_INFINITY) this.timers.set({ at, rule: -1, tenant, key, of: 'episode' });
  }

  forgetEpisodes(): void {
    this.limitAlerts.clear();
  }

  save(): SavedOutlet {
    return {
      minute: this.minute,
      alertsOfMinute: [...this.alertsOfMinute],
      limitAlerts: [...this.limitAlerts].map(([tenant, episodes]) => [tenant, episodes.save()]),
    };
  }

  load({ minute, alertsOfMinute, limitAlerts }: SavedOutlet): void {
    this.minute = minute;
    for (const [key, count] of alertsOfMinute) this.alertsOfMinute.set(key, count);
    for (const [tenant, saved] of limitAlerts as [string, unknown][]) this.episodes(tenant).load(saved);
  }

  /** After loading. */
  setTimers(): void {
    for (const [tenant, episodes] of this.limitAlerts) {
      for (const key of episodes.keys())
        this.timers.set({ at: episodes.due(key), rule: -1, tenant, key, of: 'episode' });
    }
  }
}
