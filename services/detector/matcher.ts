/**
 * Many selections over one event. Each selection waits at tests of which one must hold if it holds at all (its guards);
 * only when such a test is met the rest of it is looked at. Equal selections of several rules are one.
 */
import { Calendar, type CalendarDefinition } from '../../schemas/calendar.js';

import { Conditions } from './conditions.js';
import type { EventReader } from './event-reader.js';
import type { Expression, Test } from './expression.js';
import { spell, spellTest } from './expression.js';
import { comparisonOf, FieldValues } from './field-values.js';
import type { FieldReference } from './fields.js';

/** One selection of one rule. */
export interface Wanted {
  readonly rule: number;
  readonly role: number;
  readonly expression: Expression;
}

interface User {
  readonly rule: number;
  readonly bit: number;
}

interface Guarded {
  /** Tests of which one must hold; undefined when nothing can be said, so that it is looked at for every event. */
  readonly guards: ReadonlySet<number> | undefined;
  readonly cost: number;
}

/** How often a test of each kind is met, roughly, for choosing guards. */
const commonness: Readonly<Record<Test['kind'], number>> = {
  equals: 1,
  startswith: 2,
  endswith: 2,
  cidr: 2,
  contains: 3,
  wildcard: 3,
  regex: 4,
  number: 20,
  exists: 50,
  field: Number.POSITIVE_INFINITY,
};

/** Numbers the fields that are looked at. */
export class Slots {
  readonly fields: FieldReference[] = [];
  private readonly numbers = new Map<string, number>();

  of(field: FieldReference): number {
    let slot = this.numbers.get(field.name);
    if (slot === undefined) {
      slot = this.fields.length;
      this.numbers.set(field.name, slot);
      this.fields.push(field);
    }
    return slot;
  }
}

export interface KnownTest {
  readonly number: number;
  readonly slot: number;
  readonly test: Test;
  /** Selections that use it. */
  uses: number;
}

export class Matcher {
  /** Rules with a selection that holds, in the order of rules: the first `count`; and for each rule the bits of these selections. */
  readonly matched: Int32Array;
  count = 0;
  readonly roles: Int32Array;

  reader!: EventReader;
  /** Counts events; a mark equal to it was made for this event. */
  event = 0;
  private timeMicros = 0;
  private readonly tests = new Map<string, KnownTest>();
  /** By slot: the values of the field with the tests that they meet. */
  fieldValues!: readonly FieldValues[];
  private guardSlots!: number[];
  metAt!: Uint32Array;
  answeredAt!: Uint32Array;
  private visitedAt!: Uint32Array;
  /** Selections that wait at a test: in `waiting` from its place in `firstWaiting` to that of the next test. */
  private firstWaiting!: Int32Array;
  private waiting!: Int32Array;
  private readonly unguarded: number[] = [];
  private readonly users: (readonly User[])[] = [];
  private readonly conditions = new Conditions(this);
  private readonly calendars = new Map<string, { calendar: Calendar }>();
  private candidates!: Int32Array;

  private constructor(
    rules: number,
    private readonly slots: Slots,
    definitions: ReadonlyMap<string, CalendarDefinition>,
  ) {
    this.roles = new Int32Array(rules);
    this.matched = new Int32Array(rules);
    for (const [name, definition] of definitions) this.calendars.set(name, { calendar: new Calendar(definition) });
  }

  /** Made in steps: of ten thousand rules it takes a quarter of a second. */
  static *making(
    wanted: readonly Wanted[],
    rules: number,
    slots: Slots,
    definitions: ReadonlyMap<string, CalendarDefinition>,
  ): Generator<void, Matcher> {
    const matcher = new Matcher(rules, slots, definitions);
    yield* matcher.prepare(wanted);
    return matcher;
  }

  private *prepare(wanted: readonly Wanted[]): Generator<void> {
    const { slots } = this;
    const byMeaning = new Map<string, { expression: Expression; users: { rule: number; bit: number }[] }>();
    for (const { rule, role, expression } of wanted) {
      const key = spell(expression);
      const same = byMeaning.get(key) ?? { expression, users: [] };
      same.users.push({ rule, bit: 1 << role });
      byMeaning.set(key, same);
      yield;
    }
    const distinct = [...byMeaning.values()];
    for (const { expression, users } of distinct) {
      this.users.push(users);
      this.conditions.add(expression);
      yield;
    }
    this.metAt = new Uint32Array(this.tests.size);
    this.visitedAt = new Uint32Array(distinct.length);
    this.candidates = new Int32Array(distinct.length);

    const byNumber = [...this.tests.values()];
    const waiting: number[][] = byNumber.map(() => []);
    const guardSlots = new Set<number>();
    for (const [index, { expression }] of distinct.entries()) {
      const { guards } = this.guardsOf(expression);
      this.conditions.place(index, guards);
      if (guards === undefined) this.unguarded.push(index);
      for (const guard of guards ?? []) {
        (waiting[guard] as number[]).push(index);
        guardSlots.add((byNumber[guard] as KnownTest).slot);
      }
      yield;
    }
    this.conditions.seal();
    this.waiting = Int32Array.from(waiting.flat());
    this.firstWaiting = new Int32Array(waiting.length + 1);
    for (const [test, { length }] of waiting.entries())
      this.firstWaiting[test + 1] = (this.firstWaiting[test] as number) + length;
    this.guardSlots = [...guardSlots].sort((left, right) => left - right);
    const bySlot = new Map<number, Map<number, Test>>();
    for (const { number, slot, test } of byNumber) {
      if (test.kind === 'number' && (waiting[number] as number[]).length === 0) continue;
      const tests = bySlot.get(slot) ?? new Map<number, Test>();
      tests.set(number, test);
      bySlot.set(slot, tests);
    }
    const fieldValues: FieldValues[] = [];
    for (const [slot, { kind }] of slots.fields.entries())
      fieldValues.push(yield* FieldValues.making(kind, bySlot.get(slot) ?? new Map()));
    this.fieldValues = fieldValues;
    this.answeredAt = new Uint32Array(slots.fields.length);
  }

  /** Fills `matched` and `roles` for the event that the reader holds. */
  match(reader: EventReader): void {
    const { matched, candidates, visitedAt, waiting, firstWaiting, unguarded } = this;
    for (let index = 0; index < this.count; index++) this.roles[matched[index] as number] = 0;
    this.count = 0;
    this.reader = reader;
    this.timeMicros = reader.timeMicros;
    // Marks of an event 2^32 events ago must not be taken for this one's.
    if (++this.event === 0xffffffff) this.forgetMarks();
    const { event } = this;
    let found = 0;
    for (const slot of this.guardSlots) {
      for (const test of this.answer(slot)) {
        const until = firstWaiting[test + 1] as number;
        for (let at = firstWaiting[test] as number; at < until; at++) {
          const selection = waiting[at] as number;
          if (visitedAt[selection] === event) continue;
          visitedAt[selection] = event;
          candidates[found++] = selection;
        }
      }
    }
    // Only now, when the tests that are guards of others are all marked.
    for (let index = 0; index < found; index++) this.visit(candidates[index] as number);
    for (let index = 0; index < unguarded.length; index++) this.visit(unguarded[index] as number);
    if (this.count > 1) sortFew(matched, this.count);
  }

  private forgetMarks(): void {
    this.event = 1;
    this.metAt.fill(0);
    this.visitedAt.fill(0);
    this.answeredAt.fill(0);
  }

  private visit(index: number): void {
    if (!this.conditions.hold(index)) return;
    const users = this.users[index] as readonly User[];
    for (let at = 0; at < users.length; at++) {
      const { rule, bit } = users[at] as User;
      if (this.roles[rule] === 0) this.matched[this.count++] = rule;
      (this.roles[rule] as number) |= bit;
    }
  }

  /** Marks the tests that the field's value meets, and returns them. */
  answer(slot: number): readonly number[] {
    const { metAt, event } = this;
    const { tests } = this.reader.value(slot);
    this.answeredAt[slot] = event;
    for (const test of tests) metAt[test] = event;
    return tests;
  }

  private known(field: FieldReference, test: Test): KnownTest {
    const slot = this.slots.of(field);
    const key = `${slot}/${spellTest(test)}`;
    let known = this.tests.get(key);
    if (known === undefined) {
      known = { number: this.tests.size, slot, test, uses: 0 };
      this.tests.set(key, known);
    }
    return known;
  }

  /** The test, of which one selection more makes use. */
  used(field: FieldReference, test: Test): KnownTest {
    const known = this.known(field, test);
    known.uses++;
    return known;
  }

  compile(expression: Expression): () => boolean {
    switch (expression.op) {
      case 'constant':
        return expression.value ? () => true : () => false;
      case 'not': {
        const child = this.compile(expression.child);
        return () => !child();
      }
      case 'and': {
        const children = expression.children.map((each) => this.compile(each));
        return () => {
          for (const child of children) if (!child()) return false;
          return true;
        };
      }
      case 'or': {
        const children = expression.children.map((each) => this.compile(each));
        return () => {
          for (const child of children) if (child()) return true;
          return false;
        };
      }
      case 'before': {
        const child = this.compile(expression.child);
        return () => this.timeMicros < expression.endMicros && child();
      }
      case 'calendar': {
        const found = this.calendars.get(expression.calendar);
        if (found === undefined) throw new Error(`there is no calendar "${expression.calendar}"`);
        const { calendar } = found;
        if (expression.is === 'holiday') return () => calendar.isHoliday(this.timeMicros);
        const open = expression.is === 'open';
        return () => calendar.isOpen(this.timeMicros) === open;
      }
      case 'test':
        return expression.test.kind === 'field'
          ? this.compileFieldTest(expression.field, expression.test)
          : this.compileTest(expression.field, expression.test);
    }
  }

  private compileTest(field: FieldReference, test: Test): () => boolean {
    const { number, slot } = this.used(field, test);
    // Of many thresholds one is asked: nothing is gained by answering all of them together.
    if (test.kind === 'number') {
      const holds = comparisonOf(test.comparison, test.value);
      return () => holds(this.reader.number(slot));
    }
    return () => {
      if (this.answeredAt[slot] !== this.event) this.answer(slot);
      return this.metAt[number] === this.event;
    };
  }

  private compileFieldTest(field: FieldReference, test: Extract<Test, { kind: 'field' }>): () => boolean {
    const slots = [this.slots.of(field), this.slots.of(test.other)] as const;
    return () => {
      const [left, right] = slots.map((slot) => {
        const text = this.reader.text(slot);
        return test.cased ? text : text.toLowerCase();
      }) as [string, string];
      // A field that the event does not have is equal to nothing and contains nothing.
      if (left === '' || right === '') return false;
      if (test.how === 'equals') return left === right;
      if (test.how === 'contains') return left.includes(right);
      return test.how === 'startswith' ? left.startsWith(right) : left.endsWith(right);
    };
  }

  private guardsOf(expression: Expression): Guarded {
    const nothing: Guarded = { guards: undefined, cost: Number.POSITIVE_INFINITY };
    switch (expression.op) {
      case 'constant':
        return expression.value ? nothing : { guards: new Set(), cost: 0 };
      case 'test': {
        if (expression.test.kind === 'field') return nothing;
        const { number, uses } = this.known(expression.field, expression.test);
        // A test that stands in many selections is one that many events meet, `method: tools/call` for example.
        return { guards: new Set([number]), cost: commonness[expression.test.kind] * (1 + Math.log2(uses)) };
      }
      case 'and':
        return expression.children
          .map((each) => this.guardsOf(each))
          .reduce((best, each) => (each.cost < best.cost ? each : best), nothing);
      case 'or': {
        const all = expression.children.map((each) => this.guardsOf(each));
        if (all.some(({ guards }) => guards === undefined)) return nothing;
        return {
          guards: new Set(all.flatMap(({ guards }) => [...(guards as ReadonlySet<number>)])),
          cost: all.reduce((sum, { cost }) => sum + cost, 0),
        };
      }
      case 'before':
        return this.guardsOf(expression.child);
      case 'not':
      case 'calendar':
        return nothing;
    }
  }
}

/** The first `count`, in place; a handful of numbers, nearly in order already, as a rule. */
function sortFew(numbers: Int32Array, count: number): void {
  for (let at = 1; at < count; at++) {
    const number = numbers[at] as number;
    let to = at;
    while (to > 0 && (numbers[to - 1] as number) > number) {
      numbers[to] = numbers[to - 1] as number;
      to--;
    }
    numbers[to] = number;
  }
}
