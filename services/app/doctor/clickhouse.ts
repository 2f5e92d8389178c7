/** The ClickHouse server: whether it answers, is new enough, lets this user do its work, and has room. */
import { AuditdError } from '../../../schemas/errors.js';
import { openClickHouseStore } from '../../store/clickhouse.js';
import { ClickHouseConnection } from '../../store/clickhouse-connection.js';
import { clickHouseError } from '../../store/clickhouse-errors.js';
import { readMigrations } from '../../store/migrations.js';
import { type Finding, failed, failedBy, ok, type Patient, warned } from '../doctor.js';
import { clickhouseOptions } from '../ports.js';

/** Retention and the times of queries go by the server's clock, records by the brokers'. */
const clockToleranceMs = 2_000;
const littleSpace = 0.1;

/** What the statements of the store need, by role. */
const privileges: Readonly<Record<string, readonly string[]>> = {
  ingestor: ['SELECT', 'INSERT', 'CREATE TABLE', 'CREATE VIEW', 'ALTER TABLE'],
  query: ['SELECT'],
};

export async function* clickhouse(patient: Patient): AsyncGenerator<Finding> {
  const { configuration, roles } = patient;
  const section = configuration.store.clickhouse!;
  const options = clickhouseOptions(section, configuration.store);
  if (section.password !== undefined && section.url.startsWith('http:') && !isLocal(section.url))
    yield warned(
      'clickhouse',
      'the password goes over the network as it is',
      'Use an https URL, or keep the server in a network of its own.',
    );
  try {
    // Login, certificate, version and cluster, as a role opens it.
    await (await openClickHouseStore(options)).close();
  } catch (error) {
    yield failedBy('clickhouse', error);
    return;
  }
  const connection = new ClickHouseConnection({ ...options, database: 'default' });
  try {
    const [row] = await connection.select('SELECT version() AS version');
    yield ok('clickhouse', `${new URL(section.url).origin} runs ClickHouse ${row?.version}`);
    yield await clock(connection);
    for (const role of roles) yield* allowed(connection, section, role.name);
    yield* tables(
      connection,
      section.database,
      roles.some(({ name }) => name === 'ingestor'),
    );
    yield* space(connection);
  } catch (error) {
    yield failedBy('clickhouse', clickHouseError(error, 'asking ClickHouse'));
  } finally {
    await connection.close();
  }
}

function isLocal(url: string): boolean {
  return /^(localhost|127\.|\[::1\])/.test(new URL(url).hostname);
}

async function clock(connection: ClickHouseConnection): Promise<Finding> {
  const before = Date.now();
  const [row] = await connection.select("SELECT toString(toUnixTimestamp64Milli(now64(3, 'UTC'))) AS ms");
  const after = Date.now();
  const difference = Math.round(Number(row?.ms) - (before + after) / 2);
  const text = `ClickHouse is ${Math.abs(difference)} ms ${difference < 0 ? 'behind' : 'ahead'}`;
  return Math.abs(difference) > clockToleranceMs + (after - before) / 2
    ? warned('clock', text, 'Let NTP set both clocks.')
    : ok('clock', text);
}

async function* allowed(
  connection: ClickHouseConnection,
  { database, username }: { readonly database: string; readonly username: string },
  role: string,
): AsyncGenerator<Finding> {
  const wanted = privileges[role];
  if (wanted === undefined) return;
  const missing: string[] = [];
  for (const privilege of wanted) {
    const [row] = await connection.select(`CHECK GRANT ${privilege} ON \`${database}\`.*`);
    if (Number(Object.values(row ?? {})[0]) !== 1) missing.push(privilege);
  }
  yield missing.length === 0
    ? ok(`role ${role}`, `${username} may ${wanted.join(', ')} on ${database}`)
    : failed(
        `role ${role}`,
        `${username} may not ${missing.join(', ')} on ${database}`,
        `As a user who may grant: GRANT ${missing.join(', ')} ON ${database}.* TO ${username}`,
      );
}

async function* tables(connection: ClickHouseConnection, database: string, migrates: boolean): AsyncGenerator<Finding> {
  const known = readMigrations().map(({ name }) => name);
  const parameters = { database };
  const [there] = await connection.select(
    "SELECT count() AS tables FROM system.tables WHERE database = {database:String} AND name = 'schema_migrations'",
    { parameters },
  );
  if (Number(there?.tables) === 0) {
    const text = `the tables are not in ${database} yet`;
    yield migrates
      ? ok('tables', `${text}; the ingestor makes them`)
      : warned('tables', text, 'Start an ingestor first.');
    return;
  }
  const rows = await connection.select(`SELECT DISTINCT name FROM \`${database}\`.schema_migrations ORDER BY name`);
  const applied = rows.map(({ name }) => String(name));
  const newer = applied.filter((name) => !known.includes(name));
  const missing = known.filter((name) => !applied.includes(name));
  if (newer.length > 0)
    yield failedBy(
      'tables',
      new AuditdError('data_directory_newer', `${database} has ${newer.join(', ')}, which this program does not know`),
    );
  else if (missing.length > 0 && !migrates)
    yield warned('tables', `${database} lacks ${missing.join(', ')}`, 'Start an ingestor of this version first.');
  else yield ok('tables', missing.length === 0 ? `${database} is up to date` : `${missing.join(', ')} will be applied`);
}

async function* space(connection: ClickHouseConnection): AsyncGenerator<Finding> {
  const disks = await connection.select(
    'SELECT name, free_space / total_space AS free FROM system.disks WHERE total_space > 0',
  );
  for (const { name, free } of disks) {
    const text = `${(Number(free) * 100).toFixed(0)} % of the disk ${name} is free`;
    yield Number(free) < littleSpace
      ? warned('clickhouse disk', text, 'Add space, or keep less: store.retention_days.')
      : ok('clickhouse disk', text);
  }
}
