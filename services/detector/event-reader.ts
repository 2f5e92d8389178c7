/** The fields that rules look at, read from the bytes of one record: nothing is parsed that no rule asks for. */

import { timeMicrosOf, uuidWords } from '../../schemas/short-texts.js';
import { formatTimeMicros, parseTimeMicros } from '../../schemas/time.js';
import { defaultText, type FieldValues, type KnownValue, longestKnown, type Value } from './field-values.js';
import type { FieldReference } from './fields.js';
import { absent, JsonScanner, literal, otherText, plainText } from './json-scanner.js';

export interface EngineRecord {
  /** JSON text of one event, as `schemas/event.ts` has it; fields may be missing. */
  readonly value: Buffer;
  /** Whose it is, as the stream's header says; without it the event's own `tenant`, else "default". */
  readonly tenant?: string | undefined;
  /** Instead of "default". */
  readonly otherwiseTenant?: string | undefined;
  readonly producerKey?: string | undefined;
  readonly partition: number;
  readonly offset: number;
  /** Microseconds since the epoch, by the stream's clock. Never decreases. */
  readonly recordedAtMicros: number;
  /** The event's own time where it is known already; the text is not asked then. */
  readonly occurredAtMicros?: number;
}

/**
 * The stream's time in microseconds. A record's timestamp is cut to milliseconds: taken at their end, so that an event of
 * the same machine does not seem to come from the future.
 */
export function streamMicros(timestampMs: number): number {
  return timestampMs * 1000 + 999;
}

/** What is read of every event. */
const always = ['event_id', 'occurred_at', 'tenant', 'producer_key'] as const;
const [eventIdMember, occurredAtMember, tenantMember, producerKeyMember] = [0, 1, 2, 3];

/** Fields that come from the record, or are brought to one form. */
const ofRecord: ReadonlySet<string> = new Set([
  'tenant',
  'producer_key',
  'occurred_at',
  'recorded_at',
  'stream_partition',
  'stream_offset',
  'ahead_ms',
  'late_ms',
]);

/** Reads one record at a time. What is of the wrong type is taken as its JSON text. */
export class EventReader {
  /** Own time in microseconds, never ahead of the stream's. */
  timeMicros = 0;
  /** Microseconds that the event's own time was ahead of the stream's. */
  aheadMicros = 0;
  tenant = '';
  /** The event id as four words. */
  readonly idWords = new Uint32Array(4);
  hasId = false;

  private record!: EngineRecord;
  private bytes!: Buffer;
  /** Counts events; a value is of this event when its mark says so. */
  private event = 0;
  private readonly scanner: JsonScanner;
  /** By slot: the number of its member; -1 for what is no member. */
  private readonly members: Int32Array;
  private readonly valuedAt: Float64Array;
  private readonly values: Value[];
  private readonly numberedAt: Float64Array;
  private readonly numbers: Float64Array;
  private readonly others = new Map<string, number>();
  private parsed = new Map<string, unknown>();

  /**
   * @param fields By slot.
   * @param known By slot: the tests of the field.
   */
  constructor(
    private readonly fields: readonly FieldReference[],
    private readonly known: readonly FieldValues[],
  ) {
    const names = new Map<string, number>(always.map((name, number) => [name, number]));
    const member = (name: string): number => {
      const number = names.get(name) ?? names.size;
      names.set(name, number);
      return number;
    };
    this.members = Int32Array.from(fields, ({ root, kind, path }) => {
      if (root === 'attributes' && path !== undefined) {
        // A member that the contract does not name is an attribute; one that an attribute hides has another name.
        const name = path[0] as string;
        for (const each of ['attributes', name, name.replace(/^record\./, '')]) this.others.set(each, member(each));
        return -1;
      }
      if (ofRecord.has(root)) return -1;
      this.others.set(root, member(root));
      return path !== undefined || kind === 'list' || kind === 'map' ? -1 : member(root);
    });
    this.scanner = new JsonScanner([...names.keys()]);
    this.valuedAt = new Float64Array(fields.length);
    this.values = new Array(fields.length);
    this.numberedAt = new Float64Array(fields.length);
    this.numbers = new Float64Array(fields.length);
  }

  /** Takes a record. False when it is no JSON object: no field can be read then. */
  read(record: EngineRecord): boolean {
    const { scanner } = this;
    const bytes = record.value;
    if (!scanner.scan(bytes)) return false;
    this.record = record;
    this.bytes = bytes;
    this.event++;
    if (this.parsed.size > 0) this.parsed.clear();
    const { kinds, starts, ends } = scanner;
    let micros = record.occurredAtMicros ?? Number.NaN;
    const start = starts[occurredAtMember] as number;
    const end = ends[occurredAtMember] as number;
    if (record.occurredAtMicros !== undefined) {
      // A stored row; its time is a number.
    } else if (kinds[occurredAtMember] === plainText) micros = timeMicrosOf(bytes, start, end);
    else if (kinds[occurredAtMember] === otherText) micros = parseTimeMicros(this.textOfMember(occurredAtMember));
    const recorded = record.recordedAtMicros;
    // Without a readable time of its own it happened when it was recorded.
    this.aheadMicros = micros > recorded ? micros - recorded : 0;
    this.timeMicros = Number.isNaN(micros) ? recorded : Math.min(micros, recorded);
    this.hasId =
      kinds[eventIdMember] === plainText &&
      uuidWords(bytes, starts[eventIdMember] as number, ends[eventIdMember] as number, this.idWords);
    this.tenant = record.tenant ?? (this.textOfMember(tenantMember) || (record.otherwiseTenant ?? 'default'));
    return true;
  }

  get eventId(): string {
    return this.textOfMember(eventIdMember);
  }

  /** Where the record is, in the stead of an id. */
  get position(): string {
    return `${this.record.partition}/${this.record.offset}`;
  }

  /** The field's value and the tests that it meets. */
  value(slot: number): Value {
    if (this.valuedAt[slot] === this.event) return this.values[slot] as Value;
    const value = this.find(slot);
    this.valuedAt[slot] = this.event;
    this.values[slot] = value;
    return value;
  }

  /** The value that the field probably has, from memory far away; nothing is compared. */
  fetch(slot: number): KnownValue | undefined {
    const member = this.members[slot] as number;
    if (member < 0) return undefined;
    return (this.known[slot] as FieldValues).fetch(this.scanner.hashes[member] as number);
  }

  /** The field's text; '' is what the event does not have. Of a list the items with commas between. */
  text(slot: number): string {
    return this.value(slot).text ?? this.textOfMember(this.members[slot] as number);
  }

  /** The items of a list; undefined for what is none. */
  items(slot: number): readonly string[] | undefined {
    if ((this.members[slot] as number) >= 0) return undefined;
    const found = this.findOther(this.fields[slot] as FieldReference);
    return typeof found === 'string' ? undefined : found;
  }

  /** The field as a number; NaN for what is none. */
  number(slot: number): number {
    if (this.numberedAt[slot] !== this.event) {
      this.numberedAt[slot] = this.event;
      this.numbers[slot] = this.findNumber(slot);
    }
    return this.numbers[slot] as number;
  }

  private findNumber(slot: number): number {
    const member = this.members[slot] as number;
    const { kind } = this.fields[slot] as FieldReference;
    if (member >= 0 && this.scanner.kinds[member] === literal) {
      const number = numberOf(this.bytes, this.scanner.starts[member] as number, this.scanner.ends[member] as number);
      return kind === 'duration' ? Math.round(number * 1000) / 1000 : number;
    }
    const text = this.text(slot);
    return text === '' ? Number.NaN : Number(text);
  }

  private find(slot: number): Value {
    const known = this.known[slot] as FieldValues;
    const member = this.members[slot] as number;
    if (member < 0) {
      const found = this.findOther(this.fields[slot] as FieldReference);
      return typeof found === 'string' ? known.ofText(found) : known.ofItems(found);
    }
    const { kinds, starts, ends, hashes } = this.scanner;
    const kind = kinds[member] as number;
    if (kind === absent) return known.default;
    const start = starts[member] as number;
    const end = ends[member] as number;
    const isWord = kind === literal && (this.bytes[start] as number) > 64;
    if ((kind === plainText || isWord) && end - start <= longestKnown)
      return known.ofBytes(this.bytes, this.scanner.view, start, end, hashes[member] as number);
    if (kind === plainText || kind === otherText) {
      const value = known.ofLong(this.bytes, start, end);
      if (value !== undefined) return value;
    }
    const text = this.textOfMember(member);
    const { kind: fieldKind } = this.fields[slot] as FieldReference;
    return known.ofText(fieldKind === 'duration' && kind === literal ? String(this.number(slot)) : text);
  }

  private textOfMember(member: number): string {
    const { kinds, starts, ends } = this.scanner;
    const start = starts[member] as number;
    const end = ends[member] as number;
    switch (kinds[member]) {
      case absent:
        return '';
      case plainText:
        return this.bytes.toString('latin1', start, end);
      case otherText:
        return wellFormed(parse(this.bytes.toString('utf8', start - 1, end + 1)));
      default:
        return textOf(parse(this.bytes.toString('utf8', start, end)));
    }
  }

  /** What is not simply a member: of the record, inside a body or the attributes, a list. */
  private findOther({ root, kind, path }: FieldReference): string | readonly string[] {
    const { record } = this;
    switch (root) {
      case 'tenant':
        return this.tenant;
      case 'producer_key':
        return record.producerKey ?? this.textOfMember(producerKeyMember as number);
      case 'occurred_at':
        return formatTimeMicros(this.timeMicros + this.aheadMicros);
      case 'recorded_at':
        return new Date(Math.floor(record.recordedAtMicros / 1000)).toISOString();
      case 'stream_partition':
        return String(record.partition);
      case 'stream_offset':
        return String(record.offset);
      case 'ahead_ms':
        return String(this.aheadMicros / 1000);
      case 'late_ms':
        return String(Math.max(0, record.recordedAtMicros - this.timeMicros) / 1000);
      case 'attributes':
        return path === undefined ? textOf(this.parsedMember(root)) : this.attribute(path[0] as string);
    }
    const value = this.parsedMember(root);
    if (path !== undefined) return inside(value, path);
    return kind === 'list' && Array.isArray(value) ? value.map(textOf) : textOf(value) || defaultText(kind);
  }

  private attribute(name: string): string {
    const attributes = this.parsedMember('attributes');
    const own = (key: string): string | undefined =>
      typeof attributes === 'object' && attributes !== null && Object.hasOwn(attributes, key)
        ? textOf((attributes as Record<string, unknown>)[key])
        : undefined;
    const unknown = name.replace(/^record\./, '');
    const hidden = unknown !== name && own(unknown) !== undefined;
    return own(name) ?? textOf(this.parsedMember(hidden ? unknown : name));
  }

  /** A member as JSON.parse has it, its text parsed once more where that is JSON; kept for this event. */
  private parsedMember(name: string): unknown {
    if (this.parsed.has(name)) return this.parsed.get(name);
    const member = this.others.get(name) as number;
    const { kinds, starts, ends } = this.scanner;
    let value: unknown;
    if (kinds[member] === plainText || kinds[member] === otherText) {
      value = this.textOfMember(member);
      if (name === 'arguments' || name === 'result') value = parse(value as string);
    } else if (kinds[member] !== absent)
      value = parse(this.bytes.toString('utf8', starts[member] as number, ends[member] as number));
    this.parsed.set(name, value);
    return value;
  }
}

/** A body that was cut at a limit stays text. */
function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** Half a pair of surrogates, which may come from an escape, is no text: the table holds U+FFFD instead. */
function wellFormed(value: unknown): string {
  return typeof value === 'string' ? value.toWellFormed() : textOf(value);
}

function textOf(value: unknown): string {
  if (typeof value === 'string') return value.toWellFormed();
  if (value === undefined || value === null) return '';
  try {
    return JSON.stringify(value);
  } catch {
    // Nested deeper than the stack: the ingestor refuses it.
    return '';
  }
}

/** The value at a path; a list of plain values is taken as its items. */
function inside(body: unknown, path: readonly string[]): string | readonly string[] {
  let here = body;
  for (const step of path) {
    if (typeof here !== 'object' || here === null || !Object.hasOwn(here, step)) return '';
    here = (here as Record<string, unknown>)[step];
  }
  if (Array.isArray(here) && here.every((item) => typeof item !== 'object')) return here.map(textOf);
  return textOf(here);
}

/** A JSON number or literal as a number: digits with at most one point between here, the rest by the language. */
function numberOf(bytes: Buffer, start: number, end: number): number {
  let number = 0;
  let scale = 0;
  // Fifteen digits are exact whatever their scale.
  if (end - start > 15) return Number(bytes.toString('latin1', start, end));
  for (let at = start; at < end; at++) {
    const code = bytes[at] as number;
    if (code >= 48 && code <= 57) {
      number = number * 10 + code - 48;
      scale *= 10;
    } else if (code === 46 && scale === 0 && at > start) scale = 1;
    else return Number(bytes.toString('latin1', start, end));
  }
  return scale === 0 ? number : number / scale;
}
