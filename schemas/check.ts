import { isAscii, isUtf8 } from 'node:buffer';
import {
  checkMapSize,
  checkOf,
  defaultOf,
  describe,
  exceedsBytes,
  maxMapKeyBytes,
  newMap,
  type RecordErrorCode,
  Refusal,
  toJsonText,
  type ValueCheck,
} from './check-value.js';
import { type CallEvent, eventFields } from './event.js';
import type { Field, Fields } from './field.js';
import { formatTimeMicros } from './time.js';

/**
 * Parses and checks one record, once: a call at the gateway before it is appended, and every record at the ingestor
 * before it is stored. What is stored is what was checked here. The rules for each kind follow from the list of fields;
 * `contract.ts` states the same rules in zod, and a property test holds the two equal.
 */

/** Longest record in bytes: arguments and result of 1 MiB each, escaped once more as JSON strings, and the rest. */
export const maxRecordBytes = 4 * 1024 * 1024;
export interface RecordRefused {
  readonly ok: false;
  readonly code: RecordErrorCode;
  /** The field at fault, where there is one. */
  readonly field?: string;
  /** A sentence for people: what was expected, what was found. Holds no more than 80 characters of the record. */
  readonly message: string;
}

export type Checked<R> = { readonly ok: true; readonly event: R } | RecordRefused;

/** What the receiver knows of a record by itself. A record that claims another value is refused. */
export interface Vouched {
  readonly tenant: string;
  readonly producer_key: string;
  /** Where the stream holds the record; absent at the gateway, which does not know it yet. */
  readonly position?: { readonly recordedAtMs: number; readonly partition: number; readonly offset: number };
}

/** Where the check notes that it replaced lone surrogates, which no UTF-8 column can hold, by U+FFFD. */
export const replacedAttribute = 'mcp_auditd.replaced_surrogates';

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

type Parsed = { readonly ok: true; readonly record: Record<string, unknown> } | RecordRefused;

function parseObject(value: Buffer | string, maxBytes: number): Parsed {
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
  const found = record as Record<string, unknown>;
  return { ok: true, record: mayHoldSurrogates(text) ? replaceSurrogates(found) : found };
}

/**
 * The check of the records of one list of fields, which has a map named `attributes`.
 *
 * A field that is absent, or null where it is not required, has its default. A field that the list does not name is
 * kept in `attributes` (text as it is, else its JSON text). Times are brought to UTC with six decimals, `duration` to
 * three. Lone surrogates become U+FFFD, noted under `replacedAttribute`; NUL is kept. Of two equal keys the last one
 * counts, as in every JSON.parse; what is stored is what was checked, so nothing slips past.
 */
export class RecordCheck<R> {
  private readonly checks: ReadonlyMap<string, ValueCheck>;
  private readonly vouchedFields: ReadonlySet<string>;
  private readonly fields: Fields;
  private readonly requiredFields: readonly string[];
  private readonly defaults: Readonly<Record<string, unknown>>;

  constructor(fields: Fields) {
    const entries = Object.entries(fields);
    this.fields = fields;
    this.checks = new Map(entries.map(([name, field]) => [name, checkOf(field)]));
    this.vouchedFields = new Set(entries.flatMap(([name, field]) => (field.setBy ? [name] : [])));
    this.requiredFields = entries.flatMap(([name, field]) => (field.required ? [name] : []));
    this.defaults = Object.fromEntries(entries.map(([name, { kind }]) => [name, defaultOf(kind)]));
  }

  /** Checks one record as it came, JSON text of one object. Never throws. */
  check(value: Buffer | string, vouched: Partial<Vouched>, maxBytes = maxRecordBytes): Checked<R> {
    const parsed = parseObject(value, maxBytes);
    return parsed.ok ? this.checkFields(parsed.record, vouched) : parsed;
  }

  private checkFields(record: Record<string, unknown>, vouched: Partial<Vouched>): Checked<R> {
    const { checks, vouchedFields } = this;
    const event = { ...this.defaults };
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
        if (event[name] !== known) return claimRefused(name, this.fields[name] as Field, value, known);
      }
    }
    for (const name of this.requiredFields) {
      if (event[name] === this.defaults[name]) return refused('missing_field', 'is required', name);
    }
    if (unknownFields) {
      try {
        event.attributes = keepUnknown(record, unknownFields, event.attributes as Record<string, string>);
      } catch (error) {
        return refusedBy(error, 'attributes');
      }
    }
    if (vouched.tenant !== undefined) event.tenant = vouched.tenant;
    if (vouched.producer_key !== undefined) event.producer_key = vouched.producer_key;
    if (vouched.position) {
      event.recorded_at = millisText(vouched.position.recordedAtMs);
      event.stream_partition = vouched.position.partition;
      event.stream_offset = vouched.position.offset;
    }
    return { ok: true, event: event as R };
  }
}

const callCheck = new RecordCheck<CallEvent>(eventFields);

/** Checks one record of the `calls` topic. Never throws. */
export function checkCall(value: Buffer | string, vouched: Vouched, maxBytes = maxRecordBytes): Checked<CallEvent> {
  return callCheck.check(value, vouched, maxBytes);
}

function refusedBy(error: unknown, field: string): RecordRefused {
  if (!(error instanceof Refusal)) throw error;
  return refused(error.code, error.message, field);
}

function claimRefused(name: string, { setBy }: Field, claimed: unknown, known: unknown): RecordRefused {
  const instead = known === undefined ? 'leave it out' : `it is ${describe(known)} here; leave it out`;
  return refused(
    'not_yours_to_set',
    `is set by the ${setBy}, the record claims ${describe(claimed)}; ${instead}`,
    name,
  );
}

/** The value that the receiver knows, in the form that the check brings a claim to. */
function vouchedValue(name: string, { tenant, producer_key, position }: Partial<Vouched>): unknown {
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
