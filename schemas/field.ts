/**
 * What a list of fields may say. `event.ts`, `dead.ts` and `alert.ts` hold one list each; type, check, columns and the
 * encoder of ClickHouse's Native format follow from it.
 */

/** What a field's value may be, on the wire (JSON) and in the table. */
export interface FieldKinds {
  /** Wire: canonical lower-case UUID text. Column: UUID. */
  uuid: string;
  /** Wire: RFC 3339 in UTC with up to six decimals, `2026-11-24T03:52:00.123456Z`. Column: DateTime64(6, 'UTC'). */
  time_micros: string;
  /** Wire: as `time_micros`. Column: DateTime64(3, 'UTC'). Set by the stream, never by a producer. */
  time_millis: string;
  /** Few distinct values. Column: LowCardinality(String). */
  name: string;
  /** Short text with many distinct values. Column: String. */
  text: string;
  /** JSON text of a body (wire: JSON text, or any JSON value, which is then serialised). Column: String, ZSTD(3). */
  body: string;
  /** One of the field's `values`. Column: LowCardinality(String), checked before it is stored. */
  choice: string;
  /** Milliseconds with three decimals; null when unknown. Column: Nullable(Decimal64(3)). */
  duration: number | null;
  /** Unsigned, below 2^53. Column: UInt64. */
  counter: number;
  /** Unsigned, below 2^32. Column: UInt32. */
  size: number;
  /** Signed, safe integer. Column: Int64. */
  integer: number;
  /** Column: Bool. */
  flag: boolean;
  /** True, false or not stated. Column: Nullable(Bool). */
  hint: boolean | null;
  /** Column: Array(String). */
  list: readonly string[];
  /** Column: Map(String, String); on the wire a value that is not a string is kept as its JSON text. */
  map: Readonly<Record<string, string>>;
  /** Any bytes; not part of a JSON record. Column: String. */
  bytes: Uint8Array;
}

export type FieldKind = keyof FieldKinds;

export interface Field<K extends FieldKind = FieldKind> {
  readonly kind: K;
  /** A record without it is refused. Every other field has the default of its kind: '', 0, null, false, [], {}. */
  readonly required?: true;
  /** Who sets it: the producer (default), the `gateway` (from the key, in a header) or the `stream` (from the record). */
  readonly setBy?: 'gateway' | 'stream';
  /** Longest value in bytes of UTF-8; a longer one is refused. Default by kind: name 256, text 2,048, body 1 MiB. */
  readonly maxBytes?: number;
  /** What a `choice` may be. */
  readonly values?: readonly string[];
  readonly description: string;
}

export type Fields = Readonly<Record<string, Field>>;

/** The value of one field; of a choice, one of its values. */
export type ValueOf<F extends Field> = F extends { readonly values: readonly (infer V)[] } ? V : FieldKinds[F['kind']];

/** A record that was checked: every field has a value. */
export type RecordOf<F extends Fields> = { -readonly [N in keyof F]: ValueOf<F[N]> };

/** Where the stream holds the record. Every table that takes records of a topic ends with these columns. */
export const positionFields = {
  recorded_at: {
    kind: 'time_millis',
    setBy: 'stream',
    description: "When the stream took the record, by the stream's clock. Partitions and retention go by it.",
  },
  stream_partition: { kind: 'size', setBy: 'stream', description: 'Partition of the record in the stream.' },
  stream_offset: { kind: 'counter', setBy: 'stream', description: 'Offset of the record in its partition.' },
} as const satisfies Fields;
