import { Command } from 'commander';
import { packageVersion } from '../app/version.js';
import { addAlerts } from './alerts.js';
import { addCompletion } from './completion.js';
import { addConfig } from './config.js';
import { addDashboard } from './dashboard.js';
import { addDead } from './dead.js';
import { addDeliveries } from './deliveries.js';
import { addDemo } from './demo/demo.js';
import { addDoctor } from './doctor.js';
import { addDown } from './down.js';
import { addExport } from './export/export.js';
import { addKeys } from './keys.js';
import { addNotify } from './notify.js';
import { addProxy } from './proxy.js';
import { addQuery } from './query.js';
import { addRules } from './rules/rules.js';
import { addSilence } from './silence.js';
import { addStatus } from './status.js';
import { addTail } from './tail.js';
import { addThrottles } from './throttles.js';
import { addTopics } from './topics.js';
import { addRoleCommands, addUp } from './up.js';
import { addWrap } from './wrap.js';

/** The program. Actions load what they need when they run. */
export function makeProgram(): Command {
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
  for (const add of [
    addUp,
    addDown,
    addWrap,
    addProxy,
    addQuery,
    addExport,
    addTail,
    addStatus,
    addDashboard,
    addThrottles,
    addRules,
    addAlerts,
    addSilence,
    addDeliveries,
    addDead,
    addKeys,
    addConfig,
    addDemo,
    addRoleCommands,
    addNotify,
    addTopics,
    addDoctor,
    addCompletion,
  ])
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
