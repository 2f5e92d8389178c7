import type { Command } from 'commander';
import { addCommonOptions } from '../context.js';
import { addBacktest } from './backtest.js';
import { addExplain } from './explain.js';
import { addRun } from './run.js';
import type { SourceOptions } from './sources.js';
import { addTest } from './test.js';

const pathsHelp = 'files and directories (default: what the configuration has in force)';

/** Adds what every command over rules takes. */
export function addSourceOptions(command: Command): Command {
  return addCommonOptions(command).option('--no-pack', 'leave out the rules that ship with the program');
}

/** `rules`: check, test, run and read the rules. */
export function addRules(program: Command): void {
  const rules = program.command('rules').description('check, test, try and read the rules that raise alerts');
  addSourceOptions(rules.command('check'))
    .description('name every mistake in rule files with file, line and column')
    .argument('[paths...]', pathsHelp)
    .option('--json', 'one JSON object: rules, problems, warnings')
    .addHelpText(
      'after',
      `
The exit code is 1 when there is a mistake. Warnings do not change it; an exception
that has expired is one.

Examples:
  mcp-auditd rules check
  mcp-auditd rules check rules/ more/volume.yaml`,
    )
    .action(async (paths: string[], options: SourceOptions & { json?: boolean }) => {
      const { check } = await import('./check.js');
      await check(paths, options);
    });
  addTest(rules);
  addRun(rules);
  addExplain(rules);
  addBacktest(rules);
  addSourceOptions(rules.command('list'))
    .description('list the rules')
    .argument('[paths...]', pathsHelp)
    .option('--json', 'one JSON object a line, with everything')
    .action(async (paths: string[], options: SourceOptions & { json?: boolean }) => {
      const { list } = await import('./show.js');
      await list(paths, options);
    });
  addSourceOptions(rules.command('show'))
    .description('show one rule: what it means, when it fires, what to do')
    .argument('<rule>', 'its id')
    .argument('[paths...]', pathsHelp)
    .option('--json', 'as JSON')
    .action(async (id: string, paths: string[], options: SourceOptions & { json?: boolean }) => {
      const { show } = await import('./show.js');
      await show(id, paths, options);
    });
  rules
    .command('schema')
    .description('print the JSON Schema of rule files, for editors')
    .addHelpText(
      'after',
      `
Editors with the YAML language server complete and check a file that begins with
  # yaml-language-server: $schema=/path/to/rule.schema.json

Example:
  mcp-auditd rules schema > rule.schema.json`,
    )
    .action(async () => {
      const { ruleJsonSchema } = await import('../../detector/reference.js');
      process.stdout.write(`${JSON.stringify(ruleJsonSchema(), null, 2)}\n`);
    });
}
