#!/usr/bin/env node
/** Flags and signals only. */
import { type Command, CommanderError } from 'commander';
import { AuditdError } from '../schemas/errors.js';
import { watchOutput } from './commands/output.js';
import { makeProgram } from './commands/program.js';

/** How to mend what the system refuses; a user meets these where the data directory is. */
const systemMends: Readonly<Record<string, string>> = {
  EACCES: 'Mend its permissions, or give another directory with --data.',
  EPERM: 'Mend its permissions, or give another directory with --data.',
  EROFS: 'The file system is read-only: give another directory with --data.',
  ENOSPC: 'Free disk space, or give another directory with --data.',
  EDQUOT: 'Free disk space, or give another directory with --data.',
  ENOTDIR: 'A part of this path is a file: give another directory with --data.',
  EEXIST: 'A part of this path is a file: give another directory with --data.',
};

function tell(error: unknown): number {
  const { message = String(error), code = '', stack } = error as NodeJS.ErrnoException;
  const mend = (error as { mend?: string }).mend ?? systemMends[code];
  // Messages quote what others sent: nothing of it may steer the terminal.
  const safe = message.replace(/[^\P{Cc}\n\t]/gu, (each) => `\\x${each.charCodeAt(0).toString(16).padStart(2, '0')}`);
  process.stderr.write(`mcp-auditd: ${safe}\n${mend === undefined ? '' : `${mend}\n`}`);
  if (process.argv.includes('--verbose')) {
    process.stderr.write(`${stack ?? ''}\n`);
    const { cause } = error as { cause?: unknown };
    if (cause instanceof Error) process.stderr.write(`caused by ${cause.stack ?? cause.message}\n`);
  } else if (mend === undefined) process.stderr.write('--verbose shows where it came from.\n');
  return error instanceof AuditdError && error.code === 'argument_invalid' ? 2 : 1;
}

async function main(): Promise<void> {
  const program = await makeProgram(process.argv[2]);
  const override = (command: Command): void => {
    command.exitOverride();
    for (const each of command.commands) override(each);
  };
  override(program);
  try {
    await program.parseAsync();
  } catch (error) {
    // Commander has said what was wrong already; help and version are no mistakes.
    process.exitCode = error instanceof CommanderError ? (error.exitCode === 0 ? 0 : 2) : tell(error);
  }
}

watchOutput();
// Not awaited: files of the built program import one another, this one too, and would wait for its end.
void main();
