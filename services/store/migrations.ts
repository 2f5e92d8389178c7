import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { AuditdError } from '../../schemas/errors.js';

/**
 * Versioned changes of the store: `schemas/clickhouse/NNNN_name.sql`, the same for a server and for the engine in
 * process. Each is applied once, in order, and noted in `schema_migrations` afterwards; a process that dies between the
 * two applies it again, so every statement is idempotent (IF NOT EXISTS, OR REPLACE).
 */
export interface Migration {
  /** The file's name without `.sql`, for example `0001_calls`. */
  readonly name: string;
  readonly statements: readonly string[];
}

/** What a migration needs of a store: statements, and rows of a query. */
export interface MigrationTarget {
  execute(statement: string): Promise<void>;
  select(query: string): Promise<readonly Record<string, unknown>[]>;
}

/** The directory of the migrations: below the package's root, found from the sources as well as from `dist/`. */
function migrationsDirectory(): string {
  let directory = dirname(fileURLToPath(import.meta.url));
  for (;;) {
    const candidate = join(directory, 'schemas', 'clickhouse');
    if (existsSync(join(directory, 'package.json')) && existsSync(candidate)) return candidate;
    const parent = dirname(directory);
    if (parent === directory) throw new Error('the package has no directory schemas/clickhouse');
    directory = parent;
  }
}

/** Reads the migrations in order. A statement ends with a semicolon at the end of a line; `--` lines are comments. */
export function readMigrations(directory = migrationsDirectory()): Migration[] {
  return readdirSync(directory)
    .filter((file) => /^\d{4}_\w+\.sql$/.test(file))
    .sort()
    .map((file) => ({
      name: file.slice(0, -'.sql'.length),
      statements: readFileSync(join(directory, file), 'utf8')
        .replace(/^\s*--.*$/gm, '')
        .split(/;\s*(?:\n|$)/)
        .map((statement) => statement.trim())
        .filter((statement) => statement !== ''),
    }));
}

/**
 * Applies what is missing and returns its names. Throws `data_directory_newer` when the store knows a migration that
 * this program does not, before anything is changed.
 */
export async function applyMigrations(target: MigrationTarget, migrations: readonly Migration[]): Promise<string[]> {
  await target.execute(
    "CREATE TABLE IF NOT EXISTS schema_migrations (name String, applied_at DateTime64(3, 'UTC') DEFAULT now64(3)) ENGINE = MergeTree ORDER BY name",
  );
  const rows = await target.select('SELECT DISTINCT name FROM schema_migrations ORDER BY name');
  const known = new Set(migrations.map(({ name }) => name));
  const applied = rows.map(({ name }) => String(name));
  const unknown = applied.filter((name) => !known.has(name));
  if (unknown.length > 0) {
    throw new AuditdError(
      'data_directory_newer',
      `the store has migration ${unknown.join(', ')}, which this program does not know; its newest is ${migrations.at(-1)?.name}`,
    );
  }
  const missing = migrations.filter(({ name }) => !applied.includes(name));
  for (const { name, statements } of missing) {
    for (const statement of statements) await target.execute(statement);
    // The name comes from readMigrations' pattern, so it holds nothing that would need quoting.
    await target.execute(`INSERT INTO schema_migrations (name) VALUES ('${name}')`);
  }
  return missing.map(({ name }) => name);
}
