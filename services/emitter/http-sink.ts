import * as http from 'node:http';
import * as https from 'node:https';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { findGateway, type GatewayOptions, type GatewayTarget, isLoopback } from './gateway-target.js';
import { isObject, textOf } from './messages.js';
import type { EventText, RejectedLine, Sink, SinkAnswer } from './sink.js';

interface Response {
  readonly status: number;
  readonly retryAfterMs: number | undefined;
  readonly body: string;
}

/** The gateway's own limit on a whole request is 70 s; it answers a batch of ours in milliseconds. */
const requestTimeoutMs = 30_000;
/** 1,000 refused lines of 300 bytes each are 300 kB. */
const maxAnswerBytes = 4 * 1024 * 1024;
const compress = promisify(gzip);

/**
 * Sends batches to the gateway: `POST /v1/events`, NDJSON, one connection that is kept. Where the gateway is, and the
 * key, are looked up again whenever there is no open connection: a daemon that was started anew has moved.
 */
export class HttpSink implements Sink {
  readonly #data: string;
  readonly #options: GatewayOptions;
  readonly #agents = {
    'http:': new http.Agent({ keepAlive: true, maxSockets: 2 }),
    'https:': new https.Agent({ keepAlive: true, maxSockets: 2 }),
  };
  #target: GatewayTarget | undefined;

  constructor(data: string, options: GatewayOptions) {
    this.#data = data;
    this.#options = options;
  }

  async send(lines: readonly EventText[], signal: AbortSignal): Promise<SinkAnswer> {
    try {
      if (this.#target === undefined || !this.#isConnected())
        this.#target = findGateway(this.#data, this.#options, '/v1/events');
      const { url } = this.#target;
      let body = joinLines(lines);
      const isLocal = isLoopback(url.hostname);
      if (!isLocal) body = await compress(body, { level: 3 });
      const response = await this.#post(this.#target, body, !isLocal, signal);
      return this.#answer(url, response, lines.length);
    } catch (error) {
      this.#target = undefined;
      return { kind: 'retry', reason: error instanceof Error ? error.message : String(error) };
    }
  }

  close(): void {
    for (const agent of Object.values(this.#agents)) agent.destroy();
  }

  #isConnected(): boolean {
    return Object.values(this.#agents).some((agent) => Object.keys(agent.freeSockets).length > 0);
  }

  #post({ url, key }: GatewayTarget, body: Buffer, isCompressed: boolean, signal: AbortSignal): Promise<Response> {
    const headers: http.OutgoingHttpHeaders = {
      authorization: `Bearer ${key}`,
      'content-type': 'application/x-ndjson',
      'content-length': body.length,
    };
    if (isCompressed) headers['content-encoding'] = 'gzip';
    const protocol = url.protocol as 'http:' | 'https:';
    const request = (protocol === 'https:' ? https : http).request;
    const options = { method: 'POST', headers, agent: this.#agents[protocol], signal, timeout: requestTimeoutMs };
    return new Promise((resolve, reject) => {
      const sent = request(url, options, (incoming) => {
        const chunks: Buffer[] = [];
        let bytes = 0;
        incoming.on('data', (chunk: Buffer) => {
          bytes += chunk.length;
          if (bytes > maxAnswerBytes)
            incoming.destroy(new Error(`${url.origin} answers with more than a gateway would`));
          else chunks.push(chunk);
        });
        incoming.on('error', reject);
        incoming.on('end', () => {
          const seconds = Number(incoming.headers['retry-after'] ?? Number.NaN);
          const retryAfterMs = Number.isFinite(seconds) ? Math.min(3600, Math.max(0, seconds)) * 1000 : undefined;
          resolve({ status: incoming.statusCode ?? 0, retryAfterMs, body: Buffer.concat(chunks).toString() });
        });
      });
      // A server that has nothing else to do ends; its spool is delivered by whoever adopts it.
      sent.on('socket', (socket) => socket.unref());
      sent.on('timeout', () => sent.destroy(new Error(`${url.origin} did not answer within ${requestTimeoutMs} ms`)));
      sent.on('error', (error: NodeJS.ErrnoException) => {
        // The gateway closed a connection that was idle, at the moment we used it.
        if (sent.reusedSocket && (error.code === 'ECONNRESET' || error.code === 'EPIPE')) {
          this.#post({ url, key }, body, isCompressed, signal).then(resolve, reject);
        } else reject(new Error(`${url.origin} cannot be reached: ${error.message || error.code}`));
      });
      sent.end(body);
    });
  }

  #answer(url: URL, { status, retryAfterMs, body }: Response, count: number): SinkAnswer {
    const parsed = parse(body);
    const error = isObject(parsed.error) ? parsed.error : {};
    const told = textOf(error.message) || body.slice(0, 200);
    if (status === 200) {
      if (typeof parsed.accepted !== 'number' || !Array.isArray(parsed.rejected)) {
        throw new Error(`what answers at ${url.origin} is no gateway`);
      }
      const rejected = parsed.rejected
        .filter(isRejected)
        .map(({ line, code, message }) => ({ index: line - 1, code, message }));
      // The gateway names the first 1,000 lines only; in halves it names them all, and ids tell what comes twice.
      if (typeof parsed.rejected_total === 'number' && parsed.rejected_total > rejected.length) {
        return { kind: 'refused', code: 'rejected_unnamed', message: `${parsed.rejected_total} events were rejected` };
      }
      if (parsed.accepted + rejected.length !== count) {
        throw new Error(`${url.origin} answered for ${parsed.accepted + rejected.length} of ${count} events`);
      }
      return { kind: 'accepted', rejected };
    }
    if (status === 400 || status === 413)
      return { kind: 'refused', code: textOf(error.code) || String(status), message: told };
    // 401 and 403 too: the operator can mend the key, and nothing is lost until then.
    this.#target = undefined;
    const reason = `${url.origin} answered ${status}: ${told}`;
    return retryAfterMs === undefined ? { kind: 'retry', reason } : { kind: 'retry', reason, afterMs: retryAfterMs };
  }
}

/** All lines with their line ends. */
function joinLines(lines: readonly EventText[]): Buffer {
  if (lines.every((line) => typeof line === 'string')) return Buffer.from(`${lines.join('\n')}\n`);
  return Buffer.concat(lines.flatMap((line) => [typeof line === 'string' ? Buffer.from(line) : line, lineEnd]));
}

const lineEnd = Buffer.from('\n');

function isRejected(value: unknown): value is Omit<RejectedLine, 'index'> & { line: number } {
  return (
    isObject(value) &&
    Number.isSafeInteger(value.line) &&
    typeof value.code === 'string' &&
    typeof value.message === 'string'
  );
}

function parse(body: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(body);
    return isObject(value) ? value : {};
  } catch {
    return {};
  }
}
