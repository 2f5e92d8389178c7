/**
 * Drives the planner as notifier.ts does, but over arrays: records that are "durable" are in an array, the far side is
 * an array, time is a number, and the process may be killed between any two steps.
 */
import type { Alert } from '../../schemas/alert.js';
import type { Delivery } from '../../schemas/delivery.js';
import type { Response } from '../../schemas/response.js';
import { Planner } from '../../services/notifier/planner.js';
import type { Outcome } from '../../services/notifier/retry.js';
import type { Settings } from '../../services/notifier/settings.js';
import type { Happening, Said } from './reference.js';

class Killed extends Error {}

export interface FarSide {
  /** What an attempt comes to, and whether the message arrived nevertheless. */
  attempt(delivery: Delivery, now: number): { readonly outcome: Outcome; readonly arrives: boolean };
  /** Whether a message can be looked up. */
  readonly canAsk: boolean;
}

export interface Simulation {
  readonly said: Said[];
  /** Arrivals of a message that had arrived before. */
  readonly duplicates: number;
  readonly kills: number;
  readonly records: readonly Delivery[];
}

export function simulate(
  settings: Settings,
  alerts: readonly Happening<Alert>[],
  responses: readonly Happening<Response>[],
  options: {
    fromMs: number;
    untilMs: number;
    farSide: FarSide;
    kill?: (step: string) => boolean;
    /** Whether the channels are taken away in the middle of an attempt; they are given back before or after its end. */
    away?: () => false | 'before' | 'after';
  },
): Simulation {
  const { fromMs, untilMs, farSide, kill = () => false, away = () => false } = options;
  const records: Delivery[] = [];
  const arrived = new Set<string>();
  const said: Said[] = [];
  let duplicates = 0;
  let kills = 0;
  let processes = 0;
  const channels = [...settings.channels.keys()];

  const step = (name: string): void => {
    if (kill(name)) throw new Killed(name);
  };
  const start = (now: number): Planner => {
    const planner = new Planner(settings, `process ${++processes}`, 0);
    // Both topics are read back in the order of time.
    let next = 0;
    const respondUntil = (ms: number): void => {
      for (let each = responses[next]; each !== undefined && each.atMs <= ms; each = responses[++next])
        planner.takeResponse(each.record, each.atMs);
    };
    for (const { atMs, record } of alerts) {
      if (atMs > now) break;
      respondUntil(atMs);
      planner.takeAlert(record, atMs);
    }
    respondUntil(now);
    records.push(...planner.own(channels, records, now, fromMs));
    return planner;
  };
  const arrive = (delivery: Delivery, now: number): void => {
    if (arrived.has(delivery.delivery_id)) {
      duplicates++;
      return;
    }
    arrived.add(delivery.delivery_id);
    const told = Object.entries(delivery.telling).map(([id, parts]) => `${id} ${parts.join(' ')}`);
    const { channel, reason } = delivery;
    said.push({ atMs: now, channel, group: JSON.stringify(delivery.group), reason, alerts: told.sort() });
  };
  const speak = (planner: Planner, now: number): boolean => {
    let spoke = false;
    for (const via of channels) {
      for (const { delivery, ask } of planner.ready(via, now)) {
        spoke = true;
        if (ask && farSide.canAsk && arrived.has(delivery.delivery_id)) {
          const record = planner.finish(delivery, { kind: 'sent', reference: 'found', answer: '' }, now, 0, 0);
          step('found');
          records.push(record!);
          continue;
        }
        const leaving = planner.begin(delivery, now, ask && !farSide.canAsk)!;
        step('begun');
        records.push(leaving.record);
        step('recorded as sending');
        if (leaving.record.state !== 'sending') continue;
        const { outcome, arrives } = farSide.attempt(leaving.record, now);
        if (arrives) arrive(leaving.record, now);
        step('requested');
        const given = away();
        const readBack = [...records];
        if (given !== false) planner.disown(channels);
        if (given === 'before') planner.own(channels, readBack, now, fromMs);
        const record = planner.finish(leaving.record, outcome, now, 0, 0.5)!;
        // What was read back ends before the outcome's record, which comes with what follows.
        if (given === 'after') planner.own(channels, readBack, now, fromMs);
        step('answered');
        records.push(record);
        planner.observe(record);
        step('recorded');
        // What else was to leave is asked for anew.
        if (given !== false) return true;
      }
    }
    return spoke;
  };

  let planner = start(fromMs - 1);
  for (let now = fromMs; now <= untilMs; now += 1_000) {
    let fresh = true;
    for (;;) {
      try {
        if (fresh) {
          for (const { atMs, record } of responses) if (atMs === now) planner.takeResponse(record, now);
          for (const { atMs, record } of alerts) if (atMs === now) planner.takeAlert(record, atMs);
          fresh = false;
          step('taken');
        }
        const pending = planner.plan(now);
        step('planned');
        for (const record of pending) {
          records.push(record);
          step('recorded as pending');
        }
        if (!speak(planner, now) && pending.length === 0) break;
      } catch (error) {
        if (!(error instanceof Killed)) throw error;
        kills++;
        fresh = false;
        planner = start(now);
      }
    }
  }
  return { said, duplicates, kills, records };
}
