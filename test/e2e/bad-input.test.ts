/**
 * Bad input from door to table: each gets a clear error with its place, and the good records beside it are stored. Once
 * through the gateway, which answers by line, and once straight into the stream, where it becomes a dead letter.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fastify, { type FastifyInstance } from 'fastify';
import { Registry } from 'prom-client';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ensureKeys, keyFilePath, openKeys, readSecretFile } from '../../services/access/keys.js';
import { createGateway, gatewayServerOptions } from '../../services/gateway/gateway.js';
import { listDead, showDead } from '../../services/ingestor/dead.js';
import { type Ingestor, startIngestor } from '../../services/ingestor/ingestor.js';
import { openChdbStore } from '../../services/store/chdb.js';
import type { Store } from '../../services/store/store.js';
import { type LocalStream, openLocalStream } from '../../services/stream/local.js';
import { rowsOf } from '../contract/store.js';

let data: string;
let stream: LocalStream;
let store: Store;
let ingestor: Ingestor;
let server: FastifyInstance;
let url: string;
beforeAll(async () => {
  data = mkdtempSync(join(tmpdir(), 'bad-input-'));
  stream = openLocalStream({ directory: join(data, 'stream'), durability: 'kernel' });
  store = await openChdbStore({ directory: join(data, 'store') });
  await store.migrate();
  await ensureKeys(data);
  const metrics = new Registry();
  ingestor = await startIngestor({ stream, store, metrics, limits: { timeMs: 5 } });
  server = fastify(gatewayServerOptions);
  const gateway = createGateway({ stream, keys: openKeys(data), metrics, isTrusted: () => false });
  await server.register(gateway.plugin);
  url = await server.listen({ host: '127.0.0.1', port: 0 });
});
afterAll(async () => {
  await server.close();
  await ingestor.close();
  await store.close();
  await stream.close();
  rmSync(data, { recursive: true, force: true });
});

let counter = 0;
/** A good event; its method names what it stands beside. */
function good(method: string, over: Record<string, unknown> = {}): string {
  const tail = (++counter).toString(16).padStart(12, '0');
  const event_id = `019ab3f0-8c1b-7001-9f3e-${tail}`;
  return JSON.stringify({ event_id, occurred_at: '2026-11-24T03:52:00.123456Z', method, outcome: 'success', ...over });
}

interface Answer {
  readonly status: number;
  readonly accepted?: number;
  readonly rejected?: { line: number; code: string; message: string }[];
  readonly error?: { code: string; message: string; mend: string };
}

async function post(body: string | Buffer, headers: Record<string, string> = {}): Promise<Answer> {
  const authorization = `Bearer ${readSecretFile(keyFilePath(data, 'emit'))}`;
  const response = await fetch(`${url}/v1/events`, {
    method: 'POST',
    headers: { 'content-type': 'application/x-ndjson', authorization, ...headers },
    body,
  });
  return { status: response.status, ...((await response.json()) as object) };
}

/** Waits until the ingestor has dealt with everything that is in the stream. */
async function ingested(): Promise<void> {
  for (const topic of ['calls', 'dead'] as const) {
    const end = (await stream.partitions(topic))[0]!.endOffset;
    while (((await stream.committed(topic, 'ingestor')).get(0) ?? 0) < end) await new Promise(setImmediate);
  }
}

async function storedMethods(prefix: string): Promise<string[]> {
  await ingested();
  const sql = 'SELECT method FROM calls WHERE startsWith(method, {prefix:String}) ORDER BY stream_offset';
  return (await rowsOf<{ method: string }>(store, sql, { parameters: { prefix } })).map(({ method }) => method);
}

const deep = '['.repeat(100_000) + ']'.repeat(100_000);
const withField = (name: string, json: string): string => good('bad').replace(/}$/, `,"${name}":${json}}`);

/** What is refused: its name, its bytes, code, and what the message must say. */
const refused: [string, string | Buffer, string, RegExp][] = [
  ['malformed', '{event_id: 1}', 'invalid_json', /position 1\b/],
  ['truncated', good('bad').slice(0, 60), 'invalid_json', /position 60\b|end of JSON/],
  ['two objects on one line', `${good('bad')}${good('bad')}`, 'invalid_json', /position \d+/],
  ['a raw NUL', good('ba\u0000d').replace('\\u0000', '\u0000'), 'invalid_json', /position \d+/],
  ['not UTF-8', Buffer.from(withField('actor_id', '"zoë"'), 'latin1'), 'invalid_utf8', /UTF-8/],
  ['an array', '[]', 'not_an_object', /found an array/],
  ['deeply nested arguments', withField('arguments', deep), 'too_deep', /^arguments /],
  ['a deeply nested unknown field', withField('unknown', deep), 'too_deep', /^attributes /],
  ['a number out of range', withField('result_bytes', '1e400'), 'out_of_range', /^result_bytes .*Infinity/],
  ['a fraction', withField('producer_sequence', '1.5'), 'out_of_range', /^producer_sequence .*1\.5/],
  ['a wrong type', withField('tool_name', '{"a":1}'), 'wrong_type', /^tool_name .*an object/],
  ['a future time', good('bad', { occurred_at: '2150-01-01T00:00:00Z' }), 'out_of_range', /^occurred_at .*2150/],
  ['an ancient time', good('bad', { occurred_at: '1970-01-01T00:00:00Z' }), 'out_of_range', /^occurred_at .*1970/],
  ['a time in seconds', good('bad', { occurred_at: 1763956320 }), 'wrong_type', /^occurred_at .*1763956320/],
  ['no id', good('bad', { event_id: undefined }), 'missing_field', /^event_id is required/],
  ['a tenant of its own', good('bad', { tenant: 'other' }), 'not_yours_to_set', /^tenant .*"other"/],
  ['duplicate keys whose last is bad', withField('method', '5'), 'wrong_type', /^method /],
  ['a long text', good('bad', { request_id: 'x'.repeat(300) }), 'out_of_range', /^request_id .*256 bytes.*300/],
];

/** What is taken though it is odd, and what the table must hold of it. */
const taken: [string, string, object][] = [
  ['an escaped NUL', good('odd-nul', { actor_id: 'a\u0000b' }), { actor_id: 'a\u0000b' }],
  [
    'a lone surrogate',
    good('odd-surrogate').replace(/}$/, ',"actor_id":"a\\ud800b"}'),
    { actor_id: 'a\ufffdb', attributes: { 'mcp_auditd.replaced_surrogates': 'actor_id' } },
  ],
  [
    'an unknown field',
    good('odd-unknown', { department: 'x', n: [1, { b: 2 }] }),
    { attributes: { department: 'x', n: '[1,{"b":2}]' } },
  ],
  [
    'a field named __proto__',
    good('odd-proto').replace(/}$/, ',"__proto__":[1]}'),
    { tenant: 'default', attributes: JSON.parse('{"__proto__":"[1]"}') },
  ],
  ['equal keys', good('odd-first').replace(/}$/, ',"method":"odd-last"}'), { method: 'odd-last' }],
  ['nulls', good('odd-null', { actor_id: null, duration_ms: null }), { actor_id: '', duration_ms: null }],
  [
    'an offset of the zone',
    good('odd-zone', { occurred_at: '2026-11-24T05:52:00+02:00' }),
    { occurred_at: '2026-11-24 03:52:00.000000' },
  ],
  ['SQL', good('odd-sql', { tool_name: "'); DROP TABLE calls; --" }), { tool_name: "'); DROP TABLE calls; --" }],
];

describe('through the gateway', () => {
  test('each bad line is answered with its number, code and place, and its neighbours are stored', async () => {
    const lines = refused.flatMap(([name, line]) => [Buffer.from(good(`beside ${name}`)), Buffer.from(line)]);
    const body = Buffer.concat(lines.flatMap((line) => [line, Buffer.from('\n')]));
    const answer = await post(body);
    expect(answer).toMatchObject({ status: 200, accepted: refused.length });
    expect(answer.rejected).toHaveLength(refused.length);
    for (const [index, [name, , code, message]] of refused.entries()) {
      expect(answer.rejected![index], name).toMatchObject({
        line: 2 * index + 2,
        code,
        message: expect.stringMatching(message),
      });
    }
    expect(await storedMethods('beside')).toEqual(refused.map(([name]) => `beside ${name}`));
  });

  test('an empty line inside an event makes two bad lines of it and harms no other', async () => {
    const split = good('bad').replace(',', ',\n\n');
    const answer = await post(`${good('split-before')}\n${split}\n${good('split-after')}`);
    expect(answer).toMatchObject({ status: 200, accepted: 2 });
    expect(answer.rejected!.map(({ line, code }) => [line, code])).toEqual([
      [2, 'invalid_json'],
      [4, 'invalid_json'],
    ]);
    expect(await storedMethods('split')).toEqual(['split-before', 'split-after']);
  });

  test('what is odd and allowed is stored as it was meant', async () => {
    expect(await post(taken.map(([, line]) => line).join('\n'))).toMatchObject({
      status: 200,
      accepted: taken.length,
      rejected: [],
    });
    await ingested();
    for (const [name, line, expected] of taken) {
      const parameters = { id: JSON.parse(line).event_id as string };
      const rows = await rowsOf(store, 'SELECT * FROM calls WHERE event_id = {id:UUID}', { parameters });
      expect(rows, name).toEqual([expect.objectContaining(expected)]);
    }
  });

  test('a line and a body beyond their limits: the line is skipped, the body refused whole', async () => {
    const long = good('bad', { result: 'x'.repeat(5 * 1024 * 1024) });
    const answer = await post(`${good('long-before')}\n${long}\n${good('long-after')}`);
    expect(answer).toMatchObject({
      status: 200,
      accepted: 2,
      rejected: [{ line: 2, code: 'line_too_long', message: expect.stringContaining('4194304 bytes') }],
    });
    const huge = Buffer.alloc(50 * 1024 * 1024, 0x20);
    huge.write(`${good('long-lost')}\n`);
    expect(await post(huge)).toMatchObject({ status: 413, error: { code: 'body_too_large', message: /52428800/ } });
    expect(await storedMethods('long')).toEqual(['long-before', 'long-after']);
  });

  test('without a key, with an unknown one and with one of another role nothing is taken', async () => {
    const reader = readSecretFile(keyFilePath(data, 'read'));
    const answers = [
      await post(good('keyless'), { authorization: '' }),
      await post(good('keyless'), { authorization: 'Bearer nobody' }),
      await post(good('keyless'), { authorization: `Bearer ${reader}` }),
    ];
    expect(answers.map(({ status, error }) => [status, error?.code])).toEqual([
      [401, 'key_missing'],
      [401, 'key_missing'],
      [403, 'key_role_wrong'],
    ]);
    for (const { error } of answers) expect(error?.mend).toMatch(/\w/);
    expect(await storedMethods('keyless')).toEqual([]);
  });
});

test('straight in the stream each becomes a dead letter with its bytes, place and reason, and its neighbours are stored', async () => {
  const headers = { tenant: 'default', producer_key: 'k' };
  const values = refused.flatMap(([name, line]) => [Buffer.from(good(`stream ${name}`)), Buffer.from(line)]);
  const positions = await stream.append(
    'calls',
    values.map((value) => ({ key: 'k', value, headers })),
  );
  expect(await storedMethods('stream')).toEqual(refused.map(([name]) => `stream ${name}`));
  const letters = new Map((await listDead(store)).map((letter) => [letter.id, letter]));
  for (const [index, [name, line, code, message]] of refused.entries()) {
    const id = `calls/0/${positions[2 * index + 1]!.offset}`;
    expect(letters.get(id), name).toMatchObject({ reason: code, message: expect.stringMatching(message) });
    expect((await showDead(store, id)).raw.equals(Buffer.from(line)), name).toBe(true);
  }
});
