/**
 * A range of time cut into slices that each stay within the limits of one question, so a range of any length can be
 * exported. What the plan did not see (long texts, limits that are tighter than usual) halves a slice later.
 */
import { askObjects } from '../ask.js';
import type { Loaded } from '../context.js';

/** Milliseconds since the epoch, `toMs` exclusive. */
export interface Slice {
  readonly fromMs: number;
  readonly toMs: number;
  /** As they were counted, or guessed of a part of what was counted. */
  readonly rows: number;
}

export interface Range {
  readonly table: string;
  /** The column of the table that says when. */
  readonly timeColumn: string;
  readonly fromMs: number;
  readonly toMs: number;
  /** A condition in SQL. */
  readonly where: string | undefined;
}

/** The condition of a slice; the time goes in as parameters. */
export function conditionOf({ timeColumn, where }: Range): string {
  const time = (name: string) => `fromUnixTimestamp64Milli({${name}:Int64}, 'UTC')`;
  // A line's end closes a comment that the condition may end with.
  const more = where === undefined ? '' : ` AND (${where}\n)`;
  return `${timeColumn} >= ${time('from_ms')} AND ${timeColumn} < ${time('to_ms')}${more}`;
}

export function boundsOf({ fromMs, toMs }: Pick<Slice, 'fromMs' | 'toMs'>): Record<string, string> {
  return { from_ms: String(fromMs), to_ms: String(toMs) };
}

/** Slices of about `sliceRows` rows at most, in their order; hours are the smallest that are counted. */
export async function planSlices(
  loaded: Loaded,
  range: Range,
  sliceRows: number,
  signal: AbortSignal,
): Promise<Slice[]> {
  const hours = await askObjects<{ hour: number; rows: number | string }>(loaded, {
    sql: `SELECT toUnixTimestamp(toStartOfHour(toTimeZone(${range.timeColumn}, 'UTC'))) AS hour, count() AS rows FROM ${range.table}
WHERE ${conditionOf(range)} GROUP BY hour ORDER BY hour`,
    parameters: boundsOf(range),
    signal,
  });
  const slices: Slice[] = [];
  let open: Slice | undefined;
  for (const { hour, rows: counted } of hours) {
    const rows = Number(counted);
    const toMs = Math.min(range.toMs, (hour + 3600) * 1000);
    if (open !== undefined && open.rows + rows <= sliceRows) {
      open = { ...open, toMs, rows: open.rows + rows };
      continue;
    }
    if (open !== undefined) slices.push(open);
    const fromMs = Math.max(range.fromMs, hour * 1000);
    const parts = Math.ceil(rows / sliceRows);
    if (parts <= 1) open = { fromMs, toMs, rows };
    else {
      open = undefined;
      slices.push(...cut({ fromMs, toMs, rows }, parts));
    }
  }
  if (open !== undefined) slices.push(open);
  return slices;
}

/** A slice in equal parts of time, none shorter than a millisecond. */
export function cut({ fromMs, toMs, rows }: Slice, parts: number): Slice[] {
  const count = Math.min(parts, toMs - fromMs);
  return Array.from({ length: count }, (_, index) => ({
    fromMs: fromMs + Math.floor(((toMs - fromMs) * index) / count),
    toMs: fromMs + Math.floor(((toMs - fromMs) * (index + 1)) / count),
    rows: rows / count,
  }));
}
