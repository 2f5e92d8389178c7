import { randomUUID } from 'node:crypto';
import kafkajs from 'kafkajs';
import { afterAll, beforeAll } from 'vitest';
import { type KafkaStreamOptions, openKafkaStream } from '../../services/stream/kafka.js';
import { createTopics } from '../../services/stream/kafka-topics.js';
import { describeStream } from '../contract/stream.js';
import { type Broker, namedBrokers, startBroker } from '../kafka/broker.js';

let started: Broker | undefined;
let brokers: string[] = [];

beforeAll(async () => {
  started = namedBrokers() === undefined ? await startBroker() : undefined;
  brokers = namedBrokers() ?? started!.brokers;
});
afterAll(async () => {
  await started?.stop();
});

describeStream('kafka', async () => {
  const topicPrefix = `${randomUUID()}.`;
  const admin = new kafkajs.Kafka({ brokers, logLevel: kafkajs.logLevel.NOTHING }).admin();
  await admin.connect();
  await createTopics(admin, {
    partitions: 2,
    otherPartitions: 2,
    replicationFactor: 1,
    retentionMs: 86_400_000,
    topicPrefix,
  });
  const options: KafkaStreamOptions = { brokers, clientId: 'contract', topicPrefix, sessionTimeoutMs: 6000 };
  return {
    open: () => openKafkaStream(options),
    remove: async () => {
      await admin.deleteTopics({ topics: (await admin.listTopics()).filter((name) => name.startsWith(topicPrefix)) });
      await admin.disconnect();
    },
  };
});
