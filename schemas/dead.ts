import { CheckedRow } from './checked-row.js';
import { type Fields, positionFields } from './field.js';
import { RecordBlock } from './native.js';
import type { RecordTopic } from './record-topic.js';

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

export const deadFields = {
  source_topic: { kind: 'name', description: 'Topic that the record came from.' },
  source_partition: { kind: 'size', description: 'Its partition there.' },
  source_offset: { kind: 'counter', description: 'Its offset there.' },
  reason: { kind: 'name', description: 'Code of the refusal.' },
  message: { kind: 'text', description: 'What was expected and what was found.' },
  raw: { kind: 'bytes', description: "The record's value, byte for byte." },
  headers: { kind: 'map', description: "The record's own headers." },
  ...positionFields,
} as const satisfies Fields;

/** An ingestor that was killed after a dead letter and before its commit sends it again; the source tells. */
export const deadTopic: RecordTopic = {
  fields: deadFields,
  identity: ['source_topic', 'source_partition', 'source_offset'],
  check: (value, headers) => CheckedRow.of(deadFields, { ...parseDead(value, headers) }),
};

/** A block of `dead`. */
export class DeadBlock extends RecordBlock<DeadRecord> {
  constructor() {
    super(deadFields);
  }
}
