import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Session } from 'chdb';
import type { ChdbNodeEngine } from 'chdb/durable/node';
import { AuditdError } from '../../schemas/errors.js';
import { type RecordTable, type RecordTopicName, tableFields } from '../../schemas/tables.js';
import { ChdbQueries } from './chdb-queries.js';
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
import {
  type Identity,
  type InsertBatch,
  identityText,
  type QueryOptions,
  type StatementOptions,
  type StatementRunner,
  type Store,
} from './store.js';

/**
 * The store in this process: ClickHouse's engine from the npm package `chdb`, loaded when a store is opened. One process
 * holds a directory. Inserts go one by one through one session, the store's own reads through another, and each query
 * of a user through a session of its own.
 *
 * Durability: a block becomes a part by one rename, projections included, so SIGKILL leaves it whole or absent. The
 * tables ask for fsync after insert and merge, because after a power loss the highest offset must not be there without
 * the rows below it.
 */
export interface ChdbStoreOptions extends Partial<Retention> {
  /** Where the engine keeps its files; made with mode 0700 when it is not there. */
  readonly directory: string;
  /** Bytes of memory that open questions may hold before no other one begins. Default: a quarter of what there is. */
  readonly heldBytes?: number;
}

/**
 * Opens the engine on a directory. Throws `data_directory_held` when another process has it open. `migrate` must have
 * run once before anything is inserted.
 */
export async function openChdbStore(options: ChdbStoreOptions): Promise<Store & StatementRunner> {
  const { directory } = options;
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const { Session, drainPending } = await import('chdb');
  const { ChdbNodeEngine } = await import('chdb/durable/node');
  const open = (): Session => {
    try {
      return new Session(directory);
    } catch (error) {
      throw connectionError(directory, error);
    }
  };
  const writer = open();
  const reader = open();
  // A connection that only parses: the engine's own answer to "how many statements, and do they only read".
  const classifier = new ChdbNodeEngine();
  await classifier.start({ dataPath: directory, backupsAllowedPath: directory });
  return new ChdbStore(directory, { ...defaultRetention, ...withoutUndefined(options) }, writer, reader, classifier, {
    heldBytes: options.heldBytes,
    openSession: open,
    drainPending,
  });
}

function withoutUndefined(options: Partial<Retention>): Partial<Retention> {
  const { retentionDays, bodyRetentionDays } = options;
  return {
    ...(retentionDays === undefined ? {} : { retentionDays }),
    ...(bodyRetentionDays === undefined ? {} : { bodyRetentionDays }),
  };
}

/**
 * The process that has the store open, as the engine's status file names it; undefined when it names none that lives. A
 * pid may have been given out again, so this is a hint: the engine's lock decides.
 */
export function storeHolder(directory: string): number | undefined {
  const status = join(directory, 'status');
  if (!existsSync(status)) return undefined;
  const holder = Number(/PID: (\d+)/.exec(readFileSync(status, 'utf8'))?.[1]);
  return holder !== process.pid && existsSync(`/proc/${holder}`) ? holder : undefined;
}

/** The engine only says that it could not connect; who holds the directory stands in its status file. */
function connectionError(directory: string, cause: unknown): Error {
  const holder = storeHolder(directory);
  if (holder !== undefined) {
    return new AuditdError('data_directory_held', `process ${holder} has the store in ${directory} open`, { cause });
  }
  const message = `the engine cannot open ${directory}: ${cause instanceof Error ? cause.message : cause}`;
  return new AuditdError('store_unavailable', message, { cause });
}

interface Engine {
  readonly heldBytes: number | undefined;
  openSession(): Session;
  drainPending(): Promise<void>;
}

/** ClickHouse codes that say that the block is at fault, so that sending it again is of no use. */
const blockErrorCodes: ReadonlySet<number> = new Set([
  6, 10, 16, 20, 25, 27, 32, 33, 41, 47, 53, 69, 70, 117, 128, 131, 252, 321, 349, 374, 636,
]);

/** Long questions wait while an insert runs: `chdb-queries.ts`. */
const insertPriority = 1;

class ChdbStore implements Store, StatementRunner, MigrationTarget {
  private readonly queries: ChdbQueries;
  private readonly insertDirectory: string;
  /** Inserts run one after another: blocks of one partition must, and the engine gains nothing from more on few cores. */
  private lastInsert: Promise<unknown> = Promise.resolve();
  /**
   * The store's own reads too: the session takes one at a time, and those that wait in it would each hold one of libuv's
   * four threads, on which the stream's fdatasync waits as well.
   */
  private lastRead: Promise<unknown> = Promise.resolve();
  private isInserting = false;
  private insertNumber = 0;
  private closed = false;

  constructor(
    directory: string,
    private readonly retention: Retention,
    private readonly writer: Session,
    private readonly reader: Session,
    private readonly classifier: ChdbNodeEngine,
    private readonly engine: Engine,
  ) {
    this.queries = new ChdbQueries(
      reader,
      classifier,
      () => engine.openSession(),
      () => this.isInserting,
      engine.heldBytes,
    );
    // Blocks on their way; what a killed process left there was never acknowledged.
    this.insertDirectory = join(directory, 'blocks');
    rmSync(this.insertDirectory, { recursive: true, force: true });
    mkdirSync(this.insertDirectory, { mode: 0o700 });
  }

  async execute(statement: string): Promise<void> {
    await this.writer.queryAsync(statement);
  }

  async select(query: string): Promise<readonly Record<string, unknown>[]> {
    const answer = this.lastRead.then(() => this.reader.queryAsync(query, { format: 'JSONEachRow' }));
    this.lastRead = answer.catch(() => undefined);
    const result = await answer;
    const text = result.text().trimEnd();
    return text === '' ? [] : text.split('\n').map((line) => JSON.parse(line) as Record<string, unknown>);
  }

  async migrate(): Promise<{ applied: string[] }> {
    const applied = await applyMigrations(this, readMigrations());
    const definitions = new Map<string, string>();
    for (const table of Object.keys(tableFields)) {
      const [row] = await this.select(`SHOW CREATE TABLE ${table}`);
      definitions.set(table, String(row?.statement ?? ''));
    }
    for (const change of retentionChanges(definitions, this.retention)) await this.execute(change);
    return { applied };
  }

  insert(batch: InsertBatch): Promise<void> {
    const turn = this.lastInsert.then(() => this.insertNow(batch));
    this.lastInsert = turn.catch(() => undefined);
    return turn;
  }

  private async insertNow(batch: InsertBatch): Promise<void> {
    if (this.closed) throw new AuditdError('store_unavailable', 'the store is closed');
    const path = join(this.insertDirectory, `${++this.insertNumber}.native`);
    let failure: unknown;
    this.isInserting = true;
    try {
      await writeFile(path, batch.block);
      const columns = columnList(batch.table);
      const source = `file(${quoted(path)}, Native)`;
      await this.execute(
        `INSERT INTO ${batch.table} (${columns}) SELECT ${columns} FROM ${source} SETTINGS ${settingsClause({ ...insertSettings, priority: insertPriority })}`,
      );
    } catch (error) {
      failure = error;
    } finally {
      await unlink(path).catch(() => undefined);
    }
    await this.verify(batch, failure).finally(() => {
      this.isInserting = false;
    });
  }

  /** Whether the insert went well or not, what counts is what the table holds. */
  private async verify(batch: InsertBatch, failure: unknown): Promise<void> {
    let stored: number;
    try {
      const [row] = await this.select(countRange(batch));
      stored = Number(row?.rows);
    } catch (error) {
      throw new AuditdError('store_unavailable', `cannot read back: ${messageOf(error)}`, { cause: failure ?? error });
    }
    if (stored === batch.rows) return;
    const { table, partition, firstOffset, lastOffset, rows } = batch;
    const range = `${table}, partition ${partition}, offsets ${firstOffset} to ${lastOffset}`;
    if (stored === 0 && failure !== undefined) {
      const code = blockErrorCodes.has(codeOf(failure)) ? 'store_refused_block' : 'store_unavailable';
      throw new AuditdError(code, `${range}: ${messageOf(failure)}`, { cause: failure });
    }
    throw new AuditdError('store_inconsistent', `${range}: ${rows} rows were inserted, ${stored} are there`, {
      cause: failure,
    });
  }

  /** One process holds the directory, and its inserts run one by one: there is nobody to take anything from. */
  async takeOver(table: RecordTable, partitions: readonly number[]): Promise<Map<number, number>> {
    await this.lastInsert;
    const highest = await this.highestOffsets(table);
    return new Map([...highest].filter(([partition]) => partitions.includes(partition)));
  }

  async highestOffsets(table: RecordTable): Promise<Map<number, number>> {
    const rows = await this.select(selectHighestOffsets(table));
    return new Map(rows.map(({ partition, offset }) => [Number(partition), Number(offset)]));
  }

  async storedEventIds(ids: readonly string[], tenant: string): Promise<Set<string>> {
    const stored = new Set<string>();
    for (let start = 0; start < ids.length; start += idsPerQuery) {
      const rows = await this.select(selectStoredIds(ids.slice(start, start + idsPerQuery), tenant));
      for (const { id } of rows) stored.add(String(id));
    }
    return stored;
  }

  async storedIdentities(table: RecordTopicName, identities: readonly Identity[]): Promise<Set<string>> {
    const stored = new Set<string>();
    for (const query of selectStoredIdentities(table, identities))
      for (const { identity } of await this.select(query)) stored.add(identityText(identity as unknown[]));
    return stored;
  }

  query(sql: string, options: QueryOptions): AsyncIterable<Uint8Array> {
    return this.queries.run(sql, options);
  }

  statement(sql: string, options: StatementOptions): Promise<Uint8Array> {
    return this.queries.statement(sql, options);
  }

  async usage(): Promise<{ tables: { table: string; rows: number; bytes: number }[] }> {
    const rows = await this.select(selectUsage);
    return {
      tables: rows.map(({ table, rows: count, bytes }) => ({
        table: String(table),
        rows: Number(count),
        bytes: Number(bytes),
      })),
    };
  }

  async close(): Promise<void> {
    if (this.closed) return;
    this.closed = true;
    await this.lastInsert;
    await this.queries.close();
    await this.classifier.close();
    this.reader.close();
    this.writer.close();
    await this.engine.drainPending();
  }
}

function settingsClause(settings: Readonly<Record<string, number>>): string {
  return Object.entries(settings)
    .map(([name, value]) => `${name} = ${value}`)
    .join(', ');
}

function quoted(text: string): string {
  return `'${text.replace(/[\\']/g, '\\$&')}'`;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function codeOf(error: unknown): number {
  return (error as { clickhouseCode?: number }).clickhouseCode ?? 0;
}
