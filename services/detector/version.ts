import { createHash } from 'node:crypto';
import type { CalendarDefinition } from '../../schemas/calendar.js';
import { type Expression, spell } from './expression.js';
import type { Rule, Threshold } from './rule.js';
import { ruleTypes } from './types.js';

/** Names of the calendars that an expression asks. */
function calendarsOf(expression: Expression, into: Set<string>): void {
  if (expression.op === 'and' || expression.op === 'or')
    for (const each of expression.children) calendarsOf(each, into);
  else if (expression.op === 'not' || expression.op === 'before') calendarsOf(expression.child, into);
  else if (expression.op === 'calendar') into.add(expression.calendar);
}

/** Counts are whole: "more than 9" and "at least 10" are one condition. */
function wholeThreshold(type: string, threshold: Threshold): Threshold {
  if (type !== 'event_count' && type !== 'value_count') return threshold;
  if (threshold.comparison === 'gt') return { comparison: 'gte', value: Math.floor(threshold.value) + 1 };
  if (threshold.comparison === 'gte') return { comparison: 'gte', value: Math.ceil(threshold.value) };
  return threshold;
}

/**
 * Hash of what decides when a rule fires and what counts as one alert: type, conditions, groups, window, lateness,
 * threshold, and the calendars it asks. Title, level, runbook, actions, reminders and tests are not part of it, so that
 * a better text does not begin every alert anew. First 16 hex digits of SHA-256.
 */
export function versionOf(rule: Omit<Rule, 'version'>, calendars: ReadonlyMap<string, CalendarDefinition>): string {
  const asked = new Set<string>();
  for (const role of rule.roles) calendarsOf(role.expression, asked);
  const roles = rule.roles.map((role) => [
    spell(role.expression),
    role.groupBy.map((field) => field.name),
    role.valueField?.name ?? '',
  ]);
  const definitions = [...asked].sort().map((name) => {
    const { zone, open, holidays, closed } = calendars.get(name) as CalendarDefinition;
    return [name, zone, [...open].sort(), [...holidays].sort(), [...closed].sort()];
  });
  const meaning = {
    type: rule.type,
    // The steps of an unordered type are a set.
    roles: ruleTypes.get(rule.type)?.unordered === true ? roles.map((role) => JSON.stringify(role)).sort() : roles,
    window: rule.window === undefined ? null : [rule.window.kind, rule.window.sizeMicros],
    lateness: String(rule.latenessMicros),
    threshold: rule.threshold === undefined ? null : wholeThreshold(rule.type, rule.threshold),
    options: Object.entries(rule.options).sort(([left], [right]) => (left < right ? -1 : 1)),
    resolve: String(rule.resolveAfterMicros),
    calendars: definitions,
  };
  return createHash('sha256').update(JSON.stringify(meaning)).digest('hex').slice(0, 16);
}
