/**
 * The composition root: every role of one machine in one process.
 *
 * Roles start in the order of the data's way backwards (who writes starts after who reads) and stop in the opposite
 * order. When one does not start, those before it are stopped and the error is the caller's.
 */
import { mkdirSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import fastify, { LogController } from 'fastify';
import type { Logger } from 'pino';
import { Registry } from 'prom-client';
import type { Configuration } from '../schemas/configuration.js';
import { AuditdError } from '../schemas/errors.js';
import { ensureKeys, openKeys } from './access/keys.js';
import { type Hold, holdDataDirectory } from './app/hold.js';
import { openStore, openStream } from './app/ports.js';
import { packageVersion } from './app/version.js';
import { adoptOrphans } from './emitter/adopt.js';
import { createGateway, gatewayServerOptions } from './gateway/gateway.js';
import { startIngestor } from './ingestor/ingestor.js';
import { queryRoom } from './query/query.js';
import type { QueryLimits } from './store/store.js';
import type { Stream } from './stream/stream.js';

/** How often spools without a living process are looked for. */
const adoptIntervalMs = 2_000;
const defaultListen = '127.0.0.1:7467';

export interface RunningApp {
  readonly url: string;
  readonly data: string;
  /** The configured address was taken, and a free port was chosen. */
  readonly movedFrom: string | undefined;
  /** Stops taking requests, drains, and gives the directory back. Idempotent. */
  stop(): Promise<void>;
}

/** The configuration's limits of queries in the port's terms. */
export function queryLimits(configuration: Configuration): QueryLimits {
  const { time_ms, memory_bytes, result_rows, result_bytes } = configuration.query;
  return { timeMs: time_ms, memoryBytes: memory_bytes, resultRows: result_rows, resultBytes: result_bytes };
}

function readAddress(listen: string): { host: string; port: number } {
  const at = listen.lastIndexOf(':');
  return { host: listen.slice(0, at).replace(/^\[|\]$/g, ''), port: Number(listen.slice(at + 1)) };
}

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
}

/**
 * Starts every role on a data directory.
 *
 * @throws AuditdError `data_directory_held` (the message says by whom), `data_directory_newer`, `address_taken`, and
 * what the roles throw; nothing is left running then.
 */
export async function startApp(configuration: Configuration, data: string, log: Logger): Promise<RunningApp> {
  const undo = new Undo(log);
  try {
    mkdirSync(data, { recursive: true, mode: 0o700 });
    const version = packageVersion();
    const hold = holdDataDirectory(data, version);
    undo.add(() => hold.release());
    return await startRoles(configuration, data, log, { undo, hold, version });
  } catch (error) {
    await undo.run();
    throw error;
  }
}

async function startRoles(
  configuration: Configuration,
  data: string,
  log: Logger,
  app: { undo: Undo; hold: Hold; version: string },
): Promise<RunningApp> {
  const { undo, hold, version } = app;
  const onError = (error: unknown): void => log.error({ err: error }, 'a role met an error');
  await ensureKeys(data);
  const keys = openKeys(data, { onError });

  const stream = await openStream(configuration, data, log);
  undo.add(() => stream.close());
  const store = await openStore(configuration, data);
  undo.add(() => store.close());

  const metrics = new Registry();
  const { max_rows, max_delay_ms } = configuration.ingestor;
  const ingestor = await startIngestor({
    stream,
    store,
    metrics,
    limits: { rows: max_rows, timeMs: max_delay_ms, rememberedIds: rememberedIds(max_rows) },
    onFault: (error, what) => log.warn({ err: error }, what),
  });
  undo.add(() => ingestor.close());

  const { max_body_bytes, max_line_bytes, events_per_second } = configuration.gateway;
  const gateway = createGateway({
    stream,
    keys,
    metrics,
    limits: { bodyBytes: max_body_bytes, lineBytes: max_line_bytes, eventsPerSecond: events_per_second },
    onError,
  });
  const server = fastify({
    ...gatewayServerOptions,
    loggerInstance: log,
    logController: new LogController({ disableRequestLogging: true }),
  });
  undo.add(() => server.close());
  await server.register(gateway.plugin);
  await server.register(queryRoom, {
    store,
    stream,
    keys,
    limits: queryLimits(configuration),
    identity: { version, pid: process.pid, started_at: hold.startedAt, data },
    reports: {
      ingestor: async () => ({ ...(await ingestor.status()), lag: await ingestorLag(stream) }),
      gateway: () => gateway.status(),
    },
  });
  const { url, movedFrom } = await listen(server, configuration.listen);
  hold.publish(url);

  const adoption = adoptRegularly(data, log);
  undo.add(() => adoption.stop());
  return { url, data, movedFrom, stop: () => undo.run() };
}

/** A power of two of at least eight blocks, so that a larger batch does not outgrow what is remembered. */
function rememberedIds(rows: number): number {
  return Math.max(1 << 20, 2 ** Math.ceil(Math.log2(rows * 8)));
}

/** Calls in the stream that the ingestor has not dealt with. */
async function ingestorLag(stream: Stream): Promise<number> {
  const committed = await stream.committed('calls', 'ingestor');
  const partitions = await stream.partitions('calls');
  return partitions.reduce(
    (sum, { partition, earliestOffset, endOffset }) =>
      sum + endOffset - Math.max(earliestOffset, committed.get(partition) ?? 0),
    0,
  );
}

async function listen(
  server: { listen(options: { host: string; port: number }): Promise<string> },
  address: string,
): Promise<{ url: string; movedFrom: string | undefined }> {
  const { host, port } = readAddress(address);
  try {
    return { url: await server.listen({ host, port }), movedFrom: undefined };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error;
    if (address !== defaultListen)
      throw new AuditdError('address_taken', `Something else listens on ${address} already.`, { cause: error });
    // Nobody asked for the default port, so nobody is let down by another one.
    return { url: await server.listen({ host, port: 0 }), movedFrom: address };
  }
}

/** Delivers what dead emitters left behind, at once and then regularly; one round at a time. */
function adoptRegularly(data: string, log: Logger): { stop(): Promise<void> } {
  const stopped = new AbortController();
  const ended = (async () => {
    while (!stopped.signal.aborted) {
      try {
        await adoptOrphans({ data, signal: stopped.signal });
      } catch (error) {
        if (!stopped.signal.aborted) log.warn({ err: error }, 'adopting orphaned spools failed and is tried again');
      }
      await delay(adoptIntervalMs, undefined, { signal: stopped.signal, ref: false }).catch(() => undefined);
    }
  })();
  return {
    stop() {
      stopped.abort();
      return ended;
    },
  };
}
