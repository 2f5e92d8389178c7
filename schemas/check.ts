import { isAscii, isUtf8 } from 'node:buffer';
import { type CallEvent, eventFields, type Field, type FieldKind, type FieldName, outcomes } from './event.js';
import { formatTimeMicros, parseTimeMicros } from './time.js';

/**
 * Parses and checks one record of the `calls` topic, once: at the gateway before it is appended, at the ingestor before
 * it is stored. What is stored is what was checked here. The rules for each kind follow from the list of fields;
 * `contract.ts` states the same rules in zod, and a property test holds the two equal.
 */

/** Longest record in bytes: arguments and result of 1 MiB each, escaped once more as JSON strings, and the rest. */
export const maxRecordBytes = 4 * 1024 * 1024;
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

export interface RecordRefused {
  readonly ok: false;
  readonly code: RecordErrorCode;
  /** The field at fault, where there is one. */
  readonly field?: string;
  /** A sentence for people: what was expected, what was found. Holds no more than 80 characters of the record. */
  readonly message: string;
}

export type CheckedCall = { readonly ok: true; readonly event: CallEvent } | RecordRefused;

/** What the receiver knows of a record by itself. A record that claims another value is refused. */
export interface Vouched {
  readonly tenant: string;
  readonly producer_key: string;
  /** Where the stream holds the record; absent at the gateway, which does not know it yet. */
  readonly position?: { readonly recordedAtMs: number; readonly partition: number; readonly offset: number };
}

/** Where `checkCall` notes that it replaced lone surrogates, which no UTF-8 column can hold, by U+FFFD. */
export const replacedAttribute = 'mcp_auditd.replaced_surrogates';

class Refusal extends Error {
  constructor(
    readonly code: RecordErrorCode,
    message: string,
  ) {
    super(message);
  }
}

/** Checks one value that is neither absent nor null, and returns what is stored. Throws a Refusal. */
type ValueCheck = (value: unknown) => unknown;

function describe(value: unknown): string {
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

function toJsonText(value: unknown): string {
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

function checkUuid(value: unknown): string {
  if (typeof value !== 'string') throw wrongType('a UUID', value);
  if (!uuidPattern.test(value)) {
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

const knownOutcomes: ReadonlySet<unknown> = new Set(outcomes);

function checkOutcome(value: unknown): unknown {
  if (typeof value !== 'string') throw wrongType(`one of ${outcomes.join(', ')}`, value);
  if (!knownOutcomes.has(value)) {
    throw new Refusal('out_of_range', `expected one of ${outcomes.join(', ')}, found ${describe(value)}`);
  }
  return value;
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
function newMap(): Record<string, string> {
  return Object.create(null) as Record<string, string>;
}

function checkMap(value: unknown): Readonly<Record<string, string>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw wrongType('an object', value);
  const map = newMap();
  for (const [key, entry] of Object.entries(value)) map[key] = typeof entry === 'string' ? entry : toJsonText(entry);
  checkMapSize(map);
  return map;
}

function checkMapSize(map: Readonly<Record<string, string>>): void {
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

function checkOf({ kind, maxBytes }: Field): ValueCheck {
  switch (kind) {
    case 'uuid':
      return checkUuid;
    case 'time_micros':
    case 'time_millis':
      return checkTimeMicros;
    case 'name':
    case 'text':
      return textCheck(maxBytes ?? maxTextBytes[kind]);
    case 'body':
      return bodyCheck(maxBytes ?? maxTextBytes.body);
    case 'outcome':
      return checkOutcome;
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

const fields = Object.entries(eventFields) as [FieldName, Field][];
const checks = new Map<string, ValueCheck>(fields.map(([name, field]) => [name, checkOf(field)]));
const vouchedFields: ReadonlySet<string> = new Set(fields.flatMap(([name, field]) => (field.setBy ? [name] : [])));
const requiredFields = fields.flatMap(([name, field]) => (field.required ? [name] : []));
const defaults = Object.fromEntries(fields.map(([name, { kind }]) => [name, defaultOf(kind)])) as unknown as CallEvent;

/** Text of a record's bytes; records are ASCII as a rule, which is decoded several times faster. */
function decode(value: Buffer): string | undefined {
  if (isAscii(value)) return value.toString('latin1');
  return isUtf8(value) ? value.toString('utf8') : undefined;
}

/** Half a pair may only come from an escape: the bytes of the record are valid UTF-8. */
function mayHoldSurrogates(text: string): boolean {
  return text.includes('\\ud') || text.includes('\\uD');
}

const loneSurrogate = /\p{Surrogate}/u;
const loneSurrogates = /\p{Surrogate}/gu;

function refused(code: RecordErrorCode, message: string, field?: string): RecordRefused {
  return field === undefined
    ? { ok: false, code, message }
    : { ok: false, code, field, message: `${field} ${message}` };
}

/**
 * Checks one record as it came, JSON text of one object. Never throws.
 *
 * A field that is absent, or null where it is not required, has its default. A field that the contract does not name is
 * kept in `attributes` (text as it is, else its JSON text). `occurred_at` is brought to UTC with six decimals and
 * `duration_ms` to three. Lone surrogates become U+FFFD, noted under `replacedAttribute`; NUL is kept. Of two equal keys
 * the last one counts, as in every JSON.parse; what is stored is what was checked, so nothing slips past.
 */
export function checkCall(value: Buffer | string, vouched: Vouched, maxBytes = maxRecordBytes): CheckedCall {
  const tooLarge = typeof value === 'string' ? exceedsBytes(value, maxBytes) : value.length > maxBytes;
  if (tooLarge) return refused('too_large', `the record is longer than ${maxBytes} bytes`);
  const text = typeof value === 'string' ? value : decode(value);
  if (text === undefined) return refused('invalid_utf8', 'the record is not valid UTF-8');
  let record: unknown;
  try {
    record = JSON.parse(text);
  } catch (error) {
    return refused('invalid_json', `the record is not JSON: ${(error as Error).message.slice(0, 200)}`);
  }
  if (typeof record !== 'object' || record === null || Array.isArray(record)) {
    return refused('not_an_object', `expected a JSON object, found ${describe(record)}`);
  }
  if (mayHoldSurrogates(text)) record = replaceSurrogates(record as Record<string, unknown>);
  return checkFields(record as Record<string, unknown>, vouched);
}

function checkFields(record: Record<string, unknown>, vouched: Vouched): CheckedCall {
  const event = { ...defaults } as Record<string, unknown>;
  let unknownFields: string[] | undefined;
  for (const name in record) {
    const check = checks.get(name);
    if (check === undefined) {
      unknownFields ??= [];
      unknownFields.push(name);
      continue;
    }
    const value = record[name];
    if (value === null) continue;
    try {
      event[name] = check(value);
    } catch (error) {
      return refusedBy(error, name);
    }
    if (vouchedFields.has(name)) {
      const known = vouchedValue(name, vouched);
      if (event[name] !== known) return claimRefused(name, value, known);
    }
  }
  for (const name of requiredFields) {
    if (event[name] === '') return refused('missing_field', 'is required', name);
  }
  if (unknownFields) {
    try {
      event.attributes = keepUnknown(record, unknownFields, event.attributes as Record<string, string>);
    } catch (error) {
      return refusedBy(error, 'attributes');
    }
  }
  event.tenant = vouched.tenant;
  event.producer_key = vouched.producer_key;
  if (vouched.position) {
    event.recorded_at = millisText(vouched.position.recordedAtMs);
    event.stream_partition = vouched.position.partition;
    event.stream_offset = vouched.position.offset;
  }
  return { ok: true, event: event as unknown as CallEvent };
}

function refusedBy(error: unknown, field: string): RecordRefused {
  if (!(error instanceof Refusal)) throw error;
  return refused(error.code, error.message, field);
}

function claimRefused(name: string, claimed: unknown, known: unknown): RecordRefused {
  const setBy = eventFields[name as 'tenant'].setBy as string;
  const instead = known === undefined ? 'leave it out' : `it is ${describe(known)} here; leave it out`;
  return refused(
    'not_yours_to_set',
    `is set by the ${setBy}, the record claims ${describe(claimed)}; ${instead}`,
    name,
  );
}

/** The value that the receiver knows, in the form that the check brings a claim to. */
function vouchedValue(name: string, { tenant, producer_key, position }: Vouched): unknown {
  switch (name) {
    case 'tenant':
      return tenant;
    case 'producer_key':
      return producer_key;
    case 'recorded_at':
      return position && formatTimeMicros(position.recordedAtMs * 1000);
    case 'stream_partition':
      return position?.partition;
    default:
      return position?.offset;
  }
}

let lastMillis = Number.NaN;
let lastMillisText = '';
/** Records of one batch share their milliseconds, so the last text is kept. */
function millisText(millis: number): string {
  if (millis !== lastMillis) {
    lastMillis = millis;
    lastMillisText = new Date(millis).toISOString();
  }
  return lastMillisText;
}

function keepUnknown(
  record: Record<string, unknown>,
  names: readonly string[],
  attributes: Readonly<Record<string, string>>,
): Readonly<Record<string, string>> {
  const map = newMap();
  for (const name of names) {
    const value = record[name];
    // What the producer put into `attributes` itself keeps its name.
    const key = name in attributes ? `record.${name}` : name;
    map[key] = typeof value === 'string' ? value : toJsonText(value);
  }
  const merged = Object.assign(map, attributes);
  checkMapSize(merged);
  return merged;
}

/** Replaces lone surrogates in every text of the record, keys included, and notes the fields where that was needed. */
function replaceSurrogates(record: Record<string, unknown>): Record<string, unknown> {
  const replaced: string[] = [];
  const clean: Record<string, unknown> = Object.create(null);
  for (const [name, value] of Object.entries(record)) {
    const cleanName = name.replace(loneSurrogates, '\ufffd');
    const cleanValue = wellFormed(value);
    if (cleanName !== name || cleanValue !== value) replaced.push(cleanName);
    clean[cleanName] = cleanValue;
  }
  if (replaced.length > 0 && clean[replacedAttribute] === undefined) {
    clean[replacedAttribute] = replaced.join(',').slice(0, maxMapKeyBytes);
  }
  return clean;
}

/** Bodies that are objects are serialised anyway, and JSON.stringify writes half a pair as its escape, which is text. */
function wellFormed(value: unknown): unknown {
  if (typeof value === 'string') return loneSurrogate.test(value) ? value.replace(loneSurrogates, '\ufffd') : value;
  if (Array.isArray(value)) {
    const clean = value.map((item) => (typeof item === 'string' ? wellFormed(item) : item));
    return clean.some((item, index) => item !== value[index]) ? clean : value;
  }
  if (typeof value === 'object' && value !== null) {
    let changed = false;
    const clean = newMap() as Record<string, unknown>;
    for (const [key, entry] of Object.entries(value)) {
      const cleanKey = key.replace(loneSurrogates, '\ufffd');
      const cleanEntry = typeof entry === 'string' ? wellFormed(entry) : entry;
      changed ||= cleanKey !== key || cleanEntry !== entry;
      clean[cleanKey] = cleanEntry;
    }
    return changed ? clean : value;
  }
  return value;
}
