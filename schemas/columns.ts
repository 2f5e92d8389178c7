import { textOfEscaped, unescapeInto } from './escapes.js';
import { uuidWords } from './short-texts.js';
import { parseUuid } from './uuid.js';

/**
 * Growing buffers for the columns of one block in ClickHouse's Native format, one class for each type. The layout is
 * ClickHouse's own (src/Formats/NativeWriter.cpp and the serializations beside it), little-endian throughout.
 * Buffers are kept between blocks, so a steady ingestor allocates nothing for them.
 */

const initialCapacity = 1024;

/** Bytes that grow by doubling; `length` says how many are used. */
export class ByteBuffer {
  bytes: Buffer = Buffer.allocUnsafeSlow(initialCapacity);
  length = 0;

  reserve(extra: number): void {
    const needed = this.length + extra;
    if (needed <= this.bytes.length) return;
    const larger = Buffer.allocUnsafeSlow(Math.max(needed, this.bytes.length * 2));
    this.bytes.copy(larger, 0, 0, this.length);
    this.bytes = larger;
  }

  writeByte(value: number): void {
    this.reserve(1);
    this.bytes[this.length++] = value;
  }

  /** Unsigned LEB128, as ClickHouse writes counts and lengths. */
  writeVarint(value: number): void {
    this.reserve(8);
    let rest = value;
    while (rest >= 128) {
      this.bytes[this.length++] = (rest % 128) + 128;
      rest = Math.floor(rest / 128);
    }
    this.bytes[this.length++] = rest;
  }

  /** Two halves instead of a BigInt: several times faster, and exact for every safe integer of either sign. */
  writeInt64(value: number): void {
    this.reserve(8);
    const high = Math.floor(value / 4294967296);
    const low = value - high * 4294967296;
    const { bytes } = this;
    let at = this.length;
    bytes[at++] = low;
    bytes[at++] = low >>> 8;
    bytes[at++] = low >>> 16;
    bytes[at++] = low >>> 24;
    bytes[at++] = high;
    bytes[at++] = high >> 8;
    bytes[at++] = high >> 16;
    bytes[at++] = high >> 24;
    this.length = at;
  }

  writeUint32(value: number): void {
    this.reserve(4);
    const { bytes } = this;
    let at = this.length;
    bytes[at++] = value;
    bytes[at++] = value >>> 8;
    bytes[at++] = value >>> 16;
    bytes[at++] = value >>> 24;
    this.length = at;
  }

  /** Length and UTF-8 bytes. Short ASCII text is copied here: a call into the runtime costs more than the copy. */
  writeString(value: string): void {
    const characters = value.length;
    this.reserve(characters * 3 + 5);
    const { bytes } = this;
    const start = this.length;
    if (characters < shortText) {
      let at = start + 1;
      let index = 0;
      for (; index < characters; index++) {
        const code = value.charCodeAt(index);
        if (code > 127) break;
        bytes[at++] = code;
      }
      if (index === characters) {
        bytes[start] = characters;
        this.length = at;
        return;
      }
    }
    // The length comes before the text, and its own size depends on it: guess by the characters, move when wrong.
    const guess = varintSize(characters);
    const written = bytes.write(value, start + guess, 'utf8');
    const size = varintSize(written);
    if (size !== guess) bytes.copyWithin(start + size, start + guess, start + guess + written);
    this.writeVarint(written);
    this.length = start + size + written;
  }

  writeBytes(value: Uint8Array): void {
    this.writeVarint(value.length);
    this.reserve(value.length);
    this.bytes.set(value, this.length);
    this.length += value.length;
  }

  /** Length and bytes of a text that stands in other bytes. Short ones are copied here, as in `writeString`. */
  writeText(source: Buffer, start: number, end: number): void {
    const size = end - start;
    this.writeVarint(size);
    this.reserve(size);
    copyText(source, start, this.bytes, this.length, size);
    this.length += size;
  }

  /** Length and text of what stands between the quotes of a JSON text in other bytes. */
  writeEscaped(source: Buffer, start: number, end: number): void {
    // What an escape stands for is never longer than the escape.
    const most = end - start;
    this.reserve(most + 5);
    const { bytes, length } = this;
    const guess = varintSize(most);
    const written = unescapeInto(source, start, end, bytes, length + guess);
    const size = varintSize(written);
    if (size !== guess) bytes.copyWithin(length + size, length + guess, length + guess + written);
    this.writeVarint(written);
    this.length = length + size + written;
  }

  writeZeros(count: number): void {
    this.reserve(count);
    this.bytes.fill(0, this.length, this.length + count);
    this.length += count;
  }

  append(other: ByteBuffer): void {
    this.reserve(other.length);
    other.bytes.copy(this.bytes, this.length, 0, other.length);
    this.length += other.length;
  }
}

/** Below this many characters a loop beats Buffer.write (measured on Node 20); always below 128, one byte of length. */
const shortText = 24;

/** Below this many bytes a loop beats a call into the runtime with a view of the source (measured on Node 20). */
const shortBytes = 64;

function copyText(source: Buffer, start: number, target: Buffer, at: number, size: number): void {
  if (size < shortBytes)
    for (let index = 0; index < size; index++) target[at + index] = source[start + index] as number;
  else target.set(source.subarray(start, start + size), at);
}

function varintSize(value: number): number {
  return value < 128 ? 1 : value < 16384 ? 2 : value < 2097152 ? 3 : value < 268435456 ? 4 : 5;
}

/** One column of a block under construction. */
export interface Column<T> {
  /** The ClickHouse type, as it stands in the block's header. */
  readonly type: string;
  /** Rows so far. */
  readonly rows: number;
  append(value: T): void;
  /** Appends defaults until the column has so many rows: what no record named costs one fill. */
  pad(rows: number): void;
  /** Bytes that `write` will produce, roughly. */
  readonly size: number;
  /** Appends the column's data, which has been padded, to the block. */
  write(block: ByteBuffer): void;
  reset(): void;
}

/** A column whose default is a number of zero bytes. */
abstract class PlainColumn<T> implements Column<T> {
  protected readonly data = new ByteBuffer();
  rows = 0;
  constructor(
    readonly type: string,
    private readonly defaultBytes: number,
  ) {}
  abstract append(value: T): void;
  pad(rows: number): void {
    this.data.writeZeros((rows - this.rows) * this.defaultBytes);
    this.rows = rows;
  }
  get size(): number {
    return this.data.length;
  }
  write(block: ByteBuffer): void {
    block.append(this.data);
  }
  reset(): void {
    this.data.length = 0;
    this.rows = 0;
  }
}

/** UInt64, Int64, DateTime64 (ticks): safe integers. */
export class Int64Column extends PlainColumn<number> {
  constructor(type: string) {
    super(type, 8);
  }
  append(value: number): void {
    this.data.writeInt64(value);
    this.rows++;
  }
}

export class Uint32Column extends PlainColumn<number> {
  constructor() {
    super('UInt32', 4);
  }
  append(value: number): void {
    this.data.writeUint32(value);
    this.rows++;
  }
}

export class BoolColumn extends PlainColumn<boolean> {
  constructor() {
    super('Bool', 1);
  }
  append(value: boolean): void {
    this.data.writeByte(value ? 1 : 0);
    this.rows++;
  }
}

/** A column of texts, which takes them from a record's bytes too. */
export interface TextColumn extends Column<string> {
  /** Appends UTF-8 that stands in a record; `isEscaped`: between the quotes of a JSON text, with escapes. */
  appendText(source: Buffer, start: number, end: number, isEscaped: boolean): void;
}

export class StringColumn extends PlainColumn<string> implements TextColumn {
  constructor() {
    super('String', 1);
  }
  append(value: string): void {
    this.data.writeString(value);
    this.rows++;
  }
  appendText(source: Buffer, start: number, end: number, isEscaped: boolean): void {
    if (isEscaped) this.data.writeEscaped(source, start, end);
    else this.data.writeText(source, start, end);
    this.rows++;
  }
}

/** A String column of raw bytes. */
export class BytesColumn extends PlainColumn<Uint8Array> {
  constructor() {
    super('String', 1);
  }
  append(value: Uint8Array): void {
    this.data.writeBytes(value);
    this.rows++;
  }
}

/** A UUID is stored as two 64-bit halves, each little-endian. */
export class UuidColumn extends PlainColumn<string> {
  private readonly words = new Uint32Array(4);
  constructor() {
    super('UUID', 16);
  }
  append(value: string): void {
    // The text was checked before.
    parseUuid(value, this.words);
    this.appendWords();
  }
  /** As `append`, of text that stands in other bytes. */
  appendText(source: Buffer, start: number, end: number): void {
    uuidWords(source, start, end, this.words);
    this.appendWords();
  }
  private appendWords(): void {
    const { data, words } = this;
    data.writeUint32(words[1] as number);
    data.writeUint32(words[0] as number);
    data.writeUint32(words[3] as number);
    data.writeUint32(words[2] as number);
    this.rows++;
  }
}

/** A mask of nulls before the values; a null still has a place among the values. */
export class NullableColumn<T> implements Column<T | null> {
  readonly type: string;
  private readonly mask = new ByteBuffer();
  constructor(private readonly inner: Column<T>) {
    this.type = `Nullable(${inner.type})`;
  }
  get rows(): number {
    return this.mask.length;
  }
  append(value: T | null): void {
    if (value === null) this.pad(this.mask.length + 1);
    else {
      this.mask.writeByte(0);
      this.inner.append(value);
    }
  }
  pad(rows: number): void {
    const { mask } = this;
    mask.reserve(rows - mask.length);
    mask.bytes.fill(1, mask.length, rows);
    mask.length = rows;
    this.inner.pad(rows);
  }
  get size(): number {
    return this.mask.length + this.inner.size;
  }
  write(block: ByteBuffer): void {
    block.append(this.mask);
    this.inner.write(block);
  }
  reset(): void {
    this.mask.length = 0;
    this.inner.reset();
  }
}

/** Places of values that came lately, by a hash of their bytes. */
const recentPlaces = 1024;

/** A dictionary of the block's distinct values, and for each row its place there. */
export class LowCardinalityColumn implements TextColumn {
  readonly type = 'LowCardinality(String)';
  rows = 0;
  private readonly places = new Map<string, number>();
  private readonly dictionary = new ByteBuffer();
  private keys = new Uint32Array(initialCapacity);
  private lastValue = '';
  private lastPlace = 0;
  /** By place: where its text ends in the dictionary, which is where the next one begins. */
  private ends = new Uint32Array(initialCapacity);
  /** By hash: place of a value with this hash; 0 for none. */
  private readonly recent = new Uint32Array(recentPlaces);

  constructor() {
    this.reset();
  }
  append(value: string): void {
    if (value === '') this.appendPlace(0);
    else if (value === this.lastValue) this.appendPlace(this.lastPlace);
    else {
      this.lastPlace = this.placeOf(value);
      this.lastValue = value;
      this.appendPlace(this.lastPlace);
    }
  }
  /**
   * A text that came lately is known by its bytes and makes no string. Whoever sends texts of one hash makes the others
   * go the long way, by the language's own map, and no longer one.
   */
  appendText(source: Buffer, start: number, end: number, isEscaped: boolean): void {
    const size = end - start;
    if (size === 0) this.appendPlace(0);
    else if (isEscaped) this.append(textOfEscaped(source, start, end));
    else {
      let hash = size;
      for (let at = start; at < end; at++) hash = Math.imul(hash ^ (source[at] as number), 0x9e3779b1);
      const slot = (hash ^ (hash >>> 15)) & (recentPlaces - 1);
      let place = this.recent[slot] as number;
      if (place === 0 || !this.isAt(place, source, start, size)) {
        place = this.placeOf(source.toString('utf8', start, end));
        this.recent[slot] = place;
      }
      this.appendPlace(place);
    }
  }
  private isAt(place: number, source: Buffer, start: number, size: number): boolean {
    const end = this.ends[place] as number;
    const from = end - size;
    // Before a text stands its length; a text of up to 127 bytes, as nearly all are, has one byte of it.
    if (size > 127 || from - 1 !== this.ends[place - 1]) return false;
    const { bytes } = this.dictionary;
    for (let index = 0; index < size; index++) if (bytes[from + index] !== source[start + index]) return false;
    return true;
  }
  private placeOf(value: string): number {
    const known = this.places.get(value);
    if (known !== undefined) return known;
    const place = this.places.size;
    this.places.set(value, place);
    this.dictionary.writeString(value);
    if (place === this.ends.length) this.ends = grown(this.ends, place + 1);
    this.ends[place] = this.dictionary.length;
    return place;
  }
  private appendPlace(place: number): void {
    if (this.rows === this.keys.length) this.keys = grown(this.keys, this.rows + 1);
    this.keys[this.rows++] = place;
  }
  pad(rows: number): void {
    if (rows > this.keys.length) this.keys = grown(this.keys, rows);
    this.keys.fill(0, this.rows, rows);
    this.rows = rows;
  }
  get size(): number {
    return this.dictionary.length + this.rows * (this.places.size <= 256 ? 1 : this.places.size <= 65536 ? 2 : 4) + 24;
  }
  write(block: ByteBuffer): void {
    const { rows } = this;
    const distinct = this.places.size;
    const width = distinct <= 256 ? 0 : distinct <= 65536 ? 1 : 2;
    block.writeInt64(1);
    // The dictionary is this block's own (bit 9) and replaces any before (bit 10); the low byte is the keys' width.
    block.writeInt64(0x600 + width);
    block.writeInt64(distinct);
    block.append(this.dictionary);
    block.writeInt64(rows);
    const size = rows << width;
    block.reserve(size);
    const keys = this.keys.subarray(0, rows);
    const narrowed = width === 0 ? Uint8Array.from(keys) : width === 1 ? Uint16Array.from(keys) : keys;
    block.bytes.set(new Uint8Array(narrowed.buffer, narrowed.byteOffset, size), block.length);
    block.length += size;
  }
  reset(): void {
    this.places.clear();
    this.dictionary.length = 0;
    this.rows = 0;
    // The empty string has place 0 in every block, so that a default costs no look-up.
    this.placeOf('');
    this.recent.fill(0);
    this.lastValue = '';
    this.lastPlace = 0;
  }
}

function grown(array: Uint32Array, length: number): Uint32Array<ArrayBuffer> {
  const larger = new Uint32Array(Math.max(length, array.length * 2));
  larger.set(array);
  return larger;
}

/** Ends of the rows' arrays, then all their elements. */
export class ArrayColumn implements Column<readonly string[]> {
  readonly type = 'Array(String)';
  rows = 0;
  private readonly ends = new ByteBuffer();
  private readonly elements = new ByteBuffer();
  private count = 0;
  append(value: readonly string[]): void {
    for (const element of value) this.elements.writeString(element);
    this.count += value.length;
    this.pad(this.rows + 1);
  }
  pad(rows: number): void {
    for (; this.rows < rows; this.rows++) this.ends.writeInt64(this.count);
  }
  get size(): number {
    return this.ends.length + this.elements.length;
  }
  write(block: ByteBuffer): void {
    block.append(this.ends);
    block.append(this.elements);
  }
  reset(): void {
    this.ends.length = 0;
    this.elements.length = 0;
    this.count = 0;
    this.rows = 0;
  }
}

/** Ends of the rows' maps, then all their keys, then all their values. */
export class MapColumn implements Column<Readonly<Record<string, string>>> {
  readonly type = 'Map(String, String)';
  rows = 0;
  private readonly ends = new ByteBuffer();
  private readonly keys = new ByteBuffer();
  private readonly values = new ByteBuffer();
  private count = 0;
  append(value: Readonly<Record<string, string>>): void {
    for (const key in value) {
      this.keys.writeString(key);
      this.values.writeString(value[key] as string);
      this.count++;
    }
    this.pad(this.rows + 1);
  }
  pad(rows: number): void {
    for (; this.rows < rows; this.rows++) this.ends.writeInt64(this.count);
  }
  get size(): number {
    return this.ends.length + this.keys.length + this.values.length;
  }
  write(block: ByteBuffer): void {
    block.append(this.ends);
    block.append(this.keys);
    block.append(this.values);
  }
  reset(): void {
    this.ends.length = 0;
    this.keys.length = 0;
    this.values.length = 0;
    this.count = 0;
    this.rows = 0;
  }
}

/** The block: number of columns and rows, then name, type and data of each column. */
export function writeBlock(
  block: ByteBuffer,
  columns: readonly (readonly [string, Column<never>])[],
  rows: number,
): void {
  block.length = 0;
  block.writeVarint(columns.length);
  block.writeVarint(rows);
  for (const [name, column] of columns) {
    block.writeString(name);
    block.writeString(column.type);
    if (rows === 0) continue;
    if (column.rows < rows) column.pad(rows);
    column.write(block);
  }
}
