import type { KafkaMessage } from 'kafkajs';
import type { StreamRecord } from './stream.js';

type Headers = Readonly<Record<string, string>>;

const noHeaders: Headers = Object.freeze({});
const noBytes = Buffer.alloc(0);

/**
 * A record in the memory of the batch it came in. Key and value are made when they are asked for: a reader that keeps
 * 40,000 records to have them stored keeps no view of each, which would be half of the garbage collector's work.
 */
class KafkaRecord implements StreamRecord {
  private readonly memory: ArrayBufferLike;
  private readonly valueAt: number;
  private readonly valueBytes: number;
  private readonly keyAt: number;
  private readonly keyBytes: number;

  constructor(
    key: Buffer,
    value: Buffer,
    readonly headers: Headers,
    readonly offset: number,
    readonly timestamp: number,
  ) {
    this.memory = value.buffer;
    this.valueAt = value.byteOffset;
    this.valueBytes = value.length;
    this.keyAt = key.byteOffset;
    this.keyBytes = key.length;
  }

  get key(): string {
    return this.keyBytes === 0 ? '' : Buffer.from(this.memory, this.keyAt, this.keyBytes).toString();
  }

  get value(): Buffer {
    return Buffer.from(this.memory, this.valueAt, this.valueBytes);
  }
}

/**
 * Turns kafkajs' messages into records. Equal headers that follow one another become one shared, frozen object, and of
 * others the values that are as they were before: an emitter's differ in the id and the time only.
 */
export class KafkaRecordDecoder {
  private last = noHeaders;
  private lastCount = 0;

  recordOf(message: KafkaMessage, timestamp: number): StreamRecord {
    const headers = message.headers === undefined ? noHeaders : this.headersOf(message.headers);
    const offset = Number(message.offset);
    // A tombstone has no value.
    const value = message.value ?? noBytes;
    const key = message.key ?? noBytes;
    if (key.length === 0 || key.buffer === value.buffer) return new KafkaRecord(key, value, headers, offset, timestamp);
    return { key: key.toString(), value, headers, offset, timestamp };
  }

  private headersOf(headers: NonNullable<KafkaMessage['headers']>): Headers {
    let count = 0;
    for (const name in headers) {
      if (!isText(headers[name], this.last[name])) return this.newHeaders(headers);
      count++;
    }
    return count === this.lastCount ? this.last : this.newHeaders(headers);
  }

  private newHeaders(headers: NonNullable<KafkaMessage['headers']>): Headers {
    const made: Record<string, string> = {};
    let count = 0;
    for (const name in headers) {
      const before = this.last[name];
      made[name] = isText(headers[name], before) ? (before as string) : text(headers[name]);
      count++;
    }
    this.lastCount = count;
    this.last = count === 0 ? noHeaders : Object.freeze(made);
    return this.last;
  }
}

/** Whether a header has the bytes of an ASCII text; what has other bytes, or several values, is made anew. */
function isText(value: unknown, before: string | undefined): boolean {
  if (before === undefined || !Buffer.isBuffer(value) || value.length !== before.length) return false;
  for (let at = 0; at < before.length; at++) {
    const byte = value[at] as number;
    if (byte > 127 || byte !== before.charCodeAt(at)) return false;
  }
  return true;
}

/** Kafka allows a header several times; the last one counts, as in its Java client's lastHeader. */
function text(value: Buffer | string | (Buffer | string)[] | undefined): string {
  const last = Array.isArray(value) ? value.at(-1) : value;
  return last?.toString() ?? '';
}
