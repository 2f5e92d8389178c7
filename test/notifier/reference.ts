/**
 * What the notifier must say, computed without memory between steps and without wake-ups: every second every group is
 * looked at with everything that is known. Slow and plain on purpose; `planner.test.ts` compares.
 */
import type { Alert } from '../../schemas/alert.js';
import { allMatch, parseMatcher } from '../../schemas/matcher.js';
import type { Response } from '../../schemas/response.js';
import { labelsOf } from '../../services/notifier/labels.js';
import type { Settings, Timing } from '../../services/notifier/settings.js';
import { groupOf, waysOf } from '../../services/notifier/stages/route.js';
import { milliseconds } from '../../services/notifier/world.js';

export interface Said {
  readonly atMs: number;
  readonly channel: string;
  readonly group: string;
  readonly reason: string;
  /** `alert revision over acknowledged`, sorted. */
  readonly alerts: readonly string[];
}

export interface Happening<T> {
  readonly atMs: number;
  readonly record: T;
}

interface Conversation {
  readonly group: string;
  readonly openedMs: number;
  readonly timing: Timing;
  readonly storm: boolean;
  readonly alerts: Set<string>;
  readonly told: Map<string, { revision: number; over: boolean; acknowledged: boolean }>;
  lastMs?: number;
  reminders: number;
}

export function referenceSays(
  settings: Settings,
  alerts: readonly Happening<Alert>[],
  responses: readonly Happening<Response>[],
  muted: (route: Timing, ms: number) => boolean,
  fromMs: number,
  untilMs: number,
): Said[] {
  const said: Said[] = [];
  const current = new Map<string, Alert>();
  const endedHidden = new Set<string>();
  const open = new Map<string, Conversation>();
  const conversationOf = new Map<string, Conversation>();
  const openings = new Map<string, number[]>();
  let known: Response[] = [];

  const of = (kind: string, id: string) => known.some((each) => each.kind === kind && each.target === id);
  const isOver = (each: Alert) => each.state === 'resolved' || of('resolve', each.alert_id);
  const isSilenced = (each: Alert, ms: number) =>
    known.some(
      (one) =>
        one.kind === 'silence' &&
        milliseconds(one.starts_at!) <= ms &&
        milliseconds(one.ends_at!) > ms &&
        allMatch(one.matchers.map(parseMatcher), labelsOf(each)),
    );
  const isInhibited = (each: Alert) =>
    settings.inhibitions.some(
      ({ source, target, equal }) =>
        allMatch(target, labelsOf(each)) &&
        !allMatch(source, labelsOf(each)) &&
        [...current.values()].some(
          (other) =>
            other.alert_id !== each.alert_id &&
            !isOver(other) &&
            allMatch(source, labelsOf(other)) &&
            equal.every((name) => String(labelsOf(other).get(name) ?? '') === String(labelsOf(each).get(name) ?? '')),
        ),
    );
  const changeOf = (talk: Conversation, each: Alert, sendResolved: boolean): string | undefined => {
    const told = talk.told.get(each.alert_id);
    if (told === undefined) {
      if (isOver(each) && (endedHidden.has(each.alert_id) || of('resolve', each.alert_id))) return undefined;
      return 'new';
    }
    if (isOver(each)) return !told.over && sendResolved ? 'resolved' : undefined;
    if (told.over) return told.revision < each.revision ? 'new' : undefined;
    if (of('acknowledge', each.alert_id)) return told.acknowledged ? undefined : 'acknowledged';
    return told.revision < each.revision ? 'changed' : undefined;
  };
  const sendResolved = (channel: string) => settings.channels.get(channel)!.sendResolved;
  const isFinished = (talk: Conversation, channel: string) =>
    [...talk.alerts].every(
      (id) => isOver(current.get(id)!) && changeOf(talk, current.get(id)!, sendResolved(channel)) === undefined,
    );

  for (let now = fromMs; now <= untilMs; now += 1_000) {
    known = responses.filter(({ atMs }) => atMs <= now).map(({ record }) => record);
    for (const { record } of alerts.filter(({ atMs }) => atMs === now)) {
      current.set(record.alert_id, record);
      if (record.state === 'resolved' && (isSilenced(record, now) || isInhibited(record)))
        endedHidden.add(record.alert_id);
      for (const { channel, route } of waysOf(record, labelsOf(record), settings)) {
        const place = `${channel} ${record.alert_id}`;
        if (conversationOf.has(place)) continue;
        const join = (group: Record<string, string>, storm: boolean): void => {
          const key = `${channel} ${JSON.stringify(group)}`;
          let talk = open.get(key);
          if (talk === undefined || isFinished(talk, channel)) {
            talk = {
              group: JSON.stringify(group),
              openedMs: now,
              timing: route,
              storm,
              alerts: new Set(),
              told: new Map(),
              reminders: 0,
            };
            open.set(key, talk);
            if (!storm) openings.set(channel, [...(openings.get(channel) ?? []), now]);
          }
          talk.alerts.add(record.alert_id);
          conversationOf.set(place, talk);
        };
        const group = groupOf(labelsOf(record), route);
        const talk = open.get(`${channel} ${JSON.stringify(group)}`);
        const isNew = talk === undefined || isFinished(talk, channel);
        const recent = (openings.get(channel) ?? []).filter((each) => each > now - 60_000).length;
        if (isNew && recent >= settings.channels.get(channel)!.groupsPerMinute)
          join({ tenant: record.tenant, storm: 'more than groups_per_minute' }, true);
        else join(group, false);
      }
    }
    for (const [key, talk] of open) {
      const channel = key.slice(0, key.indexOf(' '));
      const all = [...talk.alerts].map((id) => current.get(id)!);
      const visible = all.filter((each) => {
        const told = talk.told.get(each.alert_id);
        if (told !== undefined && !told.over && isOver(each)) return true;
        return !isSilenced(each, now) && !isInhibited(each);
      });
      if (muted(talk.timing, now)) continue;
      const changes = new Map(
        visible.flatMap((each) => {
          const change = changeOf(talk, each, sendResolved(channel));
          return change === undefined ? [] : [[each.alert_id, change] as const];
        }),
      );
      const wait = talk.storm ? Math.max(5_000, talk.timing.waitMs) : talk.timing.waitMs;
      const interval = talk.storm ? Math.max(60_000, talk.timing.intervalMs) : talk.timing.intervalMs;
      const earliest = talk.lastMs === undefined ? talk.openedMs + wait : talk.lastMs + interval;
      const kinds = new Set(changes.values());
      if (now < earliest && !kinds.has('acknowledged')) continue;
      let reason: string;
      let about = visible.filter((each) => changes.has(each.alert_id));
      if (kinds.has('new')) reason = 'new';
      else if (kinds.size > 0 && all.every(isOver)) reason = 'resolved';
      else if (kinds.has('changed') || kinds.has('resolved')) reason = 'changed';
      else if (kinds.size > 0) reason = 'acknowledged';
      else {
        about = visible.filter((each) => !isOver(each) && !of('acknowledge', each.alert_id));
        const { repeat } = talk.timing;
        if (about.length === 0 || repeat === undefined || talk.lastMs === undefined) continue;
        const pause = Math.min(repeat.maxMs, repeat.everyMs * repeat.factor ** talk.reminders);
        if (now < talk.lastMs + Math.max(interval, pause)) continue;
        reason = 'repeat';
      }
      for (const each of about)
        talk.told.set(each.alert_id, {
          revision: each.revision,
          over: isOver(each),
          acknowledged: of('acknowledge', each.alert_id),
        });
      talk.lastMs = now;
      talk.reminders = reason === 'repeat' ? talk.reminders + 1 : reason === 'new' ? 0 : talk.reminders;
      said.push({
        atMs: now,
        channel,
        group: talk.group,
        reason,
        alerts: about
          .map(
            (each) =>
              `${each.alert_id} ${each.revision} ${Number(isOver(each))} ${Number(of('acknowledge', each.alert_id))}`,
          )
          .sort(),
      });
    }
  }
  return said;
}
