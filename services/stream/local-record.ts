import { AuditdError } from '../../schemas/errors.js';
import { readU32, writeU32 } from '../segments/format.js';
import type { RecordSource } from '../segments/segments.js';
import type { NewRecord, StreamRecord } from './stream.js';

/**
 * A stream's record as bytes in a segment file, numbers little-endian:
 * timestamp u48 (milliseconds) | key length u16 | headers length u32 | headers (JSON, or nothing) | key | value
 */
const prefixBytes = 12;
const maxKeyBytes = 65_535;
const noHeaders: Readonly<Record<string, string>> = Object.freeze({});

/** A record on its way into a segment file. The timestamp is set when its turn to be written comes. */
export class EncodedRecord implements RecordSource {
  timestamp = 0;
  readonly length: number;

  constructor(
    private readonly key: string,
    private readonly keyBytes: number,
    private readonly headers: Uint8Array,
    private readonly value: Uint8Array,
  ) {
    this.length = prefixBytes + headers.length + keyBytes + value.length;
  }

  copyTo(buffer: Buffer, at: number): void {
    const { headers, keyBytes, value, timestamp } = this;
    writeU32(buffer, at, timestamp % 2 ** 32);
    buffer[at + 4] = timestamp / 2 ** 32;
    buffer[at + 5] = timestamp / 2 ** 40;
    buffer[at + 6] = keyBytes;
    buffer[at + 7] = keyBytes >>> 8;
    writeU32(buffer, at + 8, headers.length);
    let end = at + prefixBytes;
    buffer.set(headers, end);
    end += headers.length;
    buffer.write(this.key, end, 'utf8');
    buffer.set(value, end + keyBytes);
  }
}

/** Turns records into bytes. */
export class RecordEncoder {
  private lastHeaders: Readonly<Record<string, string>> = noHeaders;
  private lastBlock = Buffer.alloc(0);

  encode({ key, value, headers }: NewRecord): EncodedRecord {
    // Records of one request share their headers object: one JSON text serves them all.
    if (headers !== this.lastHeaders) {
      const block = JSON.stringify(headers);
      this.lastHeaders = headers;
      this.lastBlock = Buffer.from(block === '{}' ? '' : block);
    }
    const keyBytes = Buffer.byteLength(key);
    if (keyBytes > maxKeyBytes) {
      throw new AuditdError('record_too_large', `a key of ${keyBytes} bytes is longer than ${maxKeyBytes}`);
    }
    return new EncodedRecord(key, keyBytes, this.lastBlock, value);
  }
}

/** The timestamp of a record encoded at `start`. */
export function timestampOf(bytes: Buffer, start = 0): number {
  return readU32(bytes, start) + (bytes[start + 4]! | (bytes[start + 5]! << 8)) * 2 ** 32;
}

/**
 * A record in its chunk of the file. Key and value are made when they are asked for: a reader that keeps 40,000 records
 * to have them stored keeps no view of each, which would be half of the garbage collector's work.
 */
class LocalRecord implements StreamRecord {
  constructor(
    private readonly chunk: Buffer,
    private readonly start: number,
    private readonly end: number,
    readonly headers: Readonly<Record<string, string>>,
    readonly offset: number,
  ) {}

  private get keyAt(): number {
    return this.start + prefixBytes + readU32(this.chunk, this.start + 8);
  }

  private get valueAt(): number {
    return this.keyAt + keyBytesOf(this.chunk, this.start);
  }

  get key(): string {
    return this.chunk.toString('utf8', this.keyAt, this.valueAt);
  }

  get value(): Buffer {
    return this.chunk.subarray(this.valueAt, this.end);
  }

  get timestamp(): number {
    return timestampOf(this.chunk, this.start);
  }
}

function keyBytesOf(chunk: Buffer, start: number): number {
  return chunk[start + 6]! | (chunk[start + 7]! << 8);
}

/** Turns bytes into records. Equal header blocks that follow one another become one shared, frozen object. */
export class RecordDecoder {
  private lastBlock = Buffer.alloc(0);
  private lastHeaders = noHeaders;

  /** The record in the bytes `start` to `end` of a chunk. */
  readonly decode = (chunk: Buffer, start: number, end: number, offset: number): StreamRecord => {
    const headersBytes = readU32(chunk, start + 8);
    const headersAt = start + prefixBytes;
    const headers = headersBytes === 0 ? noHeaders : this.headersOf(chunk, headersAt, headersAt + headersBytes);
    return new LocalRecord(chunk, start, end, headers, offset);
  };

  private headersOf(chunk: Buffer, start: number, end: number): Readonly<Record<string, string>> {
    const { lastBlock } = this;
    if (lastBlock.length === end - start) {
      let at = 0;
      while (at < lastBlock.length && lastBlock[at] === chunk[start + at]) at++;
      if (at === lastBlock.length) return this.lastHeaders;
    }
    // A copy, because a view would keep the whole chunk it was read in.
    this.lastBlock = Buffer.from(chunk.subarray(start, end));
    this.lastHeaders = Object.freeze(JSON.parse(this.lastBlock.toString('utf8')));
    return this.lastHeaders;
  }
}
