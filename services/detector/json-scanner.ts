/**
 * Where the wanted members of a JSON object stand in its bytes, in one pass that makes no strings. What is not wanted is
 * skipped, and not checked for more than where it ends: the gateway has checked it, and the ingestor refuses what is no
 * JSON. For JSON it finds what JSON.parse finds: of two equal names the last one counts.
 *
 * Two things make it fast. Producers write the same members in the same order, so after each name the one that came next
 * last time is tried first, four bytes at a time. And the end of a text is looked for four bytes at a time (the "has a
 * zero byte" trick: Warren, "Hacker's Delight", 6-1).
 */

/** What a member is. A plain text has neither escapes nor anything beyond ASCII. */
export const absent = 0;
export const plainText = 1;
export const otherText = 2;
export const literal = 3;
export const nested = 4;

/** A name that was seen. */
interface Name {
  /** Its number among the wanted ones; -1 for others. */
  readonly number: number;
  readonly bytes: Uint8Array;
  readonly length: number;
  /** Each four bytes of it; the last ones overlap. Without any for a name of less than four bytes. */
  readonly words: Int32Array;
  /** The name that followed it last time. */
  next: Name | undefined;
}

/** Names that are kept besides the wanted ones: what a contract of 50 fields and a producer's own ones need. */
const mostNames = 512;
/** Longer names are looked up as text: an event may have any. */
const longestName = 64;

export class JsonScanner {
  /** By number of the wanted name: what it is, and its bytes. Of a text those between the quotes. */
  readonly kinds: Uint8Array;
  readonly starts: Int32Array;
  readonly ends: Int32Array;
  /** Of a plain text or a literal a hash of its bytes. */
  readonly hashes: Int32Array;
  private readonly numbers: ReadonlyMap<string, number>;
  private readonly names = new Map<string, Name>();
  /** The name that came first last time. */
  private first: Name | undefined;
  /** Over the memory in which the last record lay: those of one batch share it. */
  view: DataView = new DataView(new ArrayBuffer(0));

  constructor(names: readonly string[]) {
    this.kinds = new Uint8Array(names.length);
    this.starts = new Int32Array(names.length);
    this.ends = new Int32Array(names.length);
    this.hashes = new Int32Array(names.length);
    this.numbers = new Map(names.map((name, number) => [name, number]));
  }

  /** False when it is no object, or ends too early. */
  scan(bytes: Buffer): boolean {
    const { kinds, starts, ends, hashes } = this;
    if (this.view.buffer !== bytes.buffer) this.view = new DataView(bytes.buffer);
    const { view } = this;
    kinds.fill(absent);
    const { length, byteOffset } = bytes;
    let at = skipSpace(bytes, 0);
    if (bytes[at] !== 123) return false;
    at = skipSpace(bytes, at + 1);
    if (bytes[at] === 125) return skipSpace(bytes, at + 1) === length;
    let before: Name | undefined;
    let name = this.first;
    for (;;) {
      if (bytes[at] !== 34) return false;
      at++;
      if (name === undefined || !isName(name, view, bytes, at, byteOffset + at)) {
        const end = endOfText(bytes, at);
        if (end >= length) return false;
        name = this.nameOf(bytes, at, end);
        if (before === undefined) this.first = name;
        else before.next = name;
        at = end + 1;
      } else at += name.length + 1;
      let code = bytes[at] as number;
      if (code !== 58) {
        at = skipSpace(bytes, at);
        if (bytes[at] !== 58) return false;
      }
      at++;
      code = bytes[at] as number;
      if (code <= 32) {
        at = skipSpace(bytes, at);
        code = bytes[at] as number;
      }
      let start = at;
      let end: number;
      let kind = literal;
      let hash = seed;
      if (code === 34) {
        start = ++at;
        let high = 0;
        // No four bytes are read beyond the record: the last text ends before its bracket.
        const last = length - 4;
        while (at <= last) {
          const word = view.getInt32(byteOffset + at, true);
          const quotes = word ^ 0x22222222;
          const escapes = word ^ 0x5c5c5c5c;
          if (((((quotes - 0x01010101) & ~quotes) | ((escapes - 0x01010101) & ~escapes)) & 0x80808080) !== 0) break;
          hash = Math.imul(((hash << 5) | (hash >>> 27)) ^ word, prime);
          high |= word;
          at += 4;
        }
        for (; at < length; at++) {
          code = bytes[at] as number;
          if (code === 34 || code === 92) break;
          hash = Math.imul(((hash << 5) | (hash >>> 27)) ^ code, prime);
          high |= code;
        }
        kind = (high & 0x80808080) === 0 ? plainText : otherText;
        if (code === 92) {
          at = endOfText(bytes, at);
          kind = otherText;
        }
        end = at++;
      } else if (code === 123 || code === 91) {
        at = endOfNested(bytes, at);
        end = at;
        kind = nested;
      } else {
        for (; at < length; at++) {
          code = bytes[at] as number;
          if (code === 44 || code === 125 || code <= 32) break;
          hash = Math.imul(((hash << 5) | (hash >>> 27)) ^ code, prime);
        }
        end = at;
        if (end === start) return false;
        if (bytes[start] === 110) kind = absent;
      }
      if (at >= length) return false;
      const { number } = name;
      if (number >= 0) {
        kinds[number] = kind;
        starts[number] = start;
        ends[number] = end;
        hashes[number] = spread(hash);
      }
      code = bytes[at] as number;
      if (code <= 32) {
        at = skipSpace(bytes, at);
        code = bytes[at] as number;
      }
      if (code === 125) return skipSpace(bytes, at + 1) === length;
      if (code !== 44) return false;
      at++;
      if (bytes[at] !== 34) at = skipSpace(bytes, at);
      before = name;
      name = name.next;
    }
  }

  /** The name between two places. One that was never seen is kept, as long as there are few. */
  private nameOf(bytes: Buffer, start: number, end: number): Name {
    let text = bytes.toString('utf8', start, end);
    if (text.includes('\\')) {
      try {
        text = JSON.parse(`"${text}"`) as string;
      } catch {
        return { number: -1, bytes: noBytes, length: 0, words: noWords, next: undefined };
      }
    }
    let name = this.names.get(text);
    if (name === undefined) {
      const own = Buffer.from(text);
      const words: number[] = [];
      for (let at = 0; at + 4 <= own.length; at += 4) words.push(own.readInt32LE(at));
      if (own.length >= 4 && own.length % 4 !== 0) words.push(own.readInt32LE(own.length - 4));
      const number = this.numbers.get(text) ?? -1;
      name = { number, bytes: own, length: own.length, words: Int32Array.from(words), next: undefined };
      if (this.names.size < mostNames && own.length <= longestName) this.names.set(text, name);
    }
    return name;
  }
}

const noBytes = new Uint8Array(0);
const noWords = new Int32Array(0);
const seed = 0x811c9dc5 | 0;
const prime = 0x9e3779b1 | 0;

/** The low bits choose a place, and multiplying moves nothing down into them: the end of MurmurHash3. */
function spread(hash: number): number {
  let mixed = hash ^ (hash >>> 16);
  mixed = Math.imul(mixed, 0x85ebca6b);
  return mixed ^ (mixed >>> 13);
}

/** Whether the name and its closing quote stand at a place of the record, `here` in its memory. */
function isName({ bytes: own, length, words }: Name, view: DataView, bytes: Buffer, at: number, here: number): boolean {
  if (bytes[at + length] !== 34) return false;
  if (length >= 4) {
    const whole = length >> 2;
    for (let index = 0; index < whole; index++)
      if (view.getInt32(here + index * 4, true) !== words[index]) return false;
    return whole * 4 === length || view.getInt32(here + length - 4, true) === words[whole];
  }
  for (let index = 0; index < length; index++) if (own[index] !== bytes[at + index]) return false;
  // The empty name is also what stands for one that is not known.
  return length > 0;
}

function skipSpace(bytes: Buffer, from: number): number {
  let at = from;
  for (; at < bytes.length; at++) {
    const code = bytes[at];
    if (code !== 32 && code !== 10 && code !== 13 && code !== 9) break;
  }
  return at;
}

/** Where the quote stands that ends a text; the length when there is none. */
function endOfText(bytes: Buffer, from: number): number {
  const { length } = bytes;
  let at = from;
  while (at < length) {
    const code = bytes[at];
    if (code === 34) return at;
    at += code === 92 ? 2 : 1;
  }
  return length;
}

/** One past the bracket that ends an object or a list; the length when there is none. */
function endOfNested(bytes: Buffer, from: number): number {
  const { length } = bytes;
  let depth = 0;
  let at = from;
  while (at < length) {
    const code = bytes[at];
    if (code === 34) at = endOfText(bytes, at + 1);
    else if (code === 123 || code === 91) depth++;
    else if ((code === 125 || code === 93) && --depth === 0) return at + 1;
    at++;
  }
  return length;
}
