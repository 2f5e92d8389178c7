/**
 * What Grafana's data source, Superset, Metabase, DBeaver and drivers send before a person has asked anything, in our own
 * words: answered for a key of every tenant and for one of a single tenant. What JDBC sends is in jdbc.test.ts.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openChdbStore } from '../../services/store/chdb.js';
import type { Store } from '../../services/store/store.js';
import { batchOfCalls, rowsOf } from '../contract/store.js';

const directory = mkdtempSync(join(tmpdir(), 'first-'));
let store: Store;
beforeAll(async () => {
  store = await openChdbStore({ directory });
  await store.migrate();
  await store.insert(batchOfCalls(0, 0, 10));
  await store.insert(batchOfCalls(1, 0, 10, Date.UTC(2026, 9, 1, 12), 'acme'));
});
afterAll(async () => {
  await store.close();
  rmSync(directory, { recursive: true, force: true });
});

const statements: Readonly<Record<string, readonly string[]>> = {
  Grafana: [
    'SELECT 1',
    'SELECT version()',
    'SELECT timezone()',
    'SHOW DATABASES',
    'SHOW TABLES FROM `default`',
    'DESC TABLE "default"."calls"',
    "SELECT name, type, comment FROM system.columns WHERE database = 'default' AND table = 'calls'",
    'SELECT DISTINCT tool_name FROM default.calls LIMIT 1000',
    'SELECT toStartOfInterval(toDateTime(occurred_at), INTERVAL 60 second) AS time, count() FROM calls WHERE occurred_at >= toDateTime(1790000000) AND occurred_at <= toDateTime(1890000000) GROUP BY time ORDER BY time ASC',
    'SELECT DISTINCT arrayJoin(mapKeys(attributes)) AS keys FROM default.calls LIMIT 1000',
  ],
  'Superset and SQLAlchemy': [
    'SELECT version(), timezone()',
    'SELECT name, value, readonly AS readonly FROM system.settings LIMIT 10000',
    'SELECT currentDatabase()',
    "SELECT name FROM system.databases WHERE name NOT IN ('system')",
    "SELECT name FROM system.tables WHERE database = 'default' AND engine NOT LIKE '%View'",
    "SELECT name FROM system.tables WHERE database = 'default' AND engine LIKE '%View'",
    'EXISTS TABLE default.calls',
    'DESCRIBE TABLE `default`.`calls`',
    "SELECT name, description FROM system.functions WHERE NOT startsWith(name, '_') LIMIT 2000",
    'SELECT actor_id AS actor_id, count(*) AS n FROM default.calls GROUP BY actor_id ORDER BY n DESC LIMIT 1000',
  ],
  Metabase: [
    'SELECT 1',
    "SELECT name, engine, comment FROM system.tables WHERE database IN ('default') AND is_temporary = 0",
    "SELECT table, name, type, position, default_kind, comment, is_in_primary_key FROM system.columns WHERE database = 'default' ORDER BY table, position",
    'SELECT now64(3)',
    "SELECT value FROM system.settings WHERE name = 'session_timezone'",
    'SELECT TRUE AS `_` FROM `default`.`calls` WHERE 1 <> 1 LIMIT 0',
    'SELECT `default`.`calls`.`tool_name` AS `tool_name` FROM `default`.`calls` LIMIT 10000',
  ],
  DBeaver: [
    'SELECT database()',
    "SELECT t.name, t.engine, d.engine FROM system.tables t JOIN system.databases d ON system.tables.database = system.databases.name WHERE t.database LIKE 'default'",
    'SELECT user()',
    'SELECT name, engine, comment FROM system.databases ORDER BY name',
    "SELECT name, engine, create_table_query, partition_key, sorting_key, primary_key, metadata_modification_time, comment FROM system.tables WHERE database = 'default' ORDER BY name",
    "SELECT name, type, expr, granularity FROM system.data_skipping_indices WHERE database = 'default' AND table = 'calls'",
    'SELECT name, is_aggregate, case_insensitive, alias_to FROM system.functions ORDER BY name LIMIT 3000',
    'SELECT keyword FROM system.keywords',
    'SELECT name FROM system.data_type_families',
    'SELECT name FROM system.table_engines',
    'SHOW CREATE TABLE `default`.`calls`',
    'SHOW CREATE VIEW `default`.`tool_calls`',
    'SELECT * FROM `default`.`calls` LIMIT 200',
    "SELECT table_schema, table_name, table_type FROM information_schema.tables WHERE table_schema = 'default'",
    "SELECT column_name, data_type, is_nullable FROM information_schema.columns WHERE table_name = 'calls'",
    'EXPLAIN SELECT * FROM calls',
  ],
};

describe.each(Object.entries(statements))('%s', (_name, list) => {
  test.each(list)('%s', async (sql) => {
    for (const tenant of [undefined, 'acme'])
      await expect(
        rowsOf(store, sql, { format: 'JSONEachRow', ...(tenant === undefined ? {} : { tenant }) }),
        `tenant ${tenant}`,
      ).resolves.toBeDefined();
  });
});
