/** What emitters say of themselves in the stream: calls that they could not record, and damaged spools. */

/** From schemas of the emitter's reports: method `audit/loss`, counts as text in attributes. */
const countReports = "SELECT toUInt32(count()) AS reports FROM calls WHERE method = 'audit/loss'";
const sumReports = `SELECT toFloat64(sum(toUInt64OrZero(attributes['lost_calls']))) AS lost_calls,
  toFloat64(sum(toUInt64OrZero(attributes['damaged_records']))) AS damaged_records
FROM calls WHERE method = 'audit/loss'`;

export interface Losses {
  /** Calls that worked and could not be recorded: a full spool or disk. */
  readonly lost_calls: number;
  /** Records whose bytes in a spool were not what was written. */
  readonly damaged_records: number;
}

/**
 * Sums the reports. `ask` answers a statement's rows as objects. The count comes first because a projection answers it
 * without reading a row, and there is seldom anything to sum.
 */
export async function readLosses(ask: (sql: string) => Promise<readonly object[]>): Promise<Losses> {
  const [counted] = (await ask(countReports)) as readonly { reports: number }[];
  if ((counted?.reports ?? 0) === 0) return { lost_calls: 0, damaged_records: 0 };
  const [sums] = (await ask(sumReports)) as readonly Losses[];
  return sums!;
}
