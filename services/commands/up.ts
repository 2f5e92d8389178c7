import type { Command } from 'commander';
import { addCommonOptions, type CommonOptions, loadConfiguration } from './context.js';

interface UpOptions extends CommonOptions {
  readonly listen?: string;
  readonly keepDays?: string;
  readonly keepBodiesDays?: string;
  readonly logLevel?: string;
}

/** `up`: all roles in this process until a signal ends it. */
export function addUp(program: Command): void {
  addCommonOptions(program.command('up'))
    .description('record and answer on this machine: every role in one process')
    .option('--listen <host:port>', 'address of the HTTP server; port 0 takes a free one (default: 127.0.0.1:7467)')
    .option('--keep-days <days>', 'days that calls are kept (default: 90)')
    .option('--keep-bodies-days <days>', 'days that arguments and results are kept (default: 30)')
    .option('--log-level <level>', 'trace, debug, info, warn, error, fatal or silent (default: info)')
    .addHelpText(
      'after',
      `
SIGTERM and SIGINT stop it in order: what was accepted is durable, what was read is stored. A second signal ends it
at once, which loses nothing either.

Examples:
  mcp-auditd up
  mcp-auditd up --listen 127.0.0.1:0 --data ./audit
  mcp-auditd up --keep-days 365 --keep-bodies-days 7`,
    )
    .action(run);
}

function number(text: string | undefined): number | string | undefined {
  return text === undefined || Number.isNaN(Number(text)) ? text : Number(text);
}

async function run(options: UpOptions): Promise<void> {
  const { configuration, data } = await loadConfiguration(options, {
    listen: options.listen,
    'store.retention_days': number(options.keepDays),
    'store.body_retention_days': number(options.keepBodiesDays),
    'log.level': options.logLevel,
  });
  const [{ startApp }, { openLog }] = await Promise.all([import('../app.js'), import('../app/log.js')]);
  const log = openLog(configuration.log);
  let stopping = false;
  let signalled!: (signal: NodeJS.Signals) => void;
  const signal = new Promise<NodeJS.Signals>((resolve) => {
    signalled = resolve;
  });
  const onSignal = (name: NodeJS.Signals): void => {
    if (stopping) process.exit(name === 'SIGINT' ? 130 : 143);
    stopping = true;
    signalled(name);
  };
  process.on('SIGTERM', onSignal).on('SIGINT', onSignal);
  const running = await startApp(configuration, data, log);
  if (running.movedFrom !== undefined)
    log.warn(`${running.movedFrom} is taken by something else, so this daemon listens on ${running.url}`);
  process.stdout.write(
    [
      `mcp-auditd listens on ${running.url}`,
      `data in ${data}`,
      '',
      'Next, in another terminal:',
      '  mcp-auditd wrap -- npx -y @modelcontextprotocol/server-everything   audit a stdio server',
      '  mcp-auditd tail                                                     watch calls',
      '  mcp-auditd query "SELECT * FROM tool_calls ORDER BY time DESC LIMIT 10"',
      '',
    ].join('\n'),
  );
  log.info({ signal: await signal }, 'stopping');
  await running.stop();
  log.info('stopped');
}
