/**
 * All tests of one field, answered together for one value: equality by hash, substrings by one automaton, comparisons by
 * order, regular expressions only where a literal of theirs was found.
 */

import type { FieldKind } from '../../schemas/field.js';
import { Automaton } from './automaton.js';
import type { Test } from './expression.js';
import { requiredLiterals } from './literal.js';
import { compilePattern, networkTest } from './modifiers.js';

/** A field's value in an event, and the tests that it meets. */
export interface Value {
  readonly text: string;
  readonly tests: readonly number[];
}

type Check = (text: string, folded: string) => boolean;

/** A literal in the automaton: what it means where it was found. */
interface Literal {
  readonly test: number;
  readonly length: number;
  readonly place: 'contains' | 'startswith' | 'endswith' | undefined;
  /** Asked when the literal was found; undefined where finding it is the answer. */
  readonly check: Check | undefined;
}

/** Longest value whose answers are remembered, and how many are: names and addresses, not bodies. 4 MB a field at most. */
const longestRemembered = 256;
const mostRemembered = 8_192;

export class FieldTests {
  private readonly equals = new Map<string, number[]>();
  private readonly equalsCased = new Map<string, number[]>();
  private readonly literals: Literal[] = [];
  private readonly automaton: Automaton | undefined;
  private readonly present: number[] = [];
  private readonly missing: number[] = [];
  private readonly numbers: { test: number; holds: (number: number) => boolean }[] = [];
  private readonly checks: { test: number; check: Check }[] = [];
  private remembered = new Map<string, Value>();
  private readonly met = new Set<number>();

  /** @param tests By the number that they have among all tests of the rules. */
  constructor(
    private readonly kind: FieldKind,
    tests: ReadonlyMap<number, Test>,
  ) {
    const texts: string[] = [];
    const literal = (text: string, rest: Literal): void => {
      texts.push(text);
      this.literals.push(rest);
    };
    for (const [test, each] of tests) this.add(test, each, literal);
    this.automaton = texts.length === 0 ? undefined : new Automaton(texts);
  }

  private add(test: number, each: Test, literal: (text: string, rest: Literal) => void): void {
    switch (each.kind) {
      case 'equals': {
        const map = each.cased ? this.equalsCased : this.equals;
        map.set(each.text, [...(map.get(each.text) ?? []), test]);
        return;
      }
      case 'contains':
      case 'startswith':
      case 'endswith': {
        if (each.text === '') this.checks.push({ test, check: () => true });
        else {
          const check = each.cased ? substringCheck(each.kind, each.text) : undefined;
          const lower = each.text.toLowerCase();
          literal(lower, { test, length: lower.length, place: each.kind, check });
        }
        return;
      }
      case 'wildcard': {
        const check = wildcardCheck(each.parts, each.cased);
        const longest = longestOf(each.parts.flatMap((part) => part.split('\uffff')));
        if (longest === '') this.checks.push({ test, check });
        else literal(longest.toLowerCase(), { test, length: longest.length, place: undefined, check });
        return;
      }
      case 'regex': {
        const compiled = compilePattern(each.pattern, each.flags);
        const check: Check = (text) => compiled.matcher(text).find();
        const literals = requiredLiterals(each.pattern, each.flags);
        if (literals === undefined) this.checks.push({ test, check });
        else for (const text of literals) literal(text, { test, length: text.length, place: undefined, check });
        return;
      }
      case 'cidr': {
        const inside = networkTest(each.network);
        this.checks.push({ test, check: inside });
        return;
      }
      case 'exists':
        (each.expected ? this.present : this.missing).push(test);
        return;
      case 'number': {
        const { comparison, value } = each;
        this.numbers.push({ test, holds: comparisonOf(comparison, value) });
        return;
      }
      case 'field':
        throw new Error('a test of two fields is none of one');
    }
  }

  /** The tests that a text meets; '' is what an event does not have. */
  valueOf(text: string): Value {
    let value = this.remembered.get(text);
    if (value === undefined) {
      value = { text, tests: this.answer(text) };
      if (text.length <= longestRemembered) {
        // All at once: which of them come back says the stream, soon enough.
        if (this.remembered.size >= mostRemembered) this.remembered = new Map();
        this.remembered.set(text, value);
      }
    }
    return value;
  }

  private isPresent(text: string): boolean {
    if (this.kind === 'counter' || this.kind === 'size' || this.kind === 'integer') return text !== '' && text !== '0';
    return text !== '';
  }

  private answer(text: string): readonly number[] {
    const { met } = this;
    met.clear();
    const folded = text.toLowerCase();
    for (const test of this.equals.get(folded) ?? []) met.add(test);
    for (const test of this.equalsCased.get(text) ?? []) met.add(test);
    for (const test of this.isPresent(text) ? this.present : this.missing) met.add(test);
    if (this.numbers.length > 0 && text !== '') {
      const number = Number(text);
      for (const { test, holds } of this.numbers) if (holds(number)) met.add(test);
    }
    for (const { test, check } of this.checks) if (check(text, folded)) met.add(test);
    if (this.automaton !== undefined) {
      const refused = new Set<number>();
      this.automaton.scan(folded, (index, end) => {
        const { test, length, place, check } = this.literals[index] as Literal;
        if (met.has(test) || refused.has(test)) return;
        if (place === 'startswith' && end !== length) return;
        if (place === 'endswith' && end !== folded.length) return;
        if (check === undefined || check(text, folded)) met.add(test);
        else refused.add(test);
      });
    }
    return met.size === 0 ? none : [...met];
  }
}

const none: readonly number[] = [];

function longestOf(texts: readonly string[]): string {
  return texts.reduce((longest, text) => (text.length > longest.length ? text : longest), '');
}

function substringCheck(place: 'contains' | 'startswith' | 'endswith', text: string): Check {
  if (place === 'contains') return (value) => value.includes(text);
  return place === 'startswith' ? (value) => value.startsWith(text) : (value) => value.endsWith(text);
}

export function comparisonOf(comparison: string, value: number): (number: number) => boolean {
  switch (comparison) {
    case 'gt':
      return (number) => number > value;
    case 'gte':
      return (number) => number >= value;
    case 'lt':
      return (number) => number < value;
    case 'lte':
      return (number) => number <= value;
    case 'eq':
      return (number) => number === value;
    default:
      return (number) => number !== value && !Number.isNaN(number);
  }
}

/**
 * Literals in order with anything between; greedy from the left, each part where it first fits, the last one at the end.
 * U+FFFF in a part stands for one character. Linear in the text for parts without it, in text times part with it.
 */
function wildcardCheck(parts: readonly string[], cased: boolean): Check {
  const first = parts[0] as string;
  const last = parts[parts.length - 1] as string;
  return (original, folded) => {
    const text = cased ? original : folded;
    if (parts.length === 1) return text.length === first.length && fits(first, text, 0);
    let at = first.length;
    if (!fits(first, text, 0)) return false;
    for (const part of parts.slice(1, -1)) {
      at = find(part, text, at);
      if (at < 0) return false;
      at += part.length;
    }
    return text.length - last.length >= at && fits(last, text, text.length - last.length);
  };
}

function fits(part: string, text: string, at: number): boolean {
  if (at + part.length > text.length) return false;
  for (let index = 0; index < part.length; index++) {
    const code = part.charCodeAt(index);
    if (code !== 0xffff && code !== text.charCodeAt(at + index)) return false;
  }
  return true;
}

function find(part: string, text: string, from: number): number {
  if (!part.includes('\uffff')) return text.indexOf(part, from);
  for (let at = from; at + part.length <= text.length; at++) if (fits(part, text, at)) return at;
  return -1;
}
