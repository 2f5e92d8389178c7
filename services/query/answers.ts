/** What every route of this room shares: who may read, and how an error is told. */
import type { FastifyReply, FastifyRequest } from 'fastify';
import { AuditdError, type ErrorCode } from '../../schemas/errors.js';
import { type KeyEntry, type Keys, may } from '../access/keys.js';

/** HTTP status of the errors that a reader can meet; anything else is 500. */
const statuses: Partial<Record<ErrorCode, number>> = {
  key_missing: 401,
  key_role_wrong: 403,
  key_tenant_wrong: 403,
  key_name_invalid: 400,
  key_unknown: 404,
  key_name_taken: 409,
  key_last_admin: 409,
  keys_file_fixed: 409,
  keys_limit_reached: 409,
  keys_file_busy: 503,
  origin_wrong: 403,
  login_token_spent: 401,
  not_found: 404,
  cursor_invalid: 400,
  query_refused: 403,
  query_failed: 400,
  request_invalid: 400,
  query_limit: 422,
  query_busy: 503,
  tail_clients_limit: 503,
  store_unavailable: 503,
};

/** The request's key. Throws `key_missing` or `key_role_wrong` unless it may read. */
export function requireReader(request: FastifyRequest, keys: Keys): KeyEntry {
  const match = /^Bearer +(\S+)$/i.exec(request.headers.authorization ?? '');
  const entry = match === null ? undefined : keys.find(match[1]!);
  if (entry === undefined)
    throw new AuditdError('key_missing', match === null ? 'The request has no key.' : 'Nobody knows this key.');
  if (!may(entry, 'read'))
    throw new AuditdError('key_role_wrong', `The key ${entry.name} has the role ${entry.role}, expected read.`);
  return entry;
}

/** Answers `{"error": {"code", "message", "mend"}}` with the status that belongs to the code. */
export function answerError(error: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  if (error instanceof AuditdError) {
    const { code, message, mend } = error;
    const status = statuses[code] ?? 500;
    if (status === 503) void reply.header('retry-after', '1');
    return reply.code(status).send({ error: { code, message, mend } });
  }
  const status = (error as { statusCode?: number }).statusCode;
  if (status !== undefined && status < 500) {
    const message = (error as Error).message;
    return reply.code(status).send({
      error: { code: 'request_invalid', message, mend: 'Mend the part of the request that is named.' },
    });
  }
  request.log.error({ err: error }, 'a request failed');
  return reply.code(500).send({
    error: { code: 'internal', message: 'The daemon failed at this request.', mend: 'Its log says why.' },
  });
}

/** The media type of an answer in one of ClickHouse's formats. */
export function contentType(format: string): string {
  if (/^JSON\w*EachRow/.test(format)) return 'application/x-ndjson; charset=utf-8';
  if (format.startsWith('JSON')) return 'application/json; charset=utf-8';
  if (format.startsWith('CSV')) return 'text/csv; charset=utf-8';
  if (/^(TSV|TabSeparated)/.test(format)) return 'text/tab-separated-values; charset=utf-8';
  if (/^(Pretty|Markdown|Vertical|Values|XML)/.test(format)) return 'text/plain; charset=utf-8';
  return 'application/octet-stream';
}
