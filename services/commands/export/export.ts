/** `export`: the rows of a range of time into files, whatever its length. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Command } from 'commander';
import { AuditdError } from '../../../schemas/errors.js';
import { ask, askObjects } from '../ask.js';
import { addCommonOptions, type CommonOptions, type Loaded, loadConfiguration } from '../context.js';
import { whenReaderLeaves } from '../output.js';
import { type Output, openOutput } from './output.js';
import { Progress } from './progress.js';
import { boundsOf, conditionOf, cut, planSlices, type Range, type Slice } from './slices.js';

/** The column that says when, by table. */
const tables: Readonly<Record<string, string>> = {
  calls: 'occurred_at',
  tool_calls: 'time',
  alerts: 'at',
  throttle: 'issued_at',
  deliveries: 'at',
  responses: 'at',
  queries: 'asked_at',
  saved_queries: 'saved_at',
  dead: 'recorded_at',
};

/**
 * The format of one slice, and how many rows it may have: a question may answer a million rows and 1 GiB, and the engine
 * in process holds a Parquet file whole, in at most 64 MiB.
 */
const formats: Readonly<Record<string, { readonly format: string; readonly rows: number }>> = {
  jsonl: { format: 'JSONEachRow', rows: 250_000 },
  csv: { format: 'CSV', rows: 250_000 },
  parquet: { format: 'Parquet', rows: 100_000 },
};

/** What a spreadsheet takes for a formula at the beginning of a cell (OWASP, CSV Injection), full-width forms too. */
const formulaBeginning = '^[=+\\\\-@\\\\t\\\\r＝＋－＠]';
const busyRetries = 30;
const busyRetryMs = 1_000;

interface ExportOptions extends CommonOptions {
  readonly from: string;
  readonly to?: string;
  readonly table: string;
  readonly where?: string;
  readonly format: string;
  readonly output: string;
  readonly force?: boolean;
  readonly formulas?: boolean;
}

export function addExport(program: Command): void {
  addCommonOptions(program.command('export'))
    .description('write the rows of a range of time to Parquet, JSONL or CSV')
    .requiredOption('--from <time>', 'first time, as 2026-11-01 or 2026-11-01T08:00:00Z')
    .option('--to <time>', 'end, exclusive (default: now)')
    .option('--table <table>', Object.keys(tables).join(', '), 'calls')
    .option('--where <condition>', 'only rows for which this SQL condition holds')
    .requiredOption('--format <format>', Object.keys(formats).join(', '))
    .requiredOption('--output <file>', 'a file; a directory of files where the name ends with /; - for standard output')
    .option('--force', 'replace what is there')
    .option('--formulas', 'CSV: leave texts as they are that a spreadsheet would run as formulas')
    .addHelpText(
      'after',
      `
A range of any length: it is asked for in slices. A file has its name when
everything is in it. In CSV, texts that begin like a formula get a ' in front.
Exit codes: 0 done, 1 failed, 2 wrong use, 130 interrupted.

Examples:
  mcp-auditd export --from 2026-11-01 --to 2026-12-01 --format jsonl --output november.jsonl
  mcp-auditd export --from 2026-11-01 --format csv --where "actor_id = 'alice'" --output alice.csv
  mcp-auditd export --from 2026-01-01 --format parquet --output calls-2026/`,
    )
    .action(run);
}

async function run(options: ExportOptions): Promise<void> {
  const range = rangeOf(options);
  const shape = formats[options.format];
  if (shape === undefined)
    throw new AuditdError(
      'argument_invalid',
      `--format ${options.format}: expected ${Object.keys(formats).join(', ')}.`,
    );
  const loaded = await loadConfiguration(options);
  const stop = new AbortController();
  const end = (): void => stop.abort();
  process.once('SIGINT', end).once('SIGTERM', end);
  whenReaderLeaves(end);
  const output = await openOutput(options.output, options.force === true, options.format);
  try {
    const columns = await columnsOf(loaded, range.table, stop.signal);
    const slices = await planSlices(loaded, range, shape.rows, stop.signal);
    const isWhole = options.format === 'parquet' && !options.output.endsWith('/');
    const tooLong = new AuditdError(
      'query_limit',
      `These rows are too many for one Parquet file; give a directory, as --output ${options.output === '-' ? 'calls' : options.output}/`,
    );
    if (isWhole && slices.length > 1) throw tooLong;
    const isGuarded = options.format === 'csv' && options.formulas !== true;
    const question = {
      sql: `SELECT ${isGuarded ? guardedColumns(columns) : '*'} FROM ${range.table} WHERE ${conditionOf(range)} ORDER BY ${range.timeColumn}`,
      format: shape.format,
    };
    const progress = new Progress(slices.reduce((sum, { rows }) => sum + rows, 0));
    if (options.format === 'csv') await output.write(headerOf(columns));
    // Nothing to tell is a file as well, with its columns where the format has them.
    const waiting = slices.length > 0 ? slices : [{ fromMs: range.fromMs, toMs: range.toMs, rows: 0 }];
    while (waiting.length > 0) {
      const slice = waiting.shift()!;
      const isDone = await writeSlice(loaded, question, slice, output, progress, stop.signal);
      if (isDone) progress.done(slice.rows);
      else if (isWhole) throw tooLong;
      else waiting.unshift(...cut(slice, 2));
    }
    await output.finish();
    progress.end(options.output);
  } catch (error) {
    await output.discard();
    if (!stop.signal.aborted) throw error;
    process.stderr.write('\nInterrupted: nothing was left behind.\n');
    process.exitCode = 130;
  }
}

/** False: it is beyond a limit, and was taken back. */
async function writeSlice(
  loaded: Loaded,
  question: { readonly sql: string; readonly format: string },
  slice: Slice,
  output: Output,
  progress: Progress,
  signal: AbortSignal,
): Promise<boolean> {
  for (let attempt = 1; ; attempt++) {
    await output.mark();
    progress.mark();
    try {
      for await (const chunk of ask(loaded, { ...question, parameters: boundsOf(slice), signal })) {
        await output.write(chunk);
        progress.add(chunk.length);
      }
      return true;
    } catch (error) {
      if (signal.aborted) throw error;
      const { code } = error as { code?: string };
      // An answer that breaks off does not say why; a limit is the usual reason, and halving ends it either way.
      const isBeyond = code === 'query_limit' || (code === 'query_failed' && error instanceof AuditdError);
      const isBusy = code === 'query_busy' && attempt < busyRetries;
      if (!(isBusy || (isBeyond && slice.toMs - slice.fromMs > 1)) || !(await output.rewind())) throw error;
      progress.rewind();
      if (!isBusy) return false;
      await delay(busyRetryMs, undefined, { signal });
    }
  }
}

function rangeOf({ from, to, table, where }: ExportOptions): Range {
  const timeColumn = tables[table];
  if (timeColumn === undefined)
    throw new AuditdError('argument_invalid', `--table ${table}: expected one of ${Object.keys(tables).join(', ')}.`);
  const fromMs = timeOf('--from', from);
  const toMs = to === undefined ? Date.now() : timeOf('--to', to);
  if (toMs <= fromMs) throw new AuditdError('argument_invalid', 'The range ends before it begins.');
  return { table, timeColumn, fromMs, toMs, where };
}

function timeOf(name: string, text: string): number {
  const isTime = /^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d))?$/.test(text);
  const milliseconds = isTime ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(milliseconds))
    throw new AuditdError('argument_invalid', `${name} ${text}: expected 2026-11-01 or 2026-11-01T08:00:00Z (UTC).`);
  return milliseconds;
}

interface Column {
  readonly name: string;
  readonly type: string;
}

async function columnsOf(loaded: Loaded, table: string, signal: AbortSignal): Promise<Column[]> {
  return askObjects<Column>(loaded, {
    sql: 'SELECT name, type FROM system.columns WHERE database = currentDatabase() AND table = {table:String} ORDER BY position',
    parameters: { table },
    signal,
  });
}

function headerOf(columns: readonly Column[]): Buffer {
  return Buffer.from(`${columns.map(({ name }) => `"${name}"`).join(',')}\n`);
}

/** By their places and without names, which the condition would take for the columns' own. */
function guardedColumns(columns: readonly Column[]): string {
  return columns
    .map(({ name, type }) => {
      const isText = /^(LowCardinality\()?(Nullable\()?(Fixed)?String/.test(type);
      const column = `\`${name}\``;
      return isText ? `if(match(${column}, '${formulaBeginning}'), concat('\\'', ${column}), ${column})` : column;
    })
    .join(', ');
}
