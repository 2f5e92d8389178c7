/** `throttles`: who is held back now, and by hand. */
import type { Command } from 'commander';
import { AuditdError } from '../../schemas/errors.js';
import type { ThrottleByHand } from '../../schemas/response.js';
import type { ScopeField, ScopeName } from '../../schemas/throttle.js';
import { addCommonOptions, type CommonOptions, type Loaded, loadConfiguration } from './context.js';
import { respond } from './respond.js';
import type { WouldHold } from './throttle-dry-run.js';

interface Row {
  readonly signal_id: string;
  readonly revision: number;
  readonly state: string;
  readonly origin: string;
  readonly tenant: string;
  readonly scope: Readonly<Record<string, string>>;
  readonly each: readonly string[];
  readonly except: readonly string[];
  readonly block: boolean;
  readonly interval_micros: string;
  readonly burst: number;
  readonly delay_ms: number;
  readonly dry_run: boolean;
  readonly reason: string;
  readonly author: string;
  readonly alert_ids: readonly string[];
  readonly rule_ids: readonly string[];
  readonly issued_at: string;
  readonly expires_at: string;
  readonly holds: boolean;
}

interface AddOptions extends CommonOptions {
  readonly actor?: string;
  readonly session?: string;
  readonly client?: string;
  readonly server?: string;
  readonly tool?: string;
  readonly each?: string[];
  readonly rate?: string;
  readonly burst?: string;
  readonly delay?: string;
  readonly block?: boolean;
  readonly ttl: string;
  readonly reason?: string;
  readonly author?: string;
  readonly dryRun?: boolean;
  readonly json?: boolean;
}

const columns =
  'signal_id, revision, state, origin, tenant, scope, each, except, block, toString(interval_micros) AS interval_micros, burst, delay_ms, dry_run, reason, author, alert_ids, rule_ids, issued_at, expires_at, holds';

export function addThrottles(program: Command): void {
  const throttles = program.command('throttles').description('see who is held back, add and lift throttles by hand');
  addCommonOptions(throttles.command('list'))
    .description('what holds now')
    .option('--all', 'also what was lifted or has run out')
    .option('--dry-run', 'dry runs only, with whom each would have held back since it was issued (at most a day)')
    .option('--json', 'one JSON object a line')
    .action(list);
  addCommonOptions(throttles.command('show'))
    .description('one signal, where it comes from, and every change of it')
    .argument('<signal>', 'signal id, or the beginning of one')
    .option('--json', 'one JSON object a line')
    .action(show);
  addCommonOptions(throttles.command('add'))
    .description('hold callers back until a time, with a reason on record')
    .option('--actor <id>', 'calls of this actor')
    .option('--session <id>', 'calls of this session')
    .option('--client <id>', 'calls of this client id')
    .option('--server <name>', 'calls of this server')
    .option('--tool <name>', 'calls of this tool')
    .option('--each <names...>', 'a limit of its own for each actor, session, client, server or tool')
    .option('--rate <rate>', 'calls a second, minute or hour: 1/s, 100/m, 20/h')
    .option('--burst <calls>', 'calls that may come at once (default: 1)')
    .option('--delay <duration>', 'each call waits so long, at most 60s: 500ms, 2s')
    .option('--block', 'refuse every call')
    .option('--ttl <duration>', 'how long it holds, at most 24h', '15m')
    .option('--reason <text>', 'why, for the caller and for the record; a dry run needs none')
    .option('--author <name>', 'who says so (default: the user of the system)')
    .option('--dry-run', 'record it and count whom it would hold back')
    .option('--json', 'the record as JSON')
    .addHelpText(
      'after',
      `
Examples:
  mcp-auditd throttles add --actor agent-7 --rate 1/s --burst 5 --ttl 30m --reason "runaway loop"
  mcp-auditd throttles add --server prod --tool deploy --block --reason "change freeze"
  mcp-auditd throttles add --each actor --rate 100/m --dry-run`,
    )
    .action(add);
  addCommonOptions(throttles.command('lift'))
    .description('let callers through again')
    .argument('<signal>', 'signal id, or the beginning of one')
    .option('--reason <text>', 'why, for the record')
    .option('--author <name>', 'who says so (default: the user of the system)')
    .action(lift);
  addCommonOptions(throttles.command('override'))
    .description('stop all throttling at once, for a while')
    .option('--ttl <duration>', 'how long, at most 24h', '1h')
    .option('--reason <text>', 'why, for the record')
    .option('--author <name>', 'who says so (default: the user of the system)')
    .action(override);
}

async function list(options: CommonOptions & { all?: boolean; dryRun?: boolean; json?: boolean }): Promise<void> {
  const loaded = await loadConfiguration(options);
  const { askObjects } = await import('./ask.js');
  const rows = await askObjects<Row>(loaded, {
    sql: `SELECT ${columns} FROM throttles WHERE ${options.all === true ? 'true' : 'holds'} ${options.dryRun === true ? 'AND dry_run' : ''} ORDER BY expires_at LIMIT 10000`,
  });
  if (options.dryRun === true) return listDryRuns(loaded, rows, options.json === true);
  if (options.json === true) {
    for (const row of rows) process.stdout.write(`${JSON.stringify(row)}\n`);
    return;
  }
  if (rows.length === 0) {
    process.stdout.write('Nobody is held back.\n');
    return;
  }
  const { renderTable } = await import('./terminal.js');
  const shown = rows.map((row) => [
    row.signal_id.slice(0, 8),
    who(row),
    how(row),
    row.holds ? `until ${timeOf(row.expires_at)}` : ended(row),
    by(row),
    row.reason,
  ]);
  process.stdout.write(`${renderTable(['signal', 'who', 'how', 'state', 'by', 'reason'], shown)}\n`);
}

async function listDryRuns(loaded: Loaded, rows: readonly Row[], asJson: boolean): Promise<void> {
  const { wouldHold } = await import('./throttle-dry-run.js');
  const found: { row: Row; would: WouldHold }[] = [];
  for (const row of rows) found.push({ row, would: await wouldHold(loaded, row) });
  if (asJson) {
    for (const { row, would } of found) process.stdout.write(`${JSON.stringify({ ...row, would_hold: would })}\n`);
    return;
  }
  if (found.length === 0) {
    process.stdout.write('There are no dry runs.\n');
    return;
  }
  const { renderTable } = await import('./terminal.js');
  const shown = found.map(({ row, would }) => [row.signal_id.slice(0, 8), who(row), how(row), told(would)]);
  process.stdout.write(`${renderTable(['signal', 'who', 'how', 'it would have held back'], shown)}\n`);
}

function told({ since, calls, held_calls, held_actors, is_cut }: WouldHold): string {
  const of = `of the ${is_cut ? 'first ' : ''}${calls} calls since ${timeOf(since)}`;
  return `${held_calls} calls of ${held_actors} ${held_actors === 1 ? 'actor' : 'actors'}, ${of}`;
}

/** The engine's time, which is UTC, in whole seconds. */
function timeOf(time: string): string {
  return `${time.slice(0, 19).replace('T', ' ')} UTC`;
}

function by({ author, rule_ids, origin }: Row): string {
  return author === '' ? rule_ids.join(', ') || origin : author;
}

function ended({ state, issued_at, expires_at }: Row): string {
  return state === 'lifted' ? `lifted ${timeOf(issued_at)}` : `ran out ${timeOf(expires_at)}`;
}

function who({ scope, each }: Pick<Row, 'scope' | 'each'>): string {
  const parts = Object.entries(scope).map(([field, value]) => `${field.replace(/_(id|name)$/, '')} ${value}`);
  return [...parts, ...each.map((field) => `each ${field.replace(/_(id|name)$/, '')}`)].join(', ') || 'everybody';
}

function how(row: Row): string {
  if (row.origin === 'override') return 'nobody is held back';
  const interval = Number(row.interval_micros);
  const parts = [
    row.block ? 'blocked' : '',
    interval > 0 ? `${rateOf(interval)} (${row.burst} at once)` : '',
    row.delay_ms > 0 ? `each call waits ${row.delay_ms / 1000} s` : '',
  ].filter((part) => part !== '');
  return `${parts.join(', ')}${row.dry_run ? ' (dry run)' : ''}`;
}

const units = { s: 1e6, m: 60e6, h: 3_600e6 } as const;

/** 1,000,000 microseconds to one call are `1/s`, 600,000 are `100/m`: the first unit that tells it in whole calls. */
function rateOf(intervalMicros: number): string {
  const calls = Object.entries(units).map(([unit, micros]) => [unit, micros / intervalMicros] as const);
  const [unit, count] = calls.find(([, each]) => each >= 1 && Number.isInteger(each)) ?? calls.at(-1)!;
  return `${Math.round(count * 1000) / 1000}/${unit}`;
}

/** The one signal whose id begins so. */
async function find(options: CommonOptions, signal: string): Promise<{ rows: Row[]; id: string }> {
  if (!/^[0-9a-f]{4,32}$/.test(signal))
    throw new AuditdError('argument_invalid', `${signal}: expected at least 4 hex digits of a signal id.`);
  const { askObjects } = await import('./ask.js');
  const rows = await askObjects<Row>(await loadConfiguration(options), {
    sql: `SELECT ${columns.replace(', holds', `, state = 'active' AND expires_at > now64(6, 'UTC') AS holds`)} FROM throttle WHERE startsWith(signal_id, {signal:String}) ORDER BY signal_id, revision LIMIT 1000`,
    parameters: { signal },
  });
  const ids = new Set(rows.map(({ signal_id }) => signal_id));
  if (ids.size === 1) return { rows, id: [...ids][0]! };
  const found = ids.size === 0 ? 'There is no such signal' : `${ids.size} signals begin so`;
  throw new AuditdError('argument_invalid', `${signal}: ${found}; mcp-auditd throttles list --all shows them.`);
}

async function show(signal: string, options: CommonOptions & { json?: boolean }): Promise<void> {
  const { rows, id } = await find(options, signal);
  if (options.json === true) {
    for (const row of rows) process.stdout.write(`${JSON.stringify(row)}\n`);
    return;
  }
  const { renderTable, shown } = await import('./terminal.js');
  const last = rows.at(-1)!;
  const holds = last.holds ? `until ${timeOf(last.expires_at)}` : ended(last);
  process.stdout.write(`${id}  ${shown(who(last))}, ${holds}\n`);
  for (const [name, ids] of [
    ['rule', last.rule_ids],
    ['alert', last.alert_ids],
  ] as const)
    if (ids.length > 0) process.stdout.write(`${name}${ids.length === 1 ? '' : 's'} ${shown(ids.join(', '))}\n`);
  if (last.dry_run) {
    const { wouldHold } = await import('./throttle-dry-run.js');
    process.stdout.write(`It would have held back ${told(await wouldHold(await loadConfiguration(options), last))}.\n`);
  }
  process.stdout.write('\n');
  const changes = rows.map((row) => [
    row.revision,
    timeOf(row.issued_at),
    row.state,
    how(row),
    timeOf(row.expires_at),
    by(row),
    row.reason,
  ]);
  process.stdout.write(`${renderTable(['revision', 'at', 'state', 'how', 'until', 'by', 'reason'], changes)}\n`);
}

async function add(options: AddOptions): Promise<void> {
  const { longestDelayMicros, parseRate, scopeNames, signalId } = await import('../../schemas/throttle.js');
  const { parseDuration } = await import('../../schemas/duration.js');
  const scope: Partial<Record<ScopeField, string>> = {};
  for (const [name, field] of Object.entries(scopeNames) as [ScopeName, ScopeField][]) {
    const value = options[name];
    if (value !== undefined) scope[field] = value;
  }
  const each = (options.each ?? [])
    .flatMap((names) => names.split(','))
    .map((name) => {
      const field = (scopeNames as Readonly<Record<string, ScopeField>>)[name];
      if (field !== undefined) return field;
      throw new AuditdError(
        'argument_invalid',
        `--each ${name}: expected one of ${Object.keys(scopeNames).join(', ')}.`,
      );
    });
  const { rate, burst, delay, block, dryRun, reason } = options;
  if (rate === undefined && delay === undefined && block !== true)
    throw new AuditdError('argument_invalid', 'Say how: --rate, --delay or --block.');
  if (Object.keys(scope).length === 0 && each.length === 0)
    throw new AuditdError('argument_invalid', 'Say who: --actor, --session, --client, --server, --tool or --each.');
  const wrong = (option: string, given: string, expected: string): AuditdError =>
    new AuditdError('argument_invalid', `${option} ${given}: expected ${expected}.`);
  if (rate !== undefined && Number.isNaN(parseRate(rate)))
    throw wrong('--rate', rate, 'a rate such as 1/s, 100/m or 20/h');
  if (burst !== undefined && rate === undefined) throw new AuditdError('argument_invalid', '--burst needs --rate.');
  if (burst !== undefined && !/^[1-9]\d{0,5}$/.test(burst))
    throw wrong('--burst', burst, 'a number of calls, at least 1');
  if (delay !== undefined && !(parseDuration(delay) <= longestDelayMicros))
    throw wrong('--delay', delay, 'a duration up to 60s, such as 500ms');
  const ends_at = await endOf(options.ttl);
  if (!reason && dryRun !== true)
    throw new AuditdError('argument_invalid', 'Say why: --reason. The caller is told, and it is on record.');
  const throttle: ThrottleByHand = {
    scope,
    each,
    ...(rate === undefined ? {} : { rate }),
    ...(burst === undefined ? {} : { burst: Number(burst) }),
    ...(delay === undefined ? {} : { delay }),
    ...(block === undefined ? {} : { block }),
    ...(dryRun === undefined ? {} : { dry_run: dryRun }),
  };
  const record = await respond(options, { kind: 'throttle', throttle, ends_at });
  const id = signalId(record.tenant, 'person', scope, each);
  const { shown } = await import('./terminal.js');
  if (options.json === true) process.stdout.write(`${JSON.stringify({ ...record, signal_id: id })}\n`);
  else
    process.stdout.write(
      `signal ${id.slice(0, 8)}, ${shown(who({ scope: scope as Row['scope'], each }))}, until ${timeOf(ends_at)}; it reaches the servers within a second\n`,
    );
}

async function lift(signal: string, options: CommonOptions & { reason?: string; author?: string }): Promise<void> {
  const { id, rows } = await find(options, signal);
  const last = rows.at(-1)!;
  if (!last.holds) throw new AuditdError('argument_invalid', `${id} holds nobody back: ${ended(last)}.`);
  await respond(options, { kind: 'lift', target: id });
  process.stdout.write(`lifted ${id}\n`);
  if (last.origin === 'limit')
    process.stdout.write(
      'It is a fixed limit: until it is taken out of the configuration, it is back within 12 hours.\n',
    );
}

async function override(options: CommonOptions & { ttl: string; reason?: string; author?: string }): Promise<void> {
  const ends_at = await endOf(options.ttl);
  if (!options.reason) throw new AuditdError('argument_invalid', 'Say why: --reason.');
  const throttle = { scope: {}, each: [], override: true };
  const { tenant } = await respond(options, { kind: 'throttle', throttle, ends_at });
  const { signalId } = await import('../../schemas/throttle.js');
  const id = signalId(tenant, 'override', {}, []).slice(0, 8);
  process.stdout.write(`nobody is held back until ${timeOf(ends_at)}; mcp-auditd throttles lift ${id} ends that\n`);
}

async function endOf(ttl: string): Promise<string> {
  const { parseDuration } = await import('../../schemas/duration.js');
  const micros = parseDuration(ttl);
  if (Number.isNaN(micros) || micros > 24 * 3_600e6)
    throw new AuditdError('argument_invalid', `--ttl ${ttl}: expected a duration up to 24h, such as 30m.`);
  return new Date(Date.now() + micros / 1000).toISOString();
}
