/** The query room: SQL, tail and status over HTTP, for keys with the role `read`. */
import type { FastifyInstance } from 'fastify';
import type { Keys } from '../access/keys.js';
import type { Store } from '../store/store.js';
import type { Stream } from '../stream/stream.js';
import { answerError } from './answers.js';
import type { Asking } from './asking.js';
import { clickHouseEndpoint } from './clickhouse-endpoint.js';
import { addQueryRoute } from './sql.js';
import { addStatusRoute, type DaemonIdentity, Rate, type RoleReports } from './status.js';
import { addTailRoute, Tail } from './tail.js';

export interface QueryRoomOptions {
  readonly store: Store;
  readonly stream: Stream;
  readonly keys: Keys;
  /** Every route that answers with rows of the store asks here. */
  readonly asking: Asking;
  readonly identity: DaemonIdentity;
  readonly reports: RoleReports;
}

/**
 * A fastify plugin with POST /v1/query, GET /v1/tail, GET /v1/status and ClickHouse's HTTP protocol below /clickhouse. Its tails end when the server begins to close,
 * because a response that never ends would keep it from closing.
 */
export async function queryRoom(server: FastifyInstance, options: QueryRoomOptions): Promise<void> {
  const { store, stream, keys, asking, identity, reports } = options;
  const tail = new Tail(stream, (error) => server.log.error({ err: error }, 'the tail ended'));
  const rate = new Rate(stream, Date.now);
  server.setErrorHandler(answerError);
  addQueryRoute(server, asking, keys);
  addTailRoute(server, tail, keys);
  addStatusRoute(server, { keys, stream, store, identity, reports, rate, tailClients: () => tail.clientCount });
  await server.register(clickHouseEndpoint, { prefix: '/clickhouse', asking, keys });
  server.addHook('preClose', async () => {
    rate.stop();
    await tail.close();
  });
}
