import { queryRoom } from '../../query/query.js';
import type { Stream } from '../../stream/stream.js';
import { queryLimits } from '../ports.js';
import type { RoleContext, RunningRole } from '../roles.js';

export async function start(context: RoleContext): Promise<RunningRole> {
  const { configuration, stream, keys, server, identity, reports } = context;
  const store = await context.store();
  await server.register(queryRoom, {
    store,
    stream,
    keys,
    limits: queryLimits(configuration),
    identity,
    // The lag is the group's, so it is known where no ingestor runs.
    reports: {
      ...reports,
      ingestor: async () => ({ ...(await reports.ingestor?.()), lag: await ingestorLag(stream) }),
    },
  });
  return {
    // A query that fails says so to who asked; whether the store answers is asked by a query.
    health: () => ({ state: 'ready' }),
  };
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
