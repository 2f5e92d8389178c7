/**
 * The roles: what each reads and writes, and how it starts. A new role is one entry here; its command, the check of its
 * topics, its ACLs and its place in `up` follow from the entry.
 *
 * The order is the order of starting: who writes a topic starts after who reads it, and the query role, which tells of
 * the others, starts last. Stopping goes the other way.
 */
import type { FastifyInstance } from 'fastify';
import type { Logger } from 'pino';
import type { Registry } from 'prom-client';
import type { Configuration } from '../../schemas/configuration.js';
import { AuditdError } from '../../schemas/errors.js';
import { nearestName } from '../../schemas/nearest.js';
import { recordTopicNames } from '../../schemas/tables.js';
import type { Keys } from '../access/keys.js';
import type { DaemonIdentity, RoleReports } from '../query/status.js';
import type { Store } from '../store/store.js';
import type { Health } from '../stream/progress.js';
import type { Stream, Topic } from '../stream/stream.js';

/** What a role works with. */
export interface RoleContext {
  readonly configuration: Configuration;
  readonly identity: DaemonIdentity;
  readonly log: Logger;
  readonly metrics: Registry;
  readonly keys: Keys;
  readonly stream: Stream;
  /** The store; it is opened when the first role asks for it. */
  store(): Promise<Store>;
  /** The process's HTTP server, before it listens. */
  readonly server: FastifyInstance;
  /** What the roles that started before say of themselves, by name. */
  readonly reports: RoleReports;
}

export interface RunningRole {
  health(): Health | Promise<Health>;
  /** For `GET /v1/status`. */
  status?(): object | Promise<object>;
  /** Called once the server listens. What it returns is called first of all when the process stops. */
  listening?(): () => Promise<void>;
  /** Ends it: what is in hand is dealt with, or left to the next process. */
  stop?(): Promise<void>;
}

export interface Role {
  readonly name: string;
  /** The command that starts this role alone; undefined where the name means something else. */
  readonly command?: string;
  /** One line for --help. */
  readonly summary: string;
  /** Shared with the others of its group, or read as a whole where it has none. */
  readonly reads: readonly Topic[];
  /** Read as a whole beside what the group shares. */
  readonly follows?: readonly Topic[];
  readonly writes: readonly Topic[];
  /** Consumer group; a role without one reads by itself. */
  readonly group?: string;
  /** Groups of other roles whose progress it tells, with their topics. */
  readonly watches?: Readonly<Record<string, readonly Topic[]>>;
  readonly usesStore: boolean;
  start(context: RoleContext): Promise<RunningRole>;
}

export const roles: readonly Role[] = [
  {
    name: 'ingestor',
    command: 'ingest',
    summary: 'from the stream to the store, exactly once',
    reads: ['calls', ...recordTopicNames],
    writes: ['dead'],
    group: 'ingestor',
    usesStore: true,
    start: async (context) => (await import('./roles/ingestor.js')).start(context),
  },
  {
    name: 'throttler',
    command: 'throttle',
    summary: 'from alerts to signals that hold callers back',
    reads: ['throttle'],
    follows: ['alerts', 'responses', 'throttle', 'calls'],
    writes: ['throttle'],
    group: 'throttler',
    usesStore: false,
    start: async (context) => (await import('./roles/throttler.js')).start(context),
  },
  {
    name: 'notifier',
    command: 'notify',
    summary: 'from alerts to people: Slack, e-mail, webhooks',
    reads: ['deliveries'],
    follows: ['alerts', 'responses'],
    writes: ['deliveries', 'responses', 'alerts'],
    group: 'notifier',
    usesStore: false,
    start: async (context) => (await import('./roles/notifier.js')).start(context),
  },
  {
    name: 'detector',
    command: 'detect',
    summary: 'from calls to alerts, by rules',
    reads: ['calls'],
    writes: ['alerts'],
    group: 'detector',
    usesStore: true,
    start: async (context) => (await import('./roles/detector.js')).start(context),
  },
  {
    name: 'gateway',
    command: 'gateway',
    summary: 'takes events over HTTP and appends them to the stream, hands out throttle signals',
    reads: ['throttle'],
    writes: ['calls', 'responses'],
    usesStore: false,
    start: async (context) => (await import('./roles/gateway.js')).start(context),
  },
  {
    name: 'query',
    summary: 'answers SQL, tail and status over HTTP, and serves the dashboard',
    reads: ['calls'],
    writes: ['queries', 'responses', 'saved_queries'],
    watches: { ingestor: ['calls'] },
    usesStore: true,
    start: async (context) => (await import('./roles/query.js')).start(context),
  },
];

/**
 * The roles of these names in their order; all when none is named.
 * @throws AuditdError `argument_invalid` for a name that is none.
 */
export function chooseRoles(names: readonly string[] | undefined): readonly Role[] {
  if (names === undefined) return roles;
  const known = roles.map(({ name }) => name);
  for (const name of names) {
    if (known.includes(name)) continue;
    const nearest = nearestName(name, known);
    throw new AuditdError(
      'argument_invalid',
      `There is no role ${JSON.stringify(name)}${nearest === undefined ? `; there are ${known.join(', ')}` : `, did you mean ${nearest}?`}`,
    );
  }
  return roles.filter(({ name }) => names.includes(name));
}

/**
 * Refuses roles that would work on data which no other process can see.
 * @throws AuditdError `configuration_invalid`.
 */
export function requirePorts(chosen: readonly Role[], configuration: Configuration): void {
  const has = (name: string) => chosen.some((role) => role.name === name);
  const names = chosen.map(({ name }) => name).join(', ');
  if (configuration.stream.kafka === undefined && !(has('gateway') && has('ingestor')))
    throw new AuditdError(
      'configuration_invalid',
      `The local stream belongs to one process, so gateway and ingestor run together on it. To run ${names} alone, configure stream.kafka.`,
    );
  const apart = roles.filter((role) => role.usesStore && !chosen.includes(role));
  if (configuration.stream.kafka !== undefined && configuration.store.clickhouse === undefined && apart.length > 0) {
    const inside = chosen.filter((role) => role.usesStore);
    if (inside.length > 0)
      throw new AuditdError(
        'configuration_invalid',
        `The embedded store belongs to one process, so ${inside.map(({ name }) => name).join(', ')} cannot run without ${apart.map(({ name }) => name).join(', ')} on it. Configure store.clickhouse.`,
      );
  }
}
