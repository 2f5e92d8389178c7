/** Every question is recorded, however it ends, and a key sees the rows of its tenant alone. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { AuditdError } from '../../schemas/errors.js';
import type { Question } from '../../schemas/question.js';
import { queriesTopic } from '../../schemas/question.js';
import { type Asker, Asking } from '../../services/query/asking.js';
import { openChdbStore } from '../../services/store/chdb.js';
import type { Store } from '../../services/store/store.js';
import type { NewRecord } from '../../services/stream/stream.js';
import { batchOfCalls } from '../contract/store.js';

const directory = mkdtempSync(join(tmpdir(), 'asking-'));
const limits = { timeMs: 20_000, memoryBytes: 1024 ** 3, resultRows: 100_000, resultBytes: 64 * 1024 ** 2 };
const everybody: Asker = { key: { name: 'reader', tenant: '*' }, door: 'sql', user: 'ann', address: '127.0.0.1' };
const acme: Asker = { key: { name: 'acme-1', tenant: 'acme' }, door: 'clickhouse' };
let store: Store;
let recorded: NewRecord[] = [];
let asking: Asking;

beforeAll(async () => {
  store = await openChdbStore({ directory });
  await store.migrate();
  await store.insert(batchOfCalls(0, 0, 100));
  await store.insert(batchOfCalls(1, 0, 40, Date.UTC(2026, 9, 1, 12), 'acme'));
});
beforeEach(() => {
  recorded = [];
  const append = async (_topic: string, records: readonly NewRecord[]) =>
    records.map((record) => ({ partition: 0, offset: recorded.push(record) - 1 }));
  asking = new Asking({ store, stream: { append }, limits, onFault: (error) => Promise.reject(error) });
});
afterAll(async () => {
  await store.close();
  rmSync(directory, { recursive: true, force: true });
});

async function questions(): Promise<Question[]> {
  await asking.close();
  return recorded.map(({ value, headers }) => {
    const position = { recordedAtMs: 1_791_000_000_000, partition: 0, offset: 0 };
    const checked = queriesTopic.check(value, headers, position);
    expect(checked, 'the record passes its own check').toMatchObject({ ok: true });
    return JSON.parse(value.toString()) as Question;
  });
}

test('a question is recorded with who, what, when, how much and how long', async () => {
  const asked = { sql: 'SELECT event_id FROM calls LIMIT {n:UInt8}', parameters: { n: '7' } };
  expect(await asking.rows(everybody, asked)).toHaveLength(7);
  const [question] = await questions();
  expect(question).toMatchObject({
    asker: 'reader',
    tenant: '*',
    door: 'sql',
    user_name: 'ann',
    client_address: '127.0.0.1',
    statement: asked.sql,
    statement_bytes: asked.sql.length,
    parameters: { n: '7' },
    format: 'JSONEachRow',
    outcome: 'answered',
    result_rows: 7,
    error_code: '',
  });
  expect(question!.result_bytes).toBeGreaterThan(7 * 36);
  expect(question!.duration_ms).toBeGreaterThan(0);
  expect(Date.parse(question!.asked_at)).toBeGreaterThan(Date.now() - 60_000);
});

test('what is refused, fails, is too much or is left is recorded as that', async () => {
  await expect(asking.rows(acme, { sql: 'DROP TABLE calls' })).rejects.toThrow(AuditdError);
  await expect(asking.rows(acme, { sql: 'SELECT nothing FROM calls' })).rejects.toThrow(AuditdError);
  const many = { sql: 'SELECT number FROM numbers(1000)', limits: { resultRows: 10 } };
  await expect(asking.rows(acme, many)).rejects.toThrow(AuditdError);
  for await (const _ of asking.ask(acme, { sql: 'SELECT number FROM numbers(100000)', format: 'TSV' })) break;
  expect((await questions()).map(({ outcome, error_code }) => [outcome, error_code])).toEqual([
    ['refused', 'query_refused'],
    ['failed', 'query_failed'],
    ['limit', 'query_limit'],
    ['cancelled', ''],
  ]);
});

test('texts of any length and kind are recorded within their limits', async () => {
  const sql = `SELECT '${'\ud800é'.repeat(30_000)}' AS long`;
  const rude: Asker = { ...acme, user: '\u0000\ud800'.repeat(5_000), client: '日本'.repeat(400) };
  await asking.rows(rude, { sql, queryId: 'q'.repeat(4_000), parameters: { p: 'v'.repeat(100_000) } }).catch(() => []);
  const [question] = await questions();
  expect(question!.statement_bytes).toBe(Buffer.byteLength(sql));
  expect(question!.statement).toHaveLength(16_384);
});

test('a stream that takes nothing keeps the answers coming, until too many records wait', async () => {
  let open: () => void = () => undefined;
  const gate = new Promise<void>((resolve) => {
    open = resolve;
  });
  const append = async (_topic: string, records: readonly NewRecord[]) => {
    await gate;
    return records.map((record) => ({ partition: 0, offset: recorded.push(record) }));
  };
  const rows = async function* () {
    yield Buffer.from('{"a":1}\n');
  };
  const quick = { query: rows } as unknown as Store;
  const held = new Asking({ store: quick, stream: { append }, limits, onFault: (error) => Promise.reject(error) });
  for (let index = 0; index < 2_000; index++) await held.rows(acme, { sql: `SELECT ${index}` });
  await expect(held.rows(acme, { sql: 'SELECT 1' })).rejects.toMatchObject({ code: 'query_busy' });
  open();
  await held.close();
  expect(recorded).toHaveLength(2_000);
  expect(await held.rows(acme, { sql: 'SELECT 1' })).toEqual([{ a: 1 }]);
});

test('a key of one tenant sees its rows, one of every tenant sees all', async () => {
  const sql = 'SELECT tenant, toUInt32(count()) AS calls FROM calls GROUP BY tenant ORDER BY tenant';
  expect(await asking.rows(acme, { sql })).toEqual([{ tenant: 'acme', calls: 40 }]);
  expect(await asking.rows(everybody, { sql })).toEqual([
    { tenant: 'acme', calls: 40 },
    { tenant: 'default', calls: 100 },
  ]);
});
