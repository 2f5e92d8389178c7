/** What the engine in process tells of its work for a question. */
import type { Session } from 'chdb';
import type { QueryProgress } from './store.js';

/** `"statistics"` at the end of a document in JSON: three numbers and their names. */
const maxStatisticsBytes = 256;

/** Of a question that is not over, by its mark. */
export async function progressOf(session: Session, mark: string): Promise<QueryProgress | undefined> {
  const sql = `SELECT read_rows, read_bytes, total_rows_approx FROM system.processes WHERE Settings['log_comment'] = '${mark}' ORDER BY read_rows DESC LIMIT 1`;
  const text = (await session.queryAsync(sql, { format: 'TSV' })).text().trimEnd();
  if (text === '') return undefined;
  const [readRows = 0, readBytes = 0, totalRows = 0] = text.split('\t').map(Number);
  return { readRows, readBytes, totalRows };
}

/** Of one that was answered whole and is over then: JSON and its kin have it at their end. */
export function statisticsOf(document: Uint8Array): QueryProgress | undefined {
  const end = Buffer.from(document.subarray(-maxStatisticsBytes)).toString();
  const [, rows, bytes] = /"rows_read":\s*(\d+),\s*"bytes_read":\s*(\d+)\s*\}\s*\}\s*$/.exec(end) ?? [];
  return rows === undefined ? undefined : { readRows: Number(rows), readBytes: Number(bytes), totalRows: Number(rows) };
}
