/**
 * The engine over events in hand: the tests inside rules, `rules run`, `rules explain`. One engine for each run, so that
 * the same events give the same alerts.
 */
import type { Alert } from '../../schemas/alert.js';
import { earliestTimeMicros, parseTimeMicros } from '../../schemas/time.js';
import { Engine, type EngineLimits } from './engine.js';
import type { EngineRecord } from './event-reader.js';
import type { RuleSet } from './rule.js';

/** For events in hand: nobody is woken by the alerts, so none is left out, and the memory is ours alone. */
export const handLimits: Partial<EngineLimits> = { alertsPerMinute: Number.POSITIVE_INFINITY, maxBytes: 2 * 1024 ** 3 };

export interface ReplayOptions {
  /** The stream's time goes on up to here after the last record, so that what waits for time is told. Microseconds. */
  readonly untilMicros?: number;
  readonly limits?: Partial<EngineLimits>;
}

/** The alerts that records raise, in order. */
export function replay(ruleSet: RuleSet, records: Iterable<EngineRecord>, options: ReplayOptions = {}): Alert[] {
  const alerts: Alert[] = [];
  const engine = new Engine(ruleSet, (alert) => alerts.push(alert), options.limits ?? handLimits);
  for (const record of records) engine.take(record);
  if (options.untilMicros !== undefined) engine.passTime(options.untilMicros);
  return alerts;
}

/**
 * Records from events that no stream has recorded. An event's `recorded_at` is taken where it has one; otherwise it was
 * recorded when it occurred, or with the event before it when that is later: a stream's time never decreases.
 */
export class UnrecordedEvents {
  private clock = earliestTimeMicros;
  private offset = 0;

  /** @param value JSON text of one event; what cannot be read is recorded with the event before it. */
  next(value: Buffer): EngineRecord {
    const time = plainTime(value) ?? parsedTime(value);
    this.clock = Math.max(this.clock, time ?? this.clock);
    return { value, partition: 0, offset: this.offset++, recordedAtMicros: this.clock };
  }
}

const occurredAt = '"occurred_at":"';

/** The time of an event that says it once, outside of any body: most do, and need not be parsed twice. */
function plainTime(value: Buffer): number | undefined {
  const at = value.indexOf(occurredAt);
  const brace = value.indexOf('{', 1);
  if (at < 0 || (brace >= 0 && brace < at) || value[value.length - 1] !== 125) return undefined;
  if (value.indexOf('"occurred_at"', at + 1) >= 0 || value.includes('"recorded_at"')) return undefined;
  const from = at + occurredAt.length;
  const time = parseTimeMicros(value.toString('latin1', from, value.indexOf(34, from)));
  return Number.isNaN(time) ? undefined : time;
}

function parsedTime(value: Buffer): number | undefined {
  let event: { occurred_at?: unknown; recorded_at?: unknown } | undefined;
  try {
    event = JSON.parse(value.toString('utf8')) ?? undefined;
  } catch {
    // The engine counts it as unreadable.
  }
  return [event?.recorded_at, event?.occurred_at]
    .map((each) => (typeof each === 'string' ? parseTimeMicros(each) : Number.NaN))
    .find((each) => !Number.isNaN(each));
}
