import type { Command } from 'commander';
import { addCommonOptions, type CommonOptions, loadConfiguration } from './context.js';

/** `config`: what is in force, whether it is right, and what there is. */
export function addConfig(program: Command): void {
  const config = program.command('config').description('show and check the configuration');
  addCommonOptions(config.command('show'))
    .description('print what is in force, defaults included, secrets hidden')
    .action(async (options: CommonOptions) => {
      const { configuration, data, file } = await loadConfiguration(options);
      const [{ stringify }, { shownConfiguration }] = await Promise.all([
        import('yaml'),
        import('../../schemas/configuration-keys.js'),
      ]);
      process.stdout.write(`# ${file === undefined ? 'no file' : `file ${file}`}, environment and defaults\n`);
      process.stdout.write(stringify({ ...shownConfiguration(configuration), data }));
    });
  addCommonOptions(config.command('check'))
    .description('name every mistake with file, line and column')
    .addHelpText(
      'after',
      '\nThe exit code is 1 when there is a mistake.\n\nExamples:\n  mcp-auditd config check --config audit.yaml',
    )
    .action(async (options: CommonOptions) => {
      const { file } = await loadConfiguration(options);
      process.stdout.write(`${file ?? 'no file: environment and defaults'}: correct\n`);
    });
  config
    .command('schema')
    .description('print the JSON Schema of the file')
    .action(async () => {
      const { configurationJsonSchema } = await import('../../schemas/configuration-keys.js');
      process.stdout.write(`${JSON.stringify(configurationJsonSchema(), null, 2)}\n`);
    });
}
