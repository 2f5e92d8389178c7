/** What commands ask the brokers for beside the stream itself. */
import type { Logger } from 'pino';
import type { Configuration } from '../../schemas/configuration.js';
import { AuditdError } from '../../schemas/errors.js';
import { kafkaClient } from '../stream/kafka.js';
import { kafkaError } from '../stream/kafka-errors.js';
import { replicationFactor, type TopicPlan } from '../stream/kafka-topics.js';
import { type KafkaSection, kafkaOptions } from './ports.js';

type Kafka = ReturnType<typeof kafkaClient>;
export type KafkaAdmin = ReturnType<Kafka['admin']>;

const dayMs = 86_400_000;

/** The section stream.kafka. Throws `configuration_invalid` when there is none. */
export function requireKafka(configuration: Configuration): KafkaSection {
  const { kafka } = configuration.stream;
  if (kafka === undefined)
    throw new AuditdError('configuration_invalid', 'stream.kafka is not configured: the local stream needs no topics.');
  return kafka;
}

/**
 * Works with the brokers and ends the connections afterwards.
 * @throws AuditdError `kafka_unreachable`, `kafka_login_refused` or `kafka_certificate_invalid`.
 */
export async function withKafka<T>(
  section: KafkaSection,
  log: Logger,
  work: (kafka: Kafka, admin: KafkaAdmin) => Promise<T>,
): Promise<T> {
  const kafka = kafkaClient(kafkaOptions(section, log));
  const admin = kafka.admin();
  try {
    await admin.connect();
  } catch (error) {
    await admin.disconnect().catch(() => undefined);
    throw kafkaError(error, `connecting to ${section.brokers.join(', ')}`);
  }
  try {
    return await work(kafka, admin);
  } finally {
    await admin.disconnect().catch(() => undefined);
  }
}

/** The topics as the configuration wants them. */
export async function topicPlan(section: KafkaSection, admin: KafkaAdmin): Promise<TopicPlan> {
  return {
    partitions: section.partitions,
    replicationFactor: await replicationFactor(admin, section.replication_factor),
    retentionMs: section.retention_days * dayMs,
    topicPrefix: section.topic_prefix,
  };
}
