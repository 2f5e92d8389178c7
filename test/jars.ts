/** Jars that tests need: from Maven once, kept in the user's cache directory. */
import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, rename, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

/** The directory with what a pom.xml depends on, filled by Maven where it is missing: 10 to 60 s the first time ever. */
export async function fetchJars(name: string, pom: string): Promise<string> {
  const version = /<dependency>[\s\S]*?<version>([^<]+)/.exec(readFileSync(pom, 'utf8'))![1]!;
  const cache = process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache');
  const jars = join(cache, `mcp-auditd-${name}-${version}`);
  if (existsSync(jars)) return jars;
  await mkdir(cache, { recursive: true });
  // Filled aside and renamed: a test run that starts meanwhile sees all of it or nothing.
  const filling = await mkdtemp(`${jars}-`);
  const words = ['-q', '-B', '-f', pom, 'dependency:copy-dependencies', `-DoutputDirectory=${filling}`];
  await promisify(execFile)('mvn', words);
  try {
    await rename(filling, jars);
  } catch (error) {
    await rm(filling, { recursive: true, force: true });
    if (!existsSync(jars)) throw error;
  }
  return jars;
}
