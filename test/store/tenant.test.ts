/** One tenant's rows and no others, on both adapters, whatever a statement tries. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openChdbStore } from '../../services/store/chdb.js';
import { openClickHouseStore } from '../../services/store/clickhouse.js';
import type { Store } from '../../services/store/store.js';
import { tenantFilters, tenantOfFilters } from '../../services/store/tenant.js';
import { namedClickHouse, startClickHouse } from '../contract/clickhouse-server.js';
import { batchOfCalls, rowsOf } from '../contract/store.js';

const adapters: Record<string, () => Promise<{ store: Store; remove: () => Promise<void> }>> = {
  'the engine in process': async () => {
    const directory = await mkdtemp(join(tmpdir(), 'tenant-'));
    const store = await openChdbStore({ directory });
    return {
      store,
      remove: async () => {
        await store.close();
        await rm(directory, { recursive: true, force: true });
      },
    };
  },
  'a server': async () => {
    const server = await startClickHouse();
    const store = await openClickHouseStore(server.connection);
    return {
      store,
      remove: async () => {
        await store.close();
        await server.stop();
      },
    };
  },
};

/** Rows of acme: 40 of 140. Each statement counts rows that it can see, as `n`. */
const attempts: readonly (readonly [sql: string, expected: number])[] = [
  ['SELECT count() AS n FROM calls', 40],
  ['SELECT count() AS n FROM calls WHERE 1', 40],
  ["SELECT count() AS n FROM calls WHERE tenant = 'default'", 0],
  ["SELECT count() AS n FROM calls WHERE tenant = 'default' OR 1", 40],
  ['SELECT count() AS n FROM calls AS alerts', 40],
  ['SELECT count() AS n FROM calls AS `default.alerts`', 40],
  ['SELECT count() AS n FROM `calls`', 40],
  ['SELECT sum(calls) AS n FROM calls_per_minute', 40],
  ['SELECT sum(calls) AS n FROM calls_per_actor_day', 40],
  ['SELECT sum(calls) AS n FROM calls_per_tool_day', 40],
  ['SELECT count() AS n FROM tool_calls', 40],
  ['SELECT sum(c) AS n FROM (SELECT toStartOfMinute(occurred_at) AS m, count() AS c FROM calls GROUP BY m)', 40],
  ['SELECT count() AS n FROM (SELECT DISTINCT event_id FROM calls)', 40],
  ['WITH c AS (SELECT * FROM calls) SELECT count() AS n FROM c', 40],
  ['SELECT count() AS n FROM view(SELECT * FROM calls)', 40],
  ['SELECT count() AS n FROM calls AS a JOIN calls AS b ON a.event_id = b.event_id', 40],
  ['SELECT count() AS n FROM calls AS a RIGHT JOIN calls AS b ON a.event_id = b.event_id', 40],
  ['SELECT (SELECT count() FROM calls) AS n', 40],
  ['SELECT countIf(event_id IN (SELECT event_id FROM calls)) AS n FROM calls', 40],
  ['SELECT count() AS n FROM calls PREWHERE stream_offset >= 0', 40],
  ["SELECT count() AS n FROM calls WHERE _part != ''", 40],
  ['SELECT count() AS n FROM (SELECT 1 FROM calls UNION ALL SELECT 1 FROM calls WHERE 0)', 40],
  ['SELECT count() AS n FROM (SELECT * FROM calls INTERSECT SELECT * FROM calls)', 40],
  ['SELECT max(c) AS n FROM (SELECT count() OVER () AS c FROM calls)', 40],
  ['SELECT length(groupArray(event_id)) AS n FROM calls', 40],
  ['SELECT uniqExact(tenant) AS n FROM calls', 1],
  ['SELECT count() AS n FROM {table:Identifier}', 40],
  ['SELECT count() AS n FROM schema_migrations', 0],
];

describe.each(Object.entries(adapters))('%s', (name, open) => {
  let store: Store;
  let remove: () => Promise<void>;
  beforeAll(async () => {
    ({ store, remove } = await open());
    await store.migrate();
    await store.insert(batchOfCalls(0, 0, 100));
    await store.insert(batchOfCalls(1, 0, 40, Date.UTC(2026, 9, 1, 12), 'acme'));
  });
  afterAll(() => remove());

  test.skipIf(name === 'a server' && namedClickHouse !== undefined).each(attempts)('%s', async (sql, expected) => {
    const [row] = await rowsOf<{ n: number | string }>(store, sql, { tenant: 'acme', parameters: { table: 'calls' } });
    expect(Number(row!.n)).toBe(expected);
  });

  test('every table of rows has its condition', async () => {
    const tables = await rowsOf<{ name: string }>(
      store,
      "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree'",
    );
    const filters = tenantFilters('default', 'acme');
    for (const { name: table } of tables) expect(filters).toContain(`'default.${table}'`);
    expect(tables.length).toBeGreaterThan(7);
  });

  test.each(["x' OR 1 OR '", "\\' OR 1 --", 'ü', '%', '*'])('a tenant named %s sees nothing', async (tenant) => {
    expect(await rowsOf(store, 'SELECT event_id FROM calls', { tenant })).toEqual([]);
  });
});

test('a filter is recognised as ours only when it is exactly that', () => {
  expect(tenantOfFilters(tenantFilters('mcp_auditd', "o'hara"))).toBe("o'hara");
  expect(tenantOfFilters(tenantFilters('default', 'a').replace('false', "file('x')"))).toBeUndefined();
  expect(tenantOfFilters('{}')).toBeUndefined();
});
