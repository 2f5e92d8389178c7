import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Fastify, { type FastifyInstance } from 'fastify';
import { Counter, Registry } from 'prom-client';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ensureKeys, keyFilePath, openKeys, readSecretFile } from '../../services/access/keys.js';
import { supervision } from '../../services/app/supervision.js';
import type { Health } from '../../services/stream/progress.js';

let directory: string;
let server: FastifyInstance;
let ingestor: Health;
let stopping: boolean;

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'supervision-'));
  await ensureKeys(directory);
  ingestor = { state: 'ready' };
  stopping = false;
  await serve(false);
});
afterEach(async () => {
  await server.close();
  rmSync(directory, { recursive: true, force: true });
});

async function serve(open: boolean): Promise<void> {
  await server?.close();
  const metrics = new Registry();
  new Counter({ name: 'calls_total', help: 'Calls.', registers: [metrics] }).inc(3);
  server = Fastify();
  await server.register(supervision, {
    metrics,
    keys: openKeys(directory),
    open,
    health: new Map<string, () => Health | Promise<Health>>([
      ['gateway', async () => ({ state: 'ready' })],
      ['ingestor', () => ingestor],
    ]),
    stopping: () => stopping,
  });
}

const get = (url: string, headers: Record<string, string> = {}, remoteAddress = '127.0.0.1') =>
  server.inject({ url, headers, remoteAddress });

test('ready and alive while every role works', async () => {
  expect((await get('/healthz')).json()).toEqual({
    status: 'ok',
    roles: { gateway: { state: 'ready' }, ingestor: { state: 'ready' } },
  });
  expect((await get('/readyz')).statusCode).toBe(200);
});

test('a dependency that is away takes readiness, not life', async () => {
  ingestor = { state: 'waiting', reason: 'insert fails' };
  expect((await get('/healthz')).statusCode).toBe(200);
  const ready = await get('/readyz');
  expect([ready.statusCode, ready.json().roles.ingestor]).toEqual([503, ingestor]);
});

test('a stuck role takes both', async () => {
  ingestor = { state: 'stuck', reason: 'partition 3 does not go on' };
  expect((await get('/healthz')).statusCode).toBe(503);
  expect((await get('/readyz')).statusCode).toBe(503);
});

test('a process that stops is alive and not ready', async () => {
  stopping = true;
  expect((await get('/healthz')).statusCode).toBe(200);
  expect((await get('/readyz')).json()).toMatchObject({ ready: false, reason: 'stopping' });
});

test('metrics need a reading key unless they are read on this machine without a proxy', async () => {
  const here = await get('/metrics');
  expect(here.body).toContain('calls_total 3');
  expect(here.headers['content-type']).toContain('text/plain');
  const proxied = { 'x-forwarded-for': '203.0.113.7' };
  expect((await get('/metrics', proxied)).statusCode).toBe(401);
  expect((await get('/metrics', {}, '203.0.113.7')).statusCode).toBe(401);
  const key = (role: 'emit' | 'read') => readSecretFile(keyFilePath(directory, role));
  const read = { ...proxied, authorization: `Bearer ${key('read')}` };
  expect((await get('/metrics', read)).statusCode).toBe(200);
  expect((await get('/metrics', { ...proxied, authorization: `Bearer ${key('emit')}` })).statusCode).toBe(403);
  await serve(true);
  expect((await get('/metrics', {}, '203.0.113.7')).statusCode).toBe(200);
});
