/**
 * The composition root: the chosen roles of services/app/roles.ts in one process, on the stream and the store that the
 * configuration names.
 *
 * Roles start in their order and stop in the opposite one, the HTTP server first. When one does not start, those before
 * it are stopped and the error is the caller's.
 */
import { mkdirSync } from 'node:fs';
import fastify, { type FastifyBaseLogger, LogController } from 'fastify';
import type { Logger } from 'pino';
import { Counter, collectDefaultMetrics, Registry } from 'prom-client';
import type { Configuration } from '../schemas/configuration.js';
import { openAccess } from './app/access.js';
import { holdDataDirectory } from './app/hold.js';
import { closeServer, listen } from './app/listen.js';
import { topicsOf } from './app/permissions.js';
import { openStore, openStream, requireTopics, untilAnswered } from './app/ports.js';
import { roles as everyRole, type Role, type RoleContext, type RunningRole, requirePorts } from './app/roles.js';
import { supervision } from './app/supervision.js';
import { packageVersion } from './app/version.js';
import { gatewayServerOptions } from './gateway/gateway.js';
import type { Store } from './store/store.js';
import type { KafkaEvent } from './stream/kafka.js';
import type { Health } from './stream/progress.js';

export interface RunningApp {
  readonly url: string;
  readonly data: string;
  /** The configured address was taken, and a free port was chosen. */
  readonly movedFrom: string | undefined;
  /** Stops taking requests, drains, and gives the directory back. Idempotent. */
  stop(): Promise<void>;
}

/** Of what happens between this process and the brokers, what somebody should know of. */
const unusual: ReadonlySet<KafkaEvent['kind']> = new Set(['restarted', 'stuck', 'hole', 'send_retried']);

/** Adds what undoes a step that was done; undoing runs backwards and goes on when a step fails. */
class Undo {
  private readonly steps: (() => Promise<void> | void)[] = [];
  private running: Promise<void> | undefined;

  constructor(private readonly log: Logger) {}

  add(step: () => Promise<void> | void): void {
    this.steps.push(step);
  }

  run(): Promise<void> {
    this.running ??= (async () => {
      for (const step of this.steps.reverse()) {
        try {
          await step();
        } catch (error) {
          this.log.error({ err: error }, 'a role did not stop cleanly');
        }
      }
    })();
    return this.running;
  }

  get begun(): boolean {
    return this.running !== undefined;
  }
}

/**
 * Starts roles on a data directory; all of them unless some are named.
 *
 * @throws AuditdError `data_directory_held` (the message says by whom), `data_directory_newer`, `address_taken`,
 * `configuration_invalid` for roles that need Kafka or ClickHouse, and what stream, store and roles throw; nothing is
 * left running then.
 */
export async function startApp(
  configuration: Configuration,
  data: string,
  log: Logger,
  roles: readonly Role[] = everyRole,
): Promise<RunningApp> {
  requirePorts(roles, configuration);
  const undo = new Undo(log);
  try {
    return await start(configuration, data, log, roles, undo);
  } catch (error) {
    await undo.run();
    throw error;
  }
}

async function start(
  configuration: Configuration,
  data: string,
  log: Logger,
  roles: readonly Role[],
  undo: Undo,
): Promise<RunningApp> {
  mkdirSync(data, { recursive: true, mode: 0o700 });
  const version = packageVersion();
  const hold = holdDataDirectory(data, version);
  undo.add(() => hold.release());
  const keys = await openAccess(configuration, data, log);

  const metrics = new Registry();
  collectDefaultMetrics({ register: metrics });
  const events = new Counter({
    name: 'mcp_auditd_stream_events_total',
    help: 'What happened between this process and the brokers, by kind.',
    labelNames: ['kind'],
    registers: [metrics],
  });
  const migrates = roles.some(({ name }) => name === 'ingestor');
  let store: Promise<Store> | undefined;
  const openedStore = (): Promise<Store> => {
    store ??= untilAnswered(configuration, log, () => openStore(configuration, data, migrates)).then((opened) => {
      undo.add(() => opened.close());
      return opened;
    });
    return store;
  };
  // The engine's own lock stands behind daemon.json: it is taken before a byte of the stream is touched.
  if (roles.some(({ usesStore }) => usesStore)) await openedStore();
  const stream = await untilAnswered(configuration, log, () =>
    openStream(configuration, data, log, (event) => {
      if (event.kind === 'lag') return;
      events.inc({ kind: event.kind });
      log[unusual.has(event.kind) ? 'warn' : 'debug']({ event }, `stream: ${event.kind}`);
    }),
  );
  undo.add(() => stream.close());
  await requireTopics(configuration, stream, [...new Set(roles.flatMap(topicsOf))]);

  const server = fastify({
    ...gatewayServerOptions,
    loggerInstance: log as FastifyBaseLogger,
    logController: new LogController({ disableRequestLogging: true }),
  });
  const reports: Record<string, () => object | Promise<object>> = {};
  const context: RoleContext = {
    configuration,
    identity: { version, pid: process.pid, started_at: hold.startedAt, data },
    log,
    metrics,
    keys,
    stream,
    store: openedStore,
    server,
    reports,
  };
  const health = new Map<string, () => Health | Promise<Health>>();
  const running: RunningRole[] = [];
  for (const role of roles) {
    const started = await role.start(context);
    if (started.stop !== undefined) undo.add(started.stop);
    if (started.status !== undefined) reports[role.name] = started.status;
    health.set(role.name, started.health);
    running.push(started);
  }
  const open = configuration.metrics.access === 'open';
  await server.register(supervision, { metrics, keys, open, health, stopping: () => undo.begun });
  undo.add(() => closeServer(server));
  const { url, movedFrom } = await listen(server, configuration.listen);
  hold.publish(url);
  for (const { listening } of running) if (listening !== undefined) undo.add(listening());
  return { url, data, movedFrom, stop: () => undo.run() };
}
