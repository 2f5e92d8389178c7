/**
 * All tests of one field, answered together for one value: equality by hash, substrings by one automaton, regular
 * expressions only where a literal of theirs was found. Values that come again keep their answers.
 */
import type { FieldKind } from '../../schemas/field.js';
import { Automaton } from './automaton.js';
import type { Test } from './expression.js';
import type { Group, Grouped } from './group-index.js';
import { requiredLiterals } from './literal.js';
import { compilePattern, networkTest } from './modifiers.js';

/** A field's value in an event, and the tests that it meets. */
export interface Value {
  /** Undefined for a long one of which no test needed the text. */
  readonly text: string | undefined;
  readonly tests: readonly number[];
}

/** A value that is remembered, with the group that it was last the key of. */
export class KnownValue implements Value, Grouped {
  // In the order in which they are looked at: what comes first shares a line of the cache.
  readonly hash: number;
  /** Of the text, which lies elsewhere in memory. */
  private readonly length: number;
  group: Group | undefined = undefined;
  readonly tests: readonly number[];
  readonly text: string;
  /** Where its bytes are kept: texts of one hash are told apart by them, for somebody may look for such. */
  place: number;

  constructor(text: string, tests: readonly number[], hash: number, place: number) {
    this.hash = hash;
    this.length = text.length;
    this.tests = tests;
    this.text = text;
    this.place = place;
  }

  mayBe(hash: number, length: number): boolean {
    return this.hash === hash && this.length === length;
  }
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

/** Longest value whose answers are remembered, in bytes: names and addresses, not bodies. */
export const longestKnown = 64;
/** Values that are remembered for each field: at about 300 bytes each, 10 MB. */
const mostKnown = 32_768;
/** Places that are looked at for a value; then the first of them is given up. */
const probes = 4;

export class FieldValues {
  /** Of an event without the field. */
  default!: Value;
  private readonly equals = new Map<string, number[]>();
  private readonly equalsCased = new Map<string, number[]>();
  private readonly literals: Literal[] = [];
  private automaton: Automaton | undefined;
  private readonly present: number[] = [];
  private readonly missing: number[] = [];
  private readonly numbers: { test: number; holds: (number: number) => boolean }[] = [];
  private readonly checks: { test: number; check: Check }[] = [];
  /** A longer value, in bytes of JSON, equals none of the texts: a character takes six bytes at most. */
  private longestEqual = 0;
  private readonly long: Value;
  private readonly met = new Set<number>();
  private readonly refused = new Set<number>();
  private known: (KnownValue | undefined)[] = new Array(64).fill(undefined);
  /** The bytes of each known value, side by side, and the same as words as the machine reads them. */
  private bytes = new Uint8Array(64 * longestKnown);
  private words = new Int32Array(this.bytes.buffer);
  private count = 0;
  /** The sum of what was read only to have it near. */
  private fetched = 0;

  private constructor(private readonly kind: FieldKind) {
    this.long = { text: undefined, tests: this.present };
  }

  /**
   * Made in steps, because there may be thousands of patterns.
   * @param tests By the number that they have among all tests of the rules.
   */
  static *making(kind: FieldKind, tests: ReadonlyMap<number, Test>): Generator<void, FieldValues> {
    const values = new FieldValues(kind);
    const texts: string[] = [];
    const literal = (text: string, rest: Literal): void => {
      texts.push(text);
      values.literals.push(rest);
    };
    for (const [test, each] of tests) {
      values.add(test, each, literal);
      yield;
    }
    if (texts.length > 0) values.automaton = yield* Automaton.making(texts);
    for (const text of [...values.equals.keys(), ...values.equalsCased.keys()])
      values.longestEqual = Math.max(values.longestEqual, text.length * 6);
    values.default = values.ofText(defaultText(kind));
    return values;
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

  /** The value of a plain text of at most `longestKnown` bytes; `hash` is that of the bytes. */
  ofBytes(bytes: Buffer, view: DataView, start: number, end: number, hash: number): Value {
    const { known } = this;
    const mask = known.length - 1;
    const length = end - start;
    let free = -1;
    for (let probe = 0; probe < probes; probe++) {
      const place = (hash + probe) & mask;
      const value = known[place];
      if (value === undefined) {
        free = place;
        break;
      }
      if (value.mayBe(hash, length) && this.isSame(place, bytes, view, start, length)) return value;
    }
    const text = bytes.toString('latin1', start, end);
    const place = free < 0 ? hash & mask : free;
    const value = new KnownValue(text, this.answer(text), hash, place);
    known[place] = value;
    bytes.copy(this.bytes, place * longestKnown, start, end);
    if (free >= 0 && ++this.count * 2 > known.length && known.length < mostKnown) this.grow();
    return value;
  }

  /** Brings what is kept of a value with this hash near; returns what is no use but must be read. */
  fetch(hash: number): KnownValue | undefined {
    const place = hash & (this.known.length - 1);
    this.fetched += this.words[place * (longestKnown / 4)] as number;
    return this.known[place];
  }

  private isSame(place: number, bytes: Buffer, view: DataView, start: number, length: number): boolean {
    const { words } = this;
    const base = place * (longestKnown / 4);
    const here = bytes.byteOffset + start;
    const whole = length >> 2;
    for (let index = 0; index < whole; index++)
      if (words[base + index] !== view.getInt32(here + index * 4, true)) return false;
    for (let index = whole * 4; index < length; index++)
      if (this.bytes[place * longestKnown + index] !== bytes[start + index]) return false;
    return true;
  }

  private grow(): void {
    const before = this.known;
    const kept = this.bytes;
    this.known = new Array(before.length * 4).fill(undefined);
    this.bytes = new Uint8Array(this.known.length * longestKnown);
    this.words = new Int32Array(this.bytes.buffer);
    const mask = this.known.length - 1;
    this.count = 0;
    for (const value of before) {
      if (value === undefined) continue;
      for (let probe = 0; probe < probes; probe++) {
        const place = (value.hash + probe) & mask;
        if (this.known[place] !== undefined) continue;
        this.known[place] = value;
        const from = value.place * longestKnown;
        this.bytes.set(kept.subarray(from, from + value.text.length), place * longestKnown);
        value.place = place;
        this.count++;
        break;
      }
    }
  }

  /** The value of a text between quotes of JSON, when its tests can be told without the text; else undefined. */
  ofLong(bytes: Buffer, start: number, end: number): Value | undefined {
    if (end - start <= this.longestEqual || end === start || this.checks.length > 0 || this.numbers.length > 0)
      return undefined;
    return this.automaton?.mayFind(bytes, start, end) === true ? undefined : this.long;
  }

  ofText(text: string): Value {
    return { text, tests: this.answer(text) };
  }

  /** A list meets what one of its items meets. */
  ofItems(items: readonly string[]): Value {
    if (items.length === 0) return this.ofText('');
    return { text: items.join(), tests: [...new Set(items.flatMap((item) => this.answer(item)))] };
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
      const { refused } = this;
      refused.clear();
      this.automaton.scan(folded, (index, start) => {
        const { test, length, place, check } = this.literals[index] as Literal;
        if (met.has(test) || refused.has(test)) return;
        if (place === 'startswith' && start !== 0) return;
        if (place === 'endswith' && start + length !== folded.length) return;
        if (check === undefined || check(text, folded)) met.add(test);
        else refused.add(test);
      });
    }
    return met.size === 0 ? none : [...met];
  }
}

/** What a field is in an event that does not have it, as the table has it. */
export function defaultText(kind: FieldKind): string {
  if (kind === 'counter' || kind === 'size' || kind === 'integer') return '0';
  return kind === 'flag' ? 'false' : '';
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
