import type { IncomingMessage } from 'node:http';
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

/** Content codings that a copy of a response is read through. */
const readableCodings: ReadonlySet<string> = new Set(['gzip', 'x-gzip', 'deflate', 'br', 'identity', '*']);

/** How we are named in Via (RFC 9110 §7.6.3). */
const viaName = 'mcp-auditd';

/** What a request's raw headers hold, as the pairs that Node gives and takes. */
type RawHeaders = readonly string[];

function namedByConnection(message: IncomingMessage): ReadonlySet<string> | undefined {
  const value = message.headers.connection;
  if (value === undefined || value === 'keep-alive' || value === 'close') return undefined;
  return new Set(value.split(',').map((name) => name.trim().toLowerCase()));
}

/** Headers of a response as they go on to the client: all that are not for one hop. */
export function responseHeaders(response: IncomingMessage): string[] {
  return endToEnd(response, () => undefined);
}

/**
 * Headers of a request as they go on to the server: all that are not for one hop, with the server's own Host, and what
 * a gateway adds (Via, X-Forwarded-*). Codings that could not be read on the way back are not asked for.
 * @param without lower-case names that stay behind: credentials that were meant for us.
 * @param length bytes of the body where all of it is there; undefined: framed as it came.
 */
export function requestHeaders(
  request: IncomingMessage,
  upstreamHost: string,
  without: ReadonlySet<string>,
  length: number | undefined,
): string[] {
  const { headers } = request;
  const kept = endToEnd(request, (name, value) => {
    if (name === 'host' || name === 'via' || name === 'x-forwarded-for' || without.has(name)) return null;
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
  else if (headers['transfer-encoding'] !== undefined) kept.push('Transfer-Encoding', 'chunked');
  return kept;
}

/** @param change what a header becomes: undefined as it is, null nothing. */
function endToEnd(
  message: IncomingMessage,
  change: (name: string, value: string) => string | null | undefined,
): string[] {
  const raw: RawHeaders = message.rawHeaders;
  const named = namedByConnection(message);
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
