/**
 * The port to the store: ClickHouse's SQL, in process (`chdb.ts`) or on a server (`clickhouse.ts`). Both pass
 * test/contract/store.ts. The table is the offset store: each row carries its partition and offset, and a partition's
 * highest stored offset says where its ingestor goes on.
 */
import type { RecordTable, RecordTopicName } from '../../schemas/tables.js';

/** Values of a topic's `identity` columns, in their order. */
export type Identity = readonly (string | number)[];

/** An identity as one text, equal for equal ones. */
export function identityText(identity: readonly unknown[]): string {
  return JSON.stringify(identity.map(String));
}

export interface InsertBatch {
  readonly table: RecordTable;
  readonly partition: number;
  /** Lowest and highest stream_offset in the block, both included. */
  readonly firstOffset: number;
  readonly lastOffset: number;
  readonly rows: number;
  /** One block of ClickHouse's Native format, complete, as `schemas/native.ts` builds it. */
  readonly block: Uint8Array;
}

export interface QueryLimits {
  /** Milliseconds until the query is stopped. */
  readonly timeMs: number;
  /** Bytes of memory that the query may use. */
  readonly memoryBytes: number;
  /** Rows and bytes of the result. */
  readonly resultRows: number;
  readonly resultBytes: number;
}

/** What the engine has read for a question so far. */
export interface QueryProgress {
  readonly readRows: number;
  /** Not packed. */
  readonly readBytes: number;
  /** Rows that it means to read, as far as it knows. */
  readonly totalRows: number;
}

export interface QueryOptions {
  /** A ClickHouse output format, for example JSONEachRow. */
  readonly format: string;
  /** Values of `{name:Type}` placeholders; they never enter the SQL text. */
  readonly parameters?: Readonly<Record<string, string>>;
  /** They are escaped as ClickHouse's protocol has them: `\\t` is a tabulator and `\\N` is NULL. Else they are text. */
  readonly parametersEscaped?: boolean;
  readonly limits?: Partial<QueryLimits>;
  /** Settings that only change how the result is written or read by people, by name; whoever calls has chosen which. */
  readonly settings?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
  /** Only rows of this tenant are seen, whatever the statement says. Without it: those of every tenant. */
  readonly tenant?: string;
  /** The statement's text is the program's own, and nothing in it fails on a row or tells of one that it does not give. */
  readonly isOurs?: boolean;
  /** Told of the rows of the result as they are handed over. */
  readonly onRows?: (rows: number) => void;
  /**
   * Told what was read, before each piece is handed over and every `everyMs` while the engine works, as long as it is
   * wanted. Of a question of one tenant nothing is told: what is read holds rows of others.
   */
  readonly progress?: {
    readonly everyMs?: number | undefined;
    isWanted(): boolean;
    told(progress: QueryProgress): void;
  };
}

export interface StatementOptions {
  readonly format: string;
  readonly settings?: Readonly<Record<string, string>>;
  /** Escaped. */
  readonly parameters?: Readonly<Record<string, string>>;
}

const escapes: Readonly<Record<string, string>> = { '\\': '\\\\', '\0': '\\0', '\n': '\\n', '\r': '\\r', '\t': '\\t' };

/** Text as the protocol has it. */
export function escapedParameters(parameters: Readonly<Record<string, string>>): Record<string, string> {
  const escaped = (value: string) => value.replace(/[\\\0\n\r\t]/g, (each) => escapes[each]!);
  return Object.fromEntries(Object.entries(parameters).map(([name, value]) => [name, escaped(value)]));
}

/** An engine in this process, for whoever may do anything: the ClickHouse endpoint's own key. */
export interface StatementRunner {
  /** Runs one statement as it is, whatever it does; its settings hold for it alone. Resolves to the whole answer. */
  statement(sql: string, options: StatementOptions): Promise<Uint8Array>;
}

export interface Store {
  /** Applies `schemas/clickhouse/*.sql` in order, each once. Throws `data_directory_newer` when the store knows a migration that this program does not. */
  migrate(): Promise<{ applied: string[] }>;
  /**
   * Stores one block, atomically, and verifies that its rows are there. A block must not span two days of
   * recorded_at (partitions are committed one by one). Rejects with `retriable` set on a failure that may pass.
   */
  insert(batch: InsertBatch): Promise<void>;
  /**
   * Makes this process the only one that can insert into the partitions, and resolves to their highest stored offsets
   * (those without rows are absent). Inserts of owners before have ended then; what they still send is refused with
   * `store_fenced`.
   */
  takeOver(table: RecordTable, partitions: readonly number[]): Promise<Map<number, number>>;
  /** Highest stored offset of each partition of the topic's table. */
  highestOffsets(table: RecordTable): Promise<Map<number, number>>;
  /**
   * Which of these event ids the tenant has stored already. `ids` of at most 50,000. By tenant, because one that knows
   * another's ids must not be able to make the other's events look like repetitions.
   */
  storedEventIds(ids: readonly string[], tenant: string): Promise<Set<string>>;
  /** Which of these identities (of any number) the topic's table holds, each as its `identityText`. */
  storedIdentities(table: RecordTopicName, identities: readonly Identity[]): Promise<Set<string>>;
  /** Read-only SQL from a user. Refuses everything that writes, reads files or networks, or lifts limits. */
  query(sql: string, options: QueryOptions): AsyncIterable<Uint8Array>;
  /** Rows and bytes by table, and free bytes, for `status`. */
  usage(): Promise<{ tables: { table: string; rows: number; bytes: number }[] }>;
  close(): Promise<void>;
}
