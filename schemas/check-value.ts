import type { Field, FieldKind } from './field.js';
import { formatTimeMicros, parseTimeMicros } from './time.js';
import { parseUuid } from './uuid.js';

/** The check of one value, for each kind of field. `contract.ts` states the same rules in zod. */

/** Longest value in bytes of UTF-8 of each kind that has text. */
export const maxTextBytes = { name: 256, text: 2048, body: 1024 * 1024 } as const;
/** A list: 256 texts of 1 KiB. `redactions` is the only one; the emitter stops noting far earlier. */
export const maxListItems = 256;
export const maxListItemBytes = 1024;
/** A map: 128 entries, keys of 256 bytes and values of 8 KiB, at most 64 KiB in all. */
export const maxMapEntries = 128;
export const maxMapKeyBytes = 256;
export const maxMapValueBytes = 8192;
export const maxMapBytes = 65536;
/** A Decimal64(3) of milliseconds: thousandths must stay below 2^53. About 285 years. */
export const maxDurationMs = 9_000_000_000_000;

/** Why a record is refused. The code is what `dead.reason` holds and what the gateway answers for the line. */
export const recordErrorCodes = [
  'too_large',
  'invalid_utf8',
  'invalid_json',
  'not_an_object',
  'missing_field',
  'wrong_type',
  'out_of_range',
  'too_deep',
  'not_yours_to_set',
] as const;
export type RecordErrorCode = (typeof recordErrorCodes)[number];

/** A value was refused; the caller adds which field. */
export class Refusal extends Error {
  constructor(
    readonly code: RecordErrorCode,
    message: string,
  ) {
    super(message);
  }
}

/** Checks one value that is neither absent nor null, and returns what is stored. Throws a Refusal. */
export type ValueCheck = (value: unknown) => unknown;

export function describe(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'an array';
  if (typeof value === 'object') return 'an object';
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 80 ? `${text.slice(0, 79)}…` : text;
}

function wrongType(expected: string, value: unknown): Refusal {
  return new Refusal('wrong_type', `expected ${expected}, found ${describe(value)}`);
}

/** Characters bound bytes from both sides (1 to 3 each), so most texts are never measured. */
export function exceedsBytes(text: string, maxBytes: number): boolean {
  if (text.length * 3 <= maxBytes) return false;
  return text.length > maxBytes || Buffer.byteLength(text) > maxBytes;
}

function textCheck(maxBytes: number): ValueCheck {
  return (value) => {
    if (typeof value !== 'string') throw wrongType('text', value);
    if (exceedsBytes(value, maxBytes)) {
      throw new Refusal('out_of_range', `expected at most ${maxBytes} bytes, found ${Buffer.byteLength(value)}`);
    }
    return value;
  };
}

export function toJsonText(value: unknown): string {
  try {
    return JSON.stringify(value);
  } catch {
    // JSON.parse takes any depth, JSON.stringify ends with a RangeError where the stack does.
    throw new Refusal('too_deep', 'is nested too deeply to be kept as JSON text');
  }
}

function bodyCheck(maxBytes: number): ValueCheck {
  const check = textCheck(maxBytes);
  return (value) => check(typeof value === 'string' ? value : toJsonText(value));
}

function integerCheck(minimum: number, maximum: number): ValueCheck {
  return (value) => {
    if (typeof value !== 'number') throw wrongType('an integer', value);
    if (!Number.isInteger(value) || value < minimum || value > maximum) {
      throw new Refusal('out_of_range', `expected an integer from ${minimum} to ${maximum}, found ${value}`);
    }
    // -0 would be printed differently by JSON and by SQL.
    return value + 0;
  };
}

export const uuidPattern = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

const uuidWords = new Uint32Array(4);

function checkUuid(value: unknown): string {
  if (typeof value !== 'string') throw wrongType('a UUID', value);
  if (!parseUuid(value, uuidWords)) {
    throw new Refusal('out_of_range', `expected a UUID in canonical lower-case form, found ${describe(value)}`);
  }
  return value;
}

function checkTimeMicros(value: unknown): string {
  if (typeof value !== 'string') throw wrongType('an RFC 3339 time', value);
  const micros = parseTimeMicros(value);
  if (Number.isNaN(micros)) {
    throw new Refusal('out_of_range', `expected an RFC 3339 time of the years 2000 to 2099, found ${describe(value)}`);
  }
  return value.length === 27 && value.charCodeAt(26) === 90 && value.charCodeAt(10) === 84
    ? value
    : formatTimeMicros(micros);
}

function checkDuration(value: unknown): number {
  if (typeof value !== 'number') throw wrongType('milliseconds', value);
  if (!(value >= 0 && value <= maxDurationMs)) {
    throw new Refusal('out_of_range', `expected 0 to ${maxDurationMs} milliseconds, found ${value}`);
  }
  return Math.round(value * 1000) / 1000;
}

function checkFlag(value: unknown): boolean {
  if (typeof value !== 'boolean') throw wrongType('true or false', value);
  return value;
}

function choiceCheck(values: readonly string[]): ValueCheck {
  const known: ReadonlySet<unknown> = new Set(values);
  return (value) => {
    if (known.has(value)) return value;
    const expected = `one of ${values.join(', ')}`;
    if (typeof value !== 'string') throw wrongType(expected, value);
    throw new Refusal('out_of_range', `expected ${expected}, found ${describe(value)}`);
  };
}

function checkList(value: unknown): readonly string[] {
  if (!Array.isArray(value)) throw wrongType('an array of texts', value);
  if (value.length > maxListItems) {
    throw new Refusal('out_of_range', `expected at most ${maxListItems} items, found ${value.length}`);
  }
  for (const item of value) {
    if (typeof item !== 'string') throw wrongType('an array of texts', item);
    if (exceedsBytes(item, maxListItemBytes)) {
      throw new Refusal('out_of_range', `expected items of at most ${maxListItemBytes} bytes`);
    }
  }
  return value;
}

/** A map without a prototype, so that a key named `__proto__` is a key like any other. */
export function newMap(): Record<string, string> {
  return Object.create(null) as Record<string, string>;
}

function checkMap(value: unknown): Readonly<Record<string, string>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw wrongType('an object', value);
  const map = newMap();
  for (const [key, entry] of Object.entries(value)) map[key] = typeof entry === 'string' ? entry : toJsonText(entry);
  checkMapSize(map);
  return map;
}

export function checkMapSize(map: Readonly<Record<string, string>>): void {
  let entries = 0;
  let bytes = 0;
  for (const key in map) {
    const value = map[key] as string;
    if (exceedsBytes(key, maxMapKeyBytes) || exceedsBytes(value, maxMapValueBytes)) {
      throw new Refusal(
        'out_of_range',
        `expected keys of at most ${maxMapKeyBytes} and values of at most ${maxMapValueBytes} bytes, at ${describe(key)}`,
      );
    }
    entries++;
    bytes += Buffer.byteLength(key) + Buffer.byteLength(value);
  }
  if (entries > maxMapEntries || bytes > maxMapBytes) {
    throw new Refusal(
      'out_of_range',
      `expected at most ${maxMapEntries} entries and ${maxMapBytes} bytes, unknown fields of the record included; found ${entries} entries and ${bytes} bytes`,
    );
  }
}

const emptyList: readonly string[] = Object.freeze([]);
const emptyMap = Object.freeze(newMap());

/** Most bytes of UTF-8 that a field with text takes. */
export function maxBytesOf({ kind, maxBytes }: Field): number {
  return maxBytes ?? maxTextBytes[kind as keyof typeof maxTextBytes];
}

export function checkOf(field: Field): ValueCheck {
  const { kind, values = [] } = field;
  switch (kind) {
    case 'uuid':
      return checkUuid;
    case 'time_micros':
    case 'time_millis':
      return checkTimeMicros;
    case 'name':
    case 'text':
      return textCheck(maxBytesOf(field));
    case 'body':
      return bodyCheck(maxBytesOf(field));
    case 'choice':
      return choiceCheck(values);
    case 'duration':
      return checkDuration;
    case 'counter':
      return integerCheck(0, Number.MAX_SAFE_INTEGER);
    case 'size':
      return integerCheck(0, 0xffffffff);
    case 'integer':
      return integerCheck(Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER);
    case 'flag':
    case 'hint':
      return checkFlag;
    case 'list':
      return checkList;
    case 'map':
      return checkMap;
    case 'bytes':
      return (value) => {
        throw wrongType('nothing: JSON holds no bytes', value);
      };
  }
}

/** What a field holds that the record does not name. */
export function defaultOf(kind: FieldKind): unknown {
  switch (kind) {
    case 'duration':
    case 'hint':
      return null;
    case 'counter':
    case 'size':
    case 'integer':
      return 0;
    case 'flag':
      return false;
    case 'list':
      return emptyList;
    case 'map':
      return emptyMap;
    default:
      return '';
  }
}
