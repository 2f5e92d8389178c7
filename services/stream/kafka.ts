import { randomUUID } from 'node:crypto';
import { setTimeout } from 'node:timers/promises';
import kafkajs, { type Admin, type Kafka, type SASLOptions } from 'kafkajs';
import { AuditdError } from '../../schemas/errors.js';
import { compressionTypes, type KafkaCompression, registerCodecs } from './kafka-codecs.js';
import { KafkaConsumer, type KafkaConsumerEvent } from './kafka-consumer.js';
import { hasType, kafkaError } from './kafka-errors.js';
import { aloneGroupPrefix, groupName, topicName } from './kafka-names.js';
import { KafkaProducer } from './kafka-producer.js';
import { restIdleConnections } from './kafka-request-queue.js';
import { partitionOfKey } from './partitioner.js';
import type { Consumer, ConsumerOptions, NewRecord, PartitionState, Position, Stream, Topic } from './stream.js';

export type KafkaEvent =
  | ({ readonly topic: Topic; readonly group: string | undefined } & KafkaConsumerEvent)
  | { readonly kind: 'send_retried'; readonly topic: Topic; readonly partition: number; readonly error: AuditdError };

export interface KafkaStreamOptions {
  /** host:port of some brokers; the others are found through them. */
  readonly brokers: readonly string[];
  readonly clientId: string;
  /** TLS: true for the system's authorities, or PEM texts. */
  readonly ssl?: boolean | { readonly ca?: string; readonly cert?: string; readonly key?: string };
  readonly sasl?: SASLOptions;
  /** Default zstd. */
  readonly compression?: KafkaCompression;
  /** A consumer that is silent so long loses its partitions. Default 10,000 ms. */
  readonly sessionTimeoutMs?: number;
  /** Put before the name of every topic and group. */
  readonly topicPrefix?: string;
  /** A consumer that cannot join for so long ends with a fault. Default 300,000 ms. */
  readonly giveUpAfterMs?: number;
  /** How often a consumer is compared with the end of its partitions. Default 10,000 ms. */
  readonly watchdogIntervalMs?: number;
  /** Lines of kafkajs, warnings and errors only. */
  readonly log?: (level: 'warn' | 'error', message: string, details: object) => void;
  /** Called with what metrics count. */
  readonly observe?: (event: KafkaEvent) => void;
}

/** Partition counts are read again after a minute, so that added partitions are used without a restart. */
const partitionsAgeMs = 60_000;
/** kafkajs does not ask again for these in listOffsets. 25 attempts in 5 s: an election takes well below one. */
const leaderErrors = ['NOT_LEADER_FOR_PARTITION', 'LEADER_NOT_AVAILABLE'];
const leaderAttempts = 25;
const leaderPauseMs = 200;

/** A client of kafkajs with our logging and limits; also for the commands that look at topics. */
export function kafkaClient(options: KafkaStreamOptions): Kafka {
  registerCodecs();
  restIdleConnections();
  process.env.KAFKAJS_NO_PARTITIONER_WARNING = '1';
  const { log = () => undefined } = options;
  const ssl = typeof options.ssl === 'object' ? { ...options.ssl } : (options.ssl ?? false);
  return new kafkajs.Kafka({
    brokers: [...options.brokers],
    clientId: options.clientId,
    ssl,
    ...(options.sasl === undefined ? {} : { sasl: options.sasl }),
    connectionTimeout: 5000,
    // 5 attempts over about 2 s: a broker that is not there is an answer, and who can wait asks again.
    retry: { retries: 5, initialRetryTime: 100, maxRetryTime: 1000 },
    logLevel: kafkajs.logLevel.WARN,
    logCreator: () => (entry) => {
      const { message, ...details } = entry.log;
      log(entry.level === kafkajs.logLevel.ERROR ? 'error' : 'warn', message, details);
    },
  });
}

/**
 * Opens the stream on Kafka and looks whether a broker answers.
 * @throws AuditdError `kafka_unreachable`, `kafka_login_refused` or `kafka_certificate_invalid`.
 */
export async function openKafkaStream(options: KafkaStreamOptions): Promise<Stream> {
  const kafka = kafkaClient(options);
  const admin = kafka.admin();
  try {
    await admin.connect();
  } catch (error) {
    await admin.disconnect().catch(() => undefined);
    throw kafkaError(error, `connecting to ${options.brokers.join(', ')}`);
  }
  return new KafkaStream(kafka, admin, options);
}

class KafkaStream implements Stream {
  private readonly producer: KafkaProducer;
  private readonly consumers = new Set<KafkaConsumer>();
  private readonly counts = new Map<Topic, { readonly count: number; readonly readAt: number }>();
  private nextUnkeyed = 0;
  private closing: Promise<void> | undefined;

  constructor(
    private readonly kafka: Kafka,
    private readonly admin: Admin,
    private readonly options: KafkaStreamOptions,
  ) {
    const compression = compressionTypes[options.compression ?? 'zstd'];
    this.producer = new KafkaProducer(
      kafka,
      (topic) => this.name(topic),
      compression,
      (topic, partition, error) => this.options.observe?.({ kind: 'send_retried', topic, partition, error }),
    );
  }

  async append(topic: Topic, records: readonly NewRecord[]): Promise<Position[]> {
    if (records.length === 0) return [];
    const partitions = await this.partitionCount(topic);
    return this.producer.append(topic, records, ({ key }) =>
      key === '' ? this.nextUnkeyed++ % partitions : partitionOfKey(key, partitions),
    );
  }

  async consume(options: ConsumerOptions): Promise<Consumer> {
    await this.partitionCount(options.topic);
    // Consuming alone needs a group too in kafkajs: one of its own, deleted at the end.
    const group =
      options.group === undefined
        ? `${aloneGroupPrefix(this.prefix, this.options.clientId)}${randomUUID()}`
        : groupName(this.prefix, options.group, options.topic);
    const consumer = new KafkaConsumer(options, {
      kafka: this.kafka,
      admin: this.admin,
      topicName: this.name(options.topic),
      group,
      sessionTimeoutMs: this.options.sessionTimeoutMs ?? 10_000,
      giveUpAfterMs: this.options.giveUpAfterMs ?? 300_000,
      watchdogIntervalMs: this.options.watchdogIntervalMs ?? 10_000,
      observe: (event) => this.options.observe?.({ topic: options.topic, group: options.group, ...event }),
      left: (ended) => this.consumers.delete(ended),
    });
    this.consumers.add(consumer);
    consumer.start();
    return consumer;
  }

  async partitions(topic: Topic): Promise<PartitionState[]> {
    const states = await this.ask(topic, () => this.admin.fetchTopicOffsets(this.name(topic)));
    return states
      .map(({ partition, low, high }) => ({ partition, earliestOffset: Number(low), endOffset: Number(high) }))
      .sort((a, b) => a.partition - b.partition);
  }

  async committed(topic: Topic, group: string): Promise<Map<number, number>> {
    const answer = await this.ask(topic, () =>
      this.admin.fetchOffsets({ groupId: groupName(this.prefix, group, topic), topics: [this.name(topic)] }),
    );
    const known = (answer[0]?.partitions ?? []).filter(({ offset }) => Number(offset) >= 0);
    return new Map(known.map(({ partition, offset }) => [partition, Number(offset)]));
  }

  close(): Promise<void> {
    this.closing ??= this.closeAll();
    return this.closing;
  }

  private async closeAll(): Promise<void> {
    await Promise.all([...this.consumers].map((consumer) => consumer.close()));
    await this.producer.close();
    await this.admin.disconnect().catch(() => undefined);
  }

  private name(topic: Topic): string {
    return topicName(this.prefix, topic);
  }

  private get prefix(): string {
    return this.options.topicPrefix ?? '';
  }

  private async partitionCount(topic: Topic): Promise<number> {
    if (this.closing !== undefined) throw new AuditdError('stream_unwritable', 'the stream is closed');
    const known = this.counts.get(topic);
    if (known !== undefined && Date.now() - known.readAt < partitionsAgeMs) return known.count;
    try {
      const { topics } = await this.ask(topic, () => this.admin.fetchTopicMetadata({ topics: [this.name(topic)] }));
      const count = topics[0]!.partitions.length;
      this.counts.set(topic, { count, readAt: Date.now() });
      return count;
    } catch (error) {
      // With the broker away the count of before is the best there is: the producer waits for the broker.
      if (known !== undefined) return known.count;
      throw error;
    }
  }

  /** Asks again, for some seconds, while a new topic or a restarted broker has no leader for a partition yet. */
  private async ask<T>(topic: Topic, question: () => Promise<T>): Promise<T> {
    try {
      for (let attempt = 1; ; attempt++) {
        try {
          return await question();
        } catch (error) {
          if (attempt === leaderAttempts || !leaderErrors.some((type) => hasType(error, type))) throw error;
        }
        await setTimeout(leaderPauseMs);
      }
    } catch (error) {
      if (hasType(error, 'UNKNOWN_TOPIC_OR_PARTITION')) {
        throw new AuditdError('kafka_topic_missing', `there is no topic ${this.name(topic)}`, { cause: error });
      }
      throw kafkaError(error, `asking the brokers about ${this.name(topic)}`);
    }
  }
}
