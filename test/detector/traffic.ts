/** Calls for a detector, from a seed: several actors, some late, some twice, some from the future, in two partitions. */

import { formatTimeMicros } from '../../schemas/time.js';
import type { NewRecord } from '../../services/stream/stream.js';
import { minute, second } from './rules.js';

export const trafficRules = `rules:
- {id: volume, type: event_count, detection: {s: {method: tools/call}}, group-by: actor, timespan: 1m, condition: {gte: 12}, realert: {every: 2m}}
- {id: many, type: value_count, field: resource, detection: {s: {method: tools/call}}, group-by: server, timespan: 2m, condition: {gte: 45}}
- {id: slow, type: value_avg, field: duration_ms, detection: {s: {method: tools/call}}, group-by: tool, window: {kind: tumbling, size: 1m}, condition: {gt: 70}}
- {id: bursts, type: event_count, detection: {s: {outcome: tool_error}}, group-by: session, window: {kind: session, gap: 20s}, condition: {gte: 3}}
- {id: steps, type: temporal_ordered, group-by: actor, timespan: 90s, steps: [{tool: read}, {unless: {tool: approve}}, {tool: send}]}
- {id: silent, type: absence, group-by: actor, timespan: 3m}
- {id: unexpected, type: new_value, field: tool, group-by: actor, warmup: {events: 5}, learn: 1m}
- {id: denied, detection: {s: {outcome: denied}}, group-by: actor, resolve_after: 1m}
`;

export interface TimedRecord {
  readonly record: NewRecord;
  /** The stream's time, milliseconds. */
  readonly recordedMs: number;
}

/** @param random Numbers in [0, 1). */
export function traffic(random: () => number, count: number, startMs: number): TimedRecord[] {
  const pick = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)] as T;
  const records: TimedRecord[] = [];
  let recordedMs = startMs;
  for (let index = 0; records.length < count; index++) {
    // Busy minutes and quiet ones, and now and then a pause in which everything ends.
    recordedMs +=
      random() < 0.0005 ? 10 * 60_000 : Math.floor(random() * (Math.floor(index / 400) % 3 === 0 ? 2_000 : 300));
    const actor = `actor-${Math.floor(random() * random() * 20)}`;
    const lateMicros =
      random() < 0.1 ? random() * 4 * minute : random() < 0.02 ? -random() * 60 * minute : random() * second;
    const event = {
      event_id: `00000000-0000-7000-8000-${index.toString(16).padStart(12, '0')}`,
      occurred_at: formatTimeMicros(Math.round(recordedMs * 1000 - lateMicros)),
      method: 'tools/call',
      actor_id: actor,
      session_id: `session-${Math.floor(random() * 15)}`,
      server_name: pick(['files', 'mail', 'web']),
      tool_name: random() < 0.002 ? `odd-${index % 9}` : pick(['read', 'send', 'approve', 'list', 'search']),
      resource_uri: `file:///${Math.floor(random() * 60)}`,
      outcome: pick(['success', 'success', 'success', 'success', 'success', 'tool_error', 'denied']),
      duration_ms: Math.floor(random() * 130),
    };
    const record = {
      key: `default\0${actor}`,
      value: Buffer.from(JSON.stringify(event)),
      headers: { tenant: 'default' },
    };
    records.push({ record, recordedMs });
    if (random() < 0.03) records.push({ record, recordedMs });
  }
  return records;
}
