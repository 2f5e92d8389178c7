import { textOfEscaped } from './escapes.js';
import type { Fields } from './field.js';
import { uuidWords } from './short-texts.js';
import { parseUuid } from './uuid.js';

/** How a row holds a value. */
export const valueForm = 0;
/** Bytes of the record, as they are: UTF-8 without an escape. */
export const textForm = 1;
/** Bytes of the record between the quotes of a JSON text, with escapes, none of half a surrogate. */
export const escapedForm = 2;
export const numberForm = 3;
/** Microseconds since the epoch, and the bytes of the text. */
export const timeForm = 4;
export const uuidForm = 5;

/**
 * A checked record as the fields it has, in any order: the place of each in the list of fields, and its value. Most
 * records name a third of the fields, and what is not named costs nothing. The position is not part of it.
 *
 * A value is one of JavaScript's, or stands in the bytes of the record: by far the most texts go from there into a
 * column and never become strings.
 */
export class CheckedRow {
  readonly ok = true;
  count = 0;
  bytes: Buffer = noBytes;
  readonly places: Uint16Array;
  readonly forms: Uint8Array;
  readonly values: unknown[] = [];
  readonly numbers: Float64Array;
  readonly starts: Int32Array;
  readonly ends: Int32Array;

  /** @param fields Number of fields in the list. */
  constructor(private readonly fields: number) {
    this.places = new Uint16Array(fields);
    this.forms = new Uint8Array(fields);
    this.numbers = new Float64Array(fields);
    this.starts = new Int32Array(fields);
    this.ends = new Int32Array(fields);
  }

  /** Empties the row, for a record of these bytes, which must not change as long as the row is read. */
  start(bytes: Buffer = noBytes): void {
    this.count = 0;
    this.bytes = bytes;
  }

  /** Adds a value of a field that the row does not have yet; as the other `add…`. */
  addValue(place: number, value: unknown): void {
    const index = this.count++;
    this.places[index] = place;
    this.forms[index] = valueForm;
    this.values[index] = value;
  }

  addNumber(place: number, value: number): void {
    const index = this.count++;
    this.places[index] = place;
    this.forms[index] = numberForm;
    this.numbers[index] = value;
  }

  addBytes(place: number, form: number, start: number, end: number): void {
    const index = this.count++;
    this.places[index] = place;
    this.forms[index] = form;
    this.starts[index] = start;
    this.ends[index] = end;
  }

  addTime(place: number, start: number, end: number, micros: number): void {
    this.numbers[this.count] = micros;
    this.addBytes(place, timeForm, start, end);
  }

  /** The value at a place of the list of fields; undefined when the record has its default there. */
  at(place: number): unknown {
    const index = this.indexOf(place);
    return index < 0 ? undefined : this.valueAt(index);
  }

  /** The value of the row's field at an index below `count`. */
  valueAt(index: number): unknown {
    const start = this.starts[index] as number;
    const end = this.ends[index] as number;
    switch (this.forms[index]) {
      case valueForm:
        return this.values[index];
      case numberForm:
        return this.numbers[index];
      case escapedForm:
        return textOfEscaped(this.bytes, start, end);
      default:
        return this.bytes.toString('utf8', start, end);
    }
  }

  /** The UUID at a place as four words, the first digits first. False when the record has none there. */
  uuidAt(place: number, words: Uint32Array): boolean {
    const index = this.indexOf(place);
    if (index < 0) return false;
    if (this.forms[index] === uuidForm)
      return uuidWords(this.bytes, this.starts[index] as number, this.ends[index] as number, words);
    return parseUuid(this.values[index] as string, words);
  }

  set(place: number, value: unknown): void {
    const index = this.indexOf(place);
    if (index < 0) this.addValue(place, value);
    else {
      this.forms[index] = valueForm;
      this.values[index] = value;
    }
  }

  private indexOf(place: number): number {
    const { count, places } = this;
    for (let index = 0; index < count; index++) if (places[index] === place) return index;
    return -1;
  }

  /** A row of a record that needs no check, with the values it has. */
  static of(fields: Fields, record: Readonly<Record<string, unknown>>): CheckedRow {
    const names = Object.keys(fields);
    const row = new CheckedRow(names.length);
    for (const [place, name] of names.entries()) if (name in record) row.addValue(place, record[name]);
    return row;
  }

  copy(): CheckedRow {
    const row = new CheckedRow(this.fields);
    row.start(this.bytes);
    row.count = this.count;
    row.places.set(this.places);
    row.forms.set(this.forms);
    row.numbers.set(this.numbers);
    row.starts.set(this.starts);
    row.ends.set(this.ends);
    for (let index = 0; index < this.count; index++)
      row.values[index] = this.forms[index] === valueForm ? this.values[index] : undefined;
    return row;
  }
}

const noBytes = Buffer.alloc(0);
