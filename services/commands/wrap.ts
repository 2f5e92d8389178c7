import type { Command } from 'commander';
import { addCommonOptions, type CommonOptions } from './context.js';

interface WrapCommandOptions extends CommonOptions {
  readonly name?: string;
  readonly actor?: string;
  readonly failClosed?: boolean;
}

/** `wrap`: a stdio server as a child, audited. It starts with every MCP client, so it loads nothing but the emitter. */
export function addWrap(program: Command): void {
  addCommonOptions(program.command('wrap'))
    .description('run a stdio MCP server and record every request to it')
    .option('--name <name>', 'name of the producer (default: mcp-server)')
    .option('--actor <id>', 'who calls, as a claim (default: MCP_AUDITD_ACTOR, else the user of the system)')
    .option('--fail-closed', 'refuse calls that cannot be recorded')
    .argument('<command...>', 'the server and its arguments, after --')
    .addHelpText(
      'after',
      `
Bytes, standard error, signals and the exit code pass through unchanged; the
exit code is 127 or 126 when the server cannot be started. The daemon need not
run: records wait in the spool. MCP_AUDITD_URL and MCP_AUDITD_KEY_FILE name a
daemon elsewhere.

Examples:
  mcp-auditd wrap -- npx -y @modelcontextprotocol/server-everything
  mcp-auditd wrap --name files --actor alice@example.com -- npx -y @modelcontextprotocol/server-filesystem .
  mcp-auditd wrap --fail-closed -- python3 -m mcp_server_time`,
    )
    .action(async (words: string[], options: WrapCommandOptions) => {
      const { runWrap } = await import('../emitter/wrap.js');
      const [command, ...args] = words as [string, ...string[]];
      const { actor } = options;
      process.exitCode = await runWrap({
        command,
        args,
        ...(actor === undefined ? {} : { actor: () => actor }),
        recorderOptions: {
          ...(options.name === undefined ? {} : { name: options.name }),
          ...(options.data === undefined ? {} : { data: options.data }),
          ...(options.failClosed === undefined ? {} : { failClosed: options.failClosed }),
        },
      });
    });
}
