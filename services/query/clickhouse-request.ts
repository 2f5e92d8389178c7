/** What a request of ClickHouse's HTTP protocol asks for: https://clickhouse.com/docs/interfaces/http. */
import { promisify } from 'node:util';
import { gunzip } from 'node:zlib';
import { Decoder } from '@toondepauw/node-zstd';
import type { FastifyRequest } from 'fastify';
import { AuditdError } from '../../schemas/errors.js';

export interface ClickHouseRequest {
  /** Whoever knows the password may ask; the user's name is only noted. */
  readonly password: string | undefined;
  /** As the client has it. */
  readonly user: string;
  readonly queryId: string;
  readonly sql: string;
  /** The data of an INSERT; empty where the body is the statement or part of it. */
  readonly data: Buffer;
  /** Values of `{name:Type}` placeholders, escaped. */
  readonly parameters: Record<string, string>;
  /** Everything else in the URL. */
  readonly settings: Record<string, string>;
  readonly format: string;
  readonly encoding: AnswerEncoding;
  /** Bytes of the answer to wait for before the status is sent, so that an error until then is the answer. */
  readonly heldBytes: number;
  /** Milliseconds between two lines of progress in the head; undefined: none are asked for. */
  readonly progressMs: number | undefined;
}

/** How an answer's bytes are packed: over HTTP (`gzip`, `lz4`), or in ClickHouse's own blocks. */
export type AnswerEncoding = 'identity' | 'gzip' | 'lz4' | 'blocks';

/** Parameters of the URL that are no settings. */
const reserved: ReadonlySet<string> = new Set([
  'query',
  'query_id',
  'database',
  'user',
  'password',
  'default_format',
  'session_id',
  'session_timeout',
  'session_check',
  'quota_key',
  'role',
  'compress',
  'decompress',
  'enable_http_compression',
  'client_protocol_version',
  'wait_end_of_query',
  'buffer_size',
  'send_progress_in_http_headers',
  'http_headers_progress_interval_ms',
]);

/** The whole body, after its content-encoding is undone. @throws AuditdError `body_too_large`, `request_invalid`. */
export async function readBody(request: FastifyRequest, maxBytes: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request.raw) {
    bytes += (chunk as Buffer).length;
    if (bytes > maxBytes) throw tooLarge(maxBytes);
    chunks.push(chunk as Buffer);
  }
  const body = Buffer.concat(chunks);
  const encoding = request.headers['content-encoding'] ?? 'identity';
  if (body.length === 0 || encoding === 'identity') return body;
  try {
    if (encoding === 'gzip')
      return await promisify<Buffer, object, Buffer>(gunzip)(body, { maxOutputLength: maxBytes });
    if (encoding === 'zstd') return await new Decoder().decode(body);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE') throw tooLarge(maxBytes);
    throw new AuditdError('request_invalid', `The body is no ${encoding}: ${(error as Error).message}`);
  }
  throw new AuditdError('request_invalid', `The content-encoding ${encoding} is not taken, only gzip and zstd are.`);
}

function tooLarge(maxBytes: number): AuditdError {
  return new AuditdError('body_too_large', `The body is longer than ${maxBytes} bytes.`);
}

export async function readRequest(request: FastifyRequest, body: Buffer): Promise<ClickHouseRequest> {
  const fields = new URLSearchParams(request.raw.url?.split('?')[1] ?? '');
  let text = body;
  if (request.headers['content-type']?.startsWith('multipart/form-data')) {
    text = Buffer.alloc(0);
    const headers = { 'content-type': request.headers['content-type'] };
    for (const [name, value] of await new Response(body, { headers }).formData()) {
      if (typeof value !== 'string') throw new AuditdError('request_invalid', `The file ${name} is not taken.`);
      fields.append(name, value);
    }
  }
  const parameters: Record<string, string> = {};
  const settings: Record<string, string> = {};
  for (const [name, value] of fields) {
    if (name.startsWith('param_')) parameters[name.slice('param_'.length)] = value;
    else if (!reserved.has(name)) settings[name] = value;
  }
  const query = fields.get('query') ?? '';
  const isInsert = /^\s*INSERT\b/i.test(query);
  const whole =
    isInsert || text.length === 0 ? query : [query, text.toString()].filter((part) => part !== '').join('\n');
  const { sql, format: named } = takeFormat(whole, isInsert);
  const format = named ?? header(request, 'x-clickhouse-format') ?? fields.get('default_format') ?? 'TabSeparated';
  return {
    password: passwordOf(request, fields),
    user: userOf(request, fields),
    queryId: fields.get('query_id') ?? '',
    sql,
    data: isInsert ? text : Buffer.alloc(0),
    parameters,
    settings,
    format,
    encoding: encodingOf(request, fields),
    heldBytes: heldBytesOf(fields, format),
    progressMs: progressOf(fields),
  };
}

/** gzip before LZ4, which is not compressed here. */
function encodingOf(request: FastifyRequest, fields: URLSearchParams): AnswerEncoding {
  const accepted = String(request.headers['accept-encoding'] ?? '');
  if (isOn(fields.get('enable_http_compression'))) {
    if (/\bgzip\b/.test(accepted)) return 'gzip';
    if (/\blz4\b/.test(accepted)) return 'lz4';
  }
  return isOn(fields.get('compress')) ? 'blocks' : 'identity';
}

/** Of one answer, because 64 may be open: 1 GiB in all. */
const maxHeldBytes = 16 * 1024 * 1024;

/** JDBC asks for RowBinary with names, and reads no message that comes after the first rows. */
function heldBytesOf(fields: URLSearchParams, format: string): number {
  if (isOn(fields.get('wait_end_of_query')) || format.startsWith('RowBinaryWithNames')) return maxHeldBytes;
  const size = Number(fields.get('buffer_size') ?? 0);
  return size >= 1 ? Math.min(size, maxHeldBytes) : 1;
}

/** ClickHouse's own pace, and the quickest that the engine is asked at. */
const leastProgressMs = 100;

function progressOf(fields: URLSearchParams): number | undefined {
  if (!isOn(fields.get('send_progress_in_http_headers'))) return undefined;
  const asked = Number(fields.get('http_headers_progress_interval_ms') ?? leastProgressMs);
  return Math.min(Math.max(asked || 0, leastProgressMs), 3_600_000);
}

function isOn(value: string | null): boolean {
  return value === '1' || value === 'true';
}

/** A FORMAT at the end of a statement is the client's choice of how to be answered; that of an INSERT names its data. */
function takeFormat(text: string, isInsert: boolean): { sql: string; format: string | undefined } {
  const match = isInsert ? null : /\sFORMAT\s+([A-Za-z]\w{0,63})\s*;?\s*$/i.exec(text);
  return match === null ? { sql: text, format: undefined } : { sql: text.slice(0, match.index), format: match[1] };
}

function passwordOf(request: FastifyRequest, fields: URLSearchParams): string | undefined {
  const own = header(request, 'x-clickhouse-key');
  if (own !== undefined) return own;
  const [scheme = '', credentials = ''] = (request.headers.authorization ?? '').split(' ');
  if (scheme.toLowerCase() === 'bearer') return credentials;
  if (scheme.toLowerCase() === 'basic') {
    const pair = Buffer.from(credentials, 'base64').toString();
    return pair.slice(pair.indexOf(':') + 1);
  }
  return fields.get('password') ?? undefined;
}

function userOf(request: FastifyRequest, fields: URLSearchParams): string {
  const own = header(request, 'x-clickhouse-user');
  if (own !== undefined) return own;
  const [scheme = '', credentials = ''] = (request.headers.authorization ?? '').split(' ');
  if (scheme.toLowerCase() === 'basic') return Buffer.from(credentials, 'base64').toString().split(':')[0]!;
  return fields.get('user') ?? '';
}

function header(request: FastifyRequest, name: string): string | undefined {
  const value = request.headers[name];
  return typeof value === 'string' && value !== '' ? value : undefined;
}
