/**
 * From triggers to alerts, for one rule and tenant. An episode begins with a trigger, goes on while triggers come no
 * further apart than `resolveAfterMicros`, and ends after that: firing → updated (reminders) → resolved.
 */

import type { Alert, AlertState } from '../../schemas/alert.js';
import { makeAlert, mostEvidence, type Subject } from './alerts.js';
import type { Trigger } from './evaluator.js';
import type { OpenAlert } from './open-alerts.js';
import { defaultLateness, type Rule } from './rule.js';

interface Episode {
  revision: number;
  startedAt: number;
  firstAt: number;
  lastAt: number;
  /** The stream's time of the last trigger. */
  recorded: number;
  count: number;
  values: Trigger['values'];
  evidence: string[];
  flags: string[];
  /** Event time of the last record, and the time until the next reminder. */
  toldAt: number;
  pauseMicros: number;
}

/** What came with a trigger. */
export interface Cause {
  readonly recorded: number;
  readonly eventId: string | undefined;
  readonly flags: readonly string[];
}

/** An alert in this state leaves, made only when it is let through: in a storm most are left out. */
export type Emit = (state: AlertState, make: () => Alert) => void;

export class Episodes {
  private readonly open = new Map<string, Episode>();
  private readonly graceMicros: number;

  constructor(
    private readonly rule: Rule,
    private readonly tenant: string,
    private readonly emit: Emit,
  ) {
    this.graceMicros = Number.isFinite(rule.latenessMicros) ? rule.latenessMicros : defaultLateness;
  }

  get size(): number {
    return this.open.size;
  }

  isOpen(key: string): boolean {
    return this.open.has(key);
  }

  keys(): Iterable<string> {
    return this.open.keys();
  }

  clear(): void {
    this.open.clear();
  }

  /** Goes on with what another process has told, and with nothing else. What is known here of its latest events counts. */
  goOn(told: ReadonlyMap<string, OpenAlert>): void {
    const { everyMicros, factor, maxMicros } = this.rule.realert;
    const here = new Map(this.open);
    this.open.clear();
    for (const [key, { revision, startedAt, at, ...alert }] of told) {
      const found = here.get(key);
      // Begun in the same moment it is the same one, and all of it is known. Else it began before what is known here.
      const { firstAt, lastAt, recorded, count, values, evidence, flags } =
        found === undefined || found.startedAt === startedAt
          ? (found ?? alert)
          : {
              ...alert,
              lastAt: Math.max(alert.lastAt, found.lastAt),
              recorded: Math.max(alert.recorded, found.recorded),
              count: Math.max(alert.count, found.count),
              values: found.values,
            };
      let pauseMicros = everyMicros;
      for (let reminder = 1; reminder < revision; reminder++) pauseMicros = Math.min(pauseMicros * factor, maxMicros);
      const copies = { evidence: [...evidence], flags: [...flags] };
      this.open.set(key, {
        revision,
        startedAt,
        firstAt,
        lastAt,
        recorded,
        count,
        values,
        ...copies,
        toldAt: at,
        pauseMicros,
      });
    }
  }

  /** True when the group has an open episode now and had none before. */
  trigger(key: string, trigger: Trigger, cause: Cause): boolean {
    if (trigger.once === true) {
      this.emitOnce(key, trigger, cause);
      return false;
    }
    let episode = this.open.get(key);
    const wasOpen = episode !== undefined;
    if (episode !== undefined && trigger.at > episode.lastAt + this.rule.resolveAfterMicros) {
      this.resolve(key, episode.lastAt + this.rule.resolveAfterMicros, cause.recorded);
      episode = undefined;
    }
    if (episode === undefined) {
      episode = this.begin(trigger, cause);
      this.open.set(key, episode);
      this.tell(key, episode, 'firing', trigger.at);
      return !wasOpen;
    }
    episode.count++;
    episode.firstAt = Math.min(episode.firstAt, trigger.at);
    episode.lastAt = Math.max(episode.lastAt, trigger.at);
    episode.recorded = cause.recorded;
    episode.values = trigger.values;
    // The id is made for whoever asks: of a flood hardly any is needed.
    if (episode.evidence.length < mostEvidence && cause.eventId !== undefined) episode.evidence.push(cause.eventId);
    for (const flag of cause.flags) if (!episode.flags.includes(flag)) episode.flags.push(flag);
    if (trigger.at - episode.toldAt >= episode.pauseMicros) {
      const { factor, maxMicros } = this.rule.realert;
      episode.pauseMicros = Math.min(episode.pauseMicros * factor, maxMicros);
      this.tell(key, episode, 'updated', trigger.at);
    }
    return false;
  }

  /** The stream's time at which an open episode ends if nothing comes; Infinity when only an event ends it. */
  due(key: string): number {
    const episode = this.open.get(key);
    if (episode === undefined) return Number.POSITIVE_INFINITY;
    // A backlog that is recorded all at once goes on as long as it comes in.
    return Math.max(episode.lastAt + this.rule.resolveAfterMicros, episode.recorded) + this.graceMicros + 1;
  }

  /** Ends an open episode at an event time. */
  resolve(key: string, at: number | undefined, recorded: number): void {
    const episode = this.open.get(key);
    if (episode === undefined) return;
    this.open.delete(key);
    this.tell(key, { ...episode, recorded }, 'resolved', at ?? episode.lastAt + this.rule.resolveAfterMicros);
  }

  private emitOnce(key: string, trigger: Trigger, cause: Cause): void {
    this.emit('firing', () => {
      const episode = this.begin(trigger, cause);
      return makeAlert(this.subject(key, trigger.also), { ...episode, state: 'firing', at: trigger.at, revision: 1 });
    });
  }

  private begin({ at, values }: Trigger, { recorded, eventId, flags }: Cause): Episode {
    return {
      revision: 0,
      startedAt: at,
      firstAt: at,
      lastAt: at,
      recorded,
      count: 1,
      values,
      evidence: eventId === undefined ? [] : [eventId],
      flags: [...flags],
      toldAt: at,
      pauseMicros: this.rule.realert.everyMicros,
    };
  }

  private tell(key: string, episode: Episode, state: AlertState, at: number): void {
    episode.revision++;
    episode.toldAt = at;
    const { evidence, flags } = episode;
    this.emit(state, () =>
      makeAlert(this.subject(key, undefined), { ...episode, evidence: [...evidence], flags: [...flags], state, at }),
    );
  }

  private subject(key: string, also: Trigger['also']): Subject {
    return { rule: this.rule, tenant: this.tenant, key, also };
  }

  save(): unknown {
    return structuredClone(this.open);
  }

  load(saved: unknown): void {
    for (const [key, episode] of structuredClone(saved) as Map<string, Episode>) this.open.set(key, episode);
  }
}
