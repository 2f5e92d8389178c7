/** `deliveries`: what was sent to whom, and sending again what was given up. */
import type { Command } from 'commander';
import { AuditdError } from '../../schemas/errors.js';
import { addCommonOptions, type CommonOptions, loadConfiguration } from './context.js';
import { type ResponseOptions, respond } from './respond.js';

interface DeliveryRow {
  readonly delivery_id: string;
  readonly state: string;
  readonly reason: string;
  readonly channel: string;
  readonly via: string;
  readonly group: Readonly<Record<string, string>>;
  readonly alerts: string;
  readonly attempt: number;
  readonly at: string;
  readonly error_kind: string;
  readonly error: string;
  readonly answer: string;
  readonly possible_duplicate: boolean;
}

const columns =
  'delivery_id, state, reason, channel, via, `group`, toString(length(alert_ids)) AS alerts, attempt, at, error_kind, error, answer, possible_duplicate';
/** What is sent again at once; the next call takes the rest. */
const mostRetried = 1_000;

export function addDeliveries(program: Command): void {
  const deliveries = program.command('deliveries').description('list messages, and send again what was given up');
  addCommonOptions(deliveries.command('list'))
    .description('messages, the newest first')
    .option('--failed', 'only those that failed: given up, or waiting for another attempt')
    .option('--channel <name>', 'only of this channel')
    .option('--limit <rows>', 'rows at most', '50')
    .option('--json', 'one JSON object a line')
    .action(list);
  addCommonOptions(deliveries.command('retry'))
    .description('send again what was given up, or waits for another attempt')
    .argument('[delivery]', 'id, or the beginning of one')
    .option('--failed', 'all that failed')
    .option('--channel <name>', 'only of this channel')
    .option('--reason <text>', 'why, for the record')
    .option('--author <name>', 'who says so (default: the user of the system)')
    .addHelpText(
      'after',
      `
Examples:
  mcp-auditd deliveries list --failed
  mcp-auditd deliveries retry --failed --channel team --reason "token renewed"`,
    )
    .action(retry);
}

async function rowsOf(
  options: CommonOptions & { failed?: boolean; channel?: string },
  more: { where?: string; parameters?: Record<string, string>; limit: number },
): Promise<DeliveryRow[]> {
  const { askObjects } = await import('./ask.js');
  const conditions = [
    ...(options.failed === true ? ["state IN ('failed', 'given_up')"] : []),
    ...(options.channel === undefined ? [] : ['channel = {channel:String}']),
    ...(more.where === undefined ? [] : [more.where]),
  ];
  return askObjects<DeliveryRow>(await loadConfiguration(options), {
    sql: `SELECT ${columns} FROM deliveries_latest ${conditions.length === 0 ? '' : `WHERE ${conditions.join(' AND ')}`} ORDER BY at DESC LIMIT ${more.limit}`,
    parameters: { ...(options.channel === undefined ? {} : { channel: options.channel }), ...more.parameters },
  });
}

async function list(
  options: CommonOptions & { failed?: boolean; channel?: string; limit: string; json?: boolean },
): Promise<void> {
  if (!/^[1-9]\d{0,4}$/.test(options.limit))
    throw new AuditdError('argument_invalid', `--limit ${options.limit}: expected a number from 1 to 99999.`);
  const rows = await rowsOf(options, { limit: Number(options.limit) });
  if (options.json === true) {
    for (const row of rows) process.stdout.write(`${JSON.stringify(row)}\n`);
    return;
  }
  if (rows.length === 0) {
    process.stdout.write(options.failed === true ? 'Nothing failed.\n' : 'Nothing was sent.\n');
    return;
  }
  const { renderTable } = await import('./terminal.js');
  const shown = rows.map((row) => [
    row.delivery_id.slice(0, 8),
    row.channel === row.via ? row.channel : `${row.channel} via ${row.via}`,
    row.state,
    row.reason,
    Object.entries(row.group)
      .map(([name, value]) => `${name}=${value}`)
      .join(' '),
    Number(row.alerts),
    row.at.slice(0, 19),
    row.attempt,
    row.error || row.answer,
  ]);
  const names = ['delivery', 'channel', 'state', 'why', 'about', 'alerts', 'at (UTC)', 'attempts', 'answer'];
  process.stdout.write(`${renderTable(names, shown)}\n`);
}

async function retry(
  id: string | undefined,
  options: ResponseOptions & { failed?: boolean; channel?: string },
): Promise<void> {
  if ((id === undefined) === (options.failed !== true))
    throw new AuditdError('argument_invalid', 'Name a delivery, or all that failed with --failed.');
  if (id !== undefined && !/^[0-9a-f]{4,64}$/.test(id))
    throw new AuditdError('argument_invalid', `${id}: expected at least 4 hex digits of a delivery's id.`);
  const rows = await rowsOf(options, {
    limit: id === undefined ? mostRetried : 2,
    ...(id === undefined ? {} : { where: 'startsWith(delivery_id, {id:String})', parameters: { id } }),
  });
  if (id !== undefined && rows.length !== 1) {
    const found = rows.length === 0 ? 'There is no such delivery' : 'Several deliveries begin so';
    throw new AuditdError('argument_invalid', `${id}: ${found}; mcp-auditd deliveries list shows them.`);
  }
  const failed = rows.filter(({ state }) => state === 'failed' || state === 'given_up');
  if (id !== undefined && failed.length === 0)
    throw new AuditdError(
      'argument_invalid',
      `${id}: its state is ${rows[0]!.state}, so there is nothing to send again.`,
    );
  for (const { delivery_id } of failed) await respond(options, { kind: 'retry', target: delivery_id });
  process.stdout.write(`${failed.length === 1 ? '1 delivery is' : `${failed.length} deliveries are`} sent again\n`);
}
