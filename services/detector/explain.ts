/** Why a rule holds for an event, or does not: every test of its selections, its group, and what was in the window. */
import type { Alert } from '../../schemas/alert.js';
import { Engine } from './engine.js';
import { type EngineRecord, EventReader } from './event-reader.js';
import type { Expression } from './expression.js';
import type { FieldReference } from './fields.js';
import { Matcher, Slots } from './matcher.js';
import type { Role, Rule, RuleSet } from './rule.js';
import { atOnce } from './turns.js';

/** A field's text, or of a list its items. */
type FieldText = string | readonly string[];

/** A part of a selection with its answer for one event. */
export interface ExplainedPart {
  readonly expression: Expression;
  readonly holds: boolean;
  /** What the event has in the field that is looked at. */
  readonly found?: FieldText;
  readonly parts: readonly ExplainedPart[];
}

export interface ExplainedEvent {
  readonly eventId: string;
  readonly timeMicros: number;
  /** Names of the selections that hold. */
  readonly roles: readonly string[];
  /** What is measured; '' when nothing is. */
  readonly value: FieldText;
}

export interface Explanation {
  readonly rule: Rule;
  readonly timeMicros: number;
  readonly eventId: string;
  readonly roles: readonly { readonly name: string; readonly part: ExplainedPart }[];
  /** The event's group, by field; undefined when no selection holds. */
  readonly group: Readonly<Record<string, string>> | undefined;
  /** Events of the group that matched within the rule's window before the event, the event among them, by their time. */
  readonly window: readonly ExplainedEvent[];
  /** What the rule told when this event came. */
  readonly alerts: readonly Alert[];
  /** The alert of the group that was open already. */
  readonly open: Alert | undefined;
}

/** The text of every node of a tree of expressions, so that each is a selection of its own. */
function nodes(expression: Expression, into: Expression[] = []): Expression[] {
  into.push(expression);
  if (expression.op === 'and' || expression.op === 'or') for (const child of expression.children) nodes(child, into);
  else if (expression.op === 'not' || expression.op === 'before') nodes(expression.child, into);
  return into;
}

/** @param records In the order of the stream; the last is the event in question, the others what came before it. */
export function explain({ calendars }: RuleSet, rule: Rule, records: readonly EngineRecord[]): Explanation {
  const slots = new Slots();
  const wanted = rule.roles.flatMap(({ expression }) => nodes(expression));
  const slotOf = (field: FieldReference): number => slots.of(field);
  const groups = rule.roles.map(({ groupBy }) => groupBy.map(slotOf));
  const values = rule.roles.map(({ valueField }) => (valueField === undefined ? undefined : slotOf(valueField)));
  const tested = new Map<Expression, number>();
  for (const each of wanted) if (each.op === 'test') tested.set(each, slotOf(each.field));
  // The matcher knows the fields that have a number by then.
  const matcher = atOnce(
    Matcher.making(
      wanted.map((expression, index) => ({ rule: index, role: 0, expression })),
      wanted.length,
      slots,
      calendars,
    ),
  );
  const reader = new EventReader(slots.fields, matcher.fieldValues);
  const textOf = (slot: number): FieldText => reader.items(slot) ?? reader.text(slot);

  const look = (record: EngineRecord): { held: Set<Expression>; roles: number[] } | undefined => {
    if (!reader.read(record)) return undefined;
    matcher.match(reader);
    const found = [...matcher.matched.subarray(0, matcher.count)];
    const held = new Set(found.map((index) => wanted[index] as Expression));
    return { held, roles: rule.roles.flatMap(({ expression }, index) => (held.has(expression) ? [index] : [])) };
  };
  const keysOf = (roles: readonly number[]): string[] =>
    roles.map((role) => JSON.stringify((groups[role] as number[]).map((slot) => reader.text(slot))));

  const last = records.at(-1) as EngineRecord;
  const seen = look(last);
  const { timeMicros, eventId } = reader;
  const part = (expression: Expression): ExplainedPart => {
    const slot = tested.get(expression);
    const children =
      expression.op === 'and' || expression.op === 'or'
        ? expression.children
        : expression.op === 'not' || expression.op === 'before'
          ? [expression.child]
          : [];
    return {
      expression,
      holds: seen?.held.has(expression) === true,
      ...(slot !== undefined && seen !== undefined && { found: textOf(slot) }),
      parts: children.map(part),
    };
  };
  const roles = rule.roles.map(({ name, expression }) => ({ name, part: part(expression) }));
  const first = seen?.roles[0];
  const group =
    first === undefined
      ? undefined
      : Object.fromEntries(
          rule.groupNames.map((name, index) => [name, reader.text((groups[first] as number[])[index] as number)]),
        );
  const keys = new Set(seen === undefined ? [] : keysOf(seen.roles));

  const from = timeMicros - (rule.window?.sizeMicros ?? 0);
  const window: ExplainedEvent[] = [];
  for (const record of records) {
    const found = look(record);
    if (found === undefined || found.roles.length === 0) continue;
    const inside = record === last || (reader.timeMicros > from && reader.timeMicros <= timeMicros);
    if (!inside || !keysOf(found.roles).some((key) => keys.has(key))) continue;
    const slot = values[found.roles[0] as number];
    window.push({
      eventId: reader.eventId,
      timeMicros: reader.timeMicros,
      roles: found.roles.map((role) => (rule.roles[role] as Role).name),
      value: slot === undefined ? '' : textOf(slot),
    });
  }
  window.sort((left, right) => left.timeMicros - right.timeMicros);

  const alerts: Alert[] = [];
  const engine = new Engine({ rules: [{ ...rule, enabled: true }], calendars }, (alert) => alerts.push(alert));
  let open: Alert | undefined;
  for (const record of records) {
    if (record === last) {
      const latest = alerts.findLast((alert) => JSON.stringify(alert.group) === JSON.stringify(group));
      open = latest?.state === 'resolved' ? undefined : latest;
      alerts.length = 0;
    }
    engine.take(record);
  }
  return { rule, timeMicros, eventId, roles, group, window, alerts, open };
}
