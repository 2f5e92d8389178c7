import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import type { DiskState } from '../query/disk.js';
import type { Losses } from '../query/losses.js';
import type { Status } from '../query/status.js';
import {
  addCommonOptions,
  type CommonOptions,
  findDaemon,
  type Loaded,
  loadConfiguration,
  request,
} from './context.js';

interface StatusOptions extends CommonOptions {
  readonly json?: boolean;
}

/** `status`: how recording goes, with a daemon and without. */
export function addStatus(program: Command): void {
  addCommonOptions(program.command('status'))
    .description('show rates, lags, spools, losses and disk')
    .option('--json', 'everything that is known, as JSON')
    .addHelpText(
      'after',
      `
Works without a daemon too: it then tells what lies on the disk. The exit code
is 0 in both cases.

Examples:
  mcp-auditd status
  mcp-auditd status --json | jq .ingestor.lag`,
    )
    .action(run);
}

async function run(options: StatusOptions): Promise<void> {
  const loaded = await loadConfiguration(options);
  const daemon = await findDaemon(loaded.data);
  if (daemon === undefined) {
    const idle = await idleState(loaded);
    if (options.json === true) write(JSON.stringify({ running: false, ...idle }, null, 2));
    else await showIdle(idle);
    return;
  }
  const status = (await (await request(daemon, '/v1/status')).json()) as Status;
  if (options.json === true) write(JSON.stringify({ running: true, url: daemon.url, ...status }, null, 2));
  else await showRunning(daemon.url, status);
}

interface IdleState {
  readonly data: string;
  readonly calls: number;
  readonly last_recorded_at: string | null;
  readonly losses: Losses;
  readonly disk: DiskState;
}

/** What can be told of a directory that no daemon holds. */
async function idleState(loaded: Loaded): Promise<IdleState> {
  const { data } = loaded;
  const { diskState } = await import('../query/disk.js');
  const disk = diskState(data);
  const nothing = { calls: 0, last_recorded_at: null, losses: { lost_calls: 0, damaged_records: 0 } };
  if (!existsSync(join(data, 'store'))) return { data, ...nothing, disk };
  const [{ askObjects }, { readLosses }] = await Promise.all([import('./ask.js'), import('../query/losses.js')]);
  const [row] = await askObjects<{ calls: number; last_recorded_at: string | null }>(loaded, {
    sql: 'SELECT toUInt32(count()) AS calls, if(calls = 0, NULL, toString(max(recorded_at))) AS last_recorded_at FROM calls',
  });
  const losses = await readLosses((sql) => askObjects<object>(loaded, { sql }));
  return { data, ...nothing, ...row, losses, disk };
}

async function showIdle({ data, calls, last_recorded_at, losses, disk }: IdleState): Promise<void> {
  const { agoText } = await import('./terminal.js');
  const last = last_recorded_at === null ? undefined : Date.parse(`${last_recorded_at.replace(' ', 'T')}Z`);
  await showRows([
    ['daemon', 'does not run; start it with mcp-auditd up'],
    ['data', data],
    ['calls', last === undefined ? 'none yet' : `${calls} stored, the last ${agoText(Date.now() - last)} ago`],
    ['lost', lossText(losses)],
    ...(await diskRows(disk)),
  ]);
}

async function showRunning(url: string, status: Status): Promise<void> {
  const { agoText, bytesText } = await import('./terminal.js');
  const stored = status.tables.find((each) => each.table === 'calls')?.rows ?? 0;
  const { dead_letters: dead, gateway, ingestor } = status;
  const refused = gateway?.rejected_lines ?? 0;
  const since = agoText(Date.now() - Date.parse(status.started_at));
  await showRows([
    ['daemon', `process ${status.pid} for ${since}, version ${status.version}`],
    ['address', url],
    ['data', status.data],
    ['calls', `${stored} stored, ${status.calls_per_second} a second in the last minute`],
    ['lag', `${ingestor?.lag ?? 0} calls on their way from the stream to the store`],
    ['lost', lossText(status.losses)],
    ['refused', refused === 0 ? 'none' : `${refused} lines since the start, named in rejected.jsonl of their emitters`],
    ['dead letters', dead === 0 ? 'none' : `${dead}; mcp-auditd dead list shows them`],
    ...ruleRows(status.detector),
    ['memory', bytesText(status.memory_bytes)],
    ...(await diskRows(status.disk)),
  ]);
}

/** Problems of rule files that are named; `rules check` names all. */
const mostProblems = 5;

function ruleRows(detector: Status['detector']): [name: string, text: string][] {
  if (detector === undefined) return [];
  const { rules, firing, lag, problems } = detector;
  const rows: [string, string][] = [['rules', `${rules} in force, ${firing} alerts open, ${lag} calls to look at`]];
  if (problems.length === 0) return rows;
  rows.push(['', `the files have ${problems.length} mistakes, and the rules in force are those of before:`]);
  for (const { file, line, column, message } of problems.slice(0, mostProblems))
    rows.push(['', `${file}:${line}:${column}: ${message}`]);
  if (problems.length > mostProblems) rows.push(['', 'mcp-auditd rules check shows all of them']);
  return rows;
}

function lossText(losses: Losses | null): string {
  if (losses === null) return 'unknown: the store is busy';
  const { lost_calls: lost, damaged_records: damaged } = losses;
  if (lost + damaged === 0) return 'none';
  const where = "SELECT * FROM calls WHERE method = 'audit/loss'";
  return `${lost} calls not recorded, ${damaged} records damaged; mcp-auditd query "${where}"`;
}

async function diskRows(disk: DiskState): Promise<[name: string, text: string][]> {
  const { bytesText } = await import('./terminal.js');
  const spools = disk.spools.map(({ producer_id, bytes, pid }): [string, string] => [
    '',
    `${producer_id}  ${bytesText(bytes)}, ${pid === null ? 'its process has ended' : `process ${pid}`}`,
  ]);
  const { store_bytes, stream_bytes, spool_bytes, free_bytes } = disk;
  return [
    ['disk', `store ${bytesText(store_bytes)}, stream ${bytesText(stream_bytes)}, ${bytesText(free_bytes)} free`],
    ['spools', spools.length === 0 ? 'none wait for delivery' : `${spools.length} with ${bytesText(spool_bytes)}`],
    ...spools,
  ];
}

async function showRows(rows: readonly (readonly [name: string, text: string])[]): Promise<void> {
  const [{ colors }, { shown }] = await Promise.all([import('./colors.js'), import('./terminal.js')]);
  const width = Math.max(...rows.map(([name]) => name.length));
  write(rows.map(([name, text]) => `${colors.bold(name.padEnd(width))}  ${shown(text)}`).join('\n'));
}

function write(text: string): void {
  process.stdout.write(`${text}\n`);
}
