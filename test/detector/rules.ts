/** Rules and events for tests, as short as they can be written. */

import { formatTimeMicros } from '../../schemas/time.js';
import { compileRules } from '../../services/detector/compile.js';
import type { EngineRecord } from '../../services/detector/event-reader.js';
import type { RuleSet } from '../../services/detector/rule.js';

/** The rules of a YAML text without mistakes. */
export function rulesOf(text: string): RuleSet {
  const { set, problems } = compileRules([{ path: 'rules.yaml', text, layer: 1 }]);
  if (problems.length > 0) throw new Error(problems.map(({ line, message }) => `${line}: ${message}`).join('\n'));
  return set;
}

export const second = 1e6;
export const minute = 60 * second;
/** Time 0 of tests: a Monday, 09:00 UTC. */
export const start = Date.UTC(2026, 0, 5, 9) * 1000;

export type Fields = Readonly<Record<string, unknown>>;

let count = 0;

/** A fresh event id, valid and without meaning. */
export function newId(): string {
  return `00000000-0000-7000-8000-${(++count).toString(16).padStart(12, '0')}`;
}

/** An event that occurred `at` microseconds after `start`, recorded then or `recorded` after `start`. */
export function event(at: number, fields: Fields = {}, recorded = at): EngineRecord {
  const value = { event_id: newId(), method: 'tools/call', outcome: 'success', ...fields };
  return {
    value: Buffer.from(JSON.stringify({ ...value, occurred_at: formatTimeMicros(start + at) })),
    partition: 0,
    offset: count,
    recordedAtMicros: start + recorded,
  };
}
