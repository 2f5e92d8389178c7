/**
 * A user of a ClickHouse server who reads one tenant's rows past the daemon, as SQL for whoever manages its users.
 *
 * Everything has the user's name, so that one tenant's script changes nothing of another's, and it may be run again. The
 * tenant's condition is a restrictive policy: whatever other policies allow, it holds too. What takes no stream records
 * is not granted at all. Rights come last, so a script that ends early leaves a user who sees nothing.
 */

import { localTable } from './clickhouse-cluster.js';
import { readMigrations } from './migrations.js';
import type { QueryLimits } from './store.js';
import { tenantConditions } from './tenant.js';

export interface ReaderOptions {
  readonly user: string;
  readonly tenant: string;
  /** SHA-256 of the password, 64 hex digits. */
  readonly passwordSha256: string;
  readonly database: string;
  readonly cluster: string | undefined;
  readonly limits: QueryLimits;
}

const escaped = (text: string, quote: string) => `${quote}${text.replace(/[\\'`]/g, '\\$&')}${quote}`;

/** The statements in their order, each without its semicolon. */
export function readerStatements(options: ReaderOptions): string[] {
  const { timeMs, memoryBytes, resultRows, resultBytes } = options.limits;
  const user = escaped(options.user, '`');
  const database = escaped(options.database, '`');
  const on = options.cluster === undefined ? '' : ` ON CLUSTER ${escaped(options.cluster, "'")}`;
  // On a cluster of several shards the rows lie in tables of their own; rights on a table that is not there do nothing.
  const cluster = options.cluster === undefined ? undefined : { cluster: options.cluster, sharded: true };
  const places = (table: string) =>
    [...new Set([table, localTable(table, cluster)])].map((each) => `${database}.${each}`);
  const conditions = [...tenantConditions(options.tenant)].flatMap(([table, condition]) =>
    places(table).map((place) => [place, condition] as const),
  );
  const views = readMigrations()
    .flatMap(({ statements }) => statements)
    .flatMap((statement) => /^CREATE OR REPLACE VIEW (\w+)/.exec(statement)?.[1] ?? []);
  const readable = [...conditions.map(([place]) => place), ...[...new Set(views)].map((view) => `${database}.${view}`)];
  return [
    // A projection's groups are computed before a policy drops rows, so a failing one would tell of them.
    `CREATE SETTINGS PROFILE OR REPLACE ${user}${on} SETTINGS readonly = 1, optimize_use_projections = 0, allow_ddl = 0, allow_introspection_functions = 0, max_execution_time = ${timeMs / 1000}, max_memory_usage = ${memoryBytes}, max_result_rows = ${resultRows}, max_result_bytes = ${resultBytes}`,
    `CREATE USER OR REPLACE ${user}${on} IDENTIFIED WITH sha256_hash BY ${escaped(options.passwordSha256, "'")} SETTINGS PROFILE ${user}`,
    `CREATE QUOTA OR REPLACE ${user}${on} FOR INTERVAL 1 minute MAX queries = 120, execution_time = 120 TO ${user}`,
    // A table with any policy shows nothing to whom no permissive one names.
    ...conditions.map(([place]) => `CREATE ROW POLICY OR REPLACE mcp_auditd_all${on} ON ${place} USING 1 TO ALL`),
    ...conditions.map(
      ([place, condition]) =>
        `CREATE ROW POLICY OR REPLACE ${user}${on} ON ${place} USING ${condition} AS RESTRICTIVE TO ${user}`,
    ),
    ...readable.map((place) => `GRANT${on} SELECT ON ${place} TO ${user}`),
  ];
}
