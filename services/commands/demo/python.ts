/** A server in another language: mcp-server-time, where Python is there and the package can be had. */
import { spawn } from 'node:child_process';
import { mkdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';

export interface PythonServer {
  readonly command: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
}

/** pip takes 5 to 20 seconds for the package and what it needs (48 MB); the demo ends within a minute all the same. */
const demoInstallMs = 40_000;
const probeTimeoutMs = 10_000;
const probe = ['-c', 'import mcp_server_time'];

/** Runs a command and tells whether it left with 0, and the last line it wrote to standard error. */
function attempt(
  command: string,
  words: readonly string[],
  options: { readonly timeoutMs: number; readonly environment?: NodeJS.ProcessEnv; readonly signal: AbortSignal },
): Promise<{ ok: boolean; reason: string }> {
  const { timeoutMs, environment, signal } = options;
  return new Promise((resolve) => {
    const child = spawn(command, words, {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { ...process.env, ...environment },
      signal: AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]),
    });
    let errors = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      errors = (errors + text).slice(-2_000);
    });
    child.once('error', (error) =>
      resolve({
        ok: false,
        reason: error.name === 'AbortError' ? `took longer than ${timeoutMs / 1000} s` : error.message,
      }),
    );
    child.once('close', (code) => resolve({ ok: code === 0, reason: errors.trim().split('\n').at(-1) ?? '' }));
  });
}

/**
 * How to start mcp-server-time, or in one line why not: as it is installed, else installed with pip into a folder of
 * the clone's node_modules/.cache, where the next demo finds it.
 */
export async function pythonServer(
  root: string,
  signal: AbortSignal,
  installMs = demoInstallMs,
): Promise<PythonServer | { readonly why: string }> {
  const command = ['python3', '-m', 'mcp_server_time'];
  const installed = await attempt('python3', probe, { timeoutMs: probeTimeoutMs, signal });
  if (installed.ok) return { command, environment: {} };
  if (installed.reason.includes('ENOENT')) return { why: 'there is no python3 on this machine' };
  const folder = join(root, 'node_modules', '.cache', 'mcp-auditd-demo', 'python');
  const environment = { PYTHONPATH: folder };
  if ((await attempt('python3', probe, { timeoutMs: probeTimeoutMs, environment, signal })).ok)
    return { command, environment };
  // Renamed when it is whole: an install that was broken off is never taken for one.
  const aside = `${folder}.${process.pid}`;
  try {
    mkdirSync(aside, { recursive: true });
    const words = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--no-warn-conflicts'];
    const pip = await attempt('python3', [...words, '--target', aside, 'mcp-server-time'], {
      timeoutMs: installMs,
      signal,
    });
    if (!pip.ok) return { why: `pip install mcp-server-time failed: ${pip.reason}` };
    rmSync(folder, { recursive: true, force: true });
    renameSync(aside, folder);
    return { command, environment };
  } catch (error) {
    // Another process may have been faster.
    const found = await attempt('python3', probe, { timeoutMs: probeTimeoutMs, environment, signal });
    return found.ok ? { command, environment } : { why: (error as Error).message };
  } finally {
    rmSync(aside, { recursive: true, force: true });
  }
}
