import { setTimeout } from 'node:timers/promises';
import kafkajs, { type Admin } from 'kafkajs';
import { AuditdError } from '../../schemas/errors.js';
import { hasType, kafkaError } from './kafka-errors.js';
import { type Topic, topics } from './stream.js';

export interface TopicPlan {
  /** Partitions of `calls`; the other topics have one each unless `otherPartitions` says more. */
  readonly partitions: number;
  readonly otherPartitions?: number;
  readonly replicationFactor: number;
  /** How long records stay; the table has them much sooner. */
  readonly retentionMs: number;
  readonly topicPrefix?: string;
}

export interface TopicFinding {
  readonly topic: string;
  readonly problem: 'missing' | 'partitions' | 'replication' | 'configuration';
  readonly message: string;
}

const { ConfigResourceTypes } = kafkajs;
/** 10 s: a new topic has leaders in less than one where the brokers are well. */
const leaderAttempts = 100;
const leaderPauseMs = 100;

/** The settings of a topic. LogAppendTime makes a record's time the broker's, whatever the producer's clock says. */
function settings(topic: Topic, plan: TopicPlan): Record<string, string> {
  return {
    'message.timestamp.type': 'LogAppendTime',
    // 8 MiB: an event's two bodies of 1 MiB, escaped, with all other fields at their limits.
    'max.message.bytes': String(8 * 1024 * 1024),
    'min.insync.replicas': String(plan.replicationFactor > 2 ? 2 : 1),
    'retention.ms': String(plan.retentionMs),
    // The state of throttles is the newest record of each key. Deliveries are keyed by channel, and each record counts.
    'cleanup.policy': topic === 'throttle' ? 'compact,delete' : 'delete',
  };
}

function planned(topic: Topic, plan: TopicPlan) {
  return {
    topic: `${plan.topicPrefix ?? ''}${topic}`,
    numPartitions: topic === 'calls' ? plan.partitions : (plan.otherPartitions ?? 1),
    replicationFactor: plan.replicationFactor,
    configEntries: Object.entries(settings(topic, plan)).map(([name, value]) => ({ name, value })),
  };
}

/** Creates the topics that are missing and leaves the others as they are. Returns the names of the created ones. */
export async function createTopics(admin: Admin, plan: TopicPlan): Promise<string[]> {
  try {
    const present = new Set(await admin.listTopics());
    const missing = topics.map((topic) => planned(topic, plan)).filter(({ topic }) => !present.has(topic));
    const names = missing.map(({ topic }) => topic);
    // kafkajs would wait for leaders too, but takes a topic that a broker does not know yet for a failure.
    if (missing.length > 0) await admin.createTopics({ topics: missing, waitForLeaders: false });
    await waitForLeaders(admin, names);
    return names;
  } catch (error) {
    throw kafkaError(error, 'creating topics');
  }
}

async function waitForLeaders(admin: Admin, names: string[]): Promise<void> {
  if (names.length === 0) return;
  for (let attempt = 1; ; attempt++) {
    try {
      await admin.fetchTopicMetadata({ topics: names });
      return;
    } catch (error) {
      const early = ['UNKNOWN_TOPIC_OR_PARTITION', 'LEADER_NOT_AVAILABLE'].some((type) => hasType(error, type));
      if (!early || attempt === leaderAttempts) throw error;
    }
    await setTimeout(leaderPauseMs);
  }
}

/** Compares the topics with the plan; an empty list says that all is as planned. */
export async function checkTopics(admin: Admin, plan: TopicPlan): Promise<TopicFinding[]> {
  try {
    const present = new Set(await admin.listTopics());
    const findings: TopicFinding[] = [];
    for (const each of topics) {
      const { topic, numPartitions, replicationFactor } = planned(each, plan);
      const find = (problem: TopicFinding['problem'], message: string) => findings.push({ topic, problem, message });
      if (!present.has(topic)) {
        find('missing', `there is no topic ${topic}`);
        continue;
      }
      const metadata = (await admin.fetchTopicMetadata({ topics: [topic] })).topics[0]!.partitions;
      if (metadata.length < numPartitions) {
        find('partitions', `${topic} has ${metadata.length} partitions; expected at least ${numPartitions}`);
      }
      const replicas = Math.min(...metadata.map((partition) => partition.replicas.length));
      if (replicas < replicationFactor) {
        find('replication', `${topic} has ${replicas} replicas; expected at least ${replicationFactor}`);
      }
      const described = await admin.describeConfigs({
        includeSynonyms: false,
        resources: [{ type: ConfigResourceTypes.TOPIC, name: topic }],
      });
      const entries = described.resources[0]!.configEntries;
      for (const [name, wanted] of Object.entries(settings(each, plan))) {
        const is = entries.find((entry) => entry.configName === name)?.configValue;
        if (is !== wanted) find('configuration', `${topic}: ${name} is ${is}; expected ${wanted}`);
      }
    }
    return findings;
  } catch (error) {
    throw kafkaError(error, 'checking topics');
  }
}

/** @throws AuditdError `kafka_topic_missing` or `kafka_partitions_too_few` for the first finding that stops a role. */
export async function requireTopics(admin: Admin, plan: TopicPlan): Promise<void> {
  for (const { problem, message } of await checkTopics(admin, plan)) {
    if (problem === 'missing') throw new AuditdError('kafka_topic_missing', message);
    if (problem === 'partitions') throw new AuditdError('kafka_partitions_too_few', message);
  }
}
