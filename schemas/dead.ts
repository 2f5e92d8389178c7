import {
  ByteBuffer,
  BytesColumn,
  type Column,
  Int64Column,
  LowCardinalityColumn,
  MapColumn,
  StringColumn,
  Uint32Column,
  writeBlock,
} from './columns.js';

/**
 * A dead letter: a record that could not be stored, kept whole with its place and the reason. On the `dead` topic the
 * value is the record's own bytes and everything else rides in headers, so that no byte is lost to an encoding.
 */
export interface DeadRecord {
  /** Where the record came from. */
  readonly source_topic: string;
  readonly source_partition: number;
  readonly source_offset: number;
  /** A code of `recordErrorCodes`, or of the failure that made it poison. */
  readonly reason: string;
  /** What was expected and what was found, for people. */
  readonly message: string;
  /** The record's value, byte for byte. */
  readonly raw: Uint8Array;
  /** The record's own headers. */
  readonly headers: Readonly<Record<string, string>>;
}

/** Headers of a `dead` record that say where it came from and why; the record's own headers carry this prefix. */
const ownHeaderPrefix = 'record.';

/** The record of the `dead` topic. Inverse of `parseDead`. */
export function deadToRecord(dead: DeadRecord): { value: Buffer; headers: Record<string, string> } {
  const headers: Record<string, string> = {
    source_topic: dead.source_topic,
    source_partition: String(dead.source_partition),
    source_offset: String(dead.source_offset),
    reason: dead.reason,
    message: dead.message,
  };
  for (const [name, value] of Object.entries(dead.headers)) headers[ownHeaderPrefix + name] = value;
  return { value: Buffer.from(dead.raw.buffer, dead.raw.byteOffset, dead.raw.byteLength), headers };
}

/**
 * Reads a record of the `dead` topic. Never refuses: a record with headers that are missing or wrong is kept all the
 * same, under reason `unknown` and position 0, because a dead letter that is refused has nowhere else to go.
 */
export function parseDead(value: Uint8Array, headers: Readonly<Record<string, string>>): DeadRecord {
  const own: Record<string, string> = {};
  for (const [name, text] of Object.entries(headers)) {
    if (name.startsWith(ownHeaderPrefix)) own[name.slice(ownHeaderPrefix.length)] = text;
  }
  return {
    source_topic: headers.source_topic ?? '',
    source_partition: wholeNumber(headers.source_partition, 0xffffffff),
    source_offset: wholeNumber(headers.source_offset, Number.MAX_SAFE_INTEGER),
    reason: headers.reason ?? 'unknown',
    message: headers.message ?? '',
    raw: value,
    headers: own,
  };
}

function wholeNumber(text: string | undefined, maximum: number): number {
  const value = Number(text);
  return Number.isInteger(value) && value >= 0 && value <= maximum ? value : 0;
}

/** The columns of `dead` in the block's order. */
export const deadColumns = [
  'source_topic',
  'source_partition',
  'source_offset',
  'reason',
  'message',
  'raw',
  'headers',
  'recorded_at',
  'stream_partition',
  'stream_offset',
] as const;

/** A block of `dead` under construction, as `CallsBlock` is one of `calls`. */
export class DeadBlock {
  private readonly sourceTopic = new LowCardinalityColumn();
  private readonly sourcePartition = new Uint32Column();
  private readonly sourceOffset = new Int64Column('UInt64');
  private readonly reason = new LowCardinalityColumn();
  private readonly message = new StringColumn();
  private readonly raw = new BytesColumn();
  private readonly headers = new MapColumn();
  private readonly recordedAt = new Int64Column("DateTime64(3, 'UTC')");
  private readonly partition = new Uint32Column();
  private readonly offset = new Int64Column('UInt64');
  private readonly named: readonly (readonly [string, Column<never>])[] = [
    ['source_topic', this.sourceTopic],
    ['source_partition', this.sourcePartition],
    ['source_offset', this.sourceOffset],
    ['reason', this.reason],
    ['message', this.message],
    ['raw', this.raw],
    ['headers', this.headers],
    ['recorded_at', this.recordedAt],
    ['stream_partition', this.partition],
    ['stream_offset', this.offset],
  ];
  private readonly block = new ByteBuffer();
  private count = 0;

  /** Appends a dead letter; position and time are those of the record in the `dead` topic. */
  append(dead: DeadRecord, recordedAtMs: number, partition: number, offset: number): void {
    this.sourceTopic.append(dead.source_topic);
    this.sourcePartition.append(dead.source_partition);
    this.sourceOffset.append(dead.source_offset);
    this.reason.append(dead.reason);
    this.message.append(dead.message);
    this.raw.append(dead.raw);
    this.headers.append(dead.headers);
    this.recordedAt.append(recordedAtMs);
    this.partition.append(partition);
    this.offset.append(offset);
    this.count++;
  }

  get rows(): number {
    return this.count;
  }

  get bytes(): number {
    let bytes = 0;
    for (const [, column] of this.named) bytes += column.size;
    return bytes;
  }

  finish(): Uint8Array {
    writeBlock(this.block, this.named, this.count);
    return this.block.bytes.subarray(0, this.block.length);
  }

  reset(): void {
    for (const [, column] of this.named) column.reset();
    this.count = 0;
  }
}
