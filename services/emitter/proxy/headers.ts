import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import type { TLSSocket } from 'node:tls';

/** RFC 9110 §7.6.1: these, and what Connection names, are for one hop. `expect` was answered by our own server. */
const hopByHop: ReadonlySet<string> = new Set([
  'connection',
  'proxy-connection',
  'keep-alive',
  'te',
  'transfer-encoding',
  'upgrade',
  'expect',
]);

/** Of a request these are told anew. Its trailers do not go on (RFC 9110 §6.5.1), so none are announced. */
const replaced: ReadonlySet<string> = new Set(['host', 'via', 'x-forwarded-for', 'trailer']);

/** Content codings that a copy of a response is read through. */
const readableCodings: ReadonlySet<string> = new Set(['gzip', 'x-gzip', 'deflate', 'br', 'identity', '*']);

/** How we are named in Via (RFC 9110 §7.6.3). */
const viaName = 'mcp-auditd';

/** Names and values in turn, as Node gives and takes them. */
type RawHeaders = readonly string[];

/** Bytes of names and values as text that is written as the same bytes. */
export function latin1(raw: unknown): string[] {
  return Array.isArray(raw) ? (raw as Buffer[]).map((bytes) => bytes.toString('latin1')) : [];
}

function namedByConnection(value: string | undefined): ReadonlySet<string> | undefined {
  if (value === undefined || value === 'keep-alive' || value === 'close') return undefined;
  return new Set(value.split(',').map((name) => name.trim().toLowerCase()));
}

/** Headers of a response as they go on to the client: all that are not for one hop. */
export function responseHeaders(raw: RawHeaders, { connection }: IncomingHttpHeaders): string[] {
  return endToEnd(raw, connection === undefined ? undefined : String(connection), () => undefined);
}

/**
 * Headers of a request as they go on to the server: all that are not for one hop, with the server's own Host, and what
 * a gateway adds (Via, X-Forwarded-*). Codings that could not be read on the way back are not asked for.
 * @param without lower-case names that stay behind: credentials that were meant for us.
 * @param length bytes of the body where all of it is there; undefined: as the request has it, or in chunks.
 */
export function requestHeaders(
  request: IncomingMessage,
  upstreamHost: string,
  without: ReadonlySet<string>,
  length: number | undefined,
): string[] {
  const { headers } = request;
  const kept = endToEnd(request.rawHeaders, headers.connection, (name, value) => {
    if (replaced.has(name) || without.has(name)) return null;
    if (name === 'content-length' && length !== undefined) return null;
    return name === 'accept-encoding' ? readable(value) : undefined;
  });
  const client = request.socket.remoteAddress ?? 'unknown';
  const before = headers['x-forwarded-for'];
  kept.push('Host', upstreamHost);
  kept.push('Via', `${headers.via === undefined ? '' : `${headers.via}, `}${request.httpVersion} ${viaName}`);
  kept.push('X-Forwarded-For', before === undefined ? client : `${before}, ${client}`);
  // What stands before us knows better than we do.
  if (headers['x-forwarded-proto'] === undefined)
    kept.push('X-Forwarded-Proto', (request.socket as TLSSocket).encrypted ? 'https' : 'http');
  if (headers.host !== undefined && headers['x-forwarded-host'] === undefined)
    kept.push('X-Forwarded-Host', headers.host);
  if (length !== undefined) kept.push('Content-Length', String(length));
  return kept;
}

/** @param change what a header becomes: undefined as it is, null nothing. */
function endToEnd(
  raw: RawHeaders,
  connection: string | undefined,
  change: (name: string, value: string) => string | null | undefined,
): string[] {
  const named = namedByConnection(connection);
  const kept: string[] = [];
  for (let at = 0; at < raw.length; at += 2) {
    const name = raw[at]!.toLowerCase();
    if (hopByHop.has(name) || named?.has(name)) continue;
    const changed = change(name, raw[at + 1]!);
    if (changed !== null) kept.push(raw[at]!, changed ?? raw[at + 1]!);
  }
  return kept;
}

function readable(acceptEncoding: string): string {
  const kept = acceptEncoding
    .split(',')
    .filter((each) => readableCodings.has(each.split(';')[0]!.trim().toLowerCase()));
  return kept.length === 0 ? 'identity' : kept.join(',').trim();
}
