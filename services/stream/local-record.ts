import { AuditdError } from '../../schemas/errors.js';
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

/** The timestamp of an encoded record. */
export function timestampOf(bytes: Buffer): number {
  return bytes.readUIntLE(0, 6);
}

/** Turns bytes into records. Equal header blocks that follow one another become one shared, frozen object. */
export class RecordDecoder {
  private lastBlock = Buffer.alloc(0);
  private lastHeaders = noHeaders;

  decode(bytes: Buffer, offset: number): StreamRecord {
    const headersBytes = bytes.readUInt32LE(8);
    const keyAt = prefixBytes + headersBytes;
    const valueAt = keyAt + bytes.readUInt16LE(6);
    return {
      key: keyAt === valueAt ? '' : bytes.toString('utf8', keyAt, valueAt),
      value: bytes.subarray(valueAt),
      headers: headersBytes === 0 ? noHeaders : this.headersOf(bytes, keyAt),
      offset,
      timestamp: timestampOf(bytes),
    };
  }

  private headersOf(bytes: Buffer, end: number): Readonly<Record<string, string>> {
    const last = this.lastBlock;
    if (last.length === end - prefixBytes && last.compare(bytes, prefixBytes, end) === 0) return this.lastHeaders;
    // A copy, because a view would keep the whole chunk it was read in.
    this.lastBlock = Buffer.from(bytes.subarray(prefixBytes, end));
    this.lastHeaders = Object.freeze(JSON.parse(this.lastBlock.toString('utf8')));
    return this.lastHeaders;
  }
}
