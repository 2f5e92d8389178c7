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

export class StringColumn extends PlainColumn<string> {
  constructor() {
    super('String', 1);
  }
  append(value: string): void {
    this.data.writeString(value);
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
    const { data, words } = this;
    // The text was checked before.
    parseUuid(value, words);
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

/** A dictionary of the block's distinct values, and for each row its place there. */
export class LowCardinalityColumn implements Column<string> {
  readonly type = 'LowCardinality(String)';
  rows = 0;
  private readonly places = new Map<string, number>();
  private readonly dictionary = new ByteBuffer();
  private keys = new Uint32Array(initialCapacity);
  private lastValue = '';
  private lastPlace = 0;

  constructor() {
    this.reset();
  }
  append(value: string): void {
    let place: number;
    if (value === '') place = 0;
    else if (value === this.lastValue) place = this.lastPlace;
    else {
      place = this.places.get(value) ?? -1;
      if (place < 0) {
        place = this.places.size;
        this.places.set(value, place);
        this.dictionary.writeString(value);
      }
      this.lastValue = value;
      this.lastPlace = place;
    }
    if (this.rows === this.keys.length) this.grow(this.rows + 1);
    this.keys[this.rows++] = place;
  }
  pad(rows: number): void {
    if (rows > this.keys.length) this.grow(rows);
    this.keys.fill(0, this.rows, rows);
    this.rows = rows;
  }
  private grow(rows: number): void {
    const larger = new Uint32Array(Math.max(rows, this.keys.length * 2));
    larger.set(this.keys);
    this.keys = larger;
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
    this.places.set('', 0);
    this.dictionary.writeString('');
    this.lastValue = '';
    this.lastPlace = 0;
  }
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
