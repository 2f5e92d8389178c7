/** This machine: the program's own needs, the data directory, the keys, the daemon. */
import { accessSync, constants, existsSync, statfsSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { configurationKeys } from '../../../schemas/configuration-keys.js';
import { listKeys, openKeys } from '../../access/keys.js';
import { type Finding, failed, failedBy, ok, type Patient, warned } from '../doctor.js';
import { readHolder } from '../hold.js';

/** The first Node.js 20 that has all that is used; package.json says the same. */
const leastNode = [20, 15] as const;
/** Below this a day of 10,000 events a second (24 bytes each in the table, 577 in the stream) no longer fits. */
const littleSpaceBytes = 1024 ** 3;
const scarceSpaceBytes = 64 * 1024 ** 2;
/** A daemon answers its health within a second or is busy with something else. */
const daemonTimeoutMs = 3_000;

export async function* machine(patient: Patient): AsyncGenerator<Finding> {
  yield node();
  yield* configurationFile(patient);
  yield* directory(patient);
  yield* keys(patient);
  if (usesEngine(patient)) yield engine();
  yield* daemon(patient);
}

function usesEngine({ configuration, roles }: Patient): boolean {
  return configuration.store.clickhouse === undefined && roles.some(({ usesStore }) => usesStore);
}

function node(): Finding {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  const enough = major > leastNode[0] || (major === leastNode[0] && minor >= leastNode[1]);
  return enough
    ? ok('node', `Node.js ${process.versions.node}`)
    : failed('node', `this is Node.js ${process.versions.node}`, `Install Node.js ${leastNode.join('.')} or later.`);
}

/** A file with a secret in it that others can read. */
function* configurationFile({ configuration, file }: Patient): Generator<Finding> {
  if (file === undefined) return;
  const secrets = configurationKeys().some(({ path, secret }) => {
    let value: unknown = configuration;
    for (const name of path) value = (value as Record<string, unknown> | undefined)?.[name];
    return secret && value !== undefined;
  });
  const mode = statSync(file).mode & 0o777;
  if (secrets && process.platform !== 'win32' && (mode & 0o077) !== 0)
    yield warned(
      'configuration',
      `${file} has mode ${mode.toString(8).padStart(4, '0')}, and secrets are configured`,
      'Run chmod 600 on it, or keep the secrets in files of their own (keys with _file at their end).',
    );
  else yield ok('configuration', file);
}

function* directory({ data }: Patient): Generator<Finding> {
  const name = 'data directory';
  if (!existsSync(data)) {
    let parent = dirname(data);
    while (!existsSync(parent)) parent = dirname(parent);
    yield writable(parent)
      ? ok(name, `${data} is not there yet; it is made at the first start`)
      : failed(name, `${data} is not there, and ${parent} cannot be written`, 'Give another directory with --data.');
    return;
  }
  const { mode } = statSync(data);
  if (!writable(data)) {
    yield failed(
      name,
      `${data} cannot be written`,
      `Run chown ${process.getuid?.() ?? 'USER'} on it, or give another with --data.`,
    );
    return;
  }
  if (process.platform !== 'win32' && (mode & 0o077) !== 0)
    yield warned(
      name,
      `${data} has mode ${(mode & 0o777).toString(8).padStart(4, '0')}: others can look into it`,
      `Run chmod 700 ${data}.`,
    );
  else yield ok(name, data);
  const { bavail, bsize, ffree, files } = statfsSync(data);
  const free = bavail * bsize;
  const text = `${(free / 1024 ** 3).toFixed(1)} GiB free below ${data}`;
  const mend = 'Free some space, or keep less: store.retention_days, stream.local.retention_days.';
  if (free < scarceSpaceBytes) yield failed('disk', text, mend);
  else if (free < littleSpaceBytes) yield warned('disk', text, mend);
  else if (files > 0 && ffree < 1000) yield warned('disk', `${ffree} files can still be made below ${data}`, mend);
  else yield ok('disk', text);
}

function writable(path: string): boolean {
  try {
    accessSync(path, constants.W_OK | constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function* keys({ configuration, data, roles }: Patient): Generator<Finding> {
  const file = configuration.access.keys_file;
  try {
    if (file !== undefined) {
      openKeys(data, { file });
      yield ok('keys', file);
    } else if (existsSync(data)) yield ok('keys', `${listKeys(data).length} in ${data}/keys.json`);
  } catch (error) {
    yield failedBy('keys', error);
  }
  const shared = configuration.stream.kafka !== undefined && file === undefined;
  if (shared && roles.some(({ name }) => name === 'gateway'))
    yield warned(
      'keys',
      'each gateway has keys of its own, so an emitter is known to one of several only',
      'Give all of them the same access.keys_file.',
    );
}

function engine(): Finding {
  try {
    // Looked for, not loaded: the engine is 500 MB.
    import.meta.resolve('chdb');
    return ok('engine', 'the ClickHouse engine (npm chdb) is installed');
  } catch {
    return failed(
      'engine',
      'the ClickHouse engine (npm chdb) is not installed',
      'Run npm install chdb (Linux with glibc, or macOS), or configure store.clickhouse.',
    );
  }
}

async function* daemon({ data }: Patient): AsyncGenerator<Finding> {
  const holder = readHolder(data);
  if (holder === undefined) {
    yield ok('daemon', 'none runs on the data directory');
    return;
  }
  const who = `process ${holder.pid}, version ${holder.version}`;
  if (holder.url === undefined) {
    yield ok('daemon', `${who} is starting`);
    return;
  }
  try {
    const answer = await fetch(`${holder.url}/readyz`, { signal: AbortSignal.timeout(daemonTimeoutMs) });
    const { roles = {} } = (await answer.json()) as { roles?: Record<string, { state: string; reason?: string }> };
    const waiting = Object.entries(roles).filter(([, { state }]) => state !== 'ready');
    for (const [role, { state, reason = '' }] of waiting)
      yield (state === 'stuck' ? failed : warned)(
        'daemon',
        `${who}: ${role} is ${state}: ${reason}`,
        state === 'stuck' ? 'Start it again; its log says more.' : 'Mend what it waits for; it goes on by itself.',
      );
    if (waiting.length === 0) yield ok('daemon', `${who} works on ${holder.url}`);
  } catch (error) {
    yield failed('daemon', `${who} does not answer on ${holder.url}: ${(error as Error).message}`, 'Look at its log.');
  }
}
