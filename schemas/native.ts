import { type CheckedRow, escapedForm, numberForm, timeForm, valueForm } from './checked-row.js';
import {
  ArrayColumn,
  BoolColumn,
  ByteBuffer,
  BytesColumn,
  type Column,
  Int64Column,
  LowCardinalityColumn,
  MapColumn,
  NullableColumn,
  StringColumn,
  type TextColumn,
  Uint32Column,
  UuidColumn,
  writeBlock,
} from './columns.js';
import { type CallEvent, eventFields } from './event.js';
import { type FieldKind, type FieldKinds, type Fields, positionFields } from './field.js';
import { parseTimeMicros } from './time.js';

/**
 * Builds one block of a table in ClickHouse's Native format from checked records. The engine reads columns and parses
 * nothing, so what is stored is exactly what was checked.
 */

class TimeColumn implements Column<string> {
  private readonly ticks: Int64Column;
  constructor(
    readonly type: string,
    private readonly microsPerTick: number,
  ) {
    this.ticks = new Int64Column(type);
  }
  get rows(): number {
    return this.ticks.rows;
  }
  append(value: string): void {
    this.appendMicros(parseTimeMicros(value));
  }
  appendMicros(micros: number): void {
    this.ticks.append(this.microsPerTick === 1 ? micros : Math.floor(micros / this.microsPerTick));
  }
  appendTicks(ticks: number): void {
    this.ticks.append(ticks);
  }
  pad(rows: number): void {
    this.ticks.pad(rows);
  }
  get size(): number {
    return this.ticks.size;
  }
  write(block: ByteBuffer): void {
    this.ticks.write(block);
  }
  reset(): void {
    this.ticks.reset();
  }
}

/** Milliseconds with three decimals, as Decimal64(3): thousandths in an Int64. */
class DurationColumn extends Int64Column {
  constructor() {
    super('Decimal(18, 3)');
  }
  override append(value: number): void {
    super.append(Math.round(value * 1000));
  }
}

/** The column of each kind of field; its `type` is the column's type in the table. */
const columnOf: { [K in FieldKind]: () => Column<FieldKinds[K]> } = {
  uuid: () => new UuidColumn(),
  time_micros: () => new TimeColumn("DateTime64(6, 'UTC')", 1),
  time_millis: () => new TimeColumn("DateTime64(3, 'UTC')", 1000),
  name: () => new LowCardinalityColumn(),
  text: () => new StringColumn(),
  body: () => new StringColumn(),
  choice: () => new LowCardinalityColumn(),
  duration: () => new NullableColumn(new DurationColumn()),
  counter: () => new Int64Column('UInt64'),
  size: () => new Uint32Column(),
  integer: () => new Int64Column('Int64'),
  flag: () => new BoolColumn(),
  hint: () => new NullableColumn(new BoolColumn()),
  list: () => new ArrayColumn(),
  map: () => new MapColumn(),
  bytes: () => new BytesColumn(),
};

/** The ClickHouse type of a kind of field. */
export function columnTypeOf(kind: FieldKind): string {
  return columnOf[kind]().type;
}

/**
 * A block of one table under construction. Buffers are reused after `reset`; what `finish` returned is overwritten by
 * the next `finish`, so it must have been written by then.
 */
export class RecordBlock<R> {
  private readonly named: (readonly [string, Column<never>])[] = [];
  /** By the fields' places in the list. */
  private readonly columns: Column<unknown>[] = [];
  private readonly recordedAt: TimeColumn;
  private readonly partition: Column<number>;
  private readonly offset: Column<number>;
  private readonly block = new ByteBuffer();
  private count = 0;

  /** `fields` has the three of `positionFields` among them. */
  constructor(fields: Fields) {
    const byName = new Map<string, Column<never>>();
    for (const [name, { kind }] of Object.entries(fields)) {
      const column = columnOf[kind]() as Column<never>;
      byName.set(name, column);
      this.named.push([name, column]);
      this.columns.push(column as Column<unknown>);
    }
    this.recordedAt = byName.get('recorded_at') as unknown as TimeColumn;
    this.partition = byName.get('stream_partition') as Column<number>;
    this.offset = byName.get('stream_offset') as Column<number>;
  }

  /** Appends a checked record. `recordedAtMs` is milliseconds since the epoch, as the stream's record has it. */
  append(record: R, recordedAtMs: number, partition: number, offset: number): void {
    for (const [name, column] of this.named) {
      if (!(name in positionFields)) this.put(column as Column<unknown>, (record as Record<string, unknown>)[name]);
    }
    this.endRow(recordedAtMs, partition, offset);
  }

  /** As `append`, of a record that was checked by the same list of fields. */
  appendRow(row: CheckedRow, recordedAtMs: number, partition: number, offset: number): void {
    const { columns, count } = this;
    const { places, forms, values, numbers, bytes, starts, ends } = row;
    for (let index = 0; index < row.count; index++) {
      const column = columns[places[index] as number] as Column<unknown>;
      if (column.rows < count) column.pad(count);
      const form = forms[index];
      if (form === valueForm) column.append(values[index]);
      else if (form === numberForm) column.append(numbers[index]);
      else if (form === timeForm) (column as TimeColumn).appendMicros(numbers[index] as number);
      else
        (column as TextColumn | UuidColumn).appendText(
          bytes,
          starts[index] as number,
          ends[index] as number,
          form === escapedForm,
        );
    }
    this.endRow(recordedAtMs, partition, offset);
  }

  private put(column: Column<unknown>, value: unknown): void {
    if (column.rows < this.count) column.pad(this.count);
    column.append(value);
  }

  private endRow(recordedAtMs: number, partition: number, offset: number): void {
    this.recordedAt.appendTicks(recordedAtMs);
    this.partition.append(partition);
    this.offset.append(offset);
    this.count++;
  }

  get rows(): number {
    return this.count;
  }

  /** Bytes of the block so far, without the header of about 1 KiB. */
  get bytes(): number {
    let bytes = 0;
    for (const [, column] of this.named) bytes += column.size;
    return bytes;
  }

  /** The block's bytes: a view of the reused buffer. */
  finish(): Uint8Array {
    writeBlock(this.block, this.named, this.count);
    return this.block.bytes.subarray(0, this.block.length);
  }

  /** Empties the block and keeps its buffers. */
  reset(): void {
    for (const [, column] of this.named) column.reset();
    this.count = 0;
  }
}

/** A block of `calls`. */
export class CallsBlock extends RecordBlock<CallEvent> {
  constructor() {
    super(eventFields);
  }
}
