import type { Command } from 'commander';
import { AuditdError } from '../../schemas/errors.js';
import { addCommonOptions, type CommonOptions, loadConfiguration } from './context.js';

/** `keys`: who may send events and who may read them. */
export function addKeys(program: Command): void {
  const keys = program.command('keys').description('list, create and revoke API keys');
  addCommonOptions(keys.command('list'))
    .description('show the keys without their secrets')
    .option('--json', 'as JSON')
    .action(async (options: CommonOptions & { json?: boolean }) => {
      const { data } = await loadConfiguration(options);
      const { listKeys } = await import('../access/keys.js');
      const found = listKeys(data);
      if (options.json === true) {
        process.stdout.write(`${JSON.stringify(found, null, 2)}\n`);
        return;
      }
      const { renderTable } = await import('./terminal.js');
      const rows = found.map((key) => [key.name, key.role, key.tenant, key.created_at]);
      process.stdout.write(`${renderTable(['name', 'role', 'tenant', 'created'], rows)}\n`);
    });
  addCommonOptions(keys.command('create'))
    .description('make a key and print it, once')
    .argument('<name>', 'name of the key; it stands on every record that it vouches for')
    .requiredOption(
      '--role <role>',
      'emit (send events), read (query, tail, status), respond (throttles, silences), call (through the proxy) or admin (reads, responds, manages keys by the API)',
    )
    .option(
      '--tenant <tenant>',
      'whose calls an emit key sends and a read or admin key sees (default: "default"); "*" for one that sees every tenant',
    )
    .addHelpText(
      'after',
      '\nExamples:\n  mcp-auditd keys create web-1 --role emit\n  mcp-auditd keys create grafana --role read --tenant acme > grafana.key\n  mcp-auditd keys create agent-7 --role call > agent-7.key\n  mcp-auditd keys create ops --role admin > admin.key',
    )
    .action(async (name: string, options: CommonOptions & { role: string; tenant?: string }) => {
      const { role, tenant } = options;
      const { createKey, keyRoles } = await import('../access/keys.js');
      const known = keyRoles.find((each) => each === role);
      if (known === undefined)
        throw new AuditdError('argument_invalid', `--role ${role}: expected one of ${keyRoles.join(', ')}.`);
      const { data } = await loadConfiguration(options);
      const { key } = await createKey(data, { name, role: known, tenant: tenant ?? 'default' });
      process.stdout.write(`${key}\n`);
      process.stderr.write('This is the only time it is shown.\n');
    });
  addCommonOptions(keys.command('rotate-throttle'))
    .description('sign throttle signals with another key; the one before is taken for a while')
    .option('--prepare', 'only make the next key and its public half, to be carried to emitters elsewhere first')
    .option('--grace <duration>', 'how long signals of the key before are taken; 0s after a leak', '25h')
    .addHelpText(
      'after',
      '\nExamples:\n  mcp-auditd keys rotate-throttle --prepare\n  mcp-auditd keys rotate-throttle\n  mcp-auditd keys rotate-throttle --grace 0s',
    )
    .action(async (options: CommonOptions & { prepare?: boolean; grace: string }) => {
      const { configuration, data } = await loadConfiguration(options);
      if (configuration.throttler.signing_key !== undefined)
        throw new AuditdError(
          'argument_invalid',
          'throttler.signing_key is configured: replace it there, and let throttler.public_keys name both keys for a while.',
        );
      const { parseDuration } = await import('../../schemas/duration.js');
      const graceMs = parseDuration(options.grace) / 1000;
      if (Number.isNaN(graceMs))
        throw new AuditdError('argument_invalid', `--grace ${options.grace}: expected a duration such as 25h.`);
      const { prepareThrottleKey, rotateThrottleKey } = await import('../access/throttle-key.js');
      const { dataPaths } = await import('../../schemas/data-directory.js');
      const publicKeys = dataPaths.throttlePublicKeys(data);
      if (options.prepare === true)
        process.stdout.write(
          `next key ${prepareThrottleKey(data)}; carry ${publicKeys} to the emitters, then rotate\n`,
        );
      else
        process.stdout.write(
          `signals are signed with ${rotateThrottleKey(data, graceMs)} now; ${publicKeys} has the public keys\n`,
        );
    });
  addCommonOptions(keys.command('revoke'))
    .description('remove a key; requests with it are refused within a second')
    .argument('<name>', 'name of the key')
    .action(async (name: string, options: CommonOptions) => {
      const { data } = await loadConfiguration(options);
      const { revokeKey } = await import('../access/keys.js');
      await revokeKey(data, name);
      process.stdout.write(`revoked ${name}\n`);
    });
}
