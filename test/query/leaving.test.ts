/** Whoever leaves ends the engine's query, through every door, and its place is free for the next one. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Fastify, { type FastifyInstance } from 'fastify';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ensureKeys, keyFilePath, openKeys, readSecretFile } from '../../services/access/keys.js';
import { queryRoom } from '../../services/query/query.js';
import { openChdbStore } from '../../services/store/chdb.js';
import type { StatementRunner, Store } from '../../services/store/store.js';
import { openLocalStream } from '../../services/stream/local.js';
import type { NewRecord } from '../../services/stream/stream.js';
import { Sandbox } from '../commands/run.js';
import { askingOf } from './asking.js';
import { pythonWithClickHouse } from './python.js';

const directory = mkdtempSync(join(tmpdir(), 'leaving-'));
const stream = openLocalStream({ directory: join(directory, 'stream'), durability: 'kernel' });
const recorded: NewRecord[] = [];
const sandbox = new Sandbox();
let store: Store & StatementRunner;
let server: FastifyInstance;
let url: string;
let key: string;

beforeAll(async () => {
  store = await openChdbStore({ directory: join(directory, 'store') });
  await store.migrate();
  await ensureKeys(directory);
  key = readSecretFile(keyFilePath(directory, 'read'));
  server = Fastify({ forceCloseConnections: true });
  await server.register(queryRoom, {
    store,
    stream,
    keys: openKeys(directory),
    asking: askingOf(store, recorded),
    identity: { version: '1.2.3', pid: process.pid, started_at: '2026-11-24T03:52:00.000Z', data: directory },
    reports: {},
  });
  url = await server.listen({ host: '127.0.0.1', port: 0 });
});
afterAll(async () => {
  await sandbox.dispose();
  await server.close();
  await store.close();
  await stream.close();
  rmSync(directory, { recursive: true, force: true });
});

/** Minutes of work for one core, and not a row before all of it is done. */
const long = 'SELECT sum(cityHash64(number)) FROM numbers(100000000000)';
/** Rows at once, and more of them than anybody reads. */
const endless = 'SELECT cityHash64(number) FROM numbers(9000000)';

async function working(): Promise<number> {
  const text = await store.statement("SELECT countIf(query LIKE '%cityHash64(%') - 1 FROM system.processes", {
    format: 'TSV',
  });
  return Number(Buffer.from(text).toString());
}

function post(path: string, body: string, type: string, signal: AbortSignal): Promise<Response> {
  const headers = { authorization: `Bearer ${key}`, 'content-type': type };
  return fetch(`${url}${path}`, { method: 'POST', headers, body, signal });
}

type Door = (sql: string, signal: AbortSignal) => Promise<unknown>;
const json = (path: string, fields: object): Door => {
  return (sql, signal) => post(path, JSON.stringify({ sql, ...fields }), 'application/json', signal);
};
const python =
  (way: string, leave: (child: ChildProcess) => unknown): Door =>
  async (sql, signal) => {
    const script = join(import.meta.dirname, 'leaver.py');
    const child = spawn(await pythonWithClickHouse(), [script, new URL(url).port, key, way, sql], { stdio: 'pipe' });
    signal.addEventListener('abort', () => leave(child));
    await once(child, 'exit');
  };
const doors: Record<string, Door> = {
  'POST /v1/query, streamed': json('/v1/query', { format: 'CSV' }),
  'POST /v1/query, whole': json('/v1/query', { format: 'JSON' }),
  'POST /api/v1/sql': json('/api/v1/sql', {}),
  'POST /api/v1/sql/csv': json('/api/v1/sql/csv', {}),
  "ClickHouse's protocol": (sql, signal) => post('/clickhouse', sql, 'text/plain', signal),
  'the client for Python, interrupted': python('interrupt', (child) => child.kill('SIGINT')),
  'the client for Python, by KILL QUERY of another': python('kill', (child) => child.stdin!.end('\n')),
  'mcp-auditd query': async (sql, signal) => {
    const environment = { MCP_AUDITD_QUERY_URL: url, MCP_AUDITD_QUERY_KEY: key };
    const { child, ended } = sandbox.follow(['query', sql], environment);
    signal.addEventListener('abort', () => child.kill('SIGINT'));
    await ended;
  },
};

// The engine takes two queries at a time, so one place that stays taken is met by a later door.
test.each(Object.entries(doors))('%s', async (_name, door) => {
  const before = recorded.length;
  const leaves = new AbortController();
  const answer = door(long, leaves.signal).catch(() => undefined);
  await expect.poll(working, { timeout: 50_000 }).toBe(1);
  leaves.abort();
  await answer;
  await expect.poll(working, { timeout: 10_000 }).toBe(0);
  // Clients ask about the server too.
  const asked = () =>
    recorded
      .slice(before)
      .map(({ value }) => JSON.parse(value.toString()) as { statement: string; outcome: string })
      .filter(({ statement }) => statement.trim() === long);
  await expect.poll(asked, { timeout: 10_000 }).toMatchObject([{ outcome: 'cancelled' }]);
});

test('a client that leaves in the middle of the rows', async () => {
  const leaves = new AbortController();
  const response = await post('/clickhouse?default_format=JSONEachRow', endless, 'text/plain', leaves.signal);
  await response.body!.getReader().read();
  expect(await working()).toBe(1);
  leaves.abort();
  await expect.poll(working, { timeout: 10_000 }).toBe(0);
});
