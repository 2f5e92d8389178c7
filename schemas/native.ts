import {
  ArrayColumn,
  BoolColumn,
  ByteBuffer,
  type Column,
  Int64Column,
  LowCardinalityColumn,
  MapColumn,
  NullableColumn,
  StringColumn,
  Uint32Column,
  UuidColumn,
  writeBlock,
} from './columns.js';
import { type CallEvent, eventFields, type FieldKind, type FieldKinds } from './event.js';
import { parseTimeMicros } from './time.js';

/**
 * Builds one block of `calls` in ClickHouse's Native format from checked events. The engine reads columns and parses
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
  append(value: string): void {
    this.ticks.append(Math.floor(parseTimeMicros(value) / this.microsPerTick));
  }
  appendTicks(ticks: number): void {
    this.ticks.append(ticks);
  }
  get size(): number {
    return this.ticks.size;
  }
  write(block: ByteBuffer, rows: number): void {
    this.ticks.write(block, rows);
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
  outcome: () => new LowCardinalityColumn(),
  duration: () => new NullableColumn(new DurationColumn(), 0),
  counter: () => new Int64Column('UInt64'),
  size: () => new Uint32Column(),
  integer: () => new Int64Column('Int64'),
  flag: () => new BoolColumn(),
  hint: () => new NullableColumn(new BoolColumn(), false),
  list: () => new ArrayColumn(),
  map: () => new MapColumn(),
};

/** The columns of `calls` in the block's order. */
export const callColumns: readonly string[] = Object.keys(eventFields);

/** The ClickHouse type of a kind of field. */
export function columnTypeOf(kind: FieldKind): string {
  return columnOf[kind]().type;
}

/**
 * A block of `calls` under construction. Buffers are reused after `reset`; what `finish` returned is overwritten by the
 * next `finish`, so it must have been written by then.
 */
export class CallsBlock {
  private readonly named: [keyof CallEvent, Column<never>][] = [];
  /** Columns that take their value from the event, beside the names. */
  private readonly names: (keyof CallEvent)[] = [];
  private readonly columns: Column<unknown>[] = [];
  private readonly recordedAt: TimeColumn;
  private readonly partition: Column<number>;
  private readonly offset: Column<number>;
  private readonly block = new ByteBuffer();
  private count = 0;

  constructor() {
    for (const [name, { kind }] of Object.entries(eventFields)) {
      this.named.push([name as keyof CallEvent, columnOf[kind]() as Column<never>]);
    }
    this.recordedAt = this.column('recorded_at') as TimeColumn;
    this.partition = this.column('stream_partition') as Column<number>;
    this.offset = this.column('stream_offset') as Column<number>;
    for (const [name, column] of this.named) {
      if (column === this.recordedAt || column === this.partition || column === this.offset) continue;
      this.names.push(name);
      this.columns.push(column as Column<unknown>);
    }
  }

  private column(name: keyof CallEvent): Column<never> {
    return (this.named.find(([candidate]) => candidate === name) as [string, Column<never>])[1];
  }

  /** Appends a checked event. `recordedAtMs` is milliseconds since the epoch, as the stream's record has it. */
  append(event: CallEvent, recordedAtMs: number, partition: number, offset: number): void {
    const { names, columns } = this;
    for (let index = 0; index < columns.length; index++) {
      (columns[index] as Column<unknown>).append(event[names[index] as keyof CallEvent]);
    }
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
