import { setTimeout } from 'node:timers/promises';
import kafkajs, { type Admin, type PartitionMetadata } from 'kafkajs';
import { AuditdError } from '../../schemas/errors.js';
import { hasType, kafkaError } from './kafka-errors.js';
import { topicName } from './kafka-names.js';
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
  /** As the brokers call it. */
  readonly topic: string;
  /** `not_allowed`: this user may not see it. `settings_hidden`: it may use it, and not see its settings. */
  readonly problem:
    | 'missing'
    | 'not_allowed'
    | 'settings_hidden'
    | 'partitions'
    | 'replication'
    | 'no_leader'
    | 'replica_behind'
    | 'configuration';
  readonly message: string;
  readonly mend: string;
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
    topic: topicName(plan.topicPrefix ?? '', topic),
    numPartitions: topic === 'calls' ? plan.partitions : (plan.otherPartitions ?? 1),
    replicationFactor: plan.replicationFactor,
    configEntries: Object.entries(settings(topic, plan)).map(([name, value]) => ({ name, value })),
  };
}

/** Copies where the configuration says nothing: three survive the loss of one broker while another is restarted. */
const usualReplicationFactor = 3;

/**
 * How many copies of a partition there can be: what is asked for, else one on each broker up to three.
 * @throws AuditdError `configuration_invalid` when there are fewer brokers than copies asked for.
 */
export async function replicationFactor(admin: Admin, asked: number | undefined): Promise<number> {
  let count: number;
  try {
    count = (await admin.describeCluster()).brokers.length;
  } catch (error) {
    throw kafkaError(error, 'counting the brokers');
  }
  if (asked !== undefined && asked > count)
    throw new AuditdError(
      'configuration_invalid',
      `stream.kafka.replication_factor is ${asked}, and the cluster has ${count} ${count === 1 ? 'broker' : 'brokers'}`,
    );
  return asked ?? Math.min(count, usualReplicationFactor);
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

/** Compares topics with the plan, all of them unless some are named; an empty list says that all is as planned. */
export async function checkTopics(
  admin: Admin,
  plan: TopicPlan,
  chosen: readonly Topic[] = topics,
): Promise<TopicFinding[]> {
  try {
    const findings: TopicFinding[] = [];
    for (const topic of chosen) findings.push(...(await checkTopic(admin, plan, topic)));
    return findings;
  } catch (error) {
    throw kafkaError(error, 'checking topics');
  }
}

const mends = {
  missing: 'Run mcp-auditd topics create, or mend stream.kafka.topic_prefix.',
  not_allowed: 'Run mcp-auditd topics grant for the role and this user, as a user who may alter ACLs.',
  availability: 'Start the brokers that are named, or move their partitions with kafka-reassign-partitions.sh.',
} as const;

async function checkTopic(admin: Admin, plan: TopicPlan, name: Topic): Promise<TopicFinding[]> {
  const { topic, numPartitions, replicationFactor } = planned(name, plan);
  const findings: TopicFinding[] = [];
  const find = (problem: TopicFinding['problem'], message: string, mend: string) =>
    findings.push({ topic, problem, message, mend });
  const partitions = await partitionsOf(admin, topic);
  if (partitions === 'missing') find('missing', `there is no topic ${topic}`, mends.missing);
  if (partitions === 'not_allowed') find('not_allowed', `this user may not see ${topic}`, mends.not_allowed);
  if (typeof partitions === 'string') return findings;
  if (partitions.length < numPartitions)
    find(
      'partitions',
      `${topic} has ${partitions.length} partitions; expected at least ${numPartitions}`,
      `While no emitter sends: kafka-topics.sh --bootstrap-server BROKER --alter --topic ${topic} --partitions ${numPartitions}. Or lower stream.kafka.partitions.`,
    );
  const replicas = Math.min(...partitions.map((partition) => partition.replicas.length));
  if (replicas < replicationFactor)
    find(
      'replication',
      `${topic} has ${replicas} replicas; expected at least ${replicationFactor}`,
      'Add replicas with kafka-reassign-partitions.sh, or lower stream.kafka.replication_factor.',
    );
  for (const { partitionId, leader, replicas: all, isr } of partitions) {
    const behind = all.filter((id) => !isr.includes(id));
    if (leader < 0) find('no_leader', `partition ${partitionId} of ${topic} has no leader`, mends.availability);
    else if (behind.length > 0)
      find(
        'replica_behind',
        `partition ${partitionId} of ${topic} has replicas that are behind, on brokers ${behind.join(', ')}`,
        mends.availability,
      );
  }
  await checkSettings(admin, topic, settings(name, plan), find);
  return findings;
}

async function partitionsOf(admin: Admin, topic: string): Promise<PartitionMetadata[] | 'missing' | 'not_allowed'> {
  try {
    return (await admin.fetchTopicMetadata({ topics: [topic] })).topics[0]!.partitions;
  } catch (error) {
    if (hasType(error, 'UNKNOWN_TOPIC_OR_PARTITION')) return 'missing';
    if (hasType(error, 'TOPIC_AUTHORIZATION_FAILED')) return 'not_allowed';
    throw error;
  }
}

async function checkSettings(
  admin: Admin,
  topic: string,
  wanted: Readonly<Record<string, string>>,
  find: (problem: TopicFinding['problem'], message: string, mend: string) => void,
): Promise<void> {
  let entries: readonly { configName: string; configValue: string }[];
  try {
    const resources = [{ type: ConfigResourceTypes.TOPIC, name: topic }];
    entries = (await admin.describeConfigs({ includeSynonyms: false, resources })).resources[0]!.configEntries;
  } catch (error) {
    if (!hasType(error, 'TOPIC_AUTHORIZATION_FAILED')) throw error;
    find(
      'settings_hidden',
      `this user may not see the settings of ${topic}`,
      'Run mcp-auditd topics check as a user with the permission DescribeConfigs.',
    );
    return;
  }
  for (const [setting, value] of Object.entries(wanted)) {
    const is = entries.find((entry) => entry.configName === setting)?.configValue;
    if (is === value) continue;
    find(
      'configuration',
      `${topic}: ${setting} is ${is}; expected ${value}`,
      `kafka-configs.sh --bootstrap-server BROKER --alter --entity-type topics --entity-name ${topic} --add-config ${setting}=${value.includes(',') ? `[${value}]` : value}`,
    );
  }
}
