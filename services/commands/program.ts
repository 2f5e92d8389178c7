import { Command } from 'commander';
import { packageVersion } from '../app/version.js';

/** The file of each command, in the order of --help. `roles` are the commands that the roles name. */
const commands: Readonly<Record<string, () => Promise<(program: Command) => void>>> = {
  up: async () => (await import('./up.js')).addUp,
  down: async () => (await import('./down.js')).addDown,
  wrap: async () => (await import('./wrap.js')).addWrap,
  proxy: async () => (await import('./proxy.js')).addProxy,
  query: async () => (await import('./query.js')).addQuery,
  export: async () => (await import('./export/export.js')).addExport,
  tail: async () => (await import('./tail.js')).addTail,
  status: async () => (await import('./status.js')).addStatus,
  dashboard: async () => (await import('./dashboard.js')).addDashboard,
  throttles: async () => (await import('./throttles.js')).addThrottles,
  rules: async () => (await import('./rules/rules.js')).addRules,
  alerts: async () => (await import('./alerts.js')).addAlerts,
  silence: async () => (await import('./silence.js')).addSilence,
  deliveries: async () => (await import('./deliveries.js')).addDeliveries,
  dead: async () => (await import('./dead.js')).addDead,
  keys: async () => (await import('./keys.js')).addKeys,
  config: async () => (await import('./config.js')).addConfig,
  demo: async () => (await import('./demo/demo.js')).addDemo,
  roles: async () => (await import('./up.js')).addRoleCommands,
  notify: async () => (await import('./notify.js')).addNotify,
  topics: async () => (await import('./topics.js')).addTopics,
  doctor: async () => (await import('./doctor.js')).addDoctor,
  completion: async () => (await import('./completion.js')).addCompletion,
};

/** What speaks of other commands, adds to one, or is none itself. */
const needWhole: ReadonlySet<string> = new Set(['completion', 'notify', 'roles']);

/**
 * The program, with the command of this name alone where there is one: to load the others takes a third of the time
 * in which a command starts. Actions load what they need when they run.
 */
export async function makeProgram(name?: string): Promise<Command> {
  const program = new Command('mcp-auditd')
    .description('auditd for MCP: record every call of every MCP server, and ask for it in SQL')
    .option('-V, --version', 'show the version')
    .on('option:version', () => {
      process.stdout.write(`${packageVersion()}\n`);
      process.exit(0);
    })
    .showHelpAfterError('(mcp-auditd --help shows what there is)')
    .addHelpText(
      'after',
      `
Exit codes: 0 done, 1 failed (the message says why and how to mend it), 2 wrong
use. wrap leaves with the code of the server that it runs.`,
    );
  const own = name === undefined || needWhole.has(name) || !Object.hasOwn(commands, name) ? undefined : commands[name];
  for (const add of await Promise.all((own === undefined ? Object.values(commands) : [own]).map((load) => load())))
    add(program);
  return program;
}

/** docs/commands.md, made from the commands themselves. */
export function commandsDocumentation(program: Command): string {
  const parts = ['# Commands', '', '<!-- Made from the commands by the test that holds it: change them there. -->', ''];
  const visit = (command: Command, path: readonly string[]): void => {
    if (path.length > 0) parts.push(`## ${path.join(' ')}`, '');
    let help = '';
    command.configureHelp({ helpWidth: 110 }).configureOutput({
      writeOut: (text) => {
        help += text;
      },
      getOutHelpWidth: () => 110,
      getOutHasColors: () => false,
    });
    command.outputHelp();
    parts.push('```text', help.trimEnd(), '```', '');
    for (const each of command.commands) visit(each, [...path, each.name()]);
  };
  visit(program, []);
  return `${parts.join('\n').trimEnd()}\n`;
}
