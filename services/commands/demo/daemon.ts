import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdirSync, openSync } from 'node:fs';
import { dirname } from 'node:path';
import { createInterface } from 'node:readline';
import { AuditdError } from '../../../schemas/errors.js';

/**
 * Starts a daemon and resolves when it says that it listens. With `keep` it stays when this process ends and writes its
 * log to a file; otherwise it ends with `stop`. Throws `daemon_unreachable` when it ends before it listens.
 */
export async function startProcess(
  words: readonly string[],
  options: { readonly keep: boolean; readonly log: string },
): Promise<{ stop(): Promise<void> }> {
  mkdirSync(dirname(options.log), { recursive: true, mode: 0o700 });
  const log = options.keep ? openSync(options.log, 'a', 0o600) : 'inherit';
  const child = spawn(process.execPath, words, { stdio: ['ignore', 'pipe', log], detached: options.keep });
  if (typeof log === 'number') closeSync(log);
  const ended = once(child, 'exit');
  const lines = createInterface({ input: child.stdout! });
  const listens = (async () => {
    for await (const line of lines) if (line.startsWith('mcp-auditd listens on ')) return true;
    return false;
  })();
  if (!(await Promise.race([listens, ended.then(() => false)]))) {
    await stop(child, ended);
    throw new AuditdError(
      'daemon_unreachable',
      `The daemon ended with ${child.exitCode ?? child.signalCode} before it listened.`,
    );
  }
  lines.close();
  child.stdout!.destroy();
  if (options.keep) child.unref();
  return { stop: () => stop(child, ended) };
}

async function stop(child: ChildProcess, ended: Promise<unknown>): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM');
  await ended;
}
