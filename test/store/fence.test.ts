/**
 * The fence against hostile statements: each refused with the word that it names, and their mutations by a seeded
 * fuzzer (FUZZ_STATEMENTS, FUZZ_SEED; `npm run fuzz:sql` runs 10,000). Nothing is written or read, nothing sticks.
 */
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { AuditdError } from '../../schemas/errors.js';
import { openChdbStore } from '../../services/store/chdb.js';
import type { Store } from '../../services/store/store.js';
import { batchOfCalls, rowsOf } from '../contract/store.js';
import { seededRandom } from '../traffic.js';
import { type Hostile, hostile, hostileToTenants } from './hostile.js';

const home = mkdtempSync(join(tmpdir(), 'fence-'));
const secret = 'the content of a file that nobody may read';
const secretFile = join(home, 'secret.txt');
let store: Store;
beforeAll(async () => {
  writeFileSync(secretFile, secret);
  store = await openChdbStore({ directory: join(home, 'store') });
  await store.migrate();
  await store.insert(batchOfCalls(0, 0, 100));
});
afterAll(async () => {
  await store.close();
  rmSync(home, { recursive: true, force: true });
});

async function refusal({ sql }: Hostile, tenant?: string): Promise<AuditdError> {
  const limits = { timeMs: 2_000 };
  try {
    await rowsOf(store, sql, { format: 'TSVRaw', limits, ...(tenant === undefined ? {} : { tenant }) });
  } catch (error) {
    return error as AuditdError;
  }
  throw new Error('The statement was answered.');
}

/** What people ask. */
const taken = [
  'WITH a AS (SELECT * FROM calls), b AS (SELECT actor_id FROM a) SELECT count() FROM b',
  "SELECT quantilesIf(0.5, 0.9)(duration_ms, outcome = 'success'), sumOrNull(1), topK(3)(tool_name) FROM calls",
  'SELECT row_number() OVER (ORDER BY occurred_at) AS n, lagInFrame(tool_name) OVER (ORDER BY occurred_at) FROM calls',
  "SELECT JSONExtractString(arguments, 'path') AS path, version(), now(), toTypeName(1) FROM calls LIMIT 1",
  "SELECT CAST(1, 'String'), 1::String, CASE WHEN 1 THEN 2 END, [1, 2][1], (1, 2).1, date '2026-01-01', interval 1 day",
  "SELECT arrayMap(x -> upper(x), ['a']), mapKeys(map('a', 1)), formatDateTime(now(), '%F')",
  'SELECT name FROM system.tables WHERE database = currentDatabase()',
  "SELECT count() FROM merge(currentDatabase(), '^calls$')",
  'SHOW TABLES',
  "SHOW TABLES LIKE 'c%'",
  'SHOW CREATE TABLE calls',
  'DESCRIBE calls',
  'EXPLAIN SELECT count() FROM calls',
  'EXISTS TABLE calls',
  "SELECT table_name FROM information_schema.tables WHERE table_schema = 'default'",
];

test('there are more than 200 hostile statements', () => {
  expect(new Set(hostile.map(({ sql }) => sql)).size).toBeGreaterThan(250);
});

describe('refused by name', () => {
  test.each(hostile)('$sql', async (one) => {
    const error = await refusal(one);
    expect(error.code).toMatch(/^query_(refused|failed)$/);
    expect(error.message).toMatch(one.names);
  });
  test.each(hostileToTenants)('to a key of one tenant: $sql', async (one) => {
    const error = await refusal(one, 'acme');
    expect(error.code).toBe('query_refused');
    expect(error.message).toMatch(one.names);
  });
});

test('every function of the engine is harmless by its category or refused', async () => {
  const refused: string[] = [];
  const functions = await rowsOf<{ name: string; categories: string }>(
    store,
    "SELECT name, categories FROM system.functions WHERE alias_to = '' AND NOT is_aggregate",
  );
  for (const { name, categories } of functions) {
    const error = await refusal({ sql: `SELECT \`${name}\`(1) FROM nowhere`, names: /./ });
    if (/reaches outside/.test(error.message)) refused.push(name);
    else
      expect(categories, `${name}: ${error.message}`).not.toMatch(/\bAI\b|Dictionary|Introspection|Machine Learning/);
  }
  expect(refused).toEqual(expect.arrayContaining(['file', 'aiGenerate', 'sleep', 'dictGet', 'hostName', 'getSetting']));
});

test('what people ask is taken', async () => {
  for (const sql of taken)
    await expect(
      rowsOf(store, sql, { format: 'TSVRaw' }).catch((error) => {
        if (error instanceof AuditdError) throw new Error(`${sql}: ${error.message}`);
        return [];
      }),
    ).resolves.toBeDefined();
});

/** What a mutation puts in, exchanges or wraps around. */
const pieces = [
  '/**/',
  '-- \n',
  ' ',
  '\t',
  '\n',
  ';',
  '(',
  ')',
  ',',
  '`',
  '"',
  "'",
  '\\',
  '\u00a0',
  '\u0000',
  ' UNION ALL SELECT 1',
  ' FORMAT Null',
  ' SETTINGS readonly = 0',
  ' AS file',
  'SELECT ',
  ' FROM calls',
  'EXPLAIN ',
  'WITH 1 AS x ',
  ' WHERE 1',
  `file('${secretFile}')`,
  ` INTO OUTFILE '${join(home, 'out.txt')}'`,
  '{x:String}',
  'arrayMap(',
  ' APPLY(file)',
] as const;

function mutate(random: () => number, sql: string): string {
  const at = Math.floor(random() * (sql.length + 1));
  const piece = pieces[Math.floor(random() * pieces.length)]!;
  const other = hostile[Math.floor(random() * hostile.length)]!.sql;
  const cut = at + Math.floor(random() * 6);
  switch (Math.floor(random() * 8)) {
    case 0:
      return sql.slice(0, at) + piece + sql.slice(at);
    case 1:
      return sql.slice(0, at) + sql.slice(cut);
    case 2:
      return sql.slice(0, at) + piece + sql.slice(cut);
    case 3:
      return [...sql].map((letter) => (random() < 0.5 ? letter.toUpperCase() : letter.toLowerCase())).join('');
    case 4:
      return `SELECT * FROM (${sql})`;
    case 5:
      return sql.replaceAll(' ', piece.trim() === '' ? piece : '/**/');
    case 6:
      return sql.slice(0, at) + other.slice(Math.floor(random() * other.length));
    default:
      return sql.replaceAll('/etc/passwd', secretFile);
  }
}

test('mutations write nothing, read no file, reach no address and leave no setting behind', async () => {
  const seed = Number(process.env.FUZZ_SEED ?? Date.now() % 2 ** 31);
  const count = Number(process.env.FUZZ_STATEMENTS ?? 400);
  console.log(`FUZZ_SEED=${seed} FUZZ_STATEMENTS=${count}`);
  const random = seededRandom(seed);
  let visits = 0;
  const trap = createServer((_request, response) => {
    visits++;
    response.end('1\n');
  });
  await new Promise<void>((resolve) => trap.listen(0, '127.0.0.1', resolve));
  const address = `127.0.0.1:${(trap.address() as AddressInfo).port}`;
  // Each query has a comment of its own, by which it can be ended.
  const settingsNow = () =>
    rowsOf(store, "SELECT name, value FROM system.settings WHERE changed AND name != 'log_comment' ORDER BY name");
  const before = { settings: await settingsNow(), here: readdirSync('.'), home: readdirSync(home) };
  const hostileTexts = hostile.map(({ sql }) => sql);
  let answered = 0;
  for (let index = 0; index < count; index++) {
    const from = random() < 0.5 ? taken : hostileTexts;
    let sql = from[Math.floor(random() * from.length)]!.replaceAll('127.0.0.1:1', address);
    for (let times = 1 + Math.floor(random() * 3); times > 0; times--) sql = mutate(random, sql);
    try {
      let text = '';
      for await (const chunk of store.query(sql, { format: 'TSVRaw', limits: { timeMs: 500, resultRows: 100_000 } }))
        text += Buffer.from(chunk).toString();
      answered++;
      expect(text, sql).not.toContain(secret);
      expect(text, sql).not.toContain('root:x:0:0');
    } catch (error) {
      expect(error, sql).toBeInstanceOf(AuditdError);
      expect((error as AuditdError).message, sql).not.toContain(secret);
    }
  }
  expect({ settings: await settingsNow(), here: readdirSync('.'), home: readdirSync(home) }).toEqual(before);
  expect(visits).toBe(0);
  expect(await rowsOf(store, 'SELECT toUInt32(count()) AS n FROM calls')).toEqual([{ n: 100 }]);
  console.log(`${answered} of ${count} were harmless and answered`);
  await new Promise((resolve) => trap.close(resolve));
}, 600_000);
