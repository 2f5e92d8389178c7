/** Each question of docs/cookbook.md over calls whose answers are known. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { checkCall } from '../../schemas/check.js';
import type { ProducedEvent } from '../../schemas/event.js';
import { CallsBlock, RecordBlock } from '../../schemas/native.js';
import { type RecordTopicName, recordTopics, tableFields } from '../../schemas/tables.js';
import { formatTimeMicros } from '../../schemas/time.js';
import { openChdbStore } from '../../services/store/chdb.js';
import type { Store } from '../../services/store/store.js';
import { batchOfCalls, rowsOf } from '../contract/store.js';
import { generateEvents } from '../traffic.js';

const directory = mkdtempSync(join(tmpdir(), 'cookbook-'));
const nowMs = Date.now();
const [dayMs, minuteMs] = [86_400_000, 60_000];
const midnightMs = Math.floor(nowMs / dayMs) * dayMs;
const at = (ms: number) => formatTimeMicros(Math.round(ms) * 1000);
let store: Store;
/** The columns that the answers below are judged by. */
type Row = Record<'actor_id' | 'tool_name' | 'producer_id', string>;

type Story = Partial<ProducedEvent> & { readonly atMs: number };
const story: readonly Story[] = [
  {
    atMs: nowMs - 2 * dayMs,
    actor_id: 'alice@example.com',
    session_id: 's1',
    tool_name: 'read_file',
    arguments: '{"id":"customer-4711"}',
  },
  {
    atMs: nowMs - 2 * dayMs + 1_000,
    actor_id: 'alice@example.com',
    session_id: 's1',
    tool_name: 'send_mail',
    duration_ms: 99_000,
  },
  {
    atMs: nowMs - 2 * dayMs,
    actor_id: 'bob@example.com',
    session_id: 's2',
    tool_name: 'send_mail',
    redactions: ['arguments.key:token'],
  },
  {
    atMs: nowMs - 2 * dayMs + 1_000,
    actor_id: 'bob@example.com',
    session_id: 's2',
    tool_name: 'read_file',
    actor_verified: false,
  },
  {
    atMs: midnightMs - 3_600_000,
    actor_id: 'night-agent',
    session_id: 's3',
    tool_name: 'delete_file',
    tool_destructive: true,
  },
  { atMs: nowMs - 40 * dayMs, actor_id: 'old-agent', session_id: 's0', tool_name: 'fax', server_name: 'attic' },
  {
    atMs: nowMs - 3 * dayMs,
    actor_id: 'carol',
    session_id: 's4',
    tool_name: 'transfer',
    server_name: 'bank',
    tool_definition_hash: 'aaaa',
  },
  {
    atMs: nowMs - 1 * dayMs,
    actor_id: 'carol',
    session_id: 's4',
    tool_name: 'transfer',
    server_name: 'bank',
    tool_definition_hash: 'bbbb',
  },
  ...[0, 1, 2, 3, 4].map(
    (each): Story => ({
      atMs: nowMs - 5 * minuteMs + each,
      actor_id: 'mallory',
      session_id: 's5',
      tool_name: 'drop_all',
      server_name: 'bank',
      outcome: 'denied',
    }),
  ),
  { atMs: nowMs - 30 * minuteMs, actor_id: 'mallory', session_id: 's5', tool_name: 'look', server_name: 'bank' },
  {
    atMs: nowMs - dayMs,
    actor_id: 'carol',
    method: 'tools/list',
    tool_name: '',
    server_name: 'bank',
    result: '{"tools":[{"name":"transfer"},{"name":"never_called"}]}',
  },
];

function calls(events: readonly Story[]) {
  const block = new CallsBlock();
  const ids = [...generateEvents({ seed: 7, count: events.length })].map(({ event_id }) => event_id);
  events.forEach(({ atMs, ...fields }, index) => {
    const event = {
      event_id: ids[index]!,
      producer_id: 'story',
      // Number 5 was lost.
      producer_sequence: index < 4 ? index + 1 : index + 2,
      actor_verified: true,
      server_name: 'files',
      method: 'tools/call',
      outcome: 'success',
      ...fields,
      occurred_at: at(atMs),
    };
    const checked = checkCall(JSON.stringify(event), { tenant: 'default', producer_key: 'emitter' });
    if (!checked.ok) throw new Error(checked.message);
    block.append(checked.event, nowMs, 0, index);
  });
  const rows = events.length;
  return { table: 'calls', partition: 0, firstOffset: 0, lastOffset: rows - 1, rows, block: block.finish() } as const;
}

async function insertRecord(table: RecordTopicName, record: object): Promise<void> {
  const position = { recordedAtMs: nowMs, partition: 0, offset: 0 };
  const headers = {
    source_topic: 'calls',
    source_partition: '0',
    source_offset: '3',
    reason: 'not_json',
    message: 'x',
  };
  const checked = recordTopics[table].check(Buffer.from(JSON.stringify(record)), headers, position);
  if (!checked.ok) throw new Error(`${table}: ${checked.message}`);
  const block = new RecordBlock(tableFields[table]);
  block.appendRow(checked, nowMs, 0, 0);
  await store.insert({ table, partition: 0, firstOffset: 0, lastOffset: 0, rows: 1, block: block.finish() });
}

beforeAll(async () => {
  store = await openChdbStore({ directory });
  await store.migrate();
  await store.insert(calls(story));
  await store.insert(batchOfCalls(1, 0, 200, nowMs - 20 * dayMs));
});
afterAll(async () => {
  await store.close();
  rmSync(directory, { recursive: true, force: true });
});

const page = readFileSync(join(import.meta.dirname, '../../docs/cookbook.md'), 'utf8');
const questions = new Map(
  [...page.matchAll(/^## (\d+)\. .*\n[\s\S]*?```sql\n([\s\S]*?)```/gm)].map((match) => [Number(match[1]), match[2]!]),
);
const ask = (number: number) => rowsOf<Row>(store, questions.get(number)!);

test('there are 25 questions, and each is answered', async () => {
  expect([...questions.keys()]).toEqual(Array.from({ length: 25 }, (_, index) => index + 1));
  for (const number of questions.keys()) expect(await ask(number), String(number)).toBeInstanceOf(Array);
});

const mine = (rows: Row[]) =>
  rows.filter(({ actor_id }) => /^(alice@ex|bob@ex|night|old|carol|mallory)/.test(actor_id));

test.each<[number, (rows: Row[]) => void]>([
  [1, (rows) => expect(rows).toMatchObject([{ actor_id: 'alice@example.com', tool_name: 'read_file' }])],
  [2, (rows) => expect(rows).toMatchObject([{ tool_name: 'delete_file' }])],
  [4, (rows) => expect(rows.map(({ tool_name }) => tool_name)).toEqual(['read_file', 'send_mail'])],
  [5, (rows) => expect(rows).toMatchObject([{ server_name: 'attic', tool_name: 'fax' }])],
  [6, (rows) => expect(rows).toEqual([{ server_name: 'bank', tool_name: 'never_called' }])],
  [
    7,
    (rows) =>
      expect(mine(rows)).toContainEqual({ actor_id: 'carol', server_name: 'bank', not_needed: ['drop_all', 'look'] }),
  ],
  [8, (rows) => expect(rows).toMatchObject([{ actor_id: 'night-agent', tool_name: 'delete_file' }])],
  [9, (rows) => expect(rows).toMatchObject([{ tool_name: 'transfer', definitions: ['aaaa', 'bbbb'] }])],
  [10, (rows) => expect(rows.map(({ tool_name }) => tool_name)).not.toContain('fax')],
  [
    11,
    (rows) =>
      expect(rows.map(({ actor_id }) => actor_id).sort()).toEqual([
        'alice@example.com',
        'bob@example.com',
        'carol',
        'mallory',
        'night-agent',
      ]),
  ],
  [12, (rows) => expect(rows).toMatchObject([{ actor_id: 'old-agent' }])],
  [
    14,
    (rows) =>
      expect(rows).toMatchObject([
        { session_id: 's5', sequence: ['look', 'drop_all', 'drop_all', 'drop_all', 'drop_all', 'drop_all'] },
      ]),
  ],
  [15, (rows) => expect(rows).toMatchObject([{ session_id: 's1' }])],
  [
    16,
    (rows) => expect(rows.map(({ actor_id, tool_name }) => [actor_id, tool_name])).toEqual([['mallory', 'drop_all']]),
  ],
  [17, (rows) => expect(rows[0]).toMatchObject({ tool_name: 'drop_all', percent: 100 })],
  [18, (rows) => expect(rows[0]).toMatchObject({ tool_name: 'send_mail', duration_ms: 99_000 })],
  [19, (rows) => expect(rows).toMatchObject([{ tool_name: 'send_mail', redaction: 'arguments.key:token' }])],
  [24, (rows) => expect(rows.map(({ producer_id }) => producer_id)).toEqual(['story'])],
])('question %i', async (number, judge) => judge(await ask(number)));

test('question 13: whose identity is only claimed', async () => {
  const names = (await ask(13)).map(({ actor_id }) => actor_id);
  expect(names).not.toContain('alice@example.com');
  expect(names.length).toBeGreaterThan(0);
});

test('questions 3 and 20: an alert, what came before it and that nobody has taken it', async () => {
  await insertRecord('alerts', {
    alert_id: 'a1',
    revision: 1,
    state: 'firing',
    rule_id: 'mass-delete',
    rule_version: '1',
    title: 'Mass delete',
    level: 'high',
    dry_run: false,
    tenant: 'default',
    group: { actor_id: 'mallory' },
    started_at: at(nowMs - minuteMs),
    at: at(nowMs - minuteMs),
    first_at: at(nowMs),
    last_at: at(nowMs),
    caused_at: at(nowMs),
    count: 5,
  });
  const before = await ask(3);
  expect(before.map(({ tool_name }) => tool_name)).toEqual(Array(5).fill('drop_all'));
  expect(await ask(20)).toMatchObject([{ alert_id: 'a1', standing: 'firing', acknowledged_by: '' }]);
});

test('question 25: who asked', async () => {
  await insertRecord('queries', {
    query_id: 'q1',
    asked_at: at(nowMs),
    asker: 'grafana',
    tenant: 'default',
    door: 'clickhouse',
    statement: 'SELECT 1',
    outcome: 'answered',
    result_rows: 1,
  });
  expect(await ask(25)).toMatchObject([{ asker: 'grafana', statement: 'SELECT 1', outcome: 'answered' }]);
});
