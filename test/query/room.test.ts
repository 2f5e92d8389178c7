import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { get, type IncomingMessage } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Fastify, { type FastifyInstance } from 'fastify';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { createKey, ensureKeys, keyFilePath, openKeys, readSecretFile, revokeKey } from '../../services/access/keys.js';
import { Asking } from '../../services/query/asking.js';
import { diskState } from '../../services/query/disk.js';
import { queryRoom } from '../../services/query/query.js';
import type { Status } from '../../services/query/status.js';
import { openChdbStore } from '../../services/store/chdb.js';
import type { Store } from '../../services/store/store.js';
import { type LocalStream, openLocalStream } from '../../services/stream/local.js';
import { topics } from '../../services/stream/stream.js';
import { batchOfCalls } from '../contract/store.js';

const directory = mkdtempSync(join(tmpdir(), 'query-room-'));
/** Far fewer rows than a query may answer by default, so that a limit is met with little work. */
const limits = { timeMs: 20_000, memoryBytes: 1024 ** 3, resultRows: 100_000, resultBytes: 64 * 1024 ** 2 };
let stream: LocalStream;
let store: Store;
let server: FastifyInstance;
let url: string;
let key: string;

beforeAll(async () => {
  stream = openLocalStream({ directory: join(directory, 'stream'), durability: 'kernel' });
  store = await openChdbStore({ directory: join(directory, 'store') });
  await store.migrate();
  await store.insert(batchOfCalls(0, 0, 1_000));
  await ensureKeys(directory);
  key = readSecretFile(keyFilePath(directory, 'read'));
  // A client that has opened a connection and asked nothing yet must not keep the test from ending.
  server = Fastify({ forceCloseConnections: true });
  await server.register(queryRoom, {
    store,
    stream,
    keys: openKeys(directory),
    asking: new Asking({ store, stream, limits, onFault: (error) => Promise.reject(error) }),
    identity: { version: '1.2.3', pid: process.pid, started_at: '2026-11-24T03:52:00.000Z', data: directory },
    reports: { ingestor: () => ({ lag: 7 }) },
  });
  url = await server.listen({ host: '127.0.0.1', port: 0 });
});
afterAll(async () => {
  await server.close();
  await store.close();
  await stream.close();
  rmSync(directory, { recursive: true, force: true });
});

interface Refusal {
  error: { code: string; message: string; mend: string };
}

function ask(body: unknown, authorization: string | undefined = `Bearer ${key}`): Promise<Response> {
  return fetch(`${url}/v1/query`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...(authorization === '' ? {} : { authorization }) },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  });
}

test("ClickHouse's own protocol is below /clickhouse, for the same keys and within the same limits", async () => {
  const headers = { 'x-clickhouse-key': key };
  const counted = await fetch(`${url}/clickhouse?query=SELECT%20count()%20FROM%20calls`, { headers });
  expect(await counted.text()).toBe('1000\n');
  const body = 'SELECT number FROM numbers(1000000)';
  const limited = await fetch(`${url}/clickhouse/?max_result_rows=10`, { method: 'POST', headers, body });
  expect([limited.status, limited.headers.get('x-clickhouse-exception-code')]).toEqual([400, '396']);
  expect(await (await fetch(`${url}/clickhouse/ping`)).text()).toBe('Ok.\n');
  expect((await fetch(`${url}/clickhouse`, { method: 'POST', body })).status).toBe(401);
});

describe('every route', () => {
  test.each(['/v1/query', '/v1/tail', '/v1/status'])('%s wants a key that may read', async (path) => {
    const emitter = readSecretFile(keyFilePath(directory, 'emit'));
    const method = path === '/v1/query' ? 'POST' : 'GET';
    for (const [authorization, status, code] of [
      [undefined, 401, 'key_missing'],
      ['Bearer mca_read_nobody', 401, 'key_missing'],
      ['Basic dXNlcjpwYXNz', 401, 'key_missing'],
      [`Bearer ${emitter}`, 403, 'key_role_wrong'],
    ] as const) {
      const response = await fetch(`${url}${path}`, {
        method,
        headers: { 'content-type': 'application/json', ...(authorization === undefined ? {} : { authorization }) },
        ...(method === 'POST' ? { body: '{"sql":"SELECT 1"}' } : {}),
      });
      expect(response.status, authorization).toBe(status);
      expect(((await response.json()) as Refusal).error.code).toBe(code);
    }
  });
});

describe('POST /v1/query', () => {
  test('streams rows in the format that was asked for, with the type of it', async () => {
    const response = await ask({
      sql: 'SELECT number FROM numbers({n:UInt32})',
      parameters: { n: '3' },
      format: 'CSVWithNames',
    });
    expect(response.headers.get('content-type')).toBe('text/csv; charset=utf-8');
    expect(response.headers.get('x-content-type-options')).toBe('nosniff');
    expect(await response.text()).toBe('"number"\n0\n1\n2\n');
  });

  test('a parameter never becomes SQL', async () => {
    const text = "x' OR 1 = 1 --";
    const response = await ask({
      sql: 'SELECT count() AS calls, {text:String} AS text FROM calls WHERE actor_id = {text:String}',
      parameters: { text },
    });
    expect(await response.json()).toEqual({ calls: 0, text });
  });

  test.each([
    [{ sql: '' }, 'sql: '],
    [{ sql: 'SELECT 1', formats: 'JSON' }, 'body: Unrecognized key'],
    [{ sql: 'SELECT 1', format: 'JSON SETTINGS readonly = 0' }, 'format: expected one of'],
    [{ sql: 'SELECT 1', parameters: { 'a b': '1' } }, 'parameters.a b: '],
    [{ sql: 'SELECT 1', parameters: { a: 1 } }, 'parameters.a: '],
    [{ sql: 'SELECT 1', limits: { time_ms: 0 } }, 'limits.time_ms: '],
    [{ sql: 'x'.repeat(256 * 1024 + 1) }, 'sql: '],
    ['{"sql":', 'JSON'],
  ])('%# a body that is not understood names the part', async (body, message) => {
    const response = await ask(body);
    expect(response.status).toBe(400);
    const { error } = (await response.json()) as Refusal;
    expect(error.code).toBe('request_invalid');
    expect(error.message).toContain(message);
  });

  test.each([
    ['DROP TABLE calls', 403, 'query_refused'],
    ['SELECT 1; SELECT 2', 403, 'query_refused'],
    ["SELECT file('/etc/passwd')", 403, 'query_refused'],
    ["SELECT * FROM url('http://127.0.0.1:1/', LineAsString)", 403, 'query_refused'],
    ["SELECT 1 INTO OUTFILE '/tmp/out'", 403, 'query_refused'],
    ['SELECT 1 SETTINGS max_result_rows = 0', 403, 'query_refused'],
    ['SELEKT 1', 400, 'query_failed'],
    ['SELECT nothing FROM calls', 400, 'query_failed'],
    ['SELECT * FROM calls WHERE', 400, 'query_failed'],
  ])('%s is answered with %i', async (sql, status, code) => {
    const response = await ask({ sql });
    const { error } = (await response.json()) as Refusal;
    expect(error).toMatchObject({ code, mend: expect.stringMatching(/\.$/) });
    expect(response.status).toBe(status);
  });

  test('limits may be made smaller, never larger', async () => {
    const small = await ask({ sql: 'SELECT number FROM numbers(1000)', limits: { result_rows: 10 } });
    expect(small.status).toBe(422);
    expect(((await small.json()) as Refusal).error.code).toBe('query_limit');
    const large = await ask({ sql: 'SELECT number FROM numbers(200000)', limits: { result_rows: 10_000_000 } });
    // The rows come in blocks, so the limit may be met after the first bytes: then the connection breaks.
    await expect(
      large.text().then((text) => (large.ok ? text : Promise.reject(new Error(String(large.status))))),
    ).rejects.toThrow();
  });

  test('half a result never looks whole', async () => {
    const response = await ask({
      sql: "SELECT throwIf(number = 150000, 'late fault') AS x, repeat('y', 100) AS y FROM numbers(200000)",
      limits: { result_rows: 100_000 },
    });
    await expect(
      response.text().then((text) => (response.ok ? text : Promise.reject(new Error(String(response.status))))),
    ).rejects.toThrow();
  });

  test('CSV for spreadsheets has no formulas, and says at its end why it broke off', async () => {
    const csv = (sql: string) => {
      const headers = { 'content-type': 'application/json', authorization: `Bearer ${key}` };
      return fetch(`${url}/api/v1/sql/csv`, { method: 'POST', headers, body: JSON.stringify({ sql }) });
    };
    expect(await (await csv("SELECT '=1+1' AS a, -1 AS b")).text()).toBe('"a","b"\n"\'=1+1",-1\n');
    const broken = await csv(
      "SELECT throwIf(number = 5000000, 'late fault') AS x, repeat('y', 100) AS y FROM numbers(6000000) WHERE number % 100 = 0",
    );
    expect(broken.status).toBe(200);
    let text = '';
    const reader = broken.body!.pipeThrough(new TextDecoderStream()).getReader();
    await expect(
      (async () => {
        for (let next = await reader.read(); !next.done; next = await reader.read()) text += next.value;
      })(),
    ).rejects.toThrow();
    expect(text.slice(-500)).toMatch(/__exception__\r\n\w+\r\n.*late fault.*\n\d+ \w+\r\n__exception__\r\n$/s);
  });

  test('a client that leaves ends its query', async () => {
    const left = new AbortController();
    const endless = fetch(`${url}/v1/query`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${key}` },
      body: JSON.stringify({ sql: 'SELECT count() FROM numbers(1000000000000)', limits: { time_ms: 1_000 } }),
      signal: left.signal,
    });
    const refused = expect(endless).rejects.toThrow();
    // Both places for queries are free again afterwards, which the answers below need.
    setTimeout(() => left.abort(), 200);
    await refused;
    const answers = await Promise.all([ask({ sql: 'SELECT 1' }), ask({ sql: 'SELECT 2' })]);
    expect(answers.map(({ status }) => status)).toEqual([200, 200]);
  });
});

async function statusOf(): Promise<Status> {
  const response = await fetch(`${url}/v1/status`, { headers: { authorization: `Bearer ${key}` } });
  return (await response.json()) as Status;
}

describe('GET /v1/status', () => {
  test('tells the parts of the daemon', async () => {
    const status = await statusOf();
    expect(status).toMatchObject({
      version: '1.2.3',
      pid: process.pid,
      data: directory,
      ingestor: { lag: 7 },
      dead_letters: 0,
      tail_clients: 0,
    });
    expect(status.tables.find(({ table }) => table === 'calls')).toMatchObject({ rows: 1_000 });
    expect(status.disk.store_bytes).toBeGreaterThan(10_000);
    expect(status.stream.map(({ topic }) => topic)).toEqual([...topics]);
    expect(status.losses).toEqual({ lost_calls: 0, damaged_records: 0 });
  });
});

test('a key of one tenant learns the numbers of its own calls alone', async () => {
  await store.insert(batchOfCalls(1, 0, 40, Date.UTC(2026, 9, 1, 12), 'acme'));
  const { key: acme } = await createKey(directory, { name: 'acme-reader', role: 'read', tenant: 'acme' });
  const headers = { authorization: `Bearer ${acme}` };
  const told = async (path: string) => (await (await fetch(`${url}${path}`, { headers })).json()) as Status;
  await expect.poll(async () => (await told('/v1/status')).version, { timeout: 10_000 }).toBe('1.2.3');
  for (const path of ['/v1/status', '/api/v1/health']) {
    const status = await told(path);
    expect(status).toMatchObject({ stream: [], tables: [{ table: 'calls', rows: 40 }], tail_clients: 0 });
    expect(status.disk).toMatchObject({ store_bytes: 0, stream_bytes: 0, spools: [] });
    expect(status).not.toHaveProperty('ingestor');
  }
  // Every list of the API, over the whole time that the rows are of.
  const range = 'from=2026-10-01T00:00:00Z&to=2026-10-02T00:00:00Z';
  const overTime = ['calls', 'summary', 'series', 'groups?by=tenant', 'tools', 'sessions'];
  const lists = ['alerts', 'throttles', 'silences', 'saved', 'sql/schema', 'tools/definitions?server=files&tool=read'];
  for (const path of [...overTime.map((each) => `${each}${each.includes('?') ? '&' : '?'}${range}`), ...lists]) {
    const response = await fetch(`${url}/api/v1/${path}`, { headers });
    const text = await response.text();
    expect([path, response.status, text]).toEqual([path, 200, text]);
    expect(text).not.toMatch(/"(tenant|value)":"default"/);
  }
  expect(await told(`/api/v1/calls?${range}&limit=100`)).toMatchObject({ calls: { length: 40 } });
});

test('a session of the dashboard ends with its key', async () => {
  const { key: passing } = await createKey(directory, { name: 'passing', role: 'read', tenant: '*' });
  const begin = () =>
    fetch(`${url}/api/v1/session`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ token: passing }),
    });
  await expect.poll(async () => (await begin()).ok, { timeout: 10_000 }).toBe(true);
  const cookie = (await begin()).headers.get('set-cookie')!.split(';')[0]!;
  const look = async () => (await fetch(`${url}/api/v1/session`, { headers: { cookie } })).status;
  expect(await look()).toBe(200);
  await revokeKey(directory, 'passing');
  await expect.poll(look, { timeout: 10_000 }).toBe(401);
});

describe('GET /v1/tail', () => {
  let offset = 0;
  beforeEach(async () => {
    [offset] = (await stream.partitions('calls')).map(({ endOffset }) => endOffset) as [number];
  });

  async function append(...events: readonly (object | string)[]): Promise<void> {
    await stream.append(
      'calls',
      events.map((event) => ({
        key: 'k',
        value: Buffer.from(typeof event === 'string' ? event : JSON.stringify(event)),
        headers: { tenant: 'default', producer_key: 'emitter' },
      })),
    );
  }

  /** Events of a tail that has begun; `next` resolves to name and data of the next one. */
  async function follow(
    query = '',
    path = '/v1/tail',
  ): Promise<{ next(): Promise<[string, Record<string, unknown>]>; stop(): void }> {
    const stopped = new AbortController();
    const response = await fetch(`${url}${path}${query}`, {
      headers: { authorization: `Bearer ${key}` },
      signal: stopped.signal,
    });
    expect(response.status).toBe(200);
    const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
    let text = '';
    async function next(): Promise<[string, Record<string, unknown>]> {
      for (;;) {
        const end = text.indexOf('\n\n');
        if (end === -1) {
          const { value, done } = await reader.read();
          if (done) throw new Error('the tail ended');
          text += value;
          continue;
        }
        const frame = text.slice(0, end);
        text = text.slice(end + 2);
        if (frame.startsWith(':')) continue;
        const name = /^event: (.*)$/m.exec(frame)?.[1] ?? 'message';
        return [name, JSON.parse(/^data: (.*)$/m.exec(frame)![1]!) as Record<string, unknown>];
      }
    }
    expect(await next()).toEqual(['ready', {}]);
    return { next, stop: () => stopped.abort() };
  }

  test('shows what is recorded after it began, with what gateway and stream know', async () => {
    await append({ event_id: 'before' });
    const tail = await follow();
    await append({ event_id: 'after' });
    const [, event] = await tail.next();
    expect(event).toMatchObject({
      event_id: 'after',
      tenant: 'default',
      producer_key: 'emitter',
      stream_partition: 0,
      stream_offset: offset + 1,
      recorded_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT.*Z$/),
    });
    tail.stop();
  });

  test('a filter takes any of its values, several filters must all match', async () => {
    const tail = await follow('?tool=add&tool=divide&actor=alice');
    await append(
      { tool_name: 'add', actor_id: 'bob' },
      { tool_name: 'multiply', actor_id: 'alice' },
      { tool_name: 'divide', actor_id: 'alice' },
    );
    expect((await tail.next())[1]).toMatchObject({ tool_name: 'divide', actor_id: 'alice' });
    tail.stop();
  });

  test('a record that is no event is passed over', async () => {
    const tail = await follow();
    await append('no JSON', '[1]', 'null', { event_id: 'good' });
    expect((await tail.next())[1]).toMatchObject({ event_id: 'good' });
    tail.stop();
  });

  test('an unknown filter and too many values are refused', async () => {
    const refuse = async (query: string): Promise<string> => {
      const response = await fetch(`${url}/v1/tail?${query}`, { headers: { authorization: `Bearer ${key}` } });
      expect(response.status).toBe(400);
      return ((await response.json()) as Refusal).error.message;
    };
    expect(await refuse('colour=red')).toContain('"colour", expected some of tool, server, actor');
    expect(await refuse(Array.from({ length: 65 }, (_, index) => `tool=${index}`).join('&'))).toContain('64 values');
  });

  test('who asks for so many a second is sent a sample, and told of the rest', async () => {
    const tail = await follow('?most=2', '/api/v1/tail');
    await append(...Array.from({ length: 10 }, (_, number) => ({ event_id: `${number}` })));
    const ids: unknown[] = [];
    let told = { matched: 0, shown: 0 };
    while (told.matched < 10) {
      const [name, data] = await tail.next();
      if (name === 'message') ids.push(data.event_id);
      else told = { matched: told.matched + Number(data.matched), shown: told.shown + Number(data.shown) };
    }
    expect(ids.slice(0, 2)).toEqual(['0', '1']);
    expect(told).toEqual({ matched: 10, shown: ids.length });
    expect(ids.length).toBeLessThan(10);
    // Those that may be sent come back with time.
    while (ids.length < 4) {
      await append({ event_id: 'later' });
      const [name, data] = await tail.next();
      if (name === 'message') ids.push(data.event_id);
    }
    expect(ids.at(-1)).toBe('later');
    tail.stop();
  });

  test('who reads too slowly is told how many calls were skipped, and nobody else loses one', async () => {
    const slow = get(`${url}/v1/tail`, { headers: { authorization: `Bearer ${key}` } });
    const [response] = (await once(slow, 'response')) as [IncomingMessage];
    response.pause();
    const quick = await follow();
    const body = 'x'.repeat(256 * 1024);
    const sent = 100;
    for (let number = 0; number < sent; number++) {
      await append({ number, body });
      expect((await quick.next())[1].number).toBe(number);
    }
    quick.stop();
    let text = '';
    let shown = 0;
    let skipped = 0;
    for await (const chunk of response.setEncoding('utf8')) {
      const frames = (text + chunk).split('\n\n');
      text = frames.pop()!;
      for (const frame of frames) {
        if (frame.startsWith('data: ')) shown++;
        const told = /^event: skipped\ndata: (.*)$/.exec(frame)?.[1];
        if (told !== undefined) skipped += (JSON.parse(told) as { skipped: number }).skipped;
      }
      if (shown + skipped === sent) break;
    }
    expect(skipped).toBeGreaterThan(0);
    expect(shown).toBeGreaterThan(0);
    slow.destroy();
  });

  test('the 33rd who looks on is asked to come back', async () => {
    await expect.poll(async () => (await statusOf()).tail_clients).toBe(0);
    const tails = await Promise.all(Array.from({ length: 32 }, () => follow()));
    const response = await fetch(`${url}/v1/tail`, { headers: { authorization: `Bearer ${key}` } });
    expect(response.status).toBe(503);
    expect(response.headers.get('retry-after')).toBe('1');
    expect(((await response.json()) as Refusal).error.code).toBe('tail_clients_limit');
    for (const tail of tails) tail.stop();
  });
});

test('a key that was made meanwhile reads within a second', async () => {
  const made = await createKey(directory, { name: 'grafana', role: 'read', tenant: 'default' });
  const before = statSync(join(directory, 'keys.json')).mode;
  expect(before & 0o077).toBe(0);
  await expect
    .poll(async () => (await ask({ sql: 'SELECT 1' }, `Bearer ${made.key}`)).status, { timeout: 3_000, interval: 100 })
    .toBe(200);
});

test('the disk state counts what an unfinished spool holds', async () => {
  const data = mkdtempSync(join(tmpdir(), 'query-disk-'));
  try {
    mkdirSync(join(data, 'spool', 'files-1'), { recursive: true });
    writeFileSync(join(data, 'spool', 'files-1', 'owner.json'), `{"pid":${process.pid}}`);
    writeFileSync(join(data, 'spool', 'files-1', '1.segment'), 'x'.repeat(100));
    const state = diskState(data);
    expect(state.spools).toEqual([{ producer_id: 'files-1', bytes: expect.any(Number), pid: process.pid }]);
    expect(state.spool_bytes).toBeGreaterThanOrEqual(100);
    expect(diskState(join(data, 'not-there'))).toMatchObject({ spools: [], store_bytes: 0 });
    expect(diskState(join(data, 'not-there', 'yet')).free_bytes).toBeGreaterThan(0);
  } finally {
    rmSync(data, { recursive: true, force: true });
  }
});
