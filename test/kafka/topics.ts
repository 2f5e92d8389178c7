import { randomUUID } from 'node:crypto';
import kafkajs from 'kafkajs';
import { createTopics } from '../../services/stream/kafka-topics.js';

/** Makes the stream's topics under a prefix of their own, so that tests share a broker. */
export async function makeTopics(brokers: string[], partitions: number): Promise<string> {
  const topicPrefix = `${randomUUID()}.`;
  const admin = new kafkajs.Kafka({ brokers, logLevel: kafkajs.logLevel.NOTHING }).admin();
  await admin.connect();
  const retentionMs = 86_400_000;
  await createTopics(admin, { partitions, otherPartitions: 2, replicationFactor: 1, retentionMs, topicPrefix });
  await admin.disconnect();
  return topicPrefix;
}
