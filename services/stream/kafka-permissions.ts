/**
 * What the user of a connection may do, found out by requests that change nothing. Brokers tell nobody but
 * administrators which ACLs there are, and they check a request's permission before its content.
 */
import { setTimeout as delay } from 'node:timers/promises';
import kafkajs, { type Kafka } from 'kafkajs';
import { hasType } from './kafka-errors.js';

/** What kafkajs keeps to itself: its cluster and a broker's requests (2.2.4, src/cluster/index.js, src/broker/index.js). */
interface InnerCluster {
  refreshMetadata(): Promise<void>;
  addMultipleTargetTopics(topics: string[]): Promise<void>;
  findControllerBroker(): Promise<InnerBroker>;
  findLeaderForPartitions(topic: string, partitions: number[]): Record<string, number[]>;
  findBroker(node: { nodeId: string }): Promise<InnerBroker>;
}
interface InnerBroker {
  findGroupCoordinator(group: {
    groupId: string;
    coordinatorType: number;
  }): Promise<{ coordinator: { nodeId: string } }>;
  heartbeat(request: { groupId: string; groupGenerationId: number; memberId: string }): Promise<unknown>;
  fetch(request: {
    maxWaitTime: number;
    minBytes: number;
    maxBytes: number;
    isolationLevel: number;
    topics: { topic: string; partitions: { partition: number; fetchOffset: string; maxBytes: number }[] }[];
  }): Promise<unknown>;
}

/** Kafka's acks are -1, 0 or 1: the broker refuses any other number after it has checked the permission to write. */
const invalidAcks = 2;

export interface WantedPermissions {
  readonly writes: readonly string[];
  readonly reads: readonly string[];
  readonly groups: readonly string[];
}

export interface MissingPermission {
  readonly resource: 'topic' | 'group';
  readonly name: string;
  readonly operation: 'READ' | 'WRITE';
}

/**
 * The wanted permissions that the user does not have. Names are whole, with the prefix. Topics must exist.
 * Rejects with kafkajs' error when a broker does not answer.
 */
export async function missingPermissions(kafka: Kafka, wanted: WantedPermissions): Promise<MissingPermission[]> {
  const missing: MissingPermission[] = [];
  for (const name of wanted.writes)
    if (!(await mayWrite(kafka, name))) missing.push({ resource: 'topic', name, operation: 'WRITE' });
  if (wanted.reads.length + wanted.groups.length === 0) return missing;
  let inner: InnerCluster | undefined;
  const consumer = kafka.consumer({
    // It never joins: it is there for its connections, which its assigners get to see.
    groupId: 'never-joined',
    allowAutoTopicCreation: false,
    retry: { retries: 1 },
    partitionAssigners: [
      (tools) => {
        inner = tools.cluster as unknown as InnerCluster;
        return kafkajs.PartitionAssigners.roundRobin(tools);
      },
    ],
  });
  await consumer.connect();
  try {
    const cluster = inner!;
    await cluster.refreshMetadata();
    const anyBroker = await cluster.findControllerBroker();
    for (const name of wanted.reads)
      if (!(await mayRead(cluster, name))) missing.push({ resource: 'topic', name, operation: 'READ' });
    for (const name of wanted.groups)
      if (!(await mayJoin(cluster, anyBroker, name))) missing.push({ resource: 'group', name, operation: 'READ' });
    return missing;
  } finally {
    await consumer.disconnect().catch(() => undefined);
  }
}

async function mayWrite(kafka: Kafka, topic: string): Promise<boolean> {
  const producer = kafka.producer({ allowAutoTopicCreation: false, retry: { retries: 1 } });
  await producer.connect();
  try {
    await producer.send({ topic, acks: invalidAcks, messages: [{ value: Buffer.alloc(0) }] });
    throw new Error(`the broker took a record of ${topic} with acks of ${invalidAcks}`);
  } catch (error) {
    if (hasType(error, 'INVALID_REQUIRED_ACKS')) return true;
    if (hasType(error, 'TOPIC_AUTHORIZATION_FAILED')) return false;
    throw error;
  } finally {
    await producer.disconnect().catch(() => undefined);
  }
}

async function mayRead(cluster: InnerCluster, topic: string): Promise<boolean> {
  try {
    await cluster.addMultipleTargetTopics([topic]);
    const nodeId = Object.keys(cluster.findLeaderForPartitions(topic, [0]))[0]!;
    const leader = await cluster.findBroker({ nodeId });
    const partitions = [{ partition: 0, fetchOffset: '0', maxBytes: 1 }];
    await leader.fetch({
      maxWaitTime: 0,
      minBytes: 0,
      maxBytes: 1,
      isolationLevel: 1,
      topics: [{ topic, partitions }],
    });
    return true;
  } catch (error) {
    if (hasType(error, 'OFFSET_OUT_OF_RANGE')) return true;
    if (hasType(error, 'TOPIC_AUTHORIZATION_FAILED')) return false;
    throw error;
  }
}

/** A heartbeat of a member that is none: refused for its group or for its member, and nothing changes. */
async function mayJoin(cluster: InnerCluster, anyBroker: InnerBroker, groupId: string): Promise<boolean> {
  try {
    const coordinator = await coordinatorOf(cluster, anyBroker, groupId);
    await coordinator.heartbeat({ groupId, groupGenerationId: 0, memberId: 'nobody' });
    return true;
  } catch (error) {
    if (hasType(error, 'UNKNOWN_MEMBER_ID') || hasType(error, 'ILLEGAL_GENERATION')) return true;
    if (hasType(error, 'GROUP_AUTHORIZATION_FAILED')) return false;
    throw error;
  }
}

/** The first question for a group makes the brokers' own topic of offsets, which takes seconds. */
const coordinatorAttempts = 20;
const coordinatorPauseMs = 500;

async function coordinatorOf(cluster: InnerCluster, anyBroker: InnerBroker, groupId: string): Promise<InnerBroker> {
  // Asked without kafkajs' own search, which says of every refusal that there is no coordinator.
  for (let attempt = 1; ; attempt++) {
    try {
      const { coordinator } = await anyBroker.findGroupCoordinator({ groupId, coordinatorType: 0 });
      return await cluster.findBroker({ nodeId: coordinator.nodeId });
    } catch (error) {
      if (!hasType(error, 'GROUP_COORDINATOR_NOT_AVAILABLE') || attempt === coordinatorAttempts) throw error;
      await delay(coordinatorPauseMs);
    }
  }
}
