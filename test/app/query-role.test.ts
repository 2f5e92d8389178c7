import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fastify from 'fastify';
import { pino } from 'pino';
import { Registry } from 'prom-client';
import { expect, test } from 'vitest';
import { parseConfiguration } from '../../schemas/configuration-sources.js';
import { ensureKeys, keyFilePath, openKeys, readSecretFile } from '../../services/access/keys.js';
import { start } from '../../services/app/roles/query.js';
import { openChdbStore } from '../../services/store/chdb.js';
import { openLocalStream } from '../../services/stream/local.js';

test("ClickHouse's protocol listens on an address of its own where one is configured, and ends with the role", async () => {
  const data = mkdtempSync(join(tmpdir(), 'mcp-auditd-query-role-'));
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as { port: number };
  await new Promise((done) => probe.close(done));
  await ensureKeys(data);
  const store = await openChdbStore({ directory: join(data, 'store') });
  const stream = openLocalStream({ directory: join(data, 'stream'), durability: 'kernel' });
  const server = fastify();
  const role = await start({
    configuration: parseConfiguration({ flags: { 'query.clickhouse_listen': `127.0.0.1:${port}` } }),
    identity: { version: '1', pid: 1, started_at: '2026-11-24T00:00:00Z', data },
    log: pino({ level: 'silent' }),
    metrics: new Registry(),
    keys: openKeys(data),
    stream,
    store: async () => store,
    server,
    reports: {},
  });
  const ask = () =>
    fetch(`http://127.0.0.1:${port}/?query=SELECT%201%2B1`, {
      headers: { 'x-clickhouse-key': readSecretFile(keyFilePath(data, 'read')) },
    });
  expect(await (await ask()).text()).toBe('2\n');
  await role.stop?.();
  await expect(ask()).rejects.toThrow();
  await server.close();
  await stream.close();
  await store.close();
  rmSync(data, { recursive: true, force: true });
});
