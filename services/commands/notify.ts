/** `notify test` and `notify route`: try a channel, and see the way of an alert, before one comes. */
import type { Command } from 'commander';
import type { Alert, Level } from '../../schemas/alert.js';
import { AuditdError } from '../../schemas/errors.js';
import { addCommonOptions, type CommonOptions, type Loaded, loadConfiguration } from './context.js';

/** Adds to the command that starts the role. */
export function addNotify(program: Command): void {
  const notify = program.commands.find((command) => command.name() === 'notify');
  if (notify === undefined) throw new Error('the command notify comes from the list of roles');
  // What stands after test or route is theirs, although the role has options of the same names.
  notify.enablePositionalOptions();
  addCommonOptions(notify.command('test'))
    .description('send a test message and tell what the far side answered')
    .argument('<channel>', 'name under notifier.channels')
    .option('--json', 'as JSON')
    .addHelpText(
      'after',
      `
Needs no daemon: the channel is made from the configuration, its secret is read
here. The exit code is 1 when the message did not arrive.

Examples:
  mcp-auditd notify test team --config audit.yaml`,
    )
    .action(test);
  addCommonOptions(notify.command('route'))
    .description('show the way of an alert through the routes')
    .argument('[alert]', 'id of an alert, or the beginning of one')
    .option('--labels <label=value...>', 'labels instead of an alert: level=high tenant=acme rule=volume actor=alice')
    .option('--json', 'as JSON')
    .addHelpText(
      'after',
      `
Examples:
  mcp-auditd notify route --labels level=high rule=volume actor=alice
  mcp-auditd notify route 3f9c`,
    )
    .action(route);
}

async function test(name: string, options: CommonOptions & { json?: boolean }): Promise<void> {
  const loaded = await loadConfiguration(options);
  const { configuration, data } = loaded;
  const channels = Object.keys(configuration.notifier.channels);
  if (!channels.includes(name)) {
    const { nearestName } = await import('../../schemas/nearest.js');
    const near = nearestName(name, channels);
    const known = near === undefined ? `there are ${channels.join(', ') || 'none'}` : `did you mean ${near}?`;
    throw new AuditdError('argument_invalid', `There is no channel ${name}; ${known}`);
  }
  const { makeChannel } = await import('../notifier/channels.js');
  const { testMessage } = await import('../notifier/test-message.js');
  const channel = makeChannel(name, configuration.notifier, { directory: data, environment: process.env });
  const begun = Date.now();
  const outcome = await channel.send(await testMessage(name, configuration.notifier, begun));
  await channel.close();
  const ms = Date.now() - begun;
  if (options.json === true)
    process.stdout.write(`${JSON.stringify({ channel: name, duration_ms: ms, ...outcome })}\n`);
  else {
    const { shown } = await import('./terminal.js');
    const what = outcome.kind === 'sent' ? `arrived, answer: ${outcome.answer}` : `${outcome.kind}: ${outcome.message}`;
    process.stdout.write(`${name} (${channel.type}) ${shown(what)} (${ms} ms)\n`);
    if (outcome.kind !== 'sent') process.stderr.write(`${hints[outcome.kind]}\n`);
  }
  if (outcome.kind !== 'sent') process.exitCode = 1;
}

const hints = {
  rate_limited: 'The far side asks to wait: try again in a minute.',
  unavailable: 'It could not be reached or cannot take messages now: check address, network and TLS.',
  ambiguous: 'The answer was lost, so the message may have arrived: look there.',
  refused:
    'It was refused: check the channel’s id, that it is not archived and that the bot is a member; or the recipients.',
  unauthorized: 'The token, password or certificate is not accepted, or lacks a right that is named.',
  content: 'What was sent is refused as it is: check the templates of this channel.',
  interrupted: 'The process stood still.',
} as const;

interface Way {
  readonly channel: string;
  readonly route: string;
  readonly conversation: Readonly<Record<string, string>>;
  readonly group_wait_ms: number;
  readonly group_interval_ms: number;
  readonly muted: boolean;
}

async function route(
  id: string | undefined,
  options: CommonOptions & { labels?: string[]; json?: boolean },
): Promise<void> {
  if ((id === undefined) === (options.labels === undefined))
    throw new AuditdError('argument_invalid', 'Name an alert, or its labels with --labels.');
  const loaded = await loadConfiguration(options);
  const alert = id === undefined ? fromLabels(options.labels!) : await fromStore(loaded, id);
  const { readSettings } = await import('../notifier/settings.js');
  const { groupOf, waysOf } = await import('../notifier/stages/route.js');
  const { mutedUntil } = await import('../notifier/stages/mute.js');
  const { labelsOf } = await import('../notifier/labels.js');
  const settings = readSettings(loaded.configuration.notifier);
  const labels = labelsOf(alert);
  const ways = waysOf(alert, labels, settings).map(
    (way): Way => ({
      channel: way.channel,
      route: way.route.name,
      conversation: groupOf(labels, way.route),
      group_wait_ms: way.route.waitMs,
      group_interval_ms: way.route.intervalMs,
      muted: mutedUntil(way.route.mute, Date.now()) !== undefined,
    }),
  );
  if (options.json === true) {
    for (const way of ways) process.stdout.write(`${JSON.stringify(way)}\n`);
    return;
  }
  const { renderTable, shown } = await import('./terminal.js');
  const named = [...labels].map(([label, values]) => `${label}=${values.join(',')}`).join(' ');
  process.stdout.write(`${shown(named)}\n\n`);
  if (ways.length === 0) {
    process.stdout.write(
      alert.dry_run
        ? 'It goes nowhere: its rule only tries out (dry_run).\n'
        : 'It goes nowhere: no route has a channel.\n',
    );
    return;
  }
  const rows = ways.map((way) => [
    way.channel,
    way.route,
    Object.entries(way.conversation)
      .map(([label, value]) => `${label}=${value}`)
      .join(' '),
    `${way.group_wait_ms / 1_000} s`,
    `${way.group_interval_ms / 1_000} s`,
    way.muted ? 'yes' : 'no',
  ]);
  process.stdout.write(`${renderTable(['channel', 'route', 'conversation', 'wait', 'interval', 'muted now'], rows)}\n`);
}

/** An alert of the labels alone: what is no label of its own is a field of its group. */
function fromLabels(words: readonly string[]): Alert {
  const labels = new Map<string, string>();
  for (const word of words) {
    const match = /^([A-Za-z_][\w.]*)=(.*)$/s.exec(word);
    if (match === null) throw new AuditdError('argument_invalid', `--labels ${word}: expected LABEL=VALUE.`);
    labels.set(match[1]!, match[2]!);
  }
  const { level = 'medium', tenant = 'default', rule = '', tag, ...group } = Object.fromEntries(labels);
  return {
    alert_id: '',
    revision: 1,
    state: 'firing',
    rule_id: rule,
    rule_version: '',
    title: '',
    description: '',
    level: level as Level,
    tags: tag === undefined ? [] : tag.split(','),
    runbook: '',
    actions: [],
    dry_run: false,
    tenant,
    group,
    started_at: '',
    at: '',
    first_at: '',
    last_at: '',
    caused_at: '',
    count: 0,
    values: {},
    reason: '',
    evidence: [],
    evidence_sql: '',
    flags: [],
  };
}

async function fromStore(loaded: Loaded, id: string): Promise<Alert> {
  const { findAlert } = await import('./alerts.js');
  const row = await findAlert(loaded, id);
  const actions = JSON.parse(row.actions || '[]') as Alert['actions'];
  const { rule_id, level, tags, tenant, group } = row;
  return {
    ...fromLabels([]),
    alert_id: row.alert_id,
    rule_id,
    level: level as Level,
    tags,
    tenant,
    group,
    actions,
    dry_run: row.dry_run,
  };
}
