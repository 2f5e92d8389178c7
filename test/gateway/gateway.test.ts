import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { type AddressInfo, connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import Fastify, { type FastifyInstance } from 'fastify';
import { Registry } from 'prom-client';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createKey, ensureKeys, keyFilePath, openKeys, readSecretFile } from '../../services/access/keys.js';
import { createGateway, type GatewayStatus, gatewayServerOptions } from '../../services/gateway/gateway.js';
import type { GatewayLimits } from '../../services/gateway/limits.js';
import { type LocalStream, openLocalStream } from '../../services/stream/local.js';
import type { Health } from '../../services/stream/progress.js';
import type { RecordBatch, Stream } from '../../services/stream/stream.js';

let directory: string;
let stream: LocalStream;
let app: FastifyInstance;
let url: string;
let key: string;
let status: () => GatewayStatus;
let health: () => Promise<Health>;
let now: number;

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'gateway-'));
  stream = openLocalStream({ directory: join(directory, 'stream'), durability: 'kernel' });
  await ensureKeys(directory);
  key = readSecretFile(keyFilePath(directory, 'emit'));
  now = 1_000_000;
  await serve();
});
afterEach(async () => {
  await app.close();
  await stream.close();
  rmSync(directory, { recursive: true, force: true });
});

async function serve(limits: Partial<GatewayLimits> = {}, over: Partial<Stream> = {}): Promise<void> {
  await app?.close();
  const proxied: Stream = {
    append: (topic, records) => stream.append(topic, records),
    consume: (options) => stream.consume(options),
    partitions: (topic) => stream.partitions(topic),
    committed: (topic, group) => stream.committed(topic, group),
    close: () => stream.close(),
    ...over,
  };
  const gateway = createGateway({
    stream: proxied,
    keys: openKeys(directory),
    limits,
    metrics: new Registry(),
    isTrusted: () => false,
    clock: () => now,
  });
  status = gateway.status;
  health = gateway.health;
  app = Fastify(gatewayServerOptions);
  await app.register(gateway.plugin);
  url = await app.listen({ host: '127.0.0.1', port: 0 });
}

let counter = 0;
function event(over: Record<string, unknown> = {}): string {
  counter++;
  return JSON.stringify({
    event_id: `019ab3f0-8c1b-7001-9f3e-${counter.toString(16).padStart(12, '0')}`,
    occurred_at: '2026-11-24T03:52:00.123456Z',
    method: 'tools/call',
    outcome: 'success',
    ...over,
  });
}

interface Answer {
  status: number;
  headers: Headers;
  body: {
    accepted?: number;
    rejected?: { line: number; code: string; message: string }[];
    rejected_total?: number;
    error?: { code: string; message: string; mend: string };
  };
}

async function post(body: string | Buffer, headers: Record<string, string | undefined> = {}): Promise<Answer> {
  const sent = Object.entries({
    authorization: `Bearer ${key}`,
    'content-type': 'application/x-ndjson',
    ...headers,
  }).filter((each): each is [string, string] => each[1] !== undefined);
  const answer = await fetch(`${url}/v1/events`, {
    method: 'POST',
    body: new Uint8Array(Buffer.from(body)),
    headers: sent,
  });
  return { status: answer.status, headers: answer.headers, body: (await answer.json()) as Answer['body'] };
}

async function stored(): Promise<{ value: string; key: string; headers: Record<string, string> }[]> {
  const states = await stream.partitions('calls');
  const wanted = states.reduce((sum, { endOffset }) => sum + endOffset, 0);
  const records: RecordBatch['records'][number][] = [];
  if (wanted > 0) {
    let done: () => void = () => undefined;
    const complete = new Promise<void>((resolve) => {
      done = resolve;
    });
    const consumer = await stream.consume({
      topic: 'calls',
      assigned: async (partitions) => new Map(partitions.map((partition) => [partition, 0])),
      revoked: async () => undefined,
      batch: async (batch) => {
        records.push(...batch.records);
        if (records.length >= wanted) done();
      },
    });
    await complete;
    await consumer.close();
  }
  return records.map((record) => ({ value: record.value.toString(), key: record.key, headers: { ...record.headers } }));
}

test('stores the very bytes it was sent, with tenant and producer from the key, before it answers', async () => {
  const first = event({ actor_id: 'alice', unknown: [1, { deep: true }] });
  const second = `  ${event({ actor_id: 'bob' })}\t`;
  const answer = await post(`${first}\n\n\r\n${second}\r\n${event()}`);
  expect(answer).toMatchObject({ status: 200, body: { accepted: 3, rejected: [], rejected_total: 0 } });
  const records = await stored();
  expect(records[0]).toEqual({
    value: first,
    key: 'default\0alice',
    headers: { tenant: 'default', producer_key: 'emitter' },
  });
  expect(records[1]!.value).toBe(`${second}\r`);
  expect(records).toHaveLength(3);
});

test('the tenant is the key’s and never the record’s', async () => {
  key = (await createKey(directory, { name: 'acme', role: 'emit', tenant: 'acme' })).key;
  await serve();
  const answer = await post(`${event({ tenant: 'other' })}\n${event({ tenant: 'acme', actor_id: 'a' })}\n`);
  expect(answer.body).toMatchObject({ accepted: 1, rejected: [{ line: 1, code: 'not_yours_to_set' }] });
  expect((await stored())[0]).toMatchObject({ key: 'acme\0a', headers: { tenant: 'acme', producer_key: 'acme' } });
});

test('each bad line is named with its number and code, and the good ones beside it are stored', async () => {
  await serve({ lineBytes: 2_000_000 });
  const deep = `{"event_id":"019ab3f0-8c1b-7001-9f3e-aaaaaaaaaaaa","occurred_at":"2026-11-24T03:52:00Z","method":"m","outcome":"success","arguments":${'['.repeat(200_000)}${']'.repeat(200_000)}}`;
  const lines: [Buffer | string, string | undefined][] = [
    [event(), undefined],
    ['{"event_id":', 'invalid_json'],
    [Buffer.concat([Buffer.from(event().slice(0, -1)), Buffer.from(',"actor_id":"\xff"}', 'latin1')]), 'invalid_utf8'],
    ['', undefined],
    ['[1,2]', 'not_an_object'],
    ['null', 'not_an_object'],
    [deep, 'too_deep'],
    [event({ method: undefined }), 'missing_field'],
    [event({ outcome: 'fine' }), 'out_of_range'],
    [event({ occurred_at: '1970-01-01T00:00:00Z' }), 'out_of_range'],
    [event({ error_code: 1e300 }), 'out_of_range'],
    [event({ actor_id: 7 }), 'wrong_type'],
    [event({ stream_offset: 7 }), 'not_yours_to_set'],
    [`${event().slice(0, -1)},"result":"${'x'.repeat(2_000_001)}"}`, 'line_too_long'],
    [`\0${event()}`, 'invalid_json'],
    [event({ error_message: 'a\0b' }), undefined],
    [`${event().slice(0, -1)},"method":"second","actor_id":"\\ud800"}`, undefined],
    [event(), undefined],
  ];
  const body = Buffer.concat(lines.flatMap(([line]) => [Buffer.from(line), Buffer.from('\n')]));
  for (const [encoding, bytes] of [
    [undefined, body],
    ['gzip', gzipSync(body)],
  ] as const) {
    const answer = await post(bytes, { 'content-encoding': encoding });
    const codes = lines.flatMap(([, code], index) => (code === undefined ? [] : [[index + 1, code]]));
    expect(answer.status).toBe(200);
    expect(answer.body.rejected!.map(({ line, code }) => [line, code])).toEqual(codes);
    expect(answer.body.accepted).toBe(4);
    expect(answer.body.rejected!.every(({ message }) => message.length > 10 && message.length < 600)).toBe(true);
  }
  expect(await stored()).toHaveLength(8);
  expect(status()).toMatchObject({ acceptedEvents: 8, requestsInFlight: 0, bytesInFlight: 0 });
});

test('a missing, wrong or reading key, a wrong type or encoding, and broken gzip are refused whole', async () => {
  const reader = readSecretFile(keyFilePath(directory, 'read'));
  const gzip = gzipSync(event());
  const cases: [number, string, string | Buffer, Record<string, string | undefined>][] = [
    [401, 'key_missing', event(), { authorization: undefined }],
    [401, 'key_missing', event(), { authorization: `Bearer ${key}x` }],
    [401, 'key_missing', event(), { authorization: `Basic ${key}` }],
    [403, 'key_role_wrong', event(), { authorization: `Bearer ${reader}` }],
    [415, 'content_type_wrong', event(), { 'content-type': 'application/json' }],
    [415, 'content_type_wrong', event(), { 'content-encoding': 'br' }],
    [400, 'body_invalid', event(), { 'content-encoding': 'gzip' }],
    [400, 'body_invalid', gzip.subarray(0, -9), { 'content-encoding': 'gzip' }],
  ];
  for (const [code, name, body, headers] of cases) {
    const answer = await post(body, headers);
    expect([answer.status, answer.body.error?.code]).toEqual([code, name]);
    expect(answer.body.error).toMatchObject({ message: expect.any(String), mend: expect.any(String) });
  }
  expect(await stored()).toEqual([]);
});

test('bodies beyond a limit are refused whole, and a gzip bomb while it inflates', async () => {
  await serve({ bodyBytes: 100_000, compressedBytes: 50_000, lines: 50 });
  const bomb = gzipSync(Buffer.alloc(40_000_000, 0x20));
  expect(bomb.length).toBeLessThan(50_000);
  const cases: [string | Buffer, Record<string, string>][] = [
    [' '.repeat(100_001), {}],
    [bomb, { 'content-encoding': 'gzip' }],
    [Buffer.alloc(50_001), { 'content-encoding': 'gzip' }],
    ['\n'.repeat(51), {}],
  ];
  for (const [body, headers] of cases) {
    const answer = await post(body, headers);
    expect([answer.status, answer.body.error?.code]).toEqual([413, 'body_too_large']);
  }
  expect(await stored()).toEqual([]);
  expect(status().bytesInFlight).toBe(0);
});

test('a body of 50 MB is refused from its header', async () => {
  const socket = connect(Number(new URL(url).port), '127.0.0.1');
  socket.write(
    `POST /v1/events HTTP/1.1\r\nhost: a\r\nauthorization: Bearer ${key}\r\ncontent-type: application/x-ndjson\r\ncontent-length: 52428800\r\n\r\n`,
  );
  const [first] = (await once(socket, 'data')) as [Buffer];
  expect(first.toString()).toMatch(/^HTTP\/1\.1 413 .*\r\n[\s\S]*connection: close/i);
  socket.destroy();
});

test('a key that sends too much waits, for as long as it is told, and others do not', async () => {
  await serve({ eventsPerSecond: 2, burstSeconds: 1 });
  expect((await post(Array.from({ length: 6 }, () => event()).join('\n'))).body.accepted).toBe(6);
  const answer = await post(event());
  expect([answer.status, answer.body.error?.code, answer.headers.get('retry-after')]).toEqual([
    429,
    'rate_limited',
    '3',
  ]);
  const { key: other } = await createKey(directory, { name: 'other', role: 'emit', tenant: 'default' });
  await serve({ eventsPerSecond: 2, burstSeconds: 1 });
  await post(Array.from({ length: 6 }, () => event()).join('\n'));
  expect((await post(event(), { authorization: `Bearer ${other}` })).status).toBe(200);
  expect((await post(event())).status).toBe(429);
  now += 3_000;
  expect((await post(event())).status).toBe(200);
});

test('too many requests or bytes at once are sent away', async () => {
  let release: () => void = () => undefined;
  let reached: () => void = () => undefined;
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  const appending = new Promise<void>((resolve) => {
    reached = resolve;
  });
  await serve(
    { requestsInFlight: 1 },
    {
      append: async (topic, records) => {
        reached();
        await held;
        return stream.append(topic, records);
      },
    },
  );
  const first = post(event());
  await appending;
  const second = await post(event());
  expect([second.status, second.body.error?.code, second.headers.get('retry-after')]).toEqual([
    503,
    'gateway_busy',
    '1',
  ]);
  release();
  expect((await first).status).toBe(200);
  await serve({ bytesInFlight: 1_000 });
  expect((await post(event({ error_message: 'x'.repeat(1_500) }))).body.error?.code).toBe('gateway_busy');
  expect(status()).toMatchObject({ requestsInFlight: 0, bytesInFlight: 0 });
});

test('an answer follows durability: a stream that refuses is 503, and not ready until it takes records again', async () => {
  let broken = true;
  await serve(
    {},
    {
      append: (topic, records) =>
        broken ? Promise.reject(new Error('no space left on device')) : stream.append(topic, records),
    },
  );
  const answer = await post(event());
  expect([answer.status, answer.body.error?.code, answer.headers.get('retry-after')]).toEqual([
    503,
    'stream_unwritable',
    '5',
  ]);
  expect((await health()).state).toBe('waiting');
  broken = false;
  expect((await post(event())).status).toBe(200);
  expect((await health()).state).toBe('ready');
});

test('a client that is slow is answered 408, one that goes away half way leaves nothing behind', async () => {
  await serve({ bodyTimeMs: 50 });
  const head = `POST /v1/events HTTP/1.1\r\nhost: a\r\nauthorization: Bearer ${key}\r\ncontent-type: application/x-ndjson\r\ncontent-length: 5000\r\n\r\n`;
  const slow = connect((app.server.address() as AddressInfo).port, '127.0.0.1');
  slow.write(`${head}${event()}\n`);
  const [first] = (await once(slow, 'data')) as [Buffer];
  expect(first.toString()).toMatch(/^HTTP\/1\.1 408 /);
  slow.destroy();

  await serve();
  const gone = connect((app.server.address() as AddressInfo).port, '127.0.0.1');
  const closed = new Promise<void>((resolve) => {
    app.server.once('connection', (socket) => socket.once('close', () => resolve()));
  });
  await once(gone, 'connect');
  gone.write(`${head}${event()}\n${event().slice(0, 30)}`, () => gone.destroy());
  await closed;
  expect((await post(event())).status).toBe(200);
  expect(await stored()).toHaveLength(1);
  expect(status()).toMatchObject({ requestsInFlight: 0, bytesInFlight: 0 });
});
