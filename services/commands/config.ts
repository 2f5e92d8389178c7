import type { Command } from 'commander';
import { AuditdError } from '../../schemas/errors.js';
import { addCommonOptions, type CommonOptions, loadConfiguration } from './context.js';

/** What a variable without a value comes to. */
const sha256OfNothing = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';

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
  addCommonOptions(config.command('reader-sql'))
    .description("print SQL that makes a user of a ClickHouse server who reads one tenant's rows")
    .requiredOption('--tenant <tenant>', 'whose rows the user sees')
    .requiredOption('--password-sha256 <hex>', 'SHA-256 of its password, 64 hex digits')
    .option('--user <name>', 'name of the user (default: the tenant, then _reader)')
    .addHelpText(
      'after',
      '\nDatabase, cluster and limits are those of the configuration. Nothing is changed: run what is printed as a\nuser who manages users. Running it again changes password and limits; run it again after an update, which may\nbring tables.\n\nExamples:\n  mcp-auditd config reader-sql --tenant acme --password-sha256 "$(printf %s "$PASSWORD" | sha256sum | cut -c1-64)"',
    )
    .action(async (options: CommonOptions & { tenant: string; passwordSha256: string; user?: string }) => {
      const { tenant, passwordSha256, user = `${tenant}_reader` } = options;
      const [{ requireName }, { readerStatements }, { queryLimits }] = await Promise.all([
        import('../access/keys.js'),
        import('../store/reader-sql.js'),
        import('../app/ports.js'),
      ]);
      requireName('tenant', tenant);
      requireName('name', user);
      if (!/^[0-9a-f]{64}$/i.test(passwordSha256))
        throw new AuditdError('argument_invalid', '--password-sha256: expected 64 hex digits.');
      if (passwordSha256.toLowerCase() === sha256OfNothing)
        throw new AuditdError('argument_invalid', '--password-sha256: this is of an empty password.');
      const { configuration } = await loadConfiguration(options);
      const { database = 'mcp_auditd', cluster, username } = configuration.store.clickhouse ?? {};
      // What is printed replaces the user, and its policies have its name.
      if (['default', 'mcp_auditd_all', username].includes(user))
        throw new AuditdError('argument_invalid', `--user ${user}: this name is in use; choose another.`);
      const limits = queryLimits(configuration);
      const statements = readerStatements({ user, tenant, passwordSha256, database, cluster, limits });
      process.stdout.write(statements.map((statement) => `${statement};\n`).join(''));
    });
}
