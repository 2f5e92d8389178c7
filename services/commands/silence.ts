/** `silence`: hide alerts for a while, with a reason on record. */
import type { Command } from 'commander';
import { AuditdError } from '../../schemas/errors.js';
import { addCommonOptions, type CommonOptions, loadConfiguration } from './context.js';
import { type ResponseOptions, respond } from './respond.js';

interface SilenceRow {
  readonly response_id: string;
  readonly revision: number;
  readonly matchers: readonly string[];
  readonly starts_at: string;
  readonly ends_at: string;
  readonly reason: string;
  readonly author: string;
  readonly author_key: string;
  readonly holds: boolean;
}

interface AddOptions extends ResponseOptions {
  readonly for?: string;
  readonly until?: string;
  readonly from?: string;
  readonly json?: boolean;
}

/** A silence that nobody ends is a hole: a year is the longest. */
const longestDays = 366;

export function addSilence(program: Command): void {
  const silence = program.command('silence').description('hide alerts for a while');
  addCommonOptions(silence.command('add'))
    .description('hide alerts that all of the matchers fit; they stay on record')
    .argument('<matchers...>', 'level<=low, rule=volume, actor=~svc-.*, tenant=acme, tag!=test')
    .option('--for <duration>', 'how long: 30m, 8h, 7d')
    .option('--until <time>', 'until when: 2026-12-01T08:00:00Z')
    .option('--from <time>', 'from when on (default: now)')
    .requiredOption('--reason <text>', 'why, for those who come later')
    .option('--author <name>', 'who says so (default: the user of the system)')
    .option('--json', 'the record as JSON')
    .addHelpText(
      'after',
      `
Examples:
  mcp-auditd silence add rule=volume actor=load-test --for 2h --reason "load test of the search server"
  mcp-auditd silence add tenant=acme "level<=medium" --until 2026-12-01T08:00:00Z --reason "migration"`,
    )
    .action(add);
  addCommonOptions(silence.command('list'))
    .description('what is silenced now')
    .option('--all', 'also what has ended')
    .option('--json', 'one JSON object a line')
    .action(list);
  addCommonOptions(silence.command('expire'))
    .description('end a silence now')
    .argument('<silence>', 'id, or the beginning of one')
    .option('--reason <text>', 'why, for the record')
    .option('--author <name>', 'who says so (default: the user of the system)')
    .action(expire);
}

async function add(matchers: string[], options: AddOptions): Promise<void> {
  const { parseMatcher } = await import('../../schemas/matcher.js');
  for (const each of matchers) {
    try {
      parseMatcher(each);
    } catch (error) {
      throw new AuditdError('argument_invalid', (error as Error).message);
    }
  }
  if ((options.for === undefined) === (options.until === undefined))
    throw new AuditdError('argument_invalid', 'Say how long: --for DURATION or --until TIME.');
  const startMs = options.from === undefined ? Date.now() : await timeMs('--from', options.from);
  const endMs =
    options.until === undefined ? startMs + (await durationMs(options.for!)) : await timeMs('--until', options.until);
  if (endMs <= Math.max(startMs, Date.now())) throw new AuditdError('argument_invalid', 'It would have ended already.');
  if (endMs - startMs > longestDays * 86_400_000)
    throw new AuditdError('argument_invalid', `A silence lasts at most ${longestDays} days.`);
  const record = await respond(options, {
    kind: 'silence',
    matchers,
    starts_at: new Date(startMs).toISOString(),
    ends_at: new Date(endMs).toISOString(),
  });
  if (options.json === true) process.stdout.write(`${JSON.stringify(record)}\n`);
  else process.stdout.write(`silenced until ${new Date(endMs).toISOString()}: ${record.response_id}\n`);
}

async function durationMs(text: string): Promise<number> {
  const { parseDuration } = await import('../../schemas/duration.js');
  const micros = parseDuration(text);
  if (Number.isNaN(micros) || micros <= 0)
    throw new AuditdError('argument_invalid', `--for ${text}: expected a duration such as 30m, 8h or 7d.`);
  return micros / 1_000;
}

async function timeMs(option: string, text: string): Promise<number> {
  const { parseTimeMicros } = await import('../../schemas/time.js');
  const micros = parseTimeMicros(text);
  if (Number.isNaN(micros))
    throw new AuditdError('argument_invalid', `${option} ${text}: expected a time such as 2026-12-01T08:00:00Z.`);
  return micros / 1_000;
}

const columns =
  "response_id, revision, matchers, starts_at, ends_at, reason, author, author_key, starts_at <= now64(6, 'UTC') AND ends_at > now64(6, 'UTC') AS holds";

async function rowsOf(
  options: CommonOptions,
  where: string,
  parameters: Record<string, string> = {},
): Promise<SilenceRow[]> {
  const { askObjects } = await import('./ask.js');
  return askObjects<SilenceRow>(await loadConfiguration(options), {
    sql: `SELECT ${columns} FROM responses_latest WHERE kind = 'silence' AND ${where} ORDER BY ends_at LIMIT 10000`,
    parameters,
  });
}

async function list(options: CommonOptions & { all?: boolean; json?: boolean }): Promise<void> {
  const rows = await rowsOf(options, options.all === true ? '1' : "ends_at > now64(6, 'UTC')");
  if (options.json === true) {
    for (const row of rows) process.stdout.write(`${JSON.stringify(row)}\n`);
    return;
  }
  if (rows.length === 0) {
    process.stdout.write('Nothing is silenced.\n');
    return;
  }
  const { renderTable } = await import('./terminal.js');
  const shown = rows.map((row) => [
    row.response_id.slice(0, 8),
    row.matchers.join(' '),
    row.holds
      ? `until ${row.ends_at.slice(0, 19)}`
      : row.starts_at > new Date().toISOString().replace('T', ' ')
        ? `from ${row.starts_at.slice(0, 19)}`
        : 'ended',
    row.author,
    row.reason,
  ]);
  process.stdout.write(`${renderTable(['silence', 'hides', 'state (UTC)', 'by', 'reason'], shown)}\n`);
}

async function expire(id: string, options: ResponseOptions): Promise<void> {
  if (!/^[0-9a-f-]{4,36}$/.test(id))
    throw new AuditdError('argument_invalid', `${id}: expected at least 4 characters of a silence's id.`);
  const rows = await rowsOf(options, 'startsWith(response_id, {id:String})', { id });
  if (rows.length !== 1) {
    const found = rows.length === 0 ? 'There is no such silence' : `${rows.length} silences begin so`;
    throw new AuditdError('argument_invalid', `${id}: ${found}; mcp-auditd silence list --all shows them.`);
  }
  const { response_id, revision, matchers, starts_at, ends_at } = rows[0]!;
  if (ends_at <= new Date().toISOString().replace('T', ' '))
    throw new AuditdError('argument_invalid', `${id}: it has ended already.`);
  await respond(options, {
    kind: 'silence',
    response_id,
    revision: revision + 1,
    matchers,
    // One that was made without has the beginning of time, which no response may name.
    ...(starts_at < '2000' ? {} : { starts_at: `${starts_at.replace(' ', 'T')}Z` }),
    ends_at: new Date().toISOString(),
  });
  process.stdout.write(`ended ${response_id}\n`);
}
