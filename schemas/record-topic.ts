import { RecordCheck, type RecordRefused, type Vouched } from './check.js';
import type { CheckedRow } from './checked-row.js';
import type { Fields } from './field.js';

/**
 * A topic of few records that the ingestor stores in the table of the same name as they are, once each. A new one is a
 * list of fields here in `schemas/`, a migration with its table, and a line in `tables.ts`.
 */
export interface RecordTopic {
  /** The table's columns in order, `positionFields` last. */
  readonly fields: Fields;
  /**
   * Columns by which a record is known again when its producer sends it twice. A record whose first one is empty cannot
   * be known again and is stored each time.
   */
  readonly identity: readonly string[];
  /** Checks a record as it came from the stream. Never throws. The row is valid until the next check. */
  check(
    value: Buffer,
    headers: Readonly<Record<string, string>>,
    position: NonNullable<Vouched['position']>,
  ): CheckedRow | RecordRefused;
}

/** A topic whose records are JSON objects of these fields. Fields that it does not know are kept in `attributes`. */
export function jsonTopic(fields: Fields, identity: readonly string[]): RecordTopic {
  const records = new RecordCheck(fields);
  return { fields, identity, check: (value, _headers, position) => records.checkRow(value, { position }) };
}
