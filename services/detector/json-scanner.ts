/**
 * Where the wanted members of a JSON object stand in its bytes, in one pass that makes no strings. What is not wanted is
 * skipped, and not checked for more than where it ends: the gateway has checked it, and the ingestor refuses what is no
 * JSON. For JSON it finds what JSON.parse finds: of two equal names the last one counts.
 *
 * Two things make it fast. Producers write the same members in the same order, so after each name the one that came next
 * last time is tried first, eight bytes at a time: as floating-point numbers, of which two that stand for ASCII are equal
 * exactly when their bytes are. And the end of a text is looked for four bytes at a time (the "has a zero byte" trick:
 * Warren, "Hacker's Delight", 6-1).
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
  /** Bytes of the name with its quotes; 0 for one that is always read anew. */
  readonly length: number;
  /** These bytes, eight at a time; the last ones overlap. For a shorter name it is read anew. */
  readonly numbers: Float64Array;
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
    for (let number = 0; number < kinds.length; number++) kinds[number] = absent;
    const { length, byteOffset } = bytes;
    // Four bytes may be read beyond the record, where its memory goes on.
    const last = view.byteLength - byteOffset - 4;
    let at = skipSpace(bytes, 0);
    if (bytes[at] !== 123) return false;
    at = skipSpace(bytes, at + 1);
    if (bytes[at] === 125) return skipSpace(bytes, at + 1) === length;
    let before: Name | undefined;
    let name = this.first;
    for (;;) {
      if (name === undefined || at + name.length > length || !isName(name, view, byteOffset + at)) {
        if (bytes[at] !== 34) return false;
        const end = endOfText(view, byteOffset + at + 1, byteOffset + length) - byteOffset;
        if (end >= length) return false;
        name = this.nameOf(bytes, at + 1, end);
        if (before === undefined) this.first = name;
        else before.next = name;
        at = end + 1;
      } else at += name.length;
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
      const { number } = name;
      if (code === 34) {
        const start = ++at;
        let hash = seed;
        let high = 0;
        let found = 0;
        let word = 0;
        for (; at <= last; at += 4) {
          word = view.getInt32(byteOffset + at, true);
          const quotes = word ^ 0x22222222;
          const escapes = word ^ 0x5c5c5c5c;
          found = (((quotes - 0x01010101) & ~quotes) | ((escapes - 0x01010101) & ~escapes)) & 0x80808080;
          if (found !== 0) break;
          hash = Math.imul(((hash << 5) | (hash >>> 27)) ^ word, prime);
          high |= word;
        }
        let rest = 0;
        if (found !== 0) {
          // The lowest bit is exact; those above it may be carries.
          rest = (31 - Math.clz32(found & -found)) >> 3;
          word &= (1 << (rest * 8)) - 1;
        } else {
          word = 0;
          for (; at + rest < length; rest++) {
            code = bytes[at + rest] as number;
            if (code === 34 || code === 92) break;
            word |= code << (rest * 8);
          }
        }
        hash = Math.imul(((hash << 5) | (hash >>> 27)) ^ word, prime);
        high |= word;
        at += rest;
        let kind = (high & 0x80808080) === 0 ? plainText : otherText;
        if (bytes[at] === 92) {
          at = endOfText(view, byteOffset + at, byteOffset + length) - byteOffset;
          kind = otherText;
        }
        if (number >= 0) {
          kinds[number] = kind;
          starts[number] = start;
          ends[number] = at;
          hashes[number] = spread(hash);
        }
        at++;
      } else {
        const start = at;
        let kind = literal;
        if (code === 123 || code === 91) {
          at = endOfNested(bytes, view, at);
          kind = nested;
        } else {
          for (; at < length; at++) {
            code = bytes[at] as number;
            if (code === 44 || code === 125 || code <= 32) break;
          }
          if (at === start) return false;
          if (bytes[start] === 110) kind = absent;
        }
        if (number >= 0) {
          kinds[number] = kind;
          starts[number] = start;
          ends[number] = at;
          if (kind === literal) hashes[number] = hashOf(bytes, start, at);
        }
      }
      if (at >= length) return false;
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
        return { number: -1, length: 0, numbers: noNumbers, next: undefined };
      }
    }
    let name = this.names.get(text);
    if (name === undefined) {
      const own = Buffer.from(`"${text}"`);
      const { length } = own;
      const plain = length >= 8 && own.every((byte) => byte >= 32 && byte < 128 && byte !== 92);
      const numbers: number[] = [];
      for (let at = 0; plain && at + 8 <= length; at += 8) numbers.push(own.readDoubleLE(at));
      if (plain && length % 8 !== 0) numbers.push(own.readDoubleLE(length - 8));
      const number = this.numbers.get(text) ?? -1;
      name = { number, length: plain ? length : 0, numbers: Float64Array.from(numbers), next: undefined };
      if (this.names.size < mostNames && length <= longestName) this.names.set(text, name);
    }
    return name;
  }
}

const noNumbers = new Float64Array(0);
const seed = 0x811c9dc5 | 0;
const prime = 0x9e3779b1 | 0;

/** The low bits choose a place, and multiplying moves nothing down into them: the end of MurmurHash3. */
function spread(hash: number): number {
  let mixed = hash ^ (hash >>> 16);
  mixed = Math.imul(mixed, 0x85ebca6b);
  return mixed ^ (mixed >>> 13);
}

function hashOf(bytes: Buffer, start: number, end: number): number {
  let hash = seed;
  for (let at = start; at < end; at++) hash = Math.imul(((hash << 5) | (hash >>> 27)) ^ (bytes[at] as number), prime);
  return spread(hash);
}

/** Whether the name with its quotes stands at a place of the memory. A name that is read anew never does. */
function isName({ length, numbers }: Name, view: DataView, here: number): boolean {
  const whole = length >> 3;
  for (let index = 0; index < whole; index++)
    if (view.getFloat64(here + index * 8, true) !== numbers[index]) return false;
  return length > 0 && ((length & 7) === 0 || view.getFloat64(here + length - 8, true) === numbers[whole]);
}

function skipSpace(bytes: Buffer, from: number): number {
  let at = from;
  for (; at < bytes.length; at++) {
    const code = bytes[at];
    if (code !== 32 && code !== 10 && code !== 13 && code !== 9) break;
  }
  return at;
}

/**
 * Where the quote stands that ends a text, or `until` and more when there is none before. Places in the memory: a
 * record's own would have to be asked for where it lies, with each text.
 */
function endOfText(view: DataView, from: number, until: number): number {
  // Four bytes may be read beyond the record, where its memory goes on.
  const last = Math.min(view.byteLength - 4, until - 1);
  let at = from;
  while (at <= last) {
    const word = view.getInt32(at, true);
    const quotes = word ^ 0x22222222;
    const escapes = word ^ 0x5c5c5c5c;
    const found = (((quotes - 0x01010101) & ~quotes) | ((escapes - 0x01010101) & ~escapes)) & 0x80808080;
    if (found === 0) {
      at += 4;
      continue;
    }
    // The lowest bit is exact; those above it may be carries.
    at += (31 - Math.clz32(found & -found)) >> 3;
    if (view.getUint8(at) === 34) return at;
    at += 2;
  }
  while (at < until) {
    const code = view.getUint8(at);
    if (code === 34) return at;
    at += code === 92 ? 2 : 1;
  }
  return until;
}

/** One past the bracket that ends an object or a list; the length when there is none. */
function endOfNested(bytes: Buffer, view: DataView, from: number): number {
  const { length, byteOffset } = bytes;
  let depth = 0;
  let at = from;
  while (at < length) {
    const code = bytes[at];
    if (code === 34) at = endOfText(view, byteOffset + at + 1, byteOffset + length) - byteOffset;
    else if (code === 123 || code === 91) depth++;
    else if ((code === 125 || code === 93) && --depth === 0) return at + 1;
    at++;
  }
  return length;
}
