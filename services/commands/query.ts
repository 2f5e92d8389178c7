import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import { AuditdError } from '../../schemas/errors.js';
import { addCommonOptions, type CommonOptions, loadConfiguration } from './context.js';

/** Our names of ClickHouse's formats; any of ClickHouse's own names is taken as well. */
export const formats: Readonly<Record<string, string>> = {
  json: 'JSON',
  jsonl: 'JSONEachRow',
  csv: 'CSVWithNames',
  tsv: 'TSVWithNames',
  markdown: 'Markdown',
  vertical: 'Vertical',
};
/** A table is laid out in memory: 10,000 rows are more than anybody scrolls through. */
const maxTableRows = 10_000;

interface QueryOptions extends CommonOptions {
  readonly format?: string;
  readonly param: Readonly<Record<string, string>>;
  readonly file?: string;
  readonly saved?: string;
  readonly save?: string;
  readonly forget?: string;
}

function addParameter(text: string, known: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  const at = text.indexOf('=');
  if (at < 1) throw new AuditdError('argument_invalid', `--param ${text}: expected NAME=VALUE.`);
  return { ...known, [text.slice(0, at)]: text.slice(at + 1) };
}

/** `query`: read-only SQL. */
export function addQuery(program: Command): void {
  addCommonOptions(program.command('query'))
    .description('ask the recorded calls in SQL (read-only, also while the daemon runs)')
    .argument('[sql]', 'one statement; - reads it from standard input; none, on a terminal: an interactive session')
    .option(
      '--format <format>',
      'table, json, jsonl, csv, tsv, markdown, vertical, or a format of ClickHouse (default: table on a terminal, else tsv)',
    )
    .option('--param <name=value>', 'value of a placeholder {name:Type}; may be given several times', addParameter, {})
    .option('--file <file>', 'read the statement from a file')
    .option('--saved <name>', 'ask the statement that is kept under this name')
    .option('--save <name>', 'keep the statement under this name, for the dashboard too, instead of asking it')
    .option('--forget <name>', 'keep nothing under this name any more')
    .addHelpText(
      'after',
      `
Tables and views: calls, tool_calls, actors, tools, sessions, calls_per_minute,
alert_states, throttles, deliveries_latest, queries, saved_queries_latest, dead. docs/query.md says what
they hold, docs/cookbook.md has questions to start from.

Examples:
  mcp-auditd query
  mcp-auditd query "SELECT tool_name, count() AS calls FROM calls GROUP BY tool_name ORDER BY calls DESC"
  mcp-auditd query --format json "SELECT * FROM tool_calls ORDER BY time DESC LIMIT 5"
  mcp-auditd query "SELECT count() FROM calls WHERE actor_id = {actor:String}" --param actor=alice
  echo "SELECT 1" | mcp-auditd query -
  mcp-auditd query --save busiest "SELECT actor_id, count() AS calls FROM calls GROUP BY actor_id ORDER BY calls DESC"
  mcp-auditd query --saved busiest --format csv`,
    )
    .action(run);
}

async function run(sql: string | undefined, options: QueryOptions): Promise<void> {
  const { stdin, stdout } = process;
  const sources = [sql, options.file, options.saved, options.forget].filter((each) => each !== undefined);
  if (sources.length === 0 && options.save === undefined && stdin.isTTY && stdout.isTTY) {
    const { Session } = await import('./session/session.js');
    const session = new Session(
      await loadConfiguration(options),
      options.param,
      { input: stdin, output: stdout },
      options.format ?? 'table',
    );
    return session.run();
  }
  if (sources.length !== 1)
    throw new AuditdError('argument_invalid', 'Expected one statement: as an argument, as -, by --file or by --saved.');
  const loaded = await loadConfiguration(options);
  const { forgetQuery, savedStatement, saveQuery } = await import('./saved.js');
  if (options.forget !== undefined) return forgetQuery(loaded, options.forget);
  let text = sql ?? '';
  if (options.file !== undefined) text = readFileSync(options.file, 'utf8');
  else if (options.saved !== undefined) text = await savedStatement(loaded, options.saved);
  else if (sql === '-') text = readFileSync(0, 'utf8');
  if (options.save !== undefined) return saveQuery(loaded, options.save, text);
  const format = options.format ?? (process.stdout.isTTY ? 'table' : 'tsv');
  const question = { sql: text, parameters: options.param };
  const [{ ask, askRows }, { fitsTerminal, renderBlocks, renderTable, shownLines }] = await Promise.all([
    import('./ask.js'),
    import('./terminal.js'),
  ]);
  if (format === 'table') {
    const { names, rows, cut } = await askRows(loaded, question, maxTableRows);
    const render = fitsTerminal(names.length) ? renderTable : renderBlocks;
    process.stdout.write(`${render(names, rows)}\n`);
    process.stderr.write(
      cut
        ? `Only the first ${maxTableRows} rows are shown; --format jsonl gives all.\n`
        : `${rows.length} ${rows.length === 1 ? 'row' : 'rows'}\n`,
    );
    return;
  }
  const decoder = new TextDecoder();
  for await (const chunk of ask(loaded, { ...question, format: formats[format] ?? format })) {
    const out = process.stdout.isTTY ? shownLines(decoder.decode(chunk, { stream: true })) : chunk;
    if (!process.stdout.write(out)) await once(process.stdout, 'drain');
  }
}
