import { ClickHouseError } from '@clickhouse/client';
import { AuditdError, type ErrorCode, isCertificateCode } from '../../schemas/errors.js';

/**
 * ClickHouse's numbers (src/Common/ErrorCodes.cpp) that mean something to whoever runs it; what is not here may pass and
 * is tried again.
 */
const errorOfCode: Readonly<Record<number, ErrorCode>> = {
  192: 'clickhouse_login_refused',
  193: 'clickhouse_login_refused',
  194: 'clickhouse_login_refused',
  516: 'clickhouse_login_refused',
  164: 'clickhouse_not_allowed',
  195: 'clickhouse_not_allowed',
  291: 'clickhouse_not_allowed',
  497: 'clickhouse_not_allowed',
  202: 'store_overloaded',
  241: 'store_overloaded',
};

/** Numbers that say that the block is at fault, so that sending it again is of no use. */
export const blockErrorCodes: ReadonlySet<number> = new Set([
  6, 10, 16, 20, 25, 27, 32, 33, 41, 47, 53, 69, 70, 117, 128, 131, 321, 349, 374, 636,
]);

/** TOO_MANY_PARTS: of the table, which passes, or of one block that spans days, which does not. */
export const tooManyPartsCode = 252;

/** ClickHouse's number, or 0 when the failure is not ClickHouse's answer: then nobody knows whether it did the work. */
export function codeOf(error: unknown): number {
  if (error instanceof ClickHouseError) return Number(error.code);
  // Servers before 21.x put no name behind the message, which the client's pattern wants.
  return error instanceof Error ? Number(/^Code: (\d+)/.exec(error.message)?.[1] ?? 0) : 0;
}

/** The catalogue's error for a failed request; `doing` says what was tried and where. */
export function clickHouseError(error: unknown, doing: string): AuditdError {
  if (error instanceof AuditdError) return error;
  const code = codeOf(error);
  const message = `${doing}: ${messageOf(error)}`;
  if (code !== 0) return new AuditdError(errorOfCode[code] ?? 'store_unavailable', message, { cause: error });
  const certificate = isCertificateCode((error as { code?: unknown }).code);
  return new AuditdError(certificate ? 'clickhouse_certificate_invalid' : 'clickhouse_unreachable', message, {
    cause: error,
  });
}

/** The first line that says something: an AggregateError of several addresses has none of its own, a page has many. */
export function messageOf(error: unknown): string {
  if (error instanceof AggregateError) return error.errors.map(messageOf).join('; ');
  const text = error instanceof Error ? error.message || String((error as { code?: unknown }).code) : String(error);
  const code = error instanceof ClickHouseError ? `Code: ${error.code}. ${error.type ?? ''}: ` : '';
  return `${code}${text.trim().split('\n')[0]?.slice(0, 1000) ?? ''}`;
}
