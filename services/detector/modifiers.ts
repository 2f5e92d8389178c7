/** Sigma's modifiers: how `field|modifier: value` becomes tests. What is not known is refused by name. */
import { BlockList, isIP, isIPv4 } from 'node:net';
import { RE2JS } from 're2js';
import { nearestName } from '../../schemas/nearest.js';
import { type Comparison, type Expression, sizeOf, type Test } from './expression.js';
import type { FieldReference } from './fields.js';

/** What there is after `|`. */
export const modifierMeanings = {
  contains: 'The text is somewhere in the field.',
  startswith: 'The field begins with the text.',
  endswith: 'The field ends with the text.',
  all: 'Of a list every value must hold; without it one is enough.',
  re: 'A regular expression (RE2: linear time, no look-around, no back references), found anywhere in the field, with case.',
  i: 'After re: without case.',
  m: 'After re: ^ and $ at every line.',
  s: 'After re: the dot matches line ends too.',
  cidr: 'The address is in the network, 10.0.0.0/8 or fd00::/8.',
  exists: 'true: the field is there and not empty; false: it is not.',
  gt: 'The number is greater.',
  gte: 'The number is greater or equal.',
  lt: 'The number is less.',
  lte: 'The number is less or equal.',
  eq: 'The number is equal: 1 and 1.0 are.',
  neq: 'The number is not equal; of a text, the field is another.',
  base64: 'The value, in base64.',
  base64offset: 'The value anywhere inside longer base64, at each of its three offsets; with contains.',
  wide: 'Before base64: the value as UTF-16, little endian.',
  utf16: 'Before base64: the value as UTF-16 with its byte order mark.',
  utf16le: 'As wide.',
  utf16be: 'Before base64: the value as UTF-16, big endian.',
  windash: 'A dash before a word stands for -, /, –, — and ―.',
  fieldref: 'The value is the name of another field, whose content is compared.',
  cased: 'Upper and lower case differ.',
  expand: '%name% in the value stands for each value of the list of that name.',
  in: 'Nothing but a word: a list is one of its values anyway.',
} as const;
const known = Object.keys(modifierMeanings) as Modifier[];
type Modifier = keyof typeof modifierMeanings;

const comparisons: readonly string[] = ['gt', 'gte', 'lt', 'lte', 'eq', 'neq'];
const places: readonly string[] = ['contains', 'startswith', 'endswith'];
const wides: readonly string[] = ['wide', 'utf16', 'utf16le', 'utf16be'];
const encodings: readonly string[] = ['base64', 'base64offset', ...wides];
/** What is no test of text. */
const alone: readonly string[] = ['re', 'cidr', 'exists', ...comparisons];
const exclusive: readonly (readonly string[])[] = [places, wides, ['base64', 'base64offset'], [...alone, 'fieldref']];
/** Spellings of one value: `windash` with four dashes. */
const mostSpellings = 625;
/** Tests of one field condition. */
const mostFieldTests = 100_000;
/** RE2 takes longer ones; nobody reads them. */
const longestPattern = 1_000;
const longestValue = 4_096;

export class ModifierError extends Error {}

export type Scalar = string | number | boolean | null;

/** The long names that Sigma has as well. */
const longNames: Readonly<Record<string, Modifier>> = { ignorecase: 'i', multiline: 'm', dotall: 's' };

/** Checks the names after `|`. Throws ModifierError. */
export function checkModifiers(names: readonly string[]): readonly Modifier[] {
  const written = names.map((name) => (Object.hasOwn(longNames, name) ? (longNames[name] as Modifier) : name));
  for (const name of written) {
    if ((known as string[]).includes(name)) continue;
    const near = nearestName(name, known);
    throw new ModifierError(
      `the modifier "${name}" is not supported.${near === undefined ? ` There are: ${known.join(', ')}.` : ` Did you mean "${near}"?`}`,
    );
  }
  const modifiers = written as readonly Modifier[];
  for (const group of exclusive) {
    const chosen = modifiers.filter((each) => group.includes(each));
    if (chosen.length > 1) throw new ModifierError(`"${chosen.join('|')}": only one of these can hold at a time`);
  }
  if (modifiers.some((each) => each === 'i' || each === 'm' || each === 's') && !modifiers.includes('re')) {
    throw new ModifierError('"i", "m" and "s" belong after "re"');
  }
  const typed = modifiers.find((each) => alone.includes(each));
  const text = modifiers.find((each) => places.includes(each) || encodings.includes(each) || each === 'windash');
  if (typed !== undefined && text !== undefined)
    throw new ModifierError(`"${text}" changes text and cannot be combined with "${typed}"`);
  const wide = modifiers.find((each) => wides.includes(each));
  if (wide !== undefined && !modifiers.includes('base64') && !modifiers.includes('base64offset'))
    throw new ModifierError(`"${wide}" belongs before "base64" or "base64offset": events hold text, not bytes`);
  return modifiers;
}

/** The expression of one field condition. `values` of a list are alternatives, or all required with `all`. */
export function fieldCondition(
  field: FieldReference,
  modifiers: readonly Modifier[],
  values: readonly Scalar[],
  resolveReference: (name: string) => FieldReference,
): Expression {
  if (values.length === 0) throw new ModifierError('the list of values is empty, so nothing could match');
  const children: Expression[] = [];
  let tests = 0;
  for (const value of values) {
    const child = oneValue(field, modifiers, value, resolveReference);
    tests += sizeOf(child);
    if (tests > mostFieldTests) throw new ModifierError(`the values unfold into more than ${mostFieldTests} tests`);
    children.push(child);
  }
  if (children.length === 1) return children[0] as Expression;
  return { op: modifiers.includes('all') ? 'and' : 'or', children };
}

function oneValue(
  field: FieldReference,
  modifiers: readonly Modifier[],
  value: Scalar,
  resolveReference: (name: string) => FieldReference,
): Expression {
  const test = (test: Test): Expression => ({ op: 'test', field, test });
  const has = (name: Modifier): boolean => modifiers.includes(name);
  const place = modifiers.find((each) => places.includes(each)) as 'contains' | 'startswith' | 'endswith' | undefined;
  const cased = has('cased');
  const text = value === null ? '' : String(value);
  if (text.length > longestValue) throw new ModifierError(`a value is longer than ${longestValue} characters`);

  if (has('exists')) {
    if (typeof value !== 'boolean') throw new ModifierError('"exists" takes true or false');
    return test({ kind: 'exists', expected: value });
  }
  const comparison = modifiers.find((each) => comparisons.includes(each)) as Comparison | undefined;
  if (comparison !== undefined) {
    if (comparison === 'neq' && typeof value !== 'number')
      return { op: 'not', child: test(textTest(text, undefined, cased)) };
    if (typeof value !== 'number')
      throw new ModifierError(`"${comparison}" takes a number, not ${JSON.stringify(value)}`);
    return test({ kind: 'number', comparison, value });
  }
  if (has('cidr')) return test({ kind: 'cidr', network: checkNetwork(text) });
  if (has('re')) {
    const flags = ['i', 'm', 's'].filter((flag) => has(flag as Modifier)).join('');
    compilePattern(text, flags);
    return test({ kind: 'regex', pattern: text, flags });
  }
  if (has('fieldref')) {
    return test({ kind: 'field', other: resolveReference(text), how: place ?? 'equals', cased });
  }
  if (value === null) return test({ kind: 'exists', expected: false });

  if (!modifiers.some((each) => encodings.includes(each))) {
    const spellings = has('windash') ? dashes(text) : [text];
    const tests = spellings.map((each) => test(textTest(each, place, cased)));
    return tests.length === 1 ? (tests[0] as Expression) : { op: 'or', children: tests };
  }
  const children = encode(text, modifiers).map((each) =>
    // The case of base64 carries meaning.
    test({ kind: place ?? 'equals', text: each, cased: true }),
  );
  return children.length === 1 ? (children[0] as Expression) : { op: 'or', children };
}

/** Base64 of the text, by way of UTF-16 when asked. */
function encode(written: string, modifiers: readonly Modifier[]): string[] {
  const has = (name: Modifier): boolean => modifiers.includes(name);
  const spellings = has('windash') ? dashes(written) : [written];
  return spellings.flatMap((spelling) => {
    const parts = split(spelling);
    const text = parts[0] as string;
    if (parts.length > 1 || text.includes(anyOne))
      throw new ModifierError('base64 of a text with wildcards is not defined; write \\* and \\? for the characters');
    let bytes = Buffer.from(text, 'utf8');
    if (has('wide') || has('utf16le')) bytes = Buffer.from(text, 'utf16le');
    if (has('utf16be')) bytes = Buffer.from(text, 'utf16le').swap16();
    if (has('utf16')) bytes = Buffer.concat([Buffer.from([0xff, 0xfe]), Buffer.from(text, 'utf16le')]);
    return has('base64') ? [bytes.toString('base64')] : base64Offsets(bytes);
  });
}

/** U+FFFF is no character of any text: it stands for "one of any". */
const anyOne = '\uffff';

/** What stands between the `*` of a text; a backslash takes `*`, `?` and itself literally. */
function split(text: string): string[] {
  const parts: string[] = [''];
  for (let at = 0; at < text.length; at++) {
    const character = text[at] as string;
    const next = text[at + 1];
    const last = parts.length - 1;
    if (character === '\\' && (next === '*' || next === '?' || next === '\\')) {
      parts[last] += next;
      at++;
    } else if (character === '*') parts.push('');
    else parts[last] += character === '?' ? anyOne : character;
  }
  return parts;
}

/** Text with Sigma's wildcards: `*` any characters, `?` one; a backslash takes them literally. */
function textTest(text: string, place: 'contains' | 'startswith' | 'endswith' | undefined, cased: boolean): Test {
  const parts = split(text);
  const single = parts.some((part) => part.includes(anyOne));
  const fold = (part: string): string => (cased ? part : part.toLowerCase());
  if (place === 'contains' || place === 'endswith') parts.unshift('');
  if (place === 'contains' || place === 'startswith') parts.push('');
  const inner = parts.filter((part, index) => index === 0 || index === parts.length - 1 || part !== '').map(fold);
  const first = inner[0] as string;
  const last = inner[inner.length - 1] as string;
  if (inner.length === 1 && !single) return { kind: 'equals', text: first, cased };
  if (!single && inner.length === 2 && last === '' && first !== '') return { kind: 'startswith', text: first, cased };
  if (!single && inner.length === 2 && first === '' && last !== '') return { kind: 'endswith', text: last, cased };
  if (inner.length === 2 && first === '' && last === '') return { kind: 'exists', expected: true };
  if (!single && inner.length === 3 && first === '' && last === '')
    return { kind: 'contains', text: inner[1] as string, cased };
  return { kind: 'wildcard', parts: inner, cased };
}

/** Sigma's windash: every dash before a word as each of the characters that Windows programs take for one. */
function dashes(text: string): string[] {
  const parts = text.split(/(?<!\w)[-/](?=\w)/);
  let spellings = [parts[0] as string];
  for (const part of parts.slice(1)) {
    if (spellings.length * 5 > mostSpellings) throw new ModifierError('"windash" takes at most four dashes a value');
    spellings = spellings.flatMap((each) =>
      ['-', '/', '\u2013', '\u2014', '\u2015'].map((dash) => `${each}${dash}${part}`),
    );
  }
  return spellings;
}

/** What the text looks like inside longer base64, at each of the three offsets, without the characters that depend on neighbours. */
function base64Offsets(bytes: Buffer): string[] {
  const starts = [0, 2, 3];
  const ends = [undefined, -3, -2] as const;
  return [0, 1, 2].map((offset) => {
    const text = Buffer.concat([Buffer.alloc(offset, 32), bytes]).toString('base64');
    return text.slice(starts[offset], ends[(bytes.length + offset) % 3]);
  });
}

const patterns = new Map<string, ReturnType<typeof RE2JS.compile>>();

/** A compiled pattern in linear time (RE2), shared. Throws ModifierError for what RE2 does not take. */
export function compilePattern(pattern: string, flags: string): ReturnType<typeof RE2JS.compile> {
  const key = `${flags}/${pattern}`;
  let compiled = patterns.get(key);
  if (compiled === undefined) {
    if (pattern.length > longestPattern)
      throw new ModifierError(`the pattern is longer than ${longestPattern} characters`);
    try {
      let bits = 0;
      if (flags.includes('i')) bits |= RE2JS.CASE_INSENSITIVE;
      if (flags.includes('m')) bits |= RE2JS.MULTILINE;
      if (flags.includes('s')) bits |= RE2JS.DOTALL;
      compiled = RE2JS.compile(pattern, bits);
    } catch (error) {
      throw new ModifierError(
        `the pattern ${JSON.stringify(pattern)} is not one of RE2 (linear time; no look-around, no back references): ${(error as Error).message}`,
      );
    }
    // Bounds what a reload every minute with new patterns can hold on to.
    if (patterns.size >= 10_000) patterns.clear();
    patterns.set(key, compiled);
  }
  return compiled;
}

function checkNetwork(text: string): string {
  const [address = '', bits = ''] = text.split('/');
  const family = isIP(address);
  if (family === 0 || !/^\d{1,3}$/.test(bits) || Number(bits) > (family === 4 ? 32 : 128)) {
    throw new ModifierError(`"cidr" takes a network such as 10.0.0.0/8 or fd00::/8, not ${JSON.stringify(text)}`);
  }
  return text;
}

/** A test of addresses against a network. */
export function networkTest(network: string): (address: string) => boolean {
  const [address = '', bits = ''] = network.split('/');
  const list = new BlockList();
  list.addSubnet(address, Number(bits), isIPv4(address) ? 'ipv4' : 'ipv6');
  return (text) => {
    const family = isIP(text);
    return family !== 0 && list.check(text, family === 4 ? 'ipv4' : 'ipv6');
  };
}
