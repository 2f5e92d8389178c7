import { AuditdError } from '../../schemas/errors.js';

/** ClickHouse codes that say that a limit was met: time, rows or bytes of the result, memory. */
const limitCodes: ReadonlySet<number> = new Set([158, 159, 160, 241, 307, 396]);
/** READONLY: the statement changes something. */
const readonlyCode = 164;

/** The catalogue's error for a user's query that failed with one of ClickHouse's codes (0: with none). */
export function queryError(code: number, message: string, cause: unknown): AuditdError {
  if (code === readonlyCode) return new AuditdError('query_refused', message, { cause });
  return new AuditdError(limitCodes.has(code) ? 'query_limit' : 'query_failed', message, { cause });
}

export function limitError(message: string): AuditdError {
  return new AuditdError('query_limit', message);
}

/** What a user's query may use where its caller says nothing. */
export const defaultLimits = {
  timeMs: 30_000,
  memoryBytes: 2 * 1024 ** 3,
  resultRows: 10_000_000,
  resultBytes: 1024 ** 3,
} as const;
