/** `dashboard`: a link that opens the dashboard, once. */
import type { Command } from 'commander';
import { keyFilePath, readSecretFile } from '../access/keys.js';
import {
  addCommonOptions,
  type CommonOptions,
  type Daemon,
  loadConfiguration,
  request,
  requireDaemon,
} from './context.js';

export function addDashboard(program: Command): void {
  addCommonOptions(program.command('dashboard'))
    .description('print a link that opens the dashboard, once, within the hour')
    .option('--view-only', 'whoever opens it may look on and not decide')
    .option('--json', 'as JSON, with the time it is good for')
    .addHelpText('after', '\nExamples:\n  mcp-auditd dashboard\n  xdg-open "$(mcp-auditd dashboard)"')
    .action(async (options: CommonOptions & { viewOnly?: boolean; json?: boolean }) => {
      const { data } = await loadConfiguration(options);
      const link = await dashboardLink(await requireDaemon(data), data, options.viewOnly !== true);
      process.stdout.write(`${options.json === true ? JSON.stringify(link) : link.url}\n`);
    });
}

/** A link with a one-time token. Its session may decide where this user has the responder's key and `decides` says so. */
export async function dashboardLink(
  daemon: Daemon,
  data: string,
  decides: boolean,
): Promise<{ url: string; expires_at: string }> {
  let respondKey: string | undefined;
  try {
    const { MCP_AUDITD_RESPOND_KEY, MCP_AUDITD_RESPOND_KEY_FILE } = process.env;
    if (decides)
      respondKey =
        MCP_AUDITD_RESPOND_KEY ?? readSecretFile(MCP_AUDITD_RESPOND_KEY_FILE ?? keyFilePath(data, 'respond'));
  } catch {
    // Who has no such key looks on.
  }
  const answer = await request(daemon, '/api/v1/login-tokens', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(respondKey === undefined ? {} : { respond_key: respondKey }),
  });
  const { path, expires_at } = (await answer.json()) as { path: string; expires_at: string };
  return { url: `${daemon.url}${path}`, expires_at };
}
