/** Sigma's modifiers: how `field|modifier: value` becomes tests. What is not known is refused by name. */
import { BlockList, isIP, isIPv4 } from 'node:net';
import { RE2JS } from 're2js';
import { nearestName } from '../../schemas/nearest.js';
import type { Comparison, Expression, Test } from './expression.js';
import type { FieldReference } from './fields.js';

const known = [
  'contains',
  'startswith',
  'endswith',
  'all',
  're',
  'i',
  'm',
  's',
  'cidr',
  'exists',
  'gt',
  'gte',
  'lt',
  'lte',
  'eq',
  'neq',
  'base64',
  'base64offset',
  'wide',
  'utf16',
  'utf16le',
  'utf16be',
  'windash',
  'fieldref',
  'cased',
  'in',
] as const;
type Modifier = (typeof known)[number];

const comparisons: readonly string[] = ['gt', 'gte', 'lt', 'lte', 'eq', 'neq'];
const places: readonly string[] = ['contains', 'startswith', 'endswith'];
/** RE2 takes longer ones; nobody reads them. */
const longestPattern = 1_000;
const longestValue = 4_096;

export class ModifierError extends Error {}

export type Scalar = string | number | boolean | null;

/** Checks the names after `|`. Throws ModifierError. */
export function checkModifiers(written: readonly string[]): readonly Modifier[] {
  for (const name of written) {
    if ((known as readonly string[]).includes(name)) continue;
    const near = nearestName(name, known);
    throw new ModifierError(
      `the modifier "${name}" is not supported.${near === undefined ? ` There are: ${known.join(', ')}.` : ` Did you mean "${near}"?`}`,
    );
  }
  const modifiers = written as readonly Modifier[];
  const places_ = modifiers.filter((each) => places.includes(each));
  if (places_.length > 1) throw new ModifierError(`"${places_.join('|')}": only one of these can hold at a time`);
  if (modifiers.some((each) => each === 'i' || each === 'm' || each === 's') && !modifiers.includes('re')) {
    throw new ModifierError('"i", "m" and "s" belong after "re"');
  }
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
  const children = values.map((value) => oneValue(field, modifiers, value, resolveReference));
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

  let encoded: string[] = [text];
  let literal = false;
  if (has('windash')) encoded = encoded.flatMap(dashes);
  if (has('wide') || has('utf16le')) encoded = encoded.map((each) => Buffer.from(each, 'utf16le').toString('latin1'));
  if (has('utf16be')) encoded = encoded.map((each) => Buffer.from(each, 'utf16le').swap16().toString('latin1'));
  if (has('utf16')) {
    encoded = encoded.map((each) => `\u00ff\u00fe${Buffer.from(each, 'utf16le').toString('latin1')}`);
  }
  const bytes = (each: string): Buffer =>
    Buffer.from(each, has('wide') || has('utf16') || has('utf16le') || has('utf16be') ? 'latin1' : 'utf8');
  if (has('base64')) {
    encoded = encoded.map((each) => bytes(each).toString('base64'));
    literal = true;
  }
  if (has('base64offset')) {
    encoded = encoded.flatMap((each) => base64Offsets(bytes(each)));
    literal = true;
  }
  const children = encoded.map((each) =>
    // The case of base64 carries meaning.
    test(literal ? { kind: place ?? 'equals', text: each, cased: true } : textTest(each, place, cased)),
  );
  return children.length === 1 ? (children[0] as Expression) : { op: 'or', children };
}

/** Text with Sigma's wildcards: `*` any characters, `?` one; a backslash takes them literally. */
function textTest(text: string, place: 'contains' | 'startswith' | 'endswith' | undefined, cased: boolean): Test {
  const parts: string[] = [''];
  let single = false;
  for (let at = 0; at < text.length; at++) {
    const character = text[at] as string;
    const next = text[at + 1];
    const last = parts.length - 1;
    if (character === '\\' && (next === '*' || next === '?' || next === '\\')) {
      parts[last] += next;
      at++;
    } else if (character === '*') parts.push('');
    else if (character === '?') {
      // U+FFFF is no character of any text: it stands for "one of any".
      parts[last] += '\uffff';
      single = true;
    } else parts[last] += character;
  }
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

/** Sigma's windash: a dash as each of the characters that Windows programs take for one. */
function dashes(text: string): string[] {
  const match = /(^|\s)[-/\u2013\u2014\u2015](?=\S)/u.exec(text);
  if (match === null) return [text];
  return ['-', '/', '\u2013', '\u2014', '\u2015'].map((dash) =>
    text.replaceAll(/(^|\s)[-/\u2013\u2014\u2015](?=\S)/gu, `$1${dash}`),
  );
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
