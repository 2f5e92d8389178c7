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

/**
 * One expression for one meaning: `not` stands before tests only, `and` and `or` are flat, without doubles and in a fixed
 * order.
 */
export function normalise(expression: Expression, negated = false): Expression {
  if (!negated && normal.has(expression)) return expression;
  const result = normalised(expression, negated);
  normal.add(result);
  return result;
}

/** Expressions that are normalised already: long lists are shared by many rules. */
const normal = new WeakSet<Expression>();

function normalised(expression: Expression, negated: boolean): Expression {
  switch (expression.op) {
    case 'not':
      return normalise(expression.child, !negated);
    case 'constant':
      return negated ? { op: 'constant', value: !expression.value } : expression;
    case 'calendar':
      if (negated && expression.is !== 'holiday')
        return { ...expression, is: expression.is === 'open' ? 'closed' : 'open' };
      return negated ? { op: 'not', child: expression } : expression;
    case 'test': {
      if (!negated) return expression;
      const { test } = expression;
      if (test.kind === 'exists') return { ...expression, test: { ...test, expected: !test.expected } };
      return { op: 'not', child: expression };
    }
    case 'before': {
      const child = { ...expression, child: normalise(expression.child) };
      return negated ? { op: 'not', child } : child;
    }
  }
  const op = (expression.op === 'or') !== negated ? 'or' : 'and';
  const absorbing = op === 'or';
  const children = new Map<string, Expression>();
  for (const each of expression.children) {
    const plain = normalise(each, negated);
    if (expression.children.length === 1) return plain;
    for (const child of plain.op === op ? plain.children : [plain]) {
      if (child.op === 'constant') {
        if (child.value === absorbing) return child;
        continue;
      }
      children.set(spell(child), child);
    }
  }
  const sorted = [...children.keys()].sort().map((key) => children.get(key) as Expression);
  if (sorted.length === 0) return { op: 'constant', value: !absorbing };
  return sorted.length === 1 ? (sorted[0] as Expression) : { op, children: sorted };
}

const sizes = new WeakMap<Expression, number>();

/** How many tests an expression unfolds into. Parts that stand in it many times are counted each time, but visited once. */
export function sizeOf(expression: Expression): number {
  let size = sizes.get(expression);
  if (size === undefined) {
    if (expression.op === 'and' || expression.op === 'or') {
      size = 0;
      for (const child of expression.children) size += sizeOf(child);
    } else size = expression.op === 'not' || expression.op === 'before' ? sizeOf(expression.child) : 1;
    sizes.set(expression, size);
  }
  return size;
}

const spelled = new WeakMap<Expression, string>();

/** One text for one normalised expression. */
export function spell(expression: Expression): string {
  if (expression.op !== 'and' && expression.op !== 'or') return spellOne(expression);
  let text = spelled.get(expression);
  if (text === undefined) {
    text = spellOne(expression);
    spelled.set(expression, text);
  }
  return text;
}

function spellOne(expression: Expression): string {
  switch (expression.op) {
    case 'and':
    case 'or':
      return `["${expression.op}",${expression.children.map(spell).join()}]`;
    case 'not':
      return `["not",${spell(expression.child)}]`;
    case 'test':
      return `[${JSON.stringify(expression.field.name)},${spellTest(expression.test)}]`;
    case 'constant':
      return String(expression.value);
    case 'before':
      return `["before",${expression.endMicros},${spell(expression.child)}]`;
    case 'calendar':
      return `["calendar",${JSON.stringify(expression.calendar)},"${expression.is}"]`;
  }
}

export function spellTest(test: Test): string {
  switch (test.kind) {
    case 'equals':
    case 'contains':
    case 'startswith':
    case 'endswith':
      return `["${test.kind}",${JSON.stringify(test.text)},${test.cased}]`;
    case 'field':
      return `["${test.kind}","${test.how}",${JSON.stringify(test.other.name)},${test.cased}]`;
    default:
      return JSON.stringify(test);
  }
}
