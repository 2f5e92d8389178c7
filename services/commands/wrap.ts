import type { Command } from 'commander';
import { addCommonOptions, type CommonOptions } from './context.js';
import { addEmitterOptions, type EmitterOptions, recorderOptionsOf, throttleOptionsOf } from './emitting.js';

/** `wrap`: a stdio server as a child, audited. It starts with every MCP client, so it loads nothing but the emitter. */
export function addWrap(program: Command): void {
  const command = addCommonOptions(program.command('wrap')).description(
    'run a stdio MCP server and record every request to it',
  );
  addEmitterOptions(command)
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
    .action(async (words: string[], options: CommonOptions & EmitterOptions) => {
      const { runWrap } = await import('../emitter/wrap.js');
      const [command, ...args] = words as [string, ...string[]];
      const { actor } = options;
      const throttle = throttleOptionsOf(options);
      process.exitCode = await runWrap({
        command,
        args,
        ...(actor === undefined ? {} : { actor: () => actor }),
        ...(throttle === undefined ? {} : { throttle }),
        recorderOptions: recorderOptionsOf(options),
      });
    });
}
