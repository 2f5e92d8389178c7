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
import { CheckedRow } from './checked-row.js';
import { type CallEvent, eventFields } from './event.js';
import type { Field, Fields } from './field.js';
import { RecordScanner } from './scan.js';
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
  return text.includes('\\u') && /\\u[dD]/.test(text);
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

interface Slot {
  readonly name: string;
  readonly place: number;
  readonly field: Field;
  readonly check: ValueCheck;
  readonly missing: unknown;
}

/**
 * The check of the records of one list of fields, which has a map named `attributes`.
 *
 * A field that is absent, or null where it is not required, has its default. A field that the list does not name is
 * kept in `attributes` (text as it is, else its JSON text). Times are brought to UTC with six decimals, `duration` to
 * three. Lone surrogates become U+FFFD, noted under `replacedAttribute`; NUL is kept. Of two equal keys the last one
 * counts, as in every JSON.parse; what is stored is what was checked, so nothing slips past.
 */
export class RecordCheck<R = Readonly<Record<string, unknown>>> {
  private readonly slots: readonly Slot[];
  private readonly byName: ReadonlyMap<string, Slot>;
  private readonly required: readonly Slot[];
  private readonly defaults: Readonly<Record<string, unknown>>;
  private readonly row: CheckedRow;
  private readonly scanner: RecordScanner;
  private readonly tenantPlace: number;
  private readonly producerKeyPlace: number;

  constructor(fields: Fields) {
    this.slots = Object.entries(fields).map(([name, field], place) => {
      return { name, place, field, check: checkOf(field), missing: defaultOf(field.kind) };
    });
    this.row = new CheckedRow(this.slots.length);
    this.scanner = new RecordScanner(this.slots);
    this.byName = new Map(this.slots.map((slot) => [slot.name, slot]));
    this.tenantPlace = this.byName.get('tenant')?.place ?? -1;
    this.producerKeyPlace = this.byName.get('producer_key')?.place ?? -1;
    this.required = this.slots.filter(({ field }) => field.required);
    this.defaults = Object.fromEntries(this.slots.map(({ name, missing }) => [name, missing]));
  }

  /** The place of a field in the list. */
  placeOf(name: keyof R & string): number {
    return (this.byName.get(name) as Slot).place;
  }

  /** Checks one record as it came, JSON text of one object, and returns all its fields. Never throws. */
  check(value: Buffer | string, vouched: Partial<Vouched>, maxBytes = maxRecordBytes): Checked<R> {
    const row = this.checkRow(value, vouched, maxBytes);
    return row.ok ? { ok: true, event: this.recordOf(row, vouched.position) } : row;
  }

  /** As `check`, for whoever needs few of the fields. The row is valid until the next check. */
  checkRow(value: Buffer | string, vouched: Partial<Vouched>, maxBytes = maxRecordBytes): CheckedRow | RecordRefused {
    const { row } = this;
    // Text in a string was made from bytes by somebody; only records as they came are worth a scan.
    if (typeof value !== 'string' && value.length <= maxBytes && this.scanner.scan(value, row)) {
      this.vouch(vouched);
      return row;
    }
    const parsed = parseObject(value, maxBytes);
    return parsed.ok ? this.checkFields(parsed.record, vouched) : parsed;
  }

  /** All fields of a row. */
  recordOf(row: CheckedRow, position?: Vouched['position']): R {
    const record = { ...this.defaults };
    for (let index = 0; index < row.count; index++)
      record[(this.slots[row.places[index] as number] as Slot).name] = row.valueAt(index);
    if (position) {
      record.recorded_at = millisText(position.recordedAtMs);
      record.stream_partition = position.partition;
      record.stream_offset = position.offset;
    }
    return record as R;
  }

  private checkFields(record: Record<string, unknown>, vouched: Partial<Vouched>): CheckedRow | RecordRefused {
    const { byName, row } = this;
    let requiredCount = 0;
    let unknownFields: string[] | undefined;
    let name = '';
    row.start();
    try {
      for (name in record) {
        const slot = byName.get(name);
        if (slot === undefined) {
          unknownFields ??= [];
          unknownFields.push(name);
          continue;
        }
        const value = record[name];
        if (value === null) continue;
        const checked = slot.check(value);
        if (slot.field.setBy !== undefined) {
          const known = vouchedValue(name, vouched);
          if (checked !== known) return claimRefused(name, slot.field, value, known);
          continue;
        }
        if (slot.field.required && checked !== slot.missing) requiredCount++;
        row.addValue(slot.place, checked);
      }
      if (requiredCount < this.required.length) {
        const missing = this.required.find((slot) => (row.at(slot.place) ?? slot.missing) === slot.missing) as Slot;
        return refused('missing_field', 'is required', missing.name);
      }
      name = 'attributes';
      if (unknownFields !== undefined) {
        const { place, missing } = byName.get(name) as Slot;
        const attributes = (row.at(place) ?? missing) as Record<string, string>;
        row.set(place, keepUnknown(record, unknownFields, attributes));
      }
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      return refused(error.code, error.message, name);
    }
    this.vouch(vouched);
    return row;
  }

  /** The row has neither yet: what a record claims is compared and not kept. */
  private vouch({ tenant, producer_key }: Partial<Vouched>): void {
    if (tenant !== undefined) this.row.addValue(this.tenantPlace, tenant);
    if (producer_key !== undefined) this.row.addValue(this.producerKeyPlace, producer_key);
  }
}

/** The check of the `calls` topic. */
export const callCheck = new RecordCheck<CallEvent>(eventFields);

/** Checks one record of the `calls` topic and returns all its fields. Never throws. */
export function checkCall(value: Buffer | string, vouched: Vouched, maxBytes = maxRecordBytes): Checked<CallEvent> {
  return callCheck.check(value, vouched, maxBytes);
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
