/** What the lists of calls, sessions and tools answer, on a store that was filled before its newest migrations. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { callRoutes } from '../../services/query/api/calls.js';
import { type AskRows, checked } from '../../services/query/api/routes.js';
import { toolRoutes } from '../../services/query/api/tools.js';
import { openChdbStore } from '../../services/store/chdb.js';
import { applyMigrations, readMigrations } from '../../services/store/migrations.js';
import type { Engine } from '../bench/disk.js';

const directory = mkdtempSync(join(tmpdir(), 'lists-'));
const settings = { date_time_output_format: 'iso', output_format_json_quote_64bit_integers: '0' };
const sessionsMade = 20_000;
let store: Engine;

/** Calls of many sessions on two days: each calls its tool three times, every tenth fails once, and one ends later than all. */
const calls = `SELECT generateUUIDv7(number) AS event_id, if(number % 2 = 0, 'a', 'b') AS tenant,
    toDateTime64('2026-10-01 00:00:00', 6, 'UTC') + toIntervalSecond(number) + toIntervalDay(number % 2) AS occurred_at, occurred_at AS recorded_at,
    concat('actor', toString(intDiv(number, 3) % 50)) AS actor_id, concat('session', toString(intDiv(number, 3))) AS session_id,
    'files' AS server_name, 'tools/call' AS method, concat('tool', toString(number % 3)) AS tool_name,
    if(number % 30 = 7, 'tool_error', 'success') AS outcome, '' AS result, toUInt32(0) AS result_bytes, number AS stream_offset
  FROM numbers(${3 * sessionsMade})`;
const columns =
  'event_id, tenant, occurred_at, recorded_at, actor_id, session_id, server_name, method, tool_name, outcome, result, result_bytes, stream_offset';

beforeAll(async () => {
  store = (await openChdbStore({ directory, retentionDays: 36_500, bodyRetentionDays: 36_500 })) as unknown as Engine;
  const before = readMigrations().filter(({ name }) => name < '0010');
  await applyMigrations(store, before);
  await store.execute(`INSERT INTO calls (${columns}) ${calls}`);
  await store.migrate();
});
afterAll(async () => {
  await store.close();
  rmSync(directory, { recursive: true, force: true });
});

const askAs =
  (tenant?: string): AskRows =>
  async <T>(sql: string, parameters = {}) => {
    const chunks: Uint8Array[] = [];
    const options = { format: 'JSONEachRow', parameters, settings, ...(tenant === undefined ? {} : { tenant }) };
    for await (const chunk of store.query(sql, options)) chunks.push(chunk);
    const lines = Buffer.concat(chunks).toString().split('\n');
    return lines.filter((line) => line !== '').map((line) => JSON.parse(line) as T);
  };

async function get<T>(path: string, query: Record<string, unknown>, tenant?: string): Promise<T> {
  const route = [...callRoutes, ...toolRoutes].find((each) => each.path === path)!;
  const range = { from: '2026-10-01T00:00:00Z', to: '2026-10-04T00:00:00Z', ...query };
  return (await route.handle({ query: checked(route.query, range), ask: askAs(tenant), now: 0 } as never)) as T;
}

test('a session is found without its actor by few granules, in what was stored before the index as well', async () => {
  const explained = "EXPLAIN indexes = 1 SELECT count() FROM calls WHERE session_id = 'session7777'";
  const granules = async (): Promise<number> => {
    const lines = (await store.select(explained)).map(({ explain }) => String(explain));
    const index = lines.findIndex((line) => line.includes('session_id_bloom'));
    const [, kept = '99'] = /Granules: (\d+)\//.exec(lines.slice(index).join('\n')) ?? [];
    return index < 0 ? 99 : Number(kept);
  };
  // The engine builds it in the background.
  await vi.waitUntil(async () => (await granules()) <= 3, { timeout: 20_000, interval: 50 });
  const found = await get<{ calls: { session_id: string; tool_name: string; occurred_at: string }[] }>('/calls', {
    filter: 'session_id=session7777',
    order: 'oldest',
    limit: '10',
  });
  expect(found.calls.map(({ session_id, tool_name }) => [session_id, tool_name])).toEqual([
    ['session7777', 'tool1'],
    ['session7777', 'tool0'],
    ['session7777', 'tool2'],
  ]);
  const [first] = (await get<typeof found>('/calls', { filter: 'session_id=session7777' }, 'a')).calls;
  expect(first).toMatchObject({ tenant: 'a', tool_name: 'tool1' });
});

test('the sessions that did something last come first, each with all of its calls, and a tenant sees its own', async () => {
  type Told = { sessions: Record<string, unknown>[] };
  const { sessions } = await get<Told>('/sessions', { limit: '3' });
  const last = sessionsMade - 1;
  expect(sessions.map(({ session_id }) => session_id)).toEqual([
    `session${last}`,
    `session${last - 1}`,
    `session${last - 2}`,
  ]);
  expect(sessions[0]).toMatchObject({
    calls: 3,
    tools: 3,
    failed: 0,
    servers: ['files'],
    actor_id: `actor${last % 50}`,
  });
  const failed = await get<Told>('/sessions', { limit: '2', filter: 'outcome!=success' });
  expect(failed.sessions.map(({ calls: made, failed: bad }) => [made, bad])).toEqual([
    [1, 1],
    [1, 1],
  ]);
  const [own] = (await get<Told>('/sessions', { limit: '1' }, 'b')).sessions;
  expect(own!.calls).toBeLessThan(3);
});

test('tools are told that were listed and never called, with as many definitions as their lists show', async () => {
  const list = (...tools: object[]) => JSON.stringify({ tools });
  const lists = [
    ...Array.from({ length: 9 }, () => list({ name: 'idle', description: 'now' }, { name: 'tool0' })),
    list({ name: 'idle', description: 'as it was at first' }, { name: 'tool0' }),
  ];
  const rows = lists.map(
    (text, index) =>
      `(generateUUIDv7(${index}), 'a', toDateTime64('2026-10-02 00:00:00', 6, 'UTC') - toIntervalSecond(${index}), '2026-10-02 00:00:00', 'actor1', 's', 'files', 'tools/list', '', 'success', '${text}', ${text.length}, ${1_000_000 + index})`,
  );
  await store.execute(`INSERT INTO calls (${columns}) VALUES ${rows.join(', ')}`);
  const { tools } = await get<{ tools: Record<string, unknown>[] }>('/tools', {});
  const told = Object.fromEntries(tools.map((tool) => [String(tool.tool_name), tool]));
  expect(Object.keys(told).sort()).toEqual(['idle', 'tool0', 'tool1', 'tool2']);
  expect(told.idle).toMatchObject({ calls: 0, definitions: 2, p50: null });
  expect(told.tool0).toMatchObject({ calls: sessionsMade, definitions: 1 });
});
