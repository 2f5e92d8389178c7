/** ACLs: what a role's user must be allowed to do on the brokers. */
import kafkajs, { type Admin } from 'kafkajs';
import { kafkaError } from './kafka-errors.js';

export type AclOperation = 'READ' | 'WRITE' | 'DESCRIBE' | 'DELETE';

export interface Acl {
  readonly resource: 'topic' | 'group';
  readonly name: string;
  /** prefixed: every resource whose name begins so. */
  readonly pattern: 'literal' | 'prefixed';
  readonly operation: AclOperation;
}

const { AclOperationTypes, AclPermissionTypes, AclResourceTypes, ResourcePatternTypes } = kafkajs;

/**
 * Allows the user all of it, from every host. What is there already stays.
 * @throws AuditdError `kafka_not_allowed` when the connection's own user may not alter ACLs.
 */
export async function grantAcls(admin: Admin, user: string, acls: readonly Acl[]): Promise<void> {
  try {
    await admin.createAcls({
      acl: acls.map(({ resource, name, pattern, operation }) => ({
        resourceType: resource === 'topic' ? AclResourceTypes.TOPIC : AclResourceTypes.GROUP,
        resourceName: name,
        resourcePatternType: pattern === 'literal' ? ResourcePatternTypes.LITERAL : ResourcePatternTypes.PREFIXED,
        principal: `User:${user}`,
        host: '*',
        operation: AclOperationTypes[operation],
        permissionType: AclPermissionTypes.ALLOW,
      })),
    });
  } catch (error) {
    throw kafkaError(error, `allowing ${user} what it needs`);
  }
}

/** The same as a command of Kafka's own tool, for who administers the brokers by it. */
export function aclCommand(user: string, acl: Acl): string {
  const prefixed = acl.pattern === 'prefixed' ? ' --resource-pattern-type prefixed' : '';
  const operation = acl.operation[0] + acl.operation.slice(1).toLowerCase();
  return `kafka-acls.sh --bootstrap-server BROKER --command-config ADMIN --add --allow-principal User:${user} --operation ${operation} --${acl.resource} ${acl.name}${prefixed}`;
}
