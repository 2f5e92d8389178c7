import { AuditdError } from '../../schemas/errors.js';
import { readU32 } from '../segments/format.js';
import type { NewRecord, StreamRecord } from './stream.js';

/**
 * A stream's record as bytes in a segment file, numbers little-endian:
 * timestamp u48 (milliseconds) | key length u16 | headers length u32 | headers (JSON, or nothing) | key | value
 */
const prefixBytes = 12;
const maxKeyBytes = 65_535;
const noHeaders: Readonly<Record<string, string>> = Object.freeze({});

/** Turns records into bytes; the timestamp is filled in by `stampRecord` when the record's turn to be written comes. */
export class RecordEncoder {
  private lastHeaders: Readonly<Record<string, string>> = noHeaders;
  private lastBlock = '';
  private lastBlockBytes = 0;

  encode(record: NewRecord): Buffer {
    // Records of one request share their headers object: one JSON text serves them all.
    if (record.headers !== this.lastHeaders) {
      const block = JSON.stringify(record.headers);
      this.lastHeaders = record.headers;
      this.lastBlock = block === '{}' ? '' : block;
      this.lastBlockBytes = Buffer.byteLength(this.lastBlock);
    }
    const keyBytes = Buffer.byteLength(record.key);
    if (keyBytes > maxKeyBytes) {
      throw new AuditdError('record_too_large', `a key of ${keyBytes} bytes is longer than ${maxKeyBytes}`);
    }
    const bytes = Buffer.allocUnsafe(prefixBytes + this.lastBlockBytes + keyBytes + record.value.length);
    bytes.writeUInt16LE(keyBytes, 6);
    bytes.writeUInt32LE(this.lastBlockBytes, 8);
    if (this.lastBlockBytes > 0) bytes.write(this.lastBlock, prefixBytes, 'utf8');
    bytes.write(record.key, prefixBytes + this.lastBlockBytes, 'utf8');
    bytes.set(record.value, prefixBytes + this.lastBlockBytes + keyBytes);
    return bytes;
  }
}

/** Writes the timestamp (milliseconds since the epoch) into an encoded record. */
export function stampRecord(bytes: Buffer, timestamp: number): void {
  bytes.writeUIntLE(timestamp, 0, 6);
}

/** The timestamp of a record encoded at `start`. */
export function timestampOf(bytes: Buffer, start = 0): number {
  return bytes.readUIntLE(start, 6);
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
