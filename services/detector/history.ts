/** Stored calls as the records that they were on the stream, in the order of the stream's time. */
import { type EngineRecord, streamMicros } from './event-reader.js';

/** Asks the store one statement; chunks of the answer in the named format of ClickHouse. */
export type Ask = (sql: string, format: string) => AsyncIterable<Uint8Array>;

export interface HistoryRange {
  /** The stream's time, microseconds: from, inclusive, until, exclusive. */
  readonly fromMicros: number;
  readonly untilMicros: number;
  /** SQL condition on the table `calls AS c`, from quoted values only. */
  readonly where?: string;
}

/** Rows that are sorted at a time: 500,000 rows of 200 bytes are 100 MB in the store. */
const rowsPerSlice = 500_000;
const hourMicros = 3_600e6;

/** What orders the records. The rows begin with it. */
const position = ['recorded_at', 'stream_partition', 'stream_offset'];

interface Slice {
  readonly fromMicros: number;
  readonly untilMicros: number;
  readonly rows: number;
}

function time(micros: number): string {
  return `fromUnixTimestamp64Milli(${Math.ceil(micros / 1000)}, 'UTC')`;
}

function conditions({ fromMicros, untilMicros, where }: HistoryRange): string {
  const range = `c.recorded_at >= ${time(fromMicros)} AND c.recorded_at < ${time(untilMicros)}`;
  return where === undefined ? range : `${range} AND (${where})`;
}

/** Rows of each hour, in order. */
export async function rowsByHour(ask: Ask, range: HistoryRange): Promise<{ hourMicros: number; rows: number }[]> {
  const sql = `SELECT toUnixTimestamp(toStartOfHour(c.recorded_at)), count() FROM calls AS c WHERE ${conditions(range)} GROUP BY 1 ORDER BY 1`;
  const text: Buffer[] = [];
  for await (const chunk of ask(sql, 'TSV')) text.push(Buffer.from(chunk));
  return Buffer.concat(text)
    .toString()
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [hour, rows] = line.split('\t').map(Number) as [number, number];
      return { hourMicros: hour * 1e6, rows };
    });
}

function slicesOf(range: HistoryRange, hours: readonly { hourMicros: number; rows: number }[]): Slice[] {
  const slices: Slice[] = [];
  for (const { hourMicros: start, rows } of hours) {
    const last = slices[slices.length - 1];
    const from = Math.max(start, range.fromMicros);
    const until = Math.min(start + hourMicros, range.untilMicros);
    if (last !== undefined && last.rows + rows <= rowsPerSlice) {
      slices[slices.length - 1] = { fromMicros: last.fromMicros, untilMicros: until, rows: last.rows + rows };
      continue;
    }
    const parts = Math.ceil(rows / rowsPerSlice);
    for (let part = 0; part < parts; part++) {
      const at = (share: number): number => from + Math.floor(((until - from) * share) / parts / 1000) * 1000;
      slices.push({ fromMicros: at(part), untilMicros: part === parts - 1 ? until : at(part + 1), rows: rows / parts });
    }
  }
  return slices;
}

/**
 * The records, in batches. `progress` is told after each slice how many rows were read of how many.
 *
 * @param columns Columns that rules look at; the others are left where they are.
 */
export async function* readHistory(
  ask: Ask,
  range: HistoryRange,
  columns: Iterable<string>,
  progress: (read: number, total: number) => void = () => undefined,
): AsyncGenerator<EngineRecord[]> {
  const slices = slicesOf(range, await rowsByHour(ask, range));
  const total = slices.reduce((sum, { rows }) => sum + rows, 0);
  const names = [...new Set([...position, 'occurred_at', 'tenant', 'event_id', ...columns])];
  const numbers: Readonly<Record<string, string>> = {
    recorded_at: 'toUnixTimestamp64Milli(h.recorded_at)',
    occurred_at: 'toUnixTimestamp64Micro(h.occurred_at)',
  };
  const shown = names.map((name) => `${numbers[name] ?? `h.${name}`} AS ${name}`).join(', ');
  let read = 0;
  for (const slice of slices) {
    // The condition stands inside, where the names are the table's and not those of the texts made of them.
    const inside = `SELECT ${names.join(', ')} FROM calls AS c WHERE ${conditions({ ...range, ...slice })}`;
    const sql = `SELECT ${shown} FROM (${inside}) AS h ORDER BY ${position.map((name) => `h.${name}`).join(', ')}`;
    let rest: Buffer = Buffer.alloc(0);
    for await (const chunk of ask(sql, 'JSONEachRow')) {
      const bytes = rest.length === 0 ? Buffer.from(chunk) : Buffer.concat([rest, chunk]);
      const records: EngineRecord[] = [];
      let start = 0;
      for (;;) {
        const end = bytes.indexOf(10, start);
        if (end < 0) break;
        if (end > start) records.push(recordOf(bytes.subarray(start, end)));
        start = end + 1;
      }
      rest = bytes.subarray(start);
      read += records.length;
      if (records.length > 0) yield records;
    }
    progress(read, total);
  }
}

/** A row begins with four numbers, so that little of it has to be looked at here. */
function recordOf(value: Buffer): EngineRecord {
  const numbers = [0, 0, 0, 0];
  let at = 0;
  for (let index = 0; index < numbers.length; index++) {
    // Names hold no digits, and large numbers may stand between quotes.
    while (at < value.length && !isDigit(value[at] as number)) at++;
    if (at === value.length)
      throw new Error(`the store answered a row of another form: ${value.toString('utf8', 0, 200)}`);
    let number = 0;
    for (; isDigit(value[at] as number); at++) number = number * 10 + (value[at] as number) - 48;
    numbers[index] = number;
  }
  const [recordedMs, partition, offset, occurredAtMicros] = numbers as [number, number, number, number];
  return { value, partition, offset, occurredAtMicros, recordedAtMicros: streamMicros(recordedMs) };
}

function isDigit(code: number): boolean {
  return code >= 48 && code <= 57;
}
