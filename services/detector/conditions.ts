/**
 * What must hold for each selection besides the guard at which it waits. Most selections are a few tests that all must
 * hold: these stand side by side in one array, three whole numbers each, where closures would lie all over the memory.
 */
import type { Comparison, Expression, Test } from './expression.js';
import type { Matcher } from './matcher.js';

/** What a condition is; smaller numbers are the places of a comparison. Its other numbers are slot and operand. */
const comparisons: readonly Comparison[] = ['gt', 'gte', 'lt', 'lte', 'eq', 'neq'];
/** The operand is a test that the field's value must meet, or must not. */
const met = 6;
const unmet = 7;
/** The operand is the place of a function. */
const other = 8;

type Condition = readonly [kind: number, slot: number, operand: number];

export class Conditions {
  /** Of each selection, before they have their places. */
  private added: Condition[][] = [];
  private readonly starts: number[] = [0];
  private placed: number[] = [];
  private conditions = new Int32Array(0);
  private firsts = new Int32Array(0);
  private readonly thresholds: number[] = [];
  private readonly others: (() => boolean)[] = [];

  constructor(private readonly matcher: Matcher) {}

  /** Takes the next selection. */
  add(expression: Expression): void {
    const parts = expression.op === 'and' ? expression.children : [expression];
    // What is cheap to ask comes first.
    this.added.push(parts.map((part) => this.condition(part)).sort(([left], [right]) => rank(left) - rank(right)));
  }

  private condition(part: Expression): Condition {
    const negated = part.op === 'not';
    const inner = negated ? part.child : part;
    if (inner.op !== 'test' || inner.test.kind === 'field' || (negated && inner.test.kind === 'number'))
      return [other, 0, this.others.push(this.matcher.compile(part)) - 1];
    const { number, slot } = this.matcher.used(inner.field, inner.test);
    return inner.test.kind === 'number'
      ? [comparisons.indexOf(inner.test.comparison), slot, this.threshold(inner.test)]
      : [negated ? unmet : met, slot, number];
  }

  private threshold({ value }: Extract<Test, { kind: 'number' }>): number {
    return this.thresholds.push(value) - 1;
  }

  /** Gives the selection its place; the only guard need not be asked again. In the order in which they were added. */
  place(selection: number, guards: ReadonlySet<number> | undefined): void {
    const known = guards?.size === 1 ? [...guards][0] : undefined;
    for (const [kind, slot, operand] of this.added[selection] as Condition[])
      if (kind !== met || operand !== known) this.placed.push(kind, slot, operand);
    this.starts.push(this.placed.length);
  }

  /** After the last one. */
  seal(): void {
    this.conditions = Int32Array.from(this.placed);
    this.firsts = Int32Array.from(this.starts);
    this.placed = [];
    this.added = [];
  }

  /** Whether the selection holds for the event in hand, of which a guard of it is met. */
  hold(selection: number): boolean {
    const { matcher, conditions, firsts } = this;
    const until = firsts[selection + 1] as number;
    for (let at = firsts[selection] as number; at < until; at += 3) {
      const kind = conditions[at] as number;
      const slot = conditions[at + 1] as number;
      const operand = conditions[at + 2] as number;
      if (kind === other) {
        if (!(this.others[operand] as () => boolean)()) return false;
      } else if (kind >= met) {
        if (matcher.answeredAt[slot] !== matcher.event) matcher.answer(slot);
        if ((matcher.metAt[operand] === matcher.event) !== (kind === met)) return false;
      } else if (!compare(kind, matcher.reader.number(slot), this.thresholds[operand] as number)) return false;
    }
    return true;
  }
}

/** Tests whose answer is known, numbers, functions. */
function rank(kind: number): number {
  return kind === other ? 2 : kind >= met ? 0 : 1;
}

function compare(kind: number, number: number, threshold: number): boolean {
  switch (kind) {
    case 0:
      return number > threshold;
    case 1:
      return number >= threshold;
    case 2:
      return number < threshold;
    case 3:
      return number <= threshold;
    case 4:
      return number === threshold;
    default:
      return number !== threshold && !Number.isNaN(number);
  }
}
