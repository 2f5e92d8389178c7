/** The query room: SQL, tail and status over HTTP, for keys that may read. */
import type { FastifyInstance } from 'fastify';
import { type Keys, sessionSecret } from '../access/keys.js';
import type { Store } from '../store/store.js';
import type { Stream } from '../stream/stream.js';
import { answerError } from './answers.js';
import { Access } from './api/access.js';
import { api } from './api/api.js';
import type { RuleBook } from './api/rules.js';
import { type Asking, askerOf } from './asking.js';
import { clickHouseEndpoint } from './clickhouse-endpoint.js';
import { addPages } from './pages.js';
import { addQueryRoute } from './sql.js';
import { addStatusRoute, type DaemonIdentity, Rate, type RoleReports, statusOf } from './status.js';
import { addTailRoute, Tail } from './tail.js';

export interface QueryRoomOptions {
  readonly store: Store;
  readonly stream: Stream;
  readonly keys: Keys;
  /** Every route that answers with rows of the store asks here. */
  readonly asking: Asking;
  readonly identity: DaemonIdentity;
  readonly reports: RoleReports;
  /** The rules in force, for who looks at them; left out where this process knows none. */
  readonly rules?: RuleBook;
  /** Where traces are kept, with {trace_id} in it. */
  readonly traceUrl?: string | undefined;
}

/**
 * A fastify plugin with POST /v1/query, GET /v1/tail, GET /v1/status, ClickHouse's HTTP protocol below /clickhouse, the
 * API below /api/v1 and the dashboard. Its tails end when the server begins to close,
 * because a response that never ends would keep it from closing.
 */
export async function queryRoom(server: FastifyInstance, options: QueryRoomOptions): Promise<void> {
  const { store, stream, keys, asking, identity, reports, rules } = options;
  const tail = new Tail(stream, (error) => server.log.error({ err: error }, 'the tail ended'));
  const rate = new Rate(stream, Date.now);
  server.setErrorHandler(answerError);
  addQueryRoute(server, asking, keys);
  addTailRoute(server, tail, keys);
  const status = { stream, store, identity, reports, rate, tailClients: () => tail.clientCount };
  addStatusRoute(server, keys, status);
  await server.register(clickHouseEndpoint, { prefix: '/clickhouse', asking, keys });
  await server.register(api, {
    prefix: '/api/v1',
    stream,
    tail,
    rules,
    keys,
    data: identity.data,
    access: new Access(keys, sessionSecret(identity.data), Date.now),
    askFor: (request, key, door, statement) => asking.ask(askerOf(request, key, door), statement),
    status: (tenant) => statusOf(status, tenant),
    version: identity.version,
    traceUrl: options.traceUrl,
  });
  addPages(server);
  server.addHook('preClose', async () => {
    rate.stop();
    await tail.close();
  });
}
