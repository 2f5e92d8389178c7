/** What a role needs on the brokers, from its entry in the list of roles. */
import type { Acl } from '../stream/kafka-acls.js';
import { aloneGroupPrefix, groupName, topicName } from '../stream/kafka-names.js';
import type { WantedPermissions } from '../stream/kafka-permissions.js';
import type { Topic } from '../stream/stream.js';
import type { KafkaSection } from './ports.js';
import type { Role } from './roles.js';

/** Reading and writing imply describing. A role that reads without a group makes and deletes groups of its own. */
export function aclsOf(role: Role, section: KafkaSection): Acl[] {
  const { topic_prefix: prefix, client_id } = section;
  const { reads, writes, groups } = wantedBy(role, section);
  const literal = { pattern: 'literal' } as const;
  const acls: Acl[] = [
    ...reads.map((name): Acl => ({ resource: 'topic', name, ...literal, operation: 'READ' })),
    ...writes.map((name): Acl => ({ resource: 'topic', name, ...literal, operation: 'WRITE' })),
    ...groups.map((name): Acl => ({ resource: 'group', name, ...literal, operation: 'READ' })),
  ];
  if ((role.follows ?? []).length > 0 || (role.group === undefined && reads.length > 0)) {
    const alone = { resource: 'group', name: aloneGroupPrefix(prefix, client_id), pattern: 'prefixed' } as const;
    acls.push({ ...alone, operation: 'READ' }, { ...alone, operation: 'DELETE' });
  }
  for (const [group, topics] of Object.entries(role.watches ?? {}))
    for (const topic of topics)
      acls.push({ resource: 'group', name: groupName(prefix, group, topic), ...literal, operation: 'DESCRIBE' });
  return acls;
}

/** Topics that the role reads, in its group or by itself. */
function topicsReadBy({ reads, follows = [] }: Role): Topic[] {
  return [...new Set([...reads, ...follows])];
}

/** Topics that the role uses. */
export function topicsOf(role: Role): Topic[] {
  return [...new Set([...topicsReadBy(role), ...role.writes])];
}

/** The same as what can be probed. */
export function wantedBy(role: Role, section: KafkaSection): WantedPermissions {
  const { topic_prefix: prefix } = section;
  const { group } = role;
  return {
    reads: topicsReadBy(role).map((topic) => topicName(prefix, topic)),
    writes: role.writes.map((topic) => topicName(prefix, topic)),
    groups: group === undefined ? [] : role.reads.map((topic) => groupName(prefix, group, topic)),
  };
}
