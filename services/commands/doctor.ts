import type { Command } from 'commander';
import type { Finding } from '../app/doctor.js';
import { addCommonOptions, type CommonOptions, loadConfiguration } from './context.js';

interface DoctorOptions extends CommonOptions {
  readonly roles?: string;
  readonly json?: boolean;
}

/** `doctor`: what is wrong, and how to mend it. */
export function addDoctor(program: Command): void {
  addCommonOptions(program.command('doctor'))
    .description('look whether everything is there that the roles need, and say how to mend what is not')
    .option('--roles <names>', 'look only for what these roles need, separated by commas (default: all)')
    .option('--json', 'print one JSON object')
    .addHelpText(
      'after',
      `
It changes nothing. On one machine it looks at the data directory, disk, keys
and daemon; where they are configured, also at brokers, topics, permissions and
clocks, and at ClickHouse. The exit code is 1 when something failed; what is
only warned of leaves it at 0.

Examples:
  mcp-auditd doctor
  mcp-auditd doctor --config cluster.yaml --roles ingestor
  mcp-auditd doctor --json | jq '.findings[] | select(.status != "ok")'`,
    )
    .action(run);
}

async function run(options: DoctorOptions): Promise<void> {
  const { configuration, data, file } = await loadConfiguration(options);
  const [{ examine }, { chooseRoles, requirePorts }, { openLog }, { colors }, { shown }] = await Promise.all([
    import('../app/doctor.js'),
    import('../app/roles.js'),
    import('../app/log.js'),
    import('./colors.js'),
    import('./terminal.js'),
  ]);
  const roles = chooseRoles(options.roles?.split(',').map((name) => name.trim()));
  requirePorts(roles, configuration);
  const marks = { ok: colors.green('ok     '), warned: colors.yellow('warning'), failed: colors.red('failed ') };
  const findings: Finding[] = [];
  for await (const finding of examine({ configuration, data, file, roles, log: openLog(configuration.log) })) {
    findings.push(finding);
    if (finding.status === 'failed') process.exitCode = 1;
    if (options.json === true) continue;
    const { status, name, message, mend } = finding;
    process.stdout.write(`${marks[status]}  ${name.padEnd(14)}  ${shown(message)}\n`);
    if (mend !== undefined) process.stdout.write(`${' '.repeat(25)}${shown(mend)}\n`);
  }
  const count = (status: Finding['status']) => findings.filter((each) => each.status === status).length;
  if (options.json === true)
    process.stdout.write(`${JSON.stringify({ ok: count('failed') === 0, findings }, null, 2)}\n`);
  else process.stdout.write(`\n${count('failed')} failed, ${count('warned')} warned, ${count('ok')} ok\n`);
}
