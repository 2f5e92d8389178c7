/**
 * A ClickHouse server for tests: the engine in process behind our own endpoint, on a free port of 127.0.0.1, with a key
 * that may write and one that may read. CLICKHOUSE_URL names a real server instead (with CLICKHOUSE_USER and
 * CLICKHOUSE_PASSWORD); each test then has a database of its own there.
 */
import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fastify from 'fastify';
import { clickHouseEndpoint } from '../../services/query/clickhouse-endpoint.js';
import { openChdbStore } from '../../services/store/chdb.js';
import { ClickHouseConnection } from '../../services/store/clickhouse-connection.js';
import { askingOf } from '../query/asking.js';

export const writeKey = 'the key of the tests, which may do anything';
export const readKey = 'mca_read_the-key-of-a-reader-of-the-tests';

export interface ClickHouseServer {
  /** What `openClickHouseStore` needs. */
  readonly connection: { url: string; username: string; password: string; database: string };
  stop(): Promise<void>;
}

export const namedClickHouse = process.env.CLICKHOUSE_URL;

/** Starts the endpoint over an empty directory, or makes an empty database on the server that is named. */
export async function startClickHouse(directory?: string, port = 0): Promise<ClickHouseServer> {
  if (namedClickHouse !== undefined) return emptyDatabase(namedClickHouse);
  const home = directory ?? (await mkdtemp(join(tmpdir(), 'mcp-auditd-clickhouse-')));
  const store = await openChdbStore({ directory: home });
  const server = fastify({ forceCloseConnections: true });
  const find = (key: string) =>
    key === readKey
      ? { name: 'reader', role: 'read' as const, tenant: '*', hash: '', created_at: '2026-01-01T00:00:00Z' }
      : undefined;
  await server.register(clickHouseEndpoint, {
    asking: askingOf(store),
    keys: { find },
    writer: { key: writeKey, engine: store },
  });
  const url = await server.listen({ host: '127.0.0.1', port });
  return {
    connection: { url, username: 'ingestor', password: writeKey, database: 'default' },
    stop: async () => {
      await server.close();
      await store.close();
      if (directory === undefined) await rm(home, { recursive: true, force: true });
    },
  };
}

async function emptyDatabase(url: string): Promise<ClickHouseServer> {
  const database = `test_${randomUUID().replaceAll('-', '')}`;
  const { CLICKHOUSE_USER: username = 'default', CLICKHOUSE_PASSWORD: password = '' } = process.env;
  return {
    connection: { url, username, password, database },
    stop: async () => {
      const connection = new ClickHouseConnection({ url, username, password });
      await connection.run(`DROP DATABASE IF EXISTS ${database} SYNC`);
      await connection.close();
    },
  };
}
