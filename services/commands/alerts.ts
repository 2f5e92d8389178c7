/** `alerts`: what fires, one alert with its evidence and its messages, and taking it on. */
import type { Command } from 'commander';
import { AuditdError } from '../../schemas/errors.js';
import { addCommonOptions, type CommonOptions, type Loaded, loadConfiguration } from './context.js';
import { type ResponseOptions, respond } from './respond.js';

export interface AlertRow {
  readonly alert_id: string;
  readonly revision: number;
  readonly state: string;
  /** firing, acknowledged or resolved. */
  readonly standing: string;
  readonly rule_id: string;
  readonly title: string;
  readonly level: string;
  readonly tags: readonly string[];
  readonly tenant: string;
  readonly group: Readonly<Record<string, string>>;
  readonly actions: string;
  readonly dry_run: boolean;
  readonly started_at: string;
  readonly at: string;
  readonly count: string;
  readonly values: Readonly<Record<string, string>>;
  readonly reason: string;
  readonly evidence: readonly string[];
  readonly evidence_sql: string;
  readonly runbook: string;
  readonly acknowledged_by: string;
  readonly resolved_by: string;
  readonly said: string;
}

const columns =
  'alert_id, revision, state, standing, rule_id, title, level, tags, tenant, `group`, actions, dry_run, started_at, at, toString(count) AS count, `values`, reason, evidence, evidence_sql, runbook, acknowledged_by, resolved_by, said';

interface ListOptions extends CommonOptions {
  readonly all?: boolean;
  readonly match?: string[];
  readonly limit: string;
  readonly json?: boolean;
}

export function addAlerts(program: Command): void {
  const alerts = program.command('alerts').description('list, show, acknowledge and resolve alerts');
  addCommonOptions(alerts.command('list'))
    .description('what fires now, the newest first')
    .option('--all', 'also what is resolved')
    .option('--match <matchers...>', 'only these: level>=high tenant=acme rule=~volume.* actor=alice')
    .option('--limit <rows>', 'rows at most', '50')
    .option('--json', 'one JSON object a line')
    .addHelpText(
      'after',
      `
Examples:
  mcp-auditd alerts list
  mcp-auditd alerts list --all --match "level>=high" actor=alice`,
    )
    .action(list);
  addCommonOptions(alerts.command('show'))
    .description('one alert: what happened, evidence, runbook, messages and decisions')
    .argument('<alert>', 'id, or the beginning of one')
    .option('--json', 'as JSON')
    .action(show);
  for (const [name, description, kind] of [
    ['ack', 'take an alert on: no more reminders, and everybody sees who has it', 'acknowledge'],
    ['resolve', 'close an alert by hand', 'resolve'],
  ] as const)
    addCommonOptions(alerts.command(name))
      .description(description)
      .argument('<alert>', 'id, or the beginning of one')
      .option('--reason <text>', 'what you found, or will do')
      .option('--author <name>', 'who says so (default: the user of the system)')
      .action(async (id: string, options: ResponseOptions) => {
        const { alert_id } = await findAlert(await loadConfiguration(options), id);
        await respond(options, { kind, target: alert_id });
        process.stdout.write(`${kind === 'acknowledge' ? 'acknowledged' : 'resolved'} ${alert_id}\n`);
      });
}

/** The one alert whose id begins so. Throws `argument_invalid` when there is none, or more than one. */
export async function findAlert(loaded: Loaded, id: string): Promise<AlertRow> {
  if (!/^[0-9a-f]{4,64}$/.test(id))
    throw new AuditdError('argument_invalid', `${id}: expected at least 4 hex digits of an alert's id.`);
  const { askObjects } = await import('./ask.js');
  const rows = await askObjects<AlertRow>(loaded, {
    sql: `SELECT ${columns} FROM alert_states WHERE startsWith(alert_id, {id:String}) LIMIT 2`,
    parameters: { id },
  });
  if (rows.length === 1) return rows[0]!;
  const found = rows.length === 0 ? 'There is no such alert' : 'Several alerts begin so';
  throw new AuditdError('argument_invalid', `${id}: ${found}; mcp-auditd alerts list --all shows them.`);
}

/** Most alerts that are read to be matched here. */
const mostRead = 10_000;

async function list(options: ListOptions): Promise<void> {
  const loaded = await loadConfiguration(options);
  if (!/^[1-9]\d{0,4}$/.test(options.limit))
    throw new AuditdError('argument_invalid', `--limit ${options.limit}: expected a number from 1 to 99999.`);
  const matches = await matching(options.match ?? []);
  const { askObjects } = await import('./ask.js');
  const rows = await askObjects<AlertRow>(loaded, {
    sql: `SELECT ${columns} FROM alert_states ${options.all === true ? '' : "WHERE standing != 'resolved'"} ORDER BY at DESC LIMIT ${mostRead}`,
  });
  const wanted = rows.filter(matches).slice(0, Number(options.limit));
  if (options.json === true) {
    for (const row of wanted) process.stdout.write(`${JSON.stringify(row)}\n`);
    return;
  }
  if (wanted.length === 0) {
    process.stdout.write(options.all === true ? 'There are no alerts.\n' : 'Nothing fires.\n');
    return;
  }
  const { renderTable } = await import('./terminal.js');
  const shown = wanted.map((row) => [
    row.alert_id.slice(0, 8),
    row.level,
    row.standing === 'acknowledged' ? `acknowledged by ${row.acknowledged_by}` : row.standing,
    row.rule_id,
    Object.values(row.group).join(' '),
    row.at.slice(0, 19),
    row.reason,
  ]);
  process.stdout.write(`${renderTable(['alert', 'level', 'state', 'rule', 'who', 'at (UTC)', 'what'], shown)}\n`);
}

async function matching(texts: readonly string[]): Promise<(row: AlertRow) => boolean> {
  const { allMatch, parseMatcher } = await import('../../schemas/matcher.js');
  const { labelsOf } = await import('../notifier/labels.js');
  const matchers = texts.map((text) => {
    try {
      return parseMatcher(text);
    } catch (error) {
      throw new AuditdError('argument_invalid', `--match ${text}: ${(error as Error).message}`);
    }
  });
  return (row) => allMatch(matchers, labelsOf(row as never));
}

async function show(id: string, options: CommonOptions & { json?: boolean }): Promise<void> {
  const loaded = await loadConfiguration(options);
  const row = await findAlert(loaded, id);
  const { askObjects } = await import('./ask.js');
  const parameters = { id: row.alert_id };
  const deliveries = await askObjects<Record<string, string>>(loaded, {
    sql: 'SELECT delivery_id, channel, via, reason, state, at, error, answer FROM deliveries_latest WHERE has(alert_ids, {id:String}) ORDER BY planned_at LIMIT 100',
    parameters,
  });
  const decisions = await askObjects<Record<string, string>>(loaded, {
    sql: 'SELECT at, kind, author, author_key, reason FROM responses_latest WHERE target = {id:String} ORDER BY at LIMIT 100',
    parameters,
  });
  if (options.json === true) {
    process.stdout.write(`${JSON.stringify({ ...row, deliveries, decisions })}\n`);
    return;
  }
  const { renderTable, shown, shownLines } = await import('./terminal.js');
  const field = (name: string, value: string): string => `${`${name}:`.padEnd(12)} ${shown(value)}`;
  const taken = row.acknowledged_by === '' ? '' : `, acknowledged by ${row.acknowledged_by}`;
  const closed = row.resolved_by === '' ? '' : `, closed by ${row.resolved_by}`;
  const lines = [
    shown(row.title || row.rule_id),
    shown(row.reason),
    '',
    field('alert', row.alert_id),
    field('state', `${row.standing}${taken}${closed}`),
    field('level', row.level),
    field('rule', row.rule_id),
    field('tenant', row.tenant),
    ...Object.entries(row.group).map(([name, value]) => field(name.slice(0, 11), value)),
    field('since', `${row.started_at.slice(0, 19)} UTC`),
    field('last change', `${row.at.slice(0, 19)} UTC`),
    field('calls', row.count),
    ...Object.entries(row.values).map(([name, value]) => field(name.slice(0, 11), value)),
    ...(row.evidence_sql === '' ? [] : ['', 'Evidence:', shownLines(row.evidence_sql)]),
    ...(row.runbook === '' ? [] : ['', 'Runbook:', shownLines(row.runbook)]),
  ];
  process.stdout.write(`${lines.join('\n')}\n`);
  if (decisions.length > 0) {
    const rows = decisions.map((each) => [
      each.at?.slice(0, 19),
      each.kind,
      `${each.author} (key ${each.author_key})`,
      each.reason,
    ]);
    process.stdout.write(`\n${renderTable(['decided at', 'what', 'who', 'why'], rows)}\n`);
  }
  if (deliveries.length > 0) {
    const rows = deliveries.map((each) => [
      each.at?.slice(0, 19),
      each.channel === each.via ? each.channel : `${each.channel} via ${each.via}`,
      each.reason,
      each.state,
      each.error || each.answer,
    ]);
    process.stdout.write(`\n${renderTable(['message at', 'channel', 'why', 'state', 'answer'], rows)}\n`);
  }
}
