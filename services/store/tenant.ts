import { tableFields } from '../../schemas/tables.js';

/**
 * One tenant's rows and no others, whatever a statement says: a condition that the engine puts on every read of a table
 * (`additional_table_filters`), by whatever name, alias, view, subquery or parameter the statement reaches it, before
 * anything is counted, and with the projections still in use. The fence refuses what could read past it: SETTINGS, the
 * table functions that open tables by themselves, and the engine's own tables.
 */

/** Tables without a tenant's rows: nobody but a reader of every tenant has business there. */
const internalTables = ['schema_migrations', 'ingest_owners'] as const;

/** The tenant of whom a value of the setting is exactly ours, in whatever database; undefined for any other value. */
export function tenantOfFilters(filters: string): string | undefined {
  const database = /^\{'(\w+)\./.exec(filters)?.[1] ?? '';
  const tenant = Buffer.from(/unhex\(\\'([0-9a-f]+)\\'\)/.exec(filters)?.[1] ?? '', 'hex').toString();
  return filters === tenantFilters(database, tenant) ? tenant : undefined;
}

/** What holds for the rows of a tenant, by table; every table that takes records has one. */
export function tenantConditions(tenant: string): Map<string, string> {
  // Hexadecimal, so that nothing in a name can end the text it stands in.
  const value = `unhex('${Buffer.from(tenant).toString('hex')}')`;
  // A dead letter's tenant is known where its record came through the gateway.
  return new Map(
    Object.entries(tableFields).map(([table, fields]) => [
      table,
      'tenant' in fields ? `tenant = ${value}` : `headers['tenant'] = ${value}`,
    ]),
  );
}

/** The value of the setting `additional_table_filters`, for tables in this database. */
export function tenantFilters(database: string, tenant: string): string {
  const filters = tenantConditions(tenant);
  for (const table of internalTables) filters.set(table, 'false');
  const literal = (text: string) => `'${text.replace(/[\\']/g, '\\$&')}'`;
  return `{${[...filters].map(([table, filter]) => `${literal(`${database}.${table}`)}: ${literal(filter)}`).join(', ')}}`;
}
