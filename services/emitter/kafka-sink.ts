/**
 * Events straight to Kafka, without a gateway: `@mcp-auditd/emitter/kafka`. Needs the package kafkajs, and compresses
 * with zstd where `@toondepauw/node-zstd` is there too, else with gzip.
 *
 * Records are CloudEvents in the binary mode of the Kafka binding
 * (https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md). Their key is the
 * gateway's, so one actor's calls keep their order, and an event that is sent again meets its first copy in the same
 * partition, where the ingestor recognises it.
 */
import { createRequire } from 'node:module';
import { connect as connectPlain, isIP, type Socket } from 'node:net';
import { type ConnectionOptions, connect as connectSecure } from 'node:tls';
import type { ISocketFactory, Message, Producer, SASLOptions } from 'kafkajs';
import type { EventText, Sink, SinkAnswer } from './sink.js';

export interface KafkaSinkOptions {
  /** `host:port` of some brokers; the others are found through them. */
  readonly brokers: readonly string[];
  /** Default `mcp-auditd-emitter`. */
  readonly clientId?: string;
  /** As `stream.kafka.topic_prefix` of the ingestor. Default none. */
  readonly topicPrefix?: string;
  /** As `ingestor.direct.tenant` of the ingestor. Default `default`. */
  readonly tenant?: string;
  /** TLS: true for the system's authorities, or what `tls.connect` takes. */
  readonly ssl?: boolean | ConnectionOptions;
  readonly sasl?: SASLOptions;
}

/** Producing waits for all replicas; a broker that has not answered by then has not got it, or has it for all we know. */
const sendTimeoutMs = 30_000;
const connectTimeoutMs = 5_000;
/** What a zstd at its default level takes less time for than gzip, at fewer bytes. */
const zstdLevel = 3;
/** Smaller batches take below 0.2 ms, less than it takes to come back from a thread that does it. */
const atOnceBytes = 32 * 1024;
/** kafkajs' own pause between looks at the requests that wait. */
const lookAgainMs = 10;

/** A sink for `audit(server, { sink: kafkaSink({ brokers: ['kafka:9092'] }) })`. The spool stays in front of it. */
export function kafkaSink(options: KafkaSinkOptions): Sink {
  return new KafkaSink(options);
}

interface Connection {
  readonly producer: Producer;
  readonly compression: number;
}

/**
 * One send is in flight at a time. After any failure the producer is given up with its id: kafkajs takes a failed
 * batch's sequence numbers back, and the broker would take the next batch for the failed one and drop it. The new
 * producer may double what arrived before; ids tell.
 */
class KafkaSink implements Sink {
  readonly #options: KafkaSinkOptions;
  #connection: Connection | undefined;

  constructor(options: KafkaSinkOptions) {
    this.#options = options;
  }

  async send(lines: readonly EventText[], signal: AbortSignal): Promise<SinkAnswer> {
    const messages: Message[] = [];
    const rejected: { index: number; code: string; message: string }[] = [];
    for (const [index, line] of lines.entries()) {
      const message = this.#messageOf(line);
      if (message === undefined) rejected.push({ index, code: 'not_json', message: 'the line is no JSON object' });
      else messages.push(message);
    }
    if (messages.length === 0) return { kind: 'accepted', rejected };
    try {
      this.#connection ??= await this.#connect();
      const { producer, compression } = this.#connection;
      const topic = `${this.#options.topicPrefix ?? ''}calls`;
      await within(sendTimeoutMs, signal, producer.send({ topic, messages, acks: -1, compression }));
      return { kind: 'accepted', rejected };
    } catch (error) {
      this.close();
      if (typesOf(error).includes('MESSAGE_TOO_LARGE'))
        return { kind: 'refused', code: 'record_too_large', message: 'the broker takes no batch of this size' };
      return { kind: 'retry', reason: `Kafka at ${this.#options.brokers.join(', ')}: ${reasonOf(error)}` };
    }
  }

  close(): void {
    this.#connection?.producer.disconnect().catch(() => undefined);
    this.#connection = undefined;
  }

  /** The record of one event; undefined when the line is no JSON object. */
  #messageOf(line: EventText): Message | undefined {
    let event: Record<string, unknown>;
    try {
      event = JSON.parse(line.toString()) as Record<string, unknown>;
      if (typeof event !== 'object' || event === null) return undefined;
    } catch {
      return undefined;
    }
    const text = (name: string): string => (typeof event[name] === 'string' ? event[name] : '');
    return {
      key: `${this.#options.tenant ?? 'default'}\0${text('actor_id')}`,
      value: typeof line === 'string' ? Buffer.from(line) : line,
      headers: {
        'content-type': 'application/json',
        ce_specversion: '1.0',
        ce_type: 'mcp-auditd.call',
        ce_source: `/mcp-auditd/producers/${encodeURIComponent(text('producer_id'))}`,
        ce_id: text('event_id'),
        ce_time: text('occurred_at'),
      },
    };
  }

  async #connect(): Promise<Connection> {
    const { default: kafkajs } = await import('kafkajs').catch((cause: unknown) => {
      throw new Error('the package kafkajs is not installed; run npm install kafkajs', { cause });
    });
    restIdleConnections();
    const { brokers, clientId = 'mcp-auditd-emitter', ssl, sasl } = this.#options;
    const kafka = new kafkajs.Kafka({
      brokers: [...brokers],
      clientId,
      ssl: ssl ?? false,
      ...(sasl === undefined ? {} : { sasl }),
      connectionTimeout: connectTimeoutMs,
      // Its timer would keep a server alive that has nothing else to do; `send` has a limit of its own.
      enforceRequestTimeout: false,
      socketFactory: unreferencedSocket,
      logLevel: kafkajs.logLevel.NOTHING,
    });
    const producer = kafka.producer({
      idempotent: true,
      maxInFlightRequests: 1,
      allowAutoTopicCreation: false,
      createPartitioner: kafkajs.Partitioners.DefaultPartitioner,
      // A broker that moves its partitions is answered soon; for longer faults there is the spool.
      retry: { retries: 3, initialRetryTime: 100, maxRetryTime: 1000 },
    });
    try {
      await producer.connect();
      return { producer, compression: await chooseCompression(kafkajs) };
    } catch (error) {
      await producer.disconnect().catch(() => undefined);
      throw error;
    }
  }
}

/** Nothing of the audit keeps a server's process alive. */
const unreferencedSocket: ISocketFactory = ({ host, port, ssl, onConnect }) => {
  // kafkajs gives an object for TLS, an empty one too.
  const socket: Socket = ssl
    ? connectSecure({ host, port, ...(isIP(host) === 0 ? { servername: host } : {}), ...ssl }, onConnect)
    : connectPlain({ host, port }, onConnect);
  return socket.unref();
};

/**
 * kafkajs 2.2.4 looks into the queue of each connection every millisecond when nothing waits there, by a timer that keeps
 * the process alive (tulios/kafkajs#1751; services/stream/kafka-request-queue.ts says more). It has to look only while
 * requests wait.
 */
function restIdleConnections(): void {
  const require = createRequire(import.meta.url);
  const { prototype } = require('kafkajs/src/network/requestQueue/index.js') as {
    prototype: {
      pending: readonly unknown[];
      throttledUntil: number;
      throttleCheckTimeoutId: NodeJS.Timeout | null;
      checkPendingRequests(): void;
      scheduleCheckPendingRequests(): void;
    };
  };
  prototype.scheduleCheckPendingRequests = function () {
    if (this.pending.length === 0 || this.throttleCheckTimeoutId !== null) return;
    const waitMs = Math.max(lookAgainMs, this.throttledUntil - Date.now());
    this.throttleCheckTimeoutId = setTimeout(() => {
      this.throttleCheckTimeoutId = null;
      this.checkPendingRequests();
    }, waitMs);
  };
}

async function chooseCompression(kafkajs: typeof import('kafkajs')): Promise<number> {
  const { CompressionCodecs, CompressionTypes } = kafkajs;
  try {
    const { Encoder, Decoder } = await import('@toondepauw/node-zstd');
    const encoder = new Encoder(zstdLevel);
    const decoder = new Decoder();
    // The registry is kafkajs' own for the whole process: what the server's code has registered stays.
    if (!isRegistered(CompressionCodecs[CompressionTypes.ZSTD]))
      CompressionCodecs[CompressionTypes.ZSTD] = () => ({
        compress: async ({ buffer }: { buffer: Buffer }) =>
          buffer.length <= atOnceBytes ? encoder.encodeSync(buffer) : encoder.encode(buffer),
        decompress: (buffer: Buffer) => decoder.decode(buffer),
      });
    return CompressionTypes.ZSTD;
  } catch {
    return CompressionTypes.GZIP;
  }
}

/** What stands for a codec that is not there throws when it is called. */
function isRegistered(codec: unknown): boolean {
  try {
    return typeof codec === 'function' && typeof codec() === 'object';
  } catch {
    return false;
  }
}

async function within<T>(timeoutMs: number, signal: AbortSignal, work: Promise<T>): Promise<T> {
  let end: (error: Error) => void = () => undefined;
  const ended = new Promise<never>((_, reject) => {
    end = reject;
  });
  const timer = setTimeout(() => end(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs).unref();
  const onAbort = () => end(new Error('stopped'));
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    if (signal.aborted) onAbort();
    return await Promise.race([work, ended]);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', onAbort);
    work.catch(() => undefined);
  }
}

/** kafkajs wraps a fault in others; the innermost says what it was. Eight: it nests three deep. */
function causes(error: unknown): Error[] {
  const found: Error[] = [];
  for (let at = error; at instanceof Error && found.length < 8; at = at.cause) found.push(at);
  return found;
}

function typesOf(error: unknown): string[] {
  return causes(error).map((each) => String((each as { type?: unknown }).type));
}

function reasonOf(error: unknown): string {
  return causes(error).at(-1)?.message ?? String(error);
}
