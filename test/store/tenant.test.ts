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

  ["SELECT count() AS n FROM calls WHERE _part != ''", 40],
  ['SELECT count() AS n FROM (SELECT 1 FROM calls UNION ALL SELECT 1 FROM calls WHERE 0)', 40],
  ['SELECT count() AS n FROM (SELECT * FROM calls INTERSECT SELECT * FROM calls)', 40],
  ['SELECT max(c) AS n FROM (SELECT count() OVER () AS c FROM calls)', 40],
  ['SELECT length(groupArray(event_id)) AS n FROM calls', 40],
  ['SELECT uniqExact(tenant) AS n FROM calls', 1],
  ['SELECT count() AS n FROM {table:Identifier}', 40],
  ['SELECT count() AS n FROM schema_migrations', 0],
];

/** Each fails, or has something in its message, when it is computed for a row of the other tenant. */
const faults = [
  'throwIf(stream_offset < 100)',
  "throwIf(tenant = 'default')",
  "actor_id != '' AND throwIf(stream_offset < 100) = 0",
  'if(stream_offset < 100, throwIf(materialize(1)), 0) = 0',
  'if(stream_offset < 100, throwIf(rand() >= 0), 0) = 0',
  "throwIf(stream_offset < 100 AND arguments != '') = 0",
  'intDiv(1, stream_offset < 100 ? 0 : 1) = 1',
  "toUInt64(if(stream_offset < 100, arguments, '1')) = 1",
  "toUInt64(if(1 AS `x\n Literal 1`, if(stream_offset < 100, arguments, '1'), '')) = 1",
];
const places = (fault: string) => [
  `SELECT count() FROM calls WHERE ${fault}`,
  `SELECT arguments FROM calls WHERE ${fault}`,
  `SELECT count() FROM (SELECT * FROM calls ORDER BY event_id) WHERE ${fault}`,
  `SELECT count() FROM (SELECT tenant, actor_id, stream_offset, arguments FROM calls GROUP BY ALL) WHERE ${fault}`,
  `SELECT count() FROM calls GROUP BY ${fault}`,
  `SELECT DISTINCT ${fault} FROM calls`,
  `SELECT max(${fault}), sumIf(1, ${fault}) FROM calls`,
  `SELECT event_id FROM calls ORDER BY ${fault} LIMIT 3`,
  `SELECT count() OVER (PARTITION BY ${fault}) FROM calls`,
  `SELECT arrayJoin([${fault}]) FROM calls`,
  `SELECT (SELECT count() FROM calls WHERE ${fault})`,
  `SELECT count() FROM calls AS a JOIN (SELECT event_id AS id, * FROM calls) AS b ON a.event_id = b.id WHERE NOT ignore(${fault.replace(/\b(stream_offset|tenant|actor_id|arguments)\b/g, 'b.$1')})`,
  `SELECT count() FROM calls AS a LEFT JOIN calls AS b ON a.event_id = b.event_id AND ${fault.replace(/\b(stream_offset|tenant|actor_id|arguments)\b/g, 'b.$1')}`,
  `SELECT count() FROM calls AS a, calls AS b WHERE a.event_id = b.event_id AND ${fault.replace(/\b(stream_offset|tenant|actor_id|arguments)\b/g, 'b.$1')}`,
];
/** On the columns that projections are grouped by. */
const inProjections = [
  "SELECT throwIf(tenant = 'default') AS t, max(stream_offset) FROM calls GROUP BY t",
  "SELECT toStartOfMinute(occurred_at) AS m, throwIf(tenant = 'default') AS t, count() FROM calls GROUP BY m, t",
  "SELECT sum(calls) FROM calls_per_minute WHERE throwIf(tenant = 'default') = 0",
  "SELECT sum(calls), toUInt64(if(tenant = 'default', actor_id, '1')) AS a FROM calls_per_actor_day GROUP BY a",
];

describe.each(Object.entries(adapters))('%s', (name, open) => {
  let store: Store;
  let remove: () => Promise<void>;
  beforeAll(async () => {
    ({ store, remove } = await open());
    await store.migrate();
    // In one block, so that rows of both lie in one granule.
    await store.insert(
      batchOfCalls(0, 0, 140, Date.UTC(2026, 9, 1, 12), (offset) => (offset < 100 ? 'default' : 'acme')),
    );
  });
  afterAll(() => remove());

  test.skipIf(name === 'a server' && namedClickHouse !== undefined).each(attempts)('%s', async (sql, expected) => {
    const [row] = await rowsOf<{ n: number | string }>(store, sql, { tenant: 'acme', parameters: { table: 'calls' } });
    expect(Number(row!.n)).toBe(expected);
  });

  test('no expression is computed for a row of another tenant', async () => {
    const failed: string[] = [];
    for (const sql of [...faults.flatMap(places), ...inProjections]) {
      const { message } = await rowsOf(store, sql, { tenant: 'acme' }).then(
        () => ({ message: '' }),
        (error: Error) => error,
      );
      if (message !== '') failed.push(`${sql}: ${message}`);
    }
    expect(failed).toEqual([]);
  });

  test('what was read for an answer is not told, and PREWHERE is refused', async () => {
    const ask = async (format: string, tenant: string, sql = 'SELECT 1 FROM calls LIMIT 1') => {
      const pieces: Uint8Array[] = [];
      const settings = { output_format_write_statistics: '1' };
      for await (const piece of store.query(sql, { format, settings, tenant })) pieces.push(piece);
      return Buffer.concat(pieces).toString();
    };
    for (const format of ['JSON', 'JSONCompact', 'XML']) expect(await ask(format, 'acme')).not.toContain('rows_read');
    await expect(ask('JSONEachRowWithProgress', 'acme')).rejects.toThrow('one tenant');
    await expect(ask('TSV', 'acme', 'SELECT count() FROM calls preWHERE 1')).rejects.toThrow('one tenant');
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
