/** What a detection means: a boolean expression over tests of fields, free of spelling. */
import type { FieldReference } from './fields.js';

export type Comparison = 'gt' | 'gte' | 'lt' | 'lte' | 'eq' | 'neq';

/** A test of one value. Text is compared without case unless `cased`; `text` is then already in lower case. */
export type Test =
  | { readonly kind: 'equals' | 'contains' | 'startswith' | 'endswith'; readonly text: string; readonly cased: boolean }
  /** Literals with any characters between them; an empty first or last one leaves that end open. `?` stays in them. */
  | { readonly kind: 'wildcard'; readonly parts: readonly string[]; readonly cased: boolean }
  | { readonly kind: 'regex'; readonly pattern: string; readonly flags: string }
  | { readonly kind: 'cidr'; readonly network: string }
  | { readonly kind: 'exists'; readonly expected: boolean }
  | { readonly kind: 'number'; readonly comparison: Comparison; readonly value: number }
  | {
      readonly kind: 'field';
      readonly other: FieldReference;
      readonly how: 'equals' | 'contains' | 'startswith' | 'endswith';
      readonly cased: boolean;
    };

export type Expression =
  | { readonly op: 'and' | 'or'; readonly children: readonly Expression[] }
  | { readonly op: 'not'; readonly child: Expression }
  | { readonly op: 'test'; readonly field: FieldReference; readonly test: Test }
  | { readonly op: 'constant'; readonly value: boolean }
  /** True while the event's time is below `endMicros` and the child holds: an exception with an expiry. */
  | { readonly op: 'before'; readonly endMicros: number; readonly child: Expression }
  /** The event's own time in a calendar. */
  | { readonly op: 'calendar'; readonly calendar: string; readonly is: 'open' | 'closed' | 'holiday' };

export const always: Expression = { op: 'constant', value: true };

/** Flattens, removes doubles and sorts, so that two spellings of one meaning become one expression. */
export function normalise(expression: Expression): Expression {
  if (expression.op === 'not') {
    const child = normalise(expression.child);
    if (child.op === 'not') return child.child;
    if (child.op === 'constant') return { op: 'constant', value: !child.value };
    return { op: 'not', child };
  }
  if (expression.op === 'before') return { ...expression, child: normalise(expression.child) };
  if (expression.op !== 'and' && expression.op !== 'or') return expression;
  const absorbing = expression.op === 'or';
  const children = new Map<string, Expression>();
  for (const each of expression.children.map(normalise)) {
    for (const child of each.op === expression.op ? each.children : [each]) {
      if (child.op === 'constant') {
        if (child.value === absorbing) return child;
        continue;
      }
      children.set(spell(child), child);
    }
  }
  const sorted = [...children.keys()].sort().map((key) => children.get(key) as Expression);
  if (sorted.length === 0) return { op: 'constant', value: !absorbing };
  return sorted.length === 1 ? (sorted[0] as Expression) : { op: expression.op, children: sorted };
}

/** One text for one normalised expression. */
export function spell(expression: Expression): string {
  switch (expression.op) {
    case 'and':
    case 'or':
      return JSON.stringify([expression.op, ...expression.children.map(spell)]);
    case 'not':
      return JSON.stringify(['not', spell(expression.child)]);
    case 'test':
      return JSON.stringify([expression.field.name, spellTest(expression.test)]);
    case 'constant':
      return String(expression.value);
    case 'before':
      return JSON.stringify(['before', expression.endMicros, spell(expression.child)]);
    case 'calendar':
      return JSON.stringify(['calendar', expression.calendar, expression.is]);
  }
}

export function spellTest(test: Test): string {
  return JSON.stringify(test, (key, value) => (key === 'other' ? (value as FieldReference).name : value));
}
