/** Names on the brokers. */
import type { Topic } from './stream.js';

export function topicName(prefix: string, topic: Topic): string {
  return `${prefix}${topic}`;
}

/**
 * The consumer group of a role on one topic. One for each topic, because kafkajs hands every member of a group
 * partitions of all topics that any member reads.
 */
export function groupName(prefix: string, group: string, topic: Topic): string {
  return `${prefix}${group}.${topic}`;
}

/** What the names of the groups begin with that a client reads alone in. */
export function aloneGroupPrefix(prefix: string, clientId: string): string {
  return `${prefix}${clientId}-alone-`;
}
