import { randomUUID } from 'node:crypto';
import { setTimeout } from 'node:timers/promises';
import { AuditdError } from '../../schemas/errors.js';
import { type RecordTable, type RecordTopicName, tableFields } from '../../schemas/tables.js';
import { type ClusterOptions, clusterStatements, localTable } from './clickhouse-cluster.js';
import { ClickHouseConnection, type ClickHouseConnectionOptions } from './clickhouse-connection.js';
import { blockErrorCodes, clickHouseError, codeOf, messageOf, tooManyPartsCode } from './clickhouse-errors.js';
import { ClickHouseQueries } from './clickhouse-queries.js';
import { applyMigrations, type MigrationTarget, readMigrations } from './migrations.js';
import {
  columnList,
  countRange,
  defaultRetention,
  idsPerQuery,
  insertSettings,
  type Retention,
  retentionChanges,
  selectHighestOffsets,
  selectStoredIdentities,
  selectStoredIds,
  selectUsage,
} from './statements.js';
import { type Identity, type InsertBatch, identityText, type QueryOptions, type Store } from './store.js';

/**
 * The store on a ClickHouse server or cluster, over HTTP(S).
 *
 * Exactly once rests on four things:
 * 1. The table is the offset store, and a block of one partition and day becomes one part, whole or not at all.
 * 2. After every insert the rows of its range are counted. A failure without an answer from ClickHouse says nothing: the
 *    insert is ended first (KILL QUERY … SYNC), then counted.
 * 3. `takeOver` writes a new owner of the partition, then ends the inserts of the owners before, then reads the offset.
 * 4. Every insert carries its owner and stores nothing when that is not the partition's newest (a fencing token). So a
 *    process that was frozen and wakes with a block in hand stores nothing, however late its request arrives.
 */
export interface ClickHouseStoreOptions extends ClickHouseConnectionOptions, Partial<Retention> {
  /**
   * Replicated tables on every server of this cluster; where it has several shards, rows are spread over them by
   * partition. Default: MergeTree on the one server.
   */
  readonly cluster?: string;
}

/** Older ones lack a function, a setting or a kind of index that the tables and the inserts use. */
const leastVersion = [25, 3] as const;
const accessDeniedCode = 497;
/** Ending inserts waits until they are gone; one that waits for the rest of its data notices after 30 s at most. */
const endInsertsTimeoutMs = 60_000;
/** Parts of one day from which on TOO_MANY_PARTS means the table; a server delays at 1,000 and refuses at 3,000. */
const manyParts = 300;
/** A replica that is behind is read again so often, with pauses of 200 ms, before the count is believed. */
const recounts = 5;
const recountPauseMs = 200;

/** @throws AuditdError `clickhouse_unreachable`, `…_login_refused`, `…_certificate_invalid`, `…_not_allowed`, `…_too_old`. */
export async function openClickHouseStore(options: ClickHouseStoreOptions): Promise<Store> {
  const { retentionDays = defaultRetention.retentionDays, bodyRetentionDays = defaultRetention.bodyRetentionDays } =
    options;
  // The database may be made only by the first migration, so these questions name none.
  const outside = new ClickHouseConnection({ ...options, database: 'default' });
  try {
    await requireVersion(outside, options.url);
    const cluster = options.cluster === undefined ? undefined : await findCluster(outside, options.cluster);
    const connection = new ClickHouseConnection(options);
    return new ClickHouseStore(connection, { retentionDays, bodyRetentionDays }, cluster, options);
  } finally {
    await outside.close();
  }
}

async function findCluster(connection: ClickHouseConnection, name: string): Promise<ClusterOptions> {
  const rows = await connection.select(
    'SELECT cluster, uniqExact(shard_num) AS shards FROM system.clusters GROUP BY cluster',
  );
  const found = rows.find(({ cluster }) => cluster === name);
  if (found !== undefined) return { cluster: name, sharded: Number(found.shards) > 1 };
  const names = rows.map(({ cluster }) => cluster).join(', ') || 'none';
  throw new AuditdError('configuration_invalid', `ClickHouse knows no cluster ${name}; it knows ${names}`);
}

async function requireVersion(connection: ClickHouseConnection, url: string): Promise<void> {
  let version: string;
  try {
    version = (await connection.run('SELECT version()')).toString().trim();
  } catch (error) {
    throw clickHouseError(error, `connecting to ${new URL(url).origin}`);
  }
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const [leastMajor, leastMinor] = leastVersion;
  if (major < leastMajor || (major === leastMajor && minor < leastMinor)) {
    throw new AuditdError(
      'clickhouse_too_old',
      `${new URL(url).origin} runs ClickHouse ${version}; expected ${leastMajor}.${leastMinor} or later`,
    );
  }
}

class ClickHouseStore implements Store, MigrationTarget {
  private readonly queries: ClickHouseQueries;
  /** Owner that this process is of each partition, by `table/partition`. */
  private readonly owners = new Map<string, string>();
  /** Partitions with an insert of ours of which nobody knows how it went. */
  private readonly unresolved = new Set<string>();
  private readonly structures = new Map<RecordTable, string>();

  constructor(
    private readonly connection: ClickHouseConnection,
    private readonly retention: Retention,
    private readonly cluster: ClusterOptions | undefined,
    private readonly options: ClickHouseStoreOptions,
  ) {
    this.queries = new ClickHouseQueries(connection);
  }

  async migrate(): Promise<{ applied: string[] }> {
    try {
      await this.createDatabase();
      const applied = await applyMigrations(this, readMigrations());
      await this.execute(
        `CREATE TABLE IF NOT EXISTS ingest_owners
        (table LowCardinality(String), partition UInt32, epoch UInt64, owner UUID, taken_at DateTime64(3, 'UTC') DEFAULT now64(3))
        ENGINE = MergeTree ORDER BY (table, partition, epoch)
        SETTINGS fsync_after_insert = 1, fsync_part_directory = 1`,
      );
      const definitions = new Map<string, string>();
      for (const table of Object.keys(tableFields)) {
        const [row] = await this.select(`SHOW CREATE TABLE ${localTable(table, this.cluster)}`);
        definitions.set(table, String(row?.statement ?? ''));
      }
      for (const change of retentionChanges(definitions, this.retention)) await this.execute(change);
      return { applied };
    } catch (error) {
      throw clickHouseError(error, 'preparing the tables');
    }
  }

  private async createDatabase(): Promise<void> {
    const { database } = this.connection;
    if (database === 'default') return;
    const on = this.cluster === undefined ? '' : ` ON CLUSTER '${this.cluster.cluster}'`;
    // A connection that names the database cannot make it.
    const outside = new ClickHouseConnection({ ...this.options, database: 'default' });
    try {
      await outside.run(`CREATE DATABASE IF NOT EXISTS \`${database}\`${on}`);
    } catch (error) {
      if (codeOf(error) !== accessDeniedCode) throw error;
      // Not ours to make; when it is missing, the next statement says so.
    } finally {
      await outside.close();
    }
  }

  async execute(statement: string): Promise<void> {
    const statements = this.cluster === undefined ? [statement] : clusterStatements(statement, this.cluster);
    for (const one of statements) await this.connection.run(one, { settings: { distributed_ddl_task_timeout: 60 } });
  }

  select(query: string): Promise<readonly Record<string, unknown>[]> {
    return this.connection.select(query);
  }

  async takeOver(table: RecordTable, partitions: readonly number[]): Promise<Map<number, number>> {
    if (partitions.length === 0) return new Map();
    try {
      await this.writeOwner(table, partitions);
      await this.endInserts(table, partitions);
      await this.catchUp(table);
      const highest = await this.highestOffsets(table);
      return new Map([...highest].filter(([partition]) => partitions.includes(partition)));
    } catch (error) {
      throw clickHouseError(error, `taking over ${table}, partitions ${partitions.join(', ')}`);
    }
  }

  private async writeOwner(table: RecordTable, partitions: readonly number[]): Promise<void> {
    const list = partitions.join(', ');
    const rows = await this.select(
      `SELECT partition, toString(max(epoch)) AS epoch FROM ingest_owners WHERE table = '${table}' AND partition IN (${list}) GROUP BY partition`,
    );
    const epochs = new Map(rows.map(({ partition, epoch }) => [Number(partition), Number(epoch)]));
    const owner = randomUUID();
    const values = partitions.map((each) => `('${table}', ${each}, ${(epochs.get(each) ?? 0) + 1}, '${owner}')`);
    for (const partition of partitions) this.owners.delete(keyOf(table, partition));
    await this.connection.run(
      `INSERT INTO ingest_owners (table, partition, epoch, owner) SETTINGS async_insert = 0 VALUES ${values.join(', ')}`,
    );
    await this.catchUp('ingest_owners');
    for (const partition of partitions) this.owners.set(keyOf(table, partition), owner);
  }

  /** Ends every insert into the partitions that still runs, whoever sent it; resolves when they are gone. */
  private async endInserts(table: RecordTable, partitions: readonly number[]): Promise<void> {
    const id = this.cluster === undefined ? 'query_id' : 'initial_query_id';
    const on = this.cluster === undefined ? '' : ` ON CLUSTER '${this.cluster.cluster}'`;
    const ours = partitions.map((partition) => `startsWith(${id}, '${this.queryIdPrefix(table, partition)}')`);
    await this.connection.run(`KILL QUERY${on} WHERE ${ours.join(' OR ')} SYNC`, { timeoutMs: endInsertsTimeoutMs });
    for (const partition of partitions) this.unresolved.delete(keyOf(table, partition));
  }

  private queryIdPrefix(table: RecordTable, partition: number): string {
    return `mcp-auditd:${this.connection.database}:${table}:${partition}:`;
  }

  /** Lets every replica have what any replica has acknowledged. */
  private async catchUp(table: RecordTable | 'ingest_owners'): Promise<void> {
    if (this.cluster === undefined) return;
    const { cluster } = this.cluster;
    await this.connection.run(
      `SYSTEM SYNC REPLICA ON CLUSTER '${cluster}' ${localTable(table, this.cluster)} LIGHTWEIGHT`,
    );
  }

  async insert(batch: InsertBatch): Promise<void> {
    const { table, partition, firstOffset, lastOffset, rows } = batch;
    const key = keyOf(table, partition);
    const range = `${table}, partition ${partition}, offsets ${firstOffset} to ${lastOffset}`;
    try {
      if (!this.owners.has(key)) await this.takeOver(table, [partition]);
      if (this.unresolved.has(key)) {
        await this.endInserts(table, [partition]);
        if ((await this.count(batch)) === rows) return;
      }
      const owner = this.owners.get(key) as string;
      const failure = await this.send(batch, owner);
      const stored = await this.countAfter(batch, failure);
      if (stored === rows) return;
      if (!(await this.owns(table, partition, owner))) {
        throw new AuditdError('store_fenced', `${range}: another ingestor has taken the partition`);
      }
      if (stored === 0 && failure !== undefined) throw await this.insertError(failure, table, range);
      const message = `${range}: ${rows} rows were inserted, ${stored} are there`;
      throw new AuditdError('store_inconsistent', message, { cause: failure });
    } catch (error) {
      throw clickHouseError(error, range);
    }
  }

  /** Sends the block; resolves to its failure. */
  private async send(batch: InsertBatch, owner: string): Promise<unknown> {
    const { table, partition, block } = batch;
    const columns = columnList(table);
    const statement =
      `INSERT INTO ${table} (${columns}) SELECT ${columns} FROM input(${quoted(await this.structure(table))}) ` +
      `WHERE (${selectOwner(table, partition)}) = toUUID('${owner}') FORMAT Native`;
    // Unresolved until there is an answer: it may run on whatever becomes of this request.
    this.unresolved.add(keyOf(table, partition));
    try {
      await this.connection.run(statement, {
        body: block,
        queryId: `${this.queryIdPrefix(table, partition)}${randomUUID()}`,
        settings: {
          ...insertSettings,
          wait_end_of_query: 1,
          ...(this.cluster?.sharded ? { distributed_foreground_insert: 1 } : {}),
        },
      });
      this.unresolved.delete(keyOf(table, partition));
      return undefined;
    } catch (error) {
      // ClickHouse's own answer means that the query is over.
      if (codeOf(error) !== 0) this.unresolved.delete(keyOf(table, partition));
      return error;
    }
  }

  /** Whether the insert went well or not, what counts is what the table holds. */
  private async countAfter(batch: InsertBatch, failure: unknown): Promise<number> {
    const { table, partition, rows } = batch;
    try {
      if (this.unresolved.has(keyOf(table, partition))) await this.endInserts(table, [partition]);
      let stored = await this.count(batch);
      for (let again = 0; stored < rows && this.cluster !== undefined && again < recounts; again++) {
        await this.catchUp(table);
        stored = await this.count(batch);
        if (stored < rows) await setTimeout(recountPauseMs);
      }
      return stored;
    } catch (error) {
      this.unresolved.add(keyOf(table, partition));
      throw failure ?? error;
    }
  }

  private async count(batch: InsertBatch): Promise<number> {
    const [row] = await this.select(countRange(batch));
    return Number(row?.rows);
  }

  private async owns(table: RecordTable, partition: number, owner: string): Promise<boolean> {
    const [row] = await this.select(`${selectOwner(table, partition)}`);
    return row?.owner === owner;
  }

  private async insertError(failure: unknown, table: RecordTable, range: string): Promise<AuditdError> {
    const code = codeOf(failure);
    const message = `${range}: ${messageOf(failure)}`;
    if (blockErrorCodes.has(code)) return new AuditdError('store_refused_block', message, { cause: failure });
    if (code === tooManyPartsCode) {
      const [row] = await this.select(
        `SELECT toUInt32(max(parts)) AS parts FROM (SELECT count() AS parts FROM system.parts WHERE active AND database = currentDatabase() AND table = '${localTable(table, this.cluster)}' GROUP BY partition_id)`,
      );
      const overloaded = Number(row?.parts) >= manyParts;
      return new AuditdError(overloaded ? 'store_overloaded' : 'store_refused_block', message, { cause: failure });
    }
    return clickHouseError(failure, range);
  }

  /** Names and types of the table's columns that a block has, for `input()`. */
  private async structure(table: RecordTable): Promise<string> {
    const known = this.structures.get(table);
    if (known !== undefined) return known;
    const rows = await this.select(
      `SELECT name, type FROM system.columns WHERE database = currentDatabase() AND table = '${table}'`,
    );
    const types = new Map(rows.map(({ name, type }) => [String(name), String(type)]));
    const names = Object.keys(tableFields[table]);
    const structure = names.map((name) => `\`${name}\` ${types.get(name)}`).join(', ');
    this.structures.set(table, structure);
    return structure;
  }

  async highestOffsets(table: RecordTable): Promise<Map<number, number>> {
    try {
      const rows = await this.select(selectHighestOffsets(table));
      return new Map(rows.map(({ partition, offset }) => [Number(partition), Number(offset)]));
    } catch (error) {
      throw clickHouseError(error, `reading the offsets of ${table}`);
    }
  }

  async storedEventIds(ids: readonly string[], tenant: string): Promise<Set<string>> {
    const stored = new Set<string>();
    try {
      for (let start = 0; start < ids.length; start += idsPerQuery) {
        for (const { id } of await this.select(selectStoredIds(ids.slice(start, start + idsPerQuery), tenant)))
          stored.add(String(id));
      }
      return stored;
    } catch (error) {
      throw clickHouseError(error, 'looking for stored events');
    }
  }

  async storedIdentities(table: RecordTopicName, identities: readonly Identity[]): Promise<Set<string>> {
    const stored = new Set<string>();
    try {
      for (const query of selectStoredIdentities(table, identities))
        for (const { identity } of await this.select(query)) stored.add(identityText(identity as unknown[]));
      return stored;
    } catch (error) {
      throw clickHouseError(error, `looking for stored records of ${table}`);
    }
  }

  query(sql: string, options: QueryOptions): AsyncIterable<Uint8Array> {
    return this.queries.run(sql, options);
  }

  async usage(): Promise<{ tables: { table: string; rows: number; bytes: number }[] }> {
    try {
      const rows = await this.select(
        this.cluster === undefined
          ? selectUsage
          : selectUsage.replace('system.parts', `cluster('${this.cluster.cluster}', system.parts)`),
      );
      return {
        tables: rows.map(({ table, rows: count, bytes }) => ({
          table: String(table).replace(/_local$/, ''),
          rows: Number(count),
          bytes: Number(bytes),
        })),
      };
    } catch (error) {
      throw clickHouseError(error, 'reading the size of the tables');
    }
  }

  close(): Promise<void> {
    return this.connection.close();
  }
}

function keyOf(table: RecordTable, partition: number): string {
  return `${table}/${partition}`;
}

/** The newest owner of a partition. Two that took it at once have the same epoch, and the greater name wins. */
function selectOwner(table: RecordTable, partition: number): string {
  return `SELECT argMax(owner, (epoch, owner)) AS owner FROM ingest_owners WHERE table = '${table}' AND partition = ${partition}`;
}

function quoted(text: string): string {
  return `'${text.replace(/[\\']/g, '\\$&')}'`;
}
