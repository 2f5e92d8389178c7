/** The SQL of a user of a server who reads one tenant's rows: what the engine makes of it, for hostile names too. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { tableFields } from '../../schemas/tables.js';
import { openClickHouseStore } from '../../services/store/clickhouse.js';
import { ClickHouseConnection } from '../../services/store/clickhouse-connection.js';
import { readerStatements } from '../../services/store/reader-sql.js';
import { type ClickHouseServer, startClickHouse } from '../contract/clickhouse-server.js';

let server: ClickHouseServer;
let direct: ClickHouseConnection;
beforeAll(async () => {
  server = await startClickHouse();
  direct = new ClickHouseConnection(server.connection);
});
afterAll(async () => {
  await direct.close();
  await server.stop();
});

function statements(over: { user?: string; tenant?: string; database?: string; cluster?: string } = {}): string[] {
  return readerStatements({
    user: 'acme_reader',
    tenant: 'acme',
    database: 'mcp_auditd',
    passwordSha256: 'ab'.repeat(32),
    cluster: undefined,
    limits: { timeMs: 30_500, memoryBytes: 2 ** 31, resultRows: 1e6, resultBytes: 2 ** 26 },
    ...over,
  });
}

/** The statement as the engine writes it, from its own parse. Throws where it is not exactly one statement. */
async function parsed(sql: string): Promise<string> {
  const answer = await direct.run('SELECT formatQuerySingleLine({sql:String}) FORMAT TSVRaw', { parameters: { sql } });
  return answer.toString().trimEnd();
}

test.each([undefined, "main's"])('the engine parses every statement (cluster: %s)', async (cluster) => {
  for (const sql of statements(cluster === undefined ? {} : { cluster })) {
    const text = await parsed(sql);
    expect(text).toMatch(/^(CREATE (SETTINGS PROFILE|USER|QUOTA|ROW POLICY) OR REPLACE|GRANT)/);
    if (cluster !== undefined) expect(text).toContain("ON CLUSTER `main's`");
  }
});

test.each(["x' OR 1 -- ", 'x\\', 'x`; DROP TABLE calls; --', "`'\\", 'ü\n*/ TO ALL'])(
  '%j breaks out of nothing',
  async (hostile) => {
    const plain = statements({ user: 'PLAIN', tenant: 'acme' });
    // As the engine writes a name.
    const quoted = `\`${hostile.replaceAll('\\', '\\\\').replaceAll('`', '\\`').replaceAll('\n', '\\n')}\``;
    const hex = Buffer.from(hostile).toString('hex');
    for (const [at, sql] of statements({ user: hostile, tenant: hostile }).entries()) {
      const expected = (await parsed(plain[at]!)).replaceAll(/`?PLAIN`?/g, () => quoted).replaceAll('61636d65', hex);
      expect(await parsed(sql)).toBe(expected);
    }
  },
);

test('every table of rows has its policy, and nothing else is granted but views', async () => {
  const store = await openClickHouseStore(server.connection);
  await store.migrate();
  await store.close();
  const rows = (
    await direct.run(
      `SELECT name, engine FROM system.tables WHERE database = '${server.connection.database}' FORMAT TSV`,
    )
  ).toString();
  const there = new Map(
    rows
      .trim()
      .split('\n')
      .map((line) => line.split('\t') as [string, string]),
  );
  const all = statements();
  const named = (pattern: RegExp) => all.flatMap((sql) => pattern.exec(sql)?.[1] ?? []).sort();
  const tables = Object.keys(tableFields).sort();
  expect(
    named(/^CREATE ROW POLICY .* ON `mcp_auditd`\.(\w+) USING .*unhex\('61636d65'\) AS RESTRICTIVE TO `acme_reader`$/),
  ).toEqual(tables);
  expect(named(/^CREATE ROW POLICY .* mcp_auditd_all ON `mcp_auditd`\.(\w+) USING 1 TO ALL$/)).toEqual(tables);
  const views = [...there].filter(([, engine]) => engine === 'View').map(([name]) => name);
  expect(named(/^GRANT SELECT ON `mcp_auditd`\.(\w+) TO `acme_reader`$/)).toEqual([...tables, ...views].sort());
  // A right that comes before its policy would show everything for a while.
  expect(all.findIndex((sql) => sql.startsWith('GRANT'))).toBe(all.length - tables.length - views.length);
  expect(all[0]).toContain('readonly = 1,');
});
