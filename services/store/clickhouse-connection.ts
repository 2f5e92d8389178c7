import { randomUUID } from 'node:crypto';
import { Readable } from 'node:stream';
import { type ClickHouseClient, ClickHouseLogLevel, createClient } from '@clickhouse/client';
import { Encoder } from '@toondepauw/node-zstd';

export type ClickHouseCompression = 'none' | 'gzip' | 'zstd';

export interface ClickHouseConnectionOptions {
  /** `http://host:8123` or `https://host:8443`, with a path where a proxy wants one. */
  readonly url: string;
  /** Default `default`. */
  readonly username?: string;
  readonly password?: string;
  /** Default `default`. */
  readonly database?: string;
  /** PEM texts: the authority of the server's certificate, and this client's own certificate and key. */
  readonly tls?: { readonly ca?: string; readonly cert?: string; readonly key?: string };
  /** Of the blocks that are sent. Default zstd. */
  readonly compression?: ClickHouseCompression;
  /** Milliseconds until a request without an answer counts as failed. Default 30,000. */
  readonly timeoutMs?: number;
}

export interface StatementOptions {
  readonly queryId?: string;
  readonly settings?: Readonly<Record<string, string | number>>;
  readonly parameters?: Readonly<Record<string, string>>;
  /** The data that follows the statement. */
  readonly body?: Uint8Array;
  readonly signal?: AbortSignal;
  /** Milliseconds, instead of the connection's. */
  readonly timeoutMs?: number;
  /** Told of the server's figures, where it knows them before it answers (`wait_end_of_query`). */
  readonly onSummary?: (summary: Partial<Record<'read_rows' | 'read_bytes' | 'result_rows', string>>) => void;
}

/** zstd's fastest level: the network between ingestor and store is rarely the limit, the processor often is. */
const zstdLevel = 1;
/** A socket that is idle for longer may have been closed by the server (keep_alive_timeout is 10 s there). */
const idleSocketMs = 2_500;
/** Inserts of many partitions and a few questions at once. */
const maxSockets = 64;
/** The client's own limit; each request has one of ours that is shorter. */
const longestRequestMs = 24 * 3_600_000;

/** Statements over ClickHouse's HTTP protocol. Every failure is thrown as the client or the server made it. */
export class ClickHouseConnection {
  readonly database: string;
  private readonly client: ClickHouseClient;
  private readonly timeoutMs: number;
  private readonly compression: ClickHouseCompression;
  private readonly encoder = new Encoder(zstdLevel);

  constructor(options: ClickHouseConnectionOptions) {
    const { url, username = 'default', password = '', database = 'default', tls } = options;
    this.database = database;
    this.timeoutMs = options.timeoutMs ?? 30_000;
    this.compression = options.compression ?? 'zstd';
    const { ca, cert, key } = tls ?? {};
    const pem = (text: string) => Buffer.from(text);
    this.client = createClient({
      url,
      username,
      password,
      database,
      application: 'mcp-auditd',
      // Errors are thrown, and who catches them says what is worth a line.
      log: { level: ClickHouseLogLevel.OFF },
      request_timeout: longestRequestMs,
      max_open_connections: maxSockets,
      compression: { request: this.compression === 'gzip', response: false },
      keep_alive: { enabled: true, idle_socket_ttl: idleSocketMs },
      ...(ca === undefined
        ? {}
        : {
            tls:
              cert !== undefined && key !== undefined
                ? { ca_cert: pem(ca), cert: pem(cert), key: pem(key) }
                : { ca_cert: pem(ca) },
          }),
    });
  }

  /** Runs a statement and gives its whole answer, as the statement's FORMAT or else as TabSeparated. */
  async run(statement: string, options: StatementOptions = {}): Promise<Buffer> {
    const chunks: Buffer[] = [];
    for await (const chunk of this.stream(statement, options)) chunks.push(chunk);
    return Buffer.concat(chunks);
  }

  /** Runs a statement whose answer comes in pieces. Leaving the loop ends the request. */
  async *stream(statement: string, options: StatementOptions = {}): AsyncGenerator<Buffer> {
    const { queryId = randomUUID(), settings, parameters, signal, timeoutMs = this.timeoutMs } = options;
    const ended = new AbortController();
    const timer = setTimeout(() => ended.abort(), timeoutMs);
    const signals = signal === undefined ? ended.signal : AbortSignal.any([signal, ended.signal]);
    const body = options.body === undefined ? undefined : await this.encode(options.body);
    try {
      const { stream, summary } = await this.client.exec({
        query: statement,
        query_id: queryId,
        clickhouse_settings: { ...settings },
        ...(parameters === undefined ? {} : { query_params: parameters }),
        abort_signal: signals,
        ...(body === undefined
          ? {}
          : { values: Readable.from(body.bytes, { objectMode: false }), http_headers: body.headers }),
      });
      if (summary !== undefined) options.onSummary?.(summary);
      const destroy = () => stream.destroy(new Error('The request was ended.'));
      signals.addEventListener('abort', destroy, { once: true });
      try {
        for await (const chunk of stream) yield chunk as Buffer;
      } finally {
        signals.removeEventListener('abort', destroy);
        stream.destroy();
      }
    } catch (error) {
      if (ended.signal.aborted) throw new Error(`no answer within ${timeoutMs} ms`, { cause: error });
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  /** Rows of a query. */
  async select(query: string, options: StatementOptions = {}): Promise<Record<string, unknown>[]> {
    const text = (await this.run(`${query} FORMAT JSONEachRow`, options)).toString().trimEnd();
    return text === '' ? [] : text.split('\n').map((line) => JSON.parse(line) as Record<string, unknown>);
  }

  private async encode(bytes: Uint8Array): Promise<{ bytes: Buffer; headers: Record<string, string> }> {
    const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    // gzip is the client's own.
    if (this.compression !== 'zstd') return { bytes: buffer, headers: {} };
    return { bytes: await this.encoder.encode(buffer), headers: { 'Content-Encoding': 'zstd' } };
  }

  close(): Promise<void> {
    return this.client.close();
  }
}
