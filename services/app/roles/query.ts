import fastify, { type FastifyBaseLogger, type FastifyInstance, LogController } from 'fastify';
import { Asking } from '../../query/asking.js';
import { clickHouseEndpoint } from '../../query/clickhouse-endpoint.js';
import { queryRoom } from '../../query/query.js';
import { StoreHealth } from '../../query/store-health.js';
import type { Stream } from '../../stream/stream.js';
import { closeServer, listen } from '../listen.js';
import { queryLimits } from '../ports.js';
import type { RoleContext, RunningRole } from '../roles.js';
import { openRuleBook } from '../rule-book.js';

export async function start(context: RoleContext): Promise<RunningRole> {
  const { configuration, stream, keys, server, identity, reports } = context;
  const store = await context.store();
  const asking = new Asking({
    store,
    stream,
    limits: queryLimits(configuration),
    onFault: (error) => context.log.error({ err: error }, 'questions could not be recorded yet'),
  });
  await server.register(queryRoom, {
    store,
    stream,
    keys,
    asking,
    identity,
    rules: openRuleBook(configuration, identity.data, store),
    traceUrl: configuration.query.trace_url,
    // The lag is the group's, so it is known where no ingestor runs.
    reports: {
      ...reports,
      ingestor: async () => ({ ...(await reports.ingestor?.()), lag: await ingestorLag(stream) }),
    },
  });
  const clickHouse = await startClickHouseServer(context, asking);
  const storeHealth = new StoreHealth(store);
  return {
    stop: async () => {
      if (clickHouse !== undefined) await closeServer(clickHouse);
      await asking.close();
    },
    health: () => storeHealth.ask(),
  };
}

/** ClickHouse's protocol on an address of its own, where the configuration asks for it. */
async function startClickHouseServer(context: RoleContext, asking: Asking): Promise<FastifyInstance | undefined> {
  const { configuration, keys, log } = context;
  const address = configuration.query.clickhouse_listen;
  if (address === undefined) return undefined;
  const server = fastify({
    loggerInstance: log as FastifyBaseLogger,
    logController: new LogController({ disableRequestLogging: true }),
  });
  await server.register(clickHouseEndpoint, {
    asking,
    keys,
  });
  await listen(server, address);
  return server;
}

/** Calls in the stream that the ingestors have not dealt with. */
async function ingestorLag(stream: Stream): Promise<number> {
  const committed = await stream.committed('calls', 'ingestor');
  const partitions = await stream.partitions('calls');
  return partitions.reduce(
    (sum, { partition, earliestOffset, endOffset }) =>
      sum + endOffset - Math.max(earliestOffset, committed.get(partition) ?? 0),
    0,
  );
}
