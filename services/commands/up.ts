import type { Command } from 'commander';
import { resolveDataDirectory } from '../../schemas/data-directory.js';
import { type Role, roles } from '../app/roles.js';
import { addCommonOptions, type CommonOptions, loadConfiguration } from './context.js';
import { shellWord, whenReaderLeaves } from './output.js';

interface UpOptions extends CommonOptions {
  readonly roles?: string;
  readonly listen?: string;
  readonly keepDays?: string;
  readonly keepBodiesDays?: string;
  readonly logLevel?: string;
}

/** Two signals within this time are one that came twice. */
const secondSignalMs = 500;

/** Long enough for the last lines of the log. */
const exitAfterStopMs = 500;

const stopping = `
SIGTERM and SIGINT stop it in order: what was accepted is durable, what was read
is stored. A second signal ends it at once, which loses nothing either.`;

function addServerOptions(command: Command): Command {
  return addCommonOptions(command)
    .option('--listen <host:port>', 'address of the HTTP server; port 0 takes a free one (default: 127.0.0.1:7467)')
    .option('--log-level <level>', 'trace, debug, info, warn, error, fatal or silent (default: info)');
}

/** `up`: roles in this process until a signal ends it; all of them unless some are named. */
export function addUp(program: Command): void {
  addServerOptions(program.command('up'))
    .description('record and answer on this machine: every role in one process')
    .option('--roles <names>', `only these roles, separated by commas: ${roles.map(({ name }) => name).join(', ')}`)
    .option('--keep-days <days>', 'days that calls are kept (default: 90)')
    .option('--keep-bodies-days <days>', 'days that arguments and results are kept (default: 30)')
    .addHelpText(
      'after',
      `${stopping}

Examples:
  mcp-auditd up
  mcp-auditd up --listen 127.0.0.1:0 --data ./audit
  mcp-auditd up --keep-days 365 --keep-bodies-days 7
  mcp-auditd up --roles gateway,query --config cluster.yaml`,
    )
    .action(async (options: UpOptions) => {
      const { chooseRoles } = await import('../app/roles.js');
      await run(options, chooseRoles(options.roles?.split(',').map((name) => name.trim())));
    });
}

/** One command for each role that has one: the role alone in this process. */
export function addRoleCommands(program: Command): void {
  for (const role of roles) {
    if (role.command === undefined) continue;
    addServerOptions(program.command(role.command))
      .description(`the role ${role.name} alone, on Kafka: ${role.summary}`)
      .addHelpText(
        'after',
        `
The same as mcp-auditd up --roles ${role.name}. Several such processes share
the work. docs/cluster.md tells how the roles are run.
${stopping}

Examples:
  mcp-auditd ${role.command} --config cluster.yaml
  mcp-auditd ${role.command} --listen 0.0.0.0:7467 --data /var/lib/mcp-auditd`,
      )
      .action((options: UpOptions) => run(options, [role]));
  }
}

function number(text: string | undefined): number | string | undefined {
  return text === undefined || Number.isNaN(Number(text)) ? text : Number(text);
}

async function run(options: UpOptions, chosen: readonly Role[]): Promise<void> {
  const { configuration, data } = await loadConfiguration(options, {
    listen: options.listen,
    'store.retention_days': number(options.keepDays),
    'store.body_retention_days': number(options.keepBodiesDays),
    'log.level': options.logLevel,
  });
  const [{ startApp }, { openLog }] = await Promise.all([import('../app.js'), import('../app/log.js')]);
  const log = openLog(configuration.log);
  let endingSinceMs: number | undefined;
  let signalled!: (signal: NodeJS.Signals) => void;
  const signal = new Promise<NodeJS.Signals>((resolve) => {
    signalled = resolve;
  });
  const onSignal = (name: NodeJS.Signals): void => {
    endingSinceMs ??= Date.now();
    // npm, timeout and others pass on a signal that the terminal sends to the whole group as well.
    if (Date.now() - endingSinceMs > secondSignalMs) process.exit(name === 'SIGINT' ? 130 : 143);
    signalled(name);
  };
  process.on('SIGTERM', onSignal).on('SIGINT', onSignal);
  // The daemon does not depend on who reads its greeting.
  whenReaderLeaves(() => undefined);
  const starting = startApp(configuration, data, log, chosen);
  // Who stops it while it starts, and waits for a broker perhaps, does not wait for the start.
  const first = await Promise.race([starting, signal]);
  if (typeof first === 'string') process.exit(first === 'SIGINT' ? 130 : 143);
  const running = first;
  if (running.movedFrom !== undefined)
    log.warn(`${running.movedFrom} is taken by something else, so this daemon listens on ${running.url}`);
  process.stdout.write(`${welcome(running, chosen, await linkOf(running, chosen))}\n`);
  log.info({ signal: await signal }, 'stopping');
  // What is not stored at the deadline is read again by the next process: nothing is lost by leaving.
  const late = setTimeout(() => {
    log.error(`not stopped after ${configuration.stop_timeout_ms} ms, so it ends as it is`);
    process.exit(1);
  }, configuration.stop_timeout_ms);
  await running.stop();
  clearTimeout(late);
  log.info('stopped');
  // A client that still holds a socket or a timer does not hold the process.
  setTimeout(() => process.exit(), exitAfterStopMs).unref();
}

/** The dashboard's link, where this process serves it and this user has a key for it. */
async function linkOf(
  { url, data }: { url: string; data: string },
  chosen: readonly Role[],
): Promise<string | undefined> {
  if (!chosen.some(({ name }) => name === 'query')) return undefined;
  const [{ keyFilePath, readSecretFile }, { dashboardLink }] = await Promise.all([
    import('../access/keys.js'),
    import('./dashboard.js'),
  ]);
  try {
    return (await dashboardLink({ url, key: readSecretFile(keyFilePath(data, 'read')) }, data, true)).url;
  } catch {
    // The keys are another file's: whoever has one of them opens the page with it.
    return url;
  }
}

function welcome(
  { url, data }: { url: string; data: string },
  chosen: readonly Role[],
  link: string | undefined,
): string {
  const lines = [
    `mcp-auditd listens on ${url}`,
    `data in ${data}`,
    ...(link === undefined ? [] : [`dashboard ${link}`]),
  ];
  if (chosen.length < roles.length) return [...lines, `roles ${chosen.map(({ name }) => name).join(', ')}`].join('\n');
  const elsewhere = data !== resolveDataDirectory(undefined, { ...process.env, MCP_AUDITD_DATA: '' });
  return [
    ...lines,
    '',
    'Next, in another terminal:',
    '',
    ...(elsewhere ? [`export MCP_AUDITD_DATA=${shellWord(data)}`] : []),
    '# audit a stdio server: its line in the configuration of an MCP client',
    'mcp-auditd wrap -- npx -y @modelcontextprotocol/server-everything',
    '# watch calls, ask for them',
    'mcp-auditd tail',
    'mcp-auditd query "SELECT * FROM tool_calls ORDER BY time DESC LIMIT 10"',
  ].join('\n');
}
