import { setTimeout } from 'node:timers/promises';
import type { Kafka, Producer } from 'kafkajs';
import { AuditdError } from '../../schemas/errors.js';
import { hasType, kafkaError } from './kafka-errors.js';
import type { NewRecord, Position, Topic } from './stream.js';

/** A batch of one partition stays below the broker's default message.max.bytes (1,048,588) with room for its frame. */
const maxBatchBytes = 960 * 1024;
/** Length, attributes, deltas and lengths of a record of format v2, rounded up; and two lengths for each header. */
const recordOverheadBytes = 32;
const headerOverheadBytes = 8;
/** Records that wait for the broker: at 600 bytes 100,000 of them, three seconds of the measured produce rate. */
const maxQueuedBytes = 64 * 1024 * 1024;
/** How long one batch is sent again before its appends are rejected: longer than a broker's restart. */
const giveUpAfterMs = 120_000;
/** Between attempts that failed at once; kafkajs has pauses of its own between those that it makes. */
const retryPauseMs = 200;

interface Waiting {
  readonly record: NewRecord;
  readonly bytes: number;
  readonly resolve: (position: Position) => void;
  readonly reject: (error: unknown) => void;
}

interface Lane {
  readonly topic: Topic;
  readonly partition: number;
  queue: Waiting[];
  running: boolean;
}

interface Sender {
  readonly producer: Producer;
  users: number;
  retired: boolean;
}

/**
 * Sends records with an idempotent producer. Each partition has a lane with one batch in flight, and a batch is sent
 * again as it was until it is acknowledged: kafkajs takes a failed batch's sequence numbers back, so another batch in
 * its place would be taken by the broker for the first one and dropped. When a batch is given up, a new producer with
 * a new id takes over, because nobody knows whether the broker has it. One partition a request, because kafkajs sends
 * a request of several brokers again as a whole where only one of them failed.
 */
export class KafkaProducer {
  private readonly lanes = new Map<string, Lane>();
  private sender: Promise<Sender> | undefined;
  private queuedBytes = 0;
  private closing = false;
  private readonly idle = new Set<() => void>();

  constructor(
    private readonly kafka: Kafka,
    private readonly name: (topic: Topic) => string,
    private readonly compression: number,
    private readonly retried: (topic: Topic, partition: number, error: AuditdError) => void,
  ) {}

  /** Resolves with the positions, in order. Rejects with `stream_overloaded` at the bound, taking nothing. */
  async append(topic: Topic, records: readonly NewRecord[], partitionOf: (record: NewRecord) => number) {
    if (this.closing) throw new AuditdError('stream_unwritable', 'the stream is closed');
    const sizes = records.map(sizeOf);
    const bytes = sizes.reduce((sum, size) => sum + size, 0);
    if (this.queuedBytes > 0 && this.queuedBytes + bytes > maxQueuedBytes) {
      throw new AuditdError(
        'stream_overloaded',
        `${this.queuedBytes} bytes wait for Kafka; at most ${maxQueuedBytes} may`,
      );
    }
    this.queuedBytes += bytes;
    const touched = new Set<Lane>();
    const sent = records.map(
      (record, at) =>
        new Promise<Position>((resolve, reject) => {
          const lane = this.lane(topic, partitionOf(record));
          lane.queue.push({ record, bytes: sizes[at]!, resolve, reject });
          touched.add(lane);
        }),
    );
    for (const lane of touched) void this.drain(lane);
    const settled = await Promise.allSettled(sent);
    this.queuedBytes -= bytes;
    return settled.map((one) => {
      if (one.status === 'rejected') throw one.reason;
      return one.value;
    });
  }

  /** Waits for what is queued (at most as long as a batch is sent again), then disconnects. */
  async close(): Promise<void> {
    this.closing = true;
    if ([...this.lanes.values()].some((lane) => lane.running)) await new Promise<void>((done) => this.idle.add(done));
    const sender = await this.sender?.catch(() => undefined);
    await sender?.producer.disconnect();
  }

  private lane(topic: Topic, partition: number): Lane {
    const key = `${topic}/${partition}`;
    let lane = this.lanes.get(key);
    if (lane === undefined) {
      lane = { topic, partition, queue: [], running: false };
      this.lanes.set(key, lane);
    }
    return lane;
  }

  private async drain(lane: Lane): Promise<void> {
    if (lane.running) return;
    lane.running = true;
    while (lane.queue.length > 0) await this.deliver(lane, takeBatch(lane));
    lane.running = false;
    if ([...this.lanes.values()].every((each) => !each.running)) for (const done of this.idle) done();
  }

  private async deliver(lane: Lane, batch: Waiting[]): Promise<void> {
    try {
      const baseOffset = await this.send(lane, batch);
      for (const [at, one] of batch.entries()) one.resolve({ partition: lane.partition, offset: baseOffset + at });
    } catch (error) {
      // The broker took nothing of a batch that is too large: halves find the record that is to blame.
      if (batch.length > 1 && error instanceof AuditdError && error.code === 'record_too_large') {
        const half = batch.length >> 1;
        await this.deliver(lane, batch.slice(0, half));
        await this.deliver(lane, batch.slice(half));
      } else for (const one of batch) one.reject(error);
    }
  }

  private async send(lane: Lane, batch: readonly Waiting[]): Promise<number> {
    const messages = batch.map(({ record }) => ({
      key: record.key === '' ? null : record.key,
      value: record.value,
      headers: record.headers as Record<string, string>,
      partition: lane.partition,
    }));
    const topicMessages = [{ topic: this.name(lane.topic), messages }];
    const doing = `sending to partition ${lane.partition} of ${this.name(lane.topic)}`;
    const giveUpAt = Date.now() + giveUpAfterMs;
    let sender: Sender | undefined;
    try {
      for (;;) {
        try {
          sender ??= await this.acquire();
          const [answer] = await sender.producer.sendBatch({ acks: -1, compression: this.compression, topicMessages });
          if (answer?.baseOffset === undefined)
            throw new AuditdError('stream_unwritable', `${doing}: no offset came back`);
          return Number(answer.baseOffset);
        } catch (cause) {
          const error = kafkaError(cause, doing);
          if (error.code === 'record_too_large') throw error;
          const lost = hasType(cause, 'OUT_OF_ORDER_SEQUENCE_NUMBER') || hasType(cause, 'UNKNOWN_PRODUCER_ID');
          if (lost || !error.retriable || Date.now() >= giveUpAt) {
            if (sender !== undefined) this.retire(sender);
            throw error.retriable ? new AuditdError('stream_unwritable', error.message, { cause }) : error;
          }
          this.retried(lane.topic, lane.partition, error);
          await setTimeout(retryPauseMs);
        }
      }
    } finally {
      if (sender !== undefined) this.release(sender);
    }
  }

  private async acquire(): Promise<Sender> {
    this.sender ??= this.connect();
    const sender = await this.sender;
    sender.users++;
    return sender;
  }

  private async connect(): Promise<Sender> {
    const producer = this.kafka.producer({
      idempotent: true,
      maxInFlightRequests: 1,
      allowAutoTopicCreation: false,
      // A minute of attempts inside kafkajs; the loop around it sends the same batch again.
      retry: { retries: 60, initialRetryTime: 100, maxRetryTime: 1000 },
    });
    try {
      await producer.connect();
      return { producer, users: 0, retired: false };
    } catch (error) {
      this.sender = undefined;
      await producer.disconnect().catch(() => undefined);
      throw error;
    }
  }

  private retire(sender: Sender): void {
    if (sender.retired) return;
    sender.retired = true;
    this.sender = undefined;
  }

  private release(sender: Sender): void {
    sender.users--;
    if (sender.retired && sender.users === 0) void sender.producer.disconnect().catch(() => undefined);
  }
}

function sizeOf(record: NewRecord): number {
  let bytes = recordOverheadBytes + Buffer.byteLength(record.key) + record.value.length;
  for (const name in record.headers) {
    bytes += headerOverheadBytes + Buffer.byteLength(name) + Buffer.byteLength(record.headers[name]!);
  }
  return bytes;
}

function takeBatch(lane: Lane): Waiting[] {
  let bytes = 0;
  let count = 0;
  while (count < lane.queue.length) {
    bytes += lane.queue[count]!.bytes;
    if (count > 0 && bytes > maxBatchBytes) break;
    count++;
  }
  return lane.queue.splice(0, count);
}
