/** The Python client of ClickHouse, in a virtual environment that stays in the user's cache directory. */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rename, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
const version = '1.12.0';

/** The interpreter that has `clickhouse-connect`. About 10 s the first time ever. */
export async function pythonWithClickHouse(): Promise<string> {
  const cache = join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'mcp-auditd');
  const directory = join(cache, `clickhouse-connect-${version}`);
  const interpreter = join(directory, 'bin', 'python');
  if (existsSync(interpreter)) return interpreter;
  await mkdir(cache, { recursive: true });
  const fresh = await mkdtemp(join(cache, 'python-'));
  await run('python3', ['-m', 'venv', fresh]);
  await run(join(fresh, 'bin', 'python'), ['-m', 'pip', 'install', '--quiet', `clickhouse-connect==${version}`]);
  // Whole or not at all; another process may have been faster. Only the interpreter is used, by its path.
  await rename(fresh, directory).catch(() => rm(fresh, { recursive: true, force: true }));
  return interpreter;
}
