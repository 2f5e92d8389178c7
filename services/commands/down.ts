import type { Command } from 'commander';
import { AuditdError } from '../../schemas/errors.js';
import { addCommonOptions, type CommonOptions, loadConfiguration } from './context.js';

const pollMs = 50;

/** `down`: ends the daemon of a data directory, in order. */
export function addDown(program: Command): void {
  addCommonOptions(program.command('down'))
    .description('stop the daemon of the data directory, and wait until it has ended')
    .addHelpText('after', '\nExamples:\n  mcp-auditd down\n  mcp-auditd down --data ./audit')
    .action(run);
}

async function run(options: CommonOptions): Promise<void> {
  const { configuration, data } = await loadConfiguration(options);
  const { isReachable, readHolder } = await import('../app/hold.js');
  const holder = readHolder(data);
  if (holder === undefined) {
    process.stdout.write(`No daemon runs on ${data}.\n`);
    return;
  }
  if (!isReachable(holder))
    throw new AuditdError(
      'data_directory_held',
      `Process ${holder.pid} on ${holder.host} runs in another container or on another machine: stop it there.`,
    );
  process.kill(holder.pid, 'SIGTERM');
  // It ends by itself within its own deadline; what is added is for a machine that is busy.
  const deadlineMs = Date.now() + configuration.stop_timeout_ms + 5_000;
  while (readHolder(data)?.pid === holder.pid) {
    if (Date.now() > deadlineMs)
      throw new AuditdError('data_directory_held', `Process ${holder.pid} has not ended on SIGTERM.`);
    await new Promise((resolve) => setTimeout(resolve, pollMs));
  }
  process.stdout.write(`stopped process ${holder.pid}\n`);
}
