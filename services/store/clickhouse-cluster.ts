/**
 * The same tables on a cluster: statements written for one server become statements for every server of the cluster.
 *
 * A table becomes a ReplicatedMergeTree. With several shards it becomes `NAME_local` and a Distributed table with the
 * old name over it, sharded by stream_partition: a block is of one partition, so it goes to one shard whole, and a
 * partition's highest offset is on one shard.
 *
 * Statements come from `schemas/clickhouse/` and from this room, so their shapes are few and known.
 */
export interface ClusterOptions {
  /** Name of the cluster as `system.clusters` has it. Its servers define the macros {shard} and {replica}. */
  readonly cluster: string;
  /** True where the cluster has several shards. */
  readonly sharded: boolean;
}

/** Tables of ours that are the same on every server, because they say how things stand with all of them. */
const everywhere: ReadonlySet<string> = new Set(['schema_migrations', 'ingest_owners']);

function quoted(text: string): string {
  return `'${text.replace(/[\\']/g, '\\$&')}'`;
}

/** Name of the table that holds the rows on each server. */
export function localTable(table: string, cluster: ClusterOptions | undefined): string {
  return cluster?.sharded && !everywhere.has(table) ? `${table}_local` : table;
}

/** The statements for a cluster, in order. What is neither CREATE TABLE, CREATE VIEW nor ALTER TABLE stays as it is. */
export function clusterStatements(statement: string, options: ClusterOptions): string[] {
  const on = `ON CLUSTER ${quoted(options.cluster)}`;
  const table = /^CREATE TABLE IF NOT EXISTS (\w+)/.exec(statement)?.[1];
  if (table !== undefined) {
    const local = localTable(table, options);
    const place = everywhere.has(table)
      ? "'/clickhouse/tables/all/{database}/{table}', '{shard}-{replica}'"
      : "'/clickhouse/tables/{shard}/{database}/{table}', '{replica}'";
    const create = statement
      .replace(/^CREATE TABLE IF NOT EXISTS \w+/, `CREATE TABLE IF NOT EXISTS ${local} ${on}`)
      .replace(/\bENGINE = (\w*)MergeTree(?:\(([^)]*)\))?/, (_all, kind: string, rest?: string) => {
        const others = rest ? `, ${rest}` : '';
        return `ENGINE = Replicated${kind}MergeTree(${place}${others})`;
      });
    if (local === table) return [create];
    return [
      create,
      `CREATE TABLE IF NOT EXISTS ${table} ${on} AS ${local} ENGINE = Distributed(${quoted(options.cluster)}, currentDatabase(), ${quoted(local)}, stream_partition)`,
    ];
  }
  const view = /^CREATE OR REPLACE VIEW (\w+)/.exec(statement)?.[1];
  if (view !== undefined)
    return [statement.replace(/^CREATE OR REPLACE VIEW \w+/, `CREATE OR REPLACE VIEW ${view} ${on}`)];
  const altered = /^ALTER TABLE (\w+)/.exec(statement)?.[1];
  if (altered !== undefined) {
    const local = localTable(altered, options);
    const alter = statement.replace(/^ALTER TABLE \w+/, `ALTER TABLE ${local} ${on}`);
    // A column that comes or goes does so in the Distributed table too; codecs, TTLs and indexes are the parts' affair.
    const columns = /\b(ADD|DROP|RENAME) COLUMN\b/.test(statement);
    if (local === altered || !columns) return [alter];
    return [alter, statement.replace(/^ALTER TABLE \w+/, `ALTER TABLE ${altered} ${on}`)];
  }
  return [statement];
}
