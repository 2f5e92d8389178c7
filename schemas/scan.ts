/**
 * Reads a record's fields from its bytes in one pass that makes no objects and, where nothing needs to be decoded, no
 * strings: `check.ts` in the form that the many good records take.
 *
 * It only ever says "this is good, and here are its fields" or "I do not know". Whatever is unusual (a field that the
 * list does not name, an equal key, half a surrogate, a value at or past a limit, anything that is not JSON) is not known
 * here, and the check goes over the record with JSON.parse: refusals, their messages and all rare forms exist once.
 * A property test holds that what is taken here is taken there, with the same values.
 *
 * What makes it fast: producers write the same members in the same order, so after each name the one that came next last
 * time is tried first; and text is looked at four bytes at a time (the "has a zero byte" and "has a byte less than n"
 * tricks: Anderson, "Bit Twiddling Hacks").
 */
import { isUtf8 } from 'node:buffer';
import { maxBytesOf, maxDurationMs, Refusal, type ValueCheck } from './check-value.js';
import { type CheckedRow, escapedForm, textForm as plainForm, uuidForm as wordsForm } from './checked-row.js';
import { escapeSize } from './escapes.js';
import type { Field, FieldKind } from './field.js';
import { timeMicrosOf, uuidWords } from './short-texts.js';

/** One field of the list, as the scanner needs it. */
interface ScannedField {
  readonly name: string;
  readonly place: number;
  readonly field: Field;
  readonly check: ValueCheck;
}

/** How a field's value is read. */
const textForm = 0;
const uuidForm = 1;
const timeForm = 2;
const choiceForm = 3;
const durationForm = 4;
const integerForm = 5;
const flagForm = 6;
const nestedForm = 7;
const unknownForm = 8;

const formOf: Readonly<Record<FieldKind, number>> = {
  uuid: uuidForm,
  time_micros: timeForm,
  time_millis: timeForm,
  name: textForm,
  text: textForm,
  body: textForm,
  choice: choiceForm,
  duration: durationForm,
  counter: integerForm,
  size: integerForm,
  integer: integerForm,
  flag: flagForm,
  hint: flagForm,
  list: nestedForm,
  map: nestedForm,
  bytes: unknownForm,
};

interface Member {
  readonly form: number;
  readonly place: number;
  readonly required: boolean;
  readonly maxBytes: number;
  readonly minimum: number;
  readonly maximum: number;
  readonly choices: ReadonlySet<string>;
  readonly check: ValueCheck;
  /** The name's bytes, each four of them as a number; the last ones overlap. */
  readonly bytes: Uint8Array;
  readonly words: Int32Array;
  /** The member that followed it last time. */
  next: Member | undefined;
}

const longestName = 64;

export class RecordScanner {
  private readonly members: ReadonlyMap<string, Member>;
  private readonly requiredCount: number;
  /** By place: the number of the last record that named the field. */
  private readonly seen: Float64Array;
  private record = 0;
  private first: Member | undefined;
  /** Over the memory in which the last record lay: those of one batch share it. */
  private view: DataView = new DataView(new ArrayBuffer(0));
  private escaped = false;
  private high = 0;

  constructor(fields: readonly ScannedField[]) {
    this.members = new Map(fields.map((field) => [field.name, memberOf(field)]));
    this.requiredCount = fields.filter(({ field }) => field.required).length;
    this.seen = new Float64Array(fields.length);
  }

  /** Fills the row with the fields of a good record. False when that is not certain; the row has no meaning then. */
  scan(bytes: Buffer, row: CheckedRow): boolean {
    if (this.view.buffer !== bytes.buffer) this.view = new DataView(bytes.buffer);
    const { seen } = this;
    const record = ++this.record;
    const { length } = bytes;
    row.start(bytes);
    this.high = 0;
    let missing = this.requiredCount;
    let at = skipSpace(bytes, 0);
    if (bytes[at] !== 123) return false;
    at = skipSpace(bytes, at + 1);
    let before: Member | undefined;
    let member = this.first;
    for (;;) {
      if (bytes[at] !== 34) return false;
      at++;
      if (member === undefined || !this.isName(member, bytes, at)) {
        member = this.memberAt(bytes, at);
        if (member === undefined) return false;
        if (before === undefined) this.first = member;
        else before.next = member;
      }
      const { place } = member;
      if (seen[place] === record) return false;
      seen[place] = record;
      at += member.bytes.length + 1;
      if (bytes[at] !== 58) {
        at = skipSpace(bytes, at);
        if (bytes[at] !== 58) return false;
      }
      at++;
      if ((bytes[at] as number) <= 32) at = skipSpace(bytes, at);
      const start = at;
      const code = bytes[at] as number;
      if (code === 34) {
        at = this.endOfText(bytes, at + 1);
        if (at < 0) return false;
        if (!this.takeText(member, bytes, start + 1, at, row)) return false;
        at++;
        if (member.required) missing--;
      } else if (code === 123 || code === 91) {
        at = endOfNested(bytes, at);
        if (at < 0 || !this.takeNested(member, bytes, start, at, row)) return false;
      } else if (code === 116 || code === 102 || code === 110) {
        at = takeWord(member, bytes, at, row);
        if (at < 0) return false;
      } else {
        at = takeNumber(member, bytes, at, row);
        if (at < 0) return false;
      }
      let end = bytes[at] as number;
      if (end <= 32) {
        at = skipSpace(bytes, at);
        end = bytes[at] as number;
      }
      if (end === 44) {
        at++;
        if (bytes[at] !== 34) at = skipSpace(bytes, at);
        before = member;
        member = member.next;
        continue;
      }
      if (end !== 125) return false;
      if (at + 1 !== length && skipSpace(bytes, at + 1) !== length) return false;
      break;
    }
    if (missing > 0) return false;
    return (this.high & 0x80808080) === 0 || isUtf8(bytes);
  }

  /** Whether the member's name and its closing quote stand at a place. */
  private isName({ bytes: own, words }: Member, bytes: Buffer, at: number): boolean {
    const { length } = own;
    if (bytes[at + length] !== 34) return false;
    if (length < 4) {
      for (let index = 0; index < length; index++) if (own[index] !== bytes[at + index]) return false;
      return true;
    }
    const { view } = this;
    const here = bytes.byteOffset + at;
    const whole = length >> 2;
    for (let index = 0; index < whole; index++)
      if (view.getInt32(here + index * 4, true) !== words[index]) return false;
    return whole * 4 === length || view.getInt32(here + length - 4, true) === words[whole];
  }

  /** The member whose name stands at a place, if it is one of the list's without an escape. */
  private memberAt(bytes: Buffer, at: number): Member | undefined {
    const end = bytes.indexOf(34, at);
    return end < 0 || end - at > longestName ? undefined : this.members.get(bytes.toString('latin1', at, end));
  }

  /**
   * Where the quote stands that ends a text; negative when there is none, or something that JSON does not allow, or an
   * escape that may be half a surrogate. Notes whether there was an escape, and bytes beyond ASCII.
   */
  private endOfText(bytes: Buffer, from: number): number {
    const { view } = this;
    const { length, byteOffset } = bytes;
    // No four bytes are read beyond the record: the last text ends before its bracket.
    const last = length - 4;
    let { high } = this;
    let at = from;
    this.escaped = false;
    for (;;) {
      while (at <= last) {
        const word = view.getInt32(byteOffset + at, true);
        const quotes = word ^ 0x22222222;
        const escapes = word ^ 0x5c5c5c5c;
        const special =
          ((quotes - 0x01010101) & ~quotes) | ((escapes - 0x01010101) & ~escapes) | ((word - 0x20202020) & ~word);
        if ((special & 0x80808080) !== 0) break;
        high |= word;
        at += 4;
      }
      let code = 0;
      for (; at < length; at++) {
        code = bytes[at] as number;
        if (code === 34 || code === 92 || code < 32) break;
        high |= code;
      }
      if (at >= length || code < 32) return -1;
      if (code === 34) {
        this.high = high;
        return at;
      }
      this.escaped = true;
      const size = escapeSize(bytes, at);
      if (size === 0) return -1;
      at += size;
    }
  }

  private takeText(member: Member, bytes: Buffer, start: number, end: number, row: CheckedRow): boolean {
    const { escaped } = this;
    switch (member.form) {
      case textForm:
        // An escape is longer than what it stands for, so the bytes between the quotes bound the text's.
        if (end - start > member.maxBytes || (start === end && member.required)) return false;
        row.addBytes(member.place, escaped ? escapedForm : plainForm, start, end);
        return true;
      case uuidForm:
        if (escaped || !uuidWords(bytes, start, end, words)) return false;
        row.addBytes(member.place, wordsForm, start, end);
        return true;
      case timeForm: {
        // The form that the check brings times to; any other is brought to it there.
        if (escaped || end - start !== 27 || bytes[start + 26] !== 90 || bytes[start + 10] !== 84) return false;
        const micros = timeMicrosOf(bytes, start, end);
        if (Number.isNaN(micros)) return false;
        row.addTime(member.place, start, end, micros);
        return true;
      }
      case choiceForm: {
        if (escaped || end - start > longestName) return false;
        if (!member.choices.has(bytes.toString('latin1', start, end))) return false;
        row.addBytes(member.place, plainForm, start, end);
        return true;
      }
      default:
        return false;
    }
  }

  /** What is nested is parsed, as long as its bytes are ASCII without escapes of half a surrogate. */
  private takeNested(member: Member, bytes: Buffer, start: number, end: number, row: CheckedRow): boolean {
    if (member.form !== nestedForm || member.required) return false;
    for (let at = start; at < end; at++) {
      const code = bytes[at] as number;
      if (code > 127 || (code === 92 && bytes[at + 1] === 117)) return false;
    }
    try {
      row.addValue(member.place, member.check(JSON.parse(bytes.toString('latin1', start, end))));
      return true;
    } catch (error) {
      if (error instanceof SyntaxError || error instanceof Refusal) return false;
      throw error;
    }
  }
}

const words = new Uint32Array(4);

function memberOf({ name, place, field, check }: ScannedField): Member {
  const { kind, required = false, setBy, values = [] } = field;
  const bytes = Buffer.from(name);
  const nameWords: number[] = [];
  for (let at = 0; at + 4 <= bytes.length; at += 4) nameWords.push(bytes.readInt32LE(at));
  if (bytes.length >= 4 && bytes.length % 4 !== 0) nameWords.push(bytes.readInt32LE(bytes.length - 4));
  return {
    form: setBy === undefined ? formOf[kind] : unknownForm,
    place,
    required,
    maxBytes: maxBytesOf(field),
    minimum: kind === 'integer' ? Number.MIN_SAFE_INTEGER : 0,
    maximum: kind === 'size' ? 0xffffffff : Number.MAX_SAFE_INTEGER,
    choices: new Set(values),
    check,
    bytes,
    words: Int32Array.from(nameWords),
    next: undefined,
  };
}

/** `true`, `false`, and `null` for what is not required; where it ends, or a negative number. */
function takeWord(member: Member, bytes: Buffer, at: number, row: CheckedRow): number {
  const second = bytes[at + 1];
  const third = bytes[at + 2];
  const fourth = bytes[at + 3];
  if (member.required || member.form === unknownForm) return -1;
  switch (bytes[at]) {
    case 116:
      if (member.form !== flagForm || second !== 114 || third !== 117 || fourth !== 101) return -1;
      row.addValue(member.place, true);
      return at + 4;
    case 102:
      if (member.form !== flagForm || second !== 97 || third !== 108 || fourth !== 115 || bytes[at + 4] !== 101)
        return -1;
      row.addValue(member.place, false);
      return at + 5;
    default:
      return second === 117 && third === 108 && fourth === 108 ? at + 4 : -1;
  }
}

/** Fifteen digits are exact whatever their scale, so dividing by a power of ten gives what JSON.parse gives. */
const mostDigits = 15;
const powersOfTen = Float64Array.from({ length: mostDigits + 1 }, (_, exponent) => 10 ** exponent);

/** A number without exponent; where it ends, or a negative number. */
function takeNumber(member: Member, bytes: Buffer, from: number, row: CheckedRow): number {
  const { form } = member;
  if ((form !== integerForm && form !== durationForm) || member.required) return -1;
  let at = from;
  const negative = bytes[at] === 45;
  if (negative) at++;
  const start = at;
  let number = 0;
  let digit = (bytes[at] as number) - 48;
  while (digit >= 0 && digit <= 9) {
    number = number * 10 + digit;
    digit = (bytes[++at] as number) - 48;
  }
  let digits = at - start;
  // JSON has no leading zero, and -0 is brought to 0 elsewhere.
  if (digits === 0 || (bytes[start] === 48 && (digits > 1 || negative))) return -1;
  if (bytes[at] === 46) {
    if (form !== durationForm) return -1;
    const point = at;
    digit = (bytes[++at] as number) - 48;
    while (digit >= 0 && digit <= 9) {
      number = number * 10 + digit;
      digit = (bytes[++at] as number) - 48;
    }
    const decimals = at - point - 1;
    digits += decimals;
    if (decimals === 0 || digits > mostDigits) return -1;
    number /= powersOfTen[decimals] as number;
  }
  if (digits > mostDigits) return -1;
  const code = bytes[at];
  if (code === 101 || code === 69 || code === 46) return -1;
  if (negative) number = -number;
  if (form === durationForm) {
    if (number < 0 || number > maxDurationMs) return -1;
    row.addNumber(member.place, Math.round(number * 1000) / 1000);
  } else {
    if (number < member.minimum || number > member.maximum) return -1;
    row.addNumber(member.place, number);
  }
  return at;
}

function skipSpace(bytes: Buffer, from: number): number {
  let at = from;
  for (; at < bytes.length; at++) {
    const code = bytes[at];
    if (code !== 32 && code !== 10 && code !== 13 && code !== 9) break;
  }
  return at;
}

/** One past the bracket that ends an object or a list; negative when there is none. What is inside is not checked. */
function endOfNested(bytes: Buffer, from: number): number {
  const { length } = bytes;
  let depth = 0;
  let isText = false;
  for (let at = from; at < length; at++) {
    const code = bytes[at];
    if (isText) {
      if (code === 92) at++;
      else if (code === 34) isText = false;
    } else if (code === 34) isText = true;
    else if (code === 123 || code === 91) depth++;
    else if ((code === 125 || code === 93) && --depth === 0) return at + 1;
  }
  return -1;
}
