import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import type { Status } from '../query/status.js';
import { addCommonOptions, type CommonOptions, findDaemon, loadConfiguration, request } from './context.js';

interface StatusOptions extends CommonOptions {
  readonly json?: boolean;
}

/** `status`: how recording goes, with a daemon and without. */
export function addStatus(program: Command): void {
  addCommonOptions(program.command('status'))
    .description('show rates, lags, spools, drops and disk')
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
  const { data } = loaded;
  const [{ bytesText, renderTable, shown }, daemon] = await Promise.all([import('./terminal.js'), findDaemon(data)]);
  if (daemon === undefined) {
    const { diskState } = await import('../query/disk.js');
    const disk = diskState(data);
    let last: string | null = null;
    let calls = 0;
    if (existsSync(join(data, 'store'))) {
      const { askObjects } = await import('./ask.js');
      const [row] = await askObjects<{ calls: number; last: string | null }>(loaded, {
        sql: 'SELECT toUInt32(count()) AS calls, if(calls = 0, NULL, toString(max(recorded_at))) AS last FROM calls',
      });
      calls = row?.calls ?? 0;
      last = row?.last ?? null;
    }
    if (options.json === true) {
      process.stdout.write(
        `${JSON.stringify({ running: false, data, calls, last_recorded_at: last, disk }, null, 2)}\n`,
      );
      return;
    }
    const rows = [
      ['daemon', 'does not run; start it with mcp-auditd up'],
      ['data', data],
      ['calls', last === null ? 'none yet' : `${calls}, the last recorded at ${last} UTC`],
      ['disk', diskText(disk, bytesText)],
    ];
    process.stdout.write(`${renderTable(['', ''], rows).trimStart()}\n`);
    writeSpools(disk.spools, renderTable, bytesText);
    return;
  }
  const status = (await (await request(daemon, '/v1/status')).json()) as Status;
  if (options.json === true) {
    process.stdout.write(`${JSON.stringify({ running: true, url: daemon.url, ...status }, null, 2)}\n`);
    return;
  }
  const table = status.tables.find((each) => each.table === 'calls');
  const gateway = (status as { gateway?: { rejectedLines?: number } }).gateway;
  const rows = [
    ['daemon', `process ${status.pid} since ${status.started_at}, version ${status.version}`],
    ['address', daemon.url],
    ['data', data],
    ['calls', `${table?.rows ?? 0} stored, ${status.calls_per_second} a second in the last minute`],
    ['lag', `${status.ingestor?.lag ?? 0} events wait for the store`],
    ['dead letters', status.dead_letters === 0 ? 'none' : `${status.dead_letters}; mcp-auditd dead list`],
    ['refused lines', String(gateway?.rejectedLines ?? 0)],
    ['memory', bytesText(status.memory_bytes)],
    ['disk', diskText(status.disk, bytesText)],
  ];
  process.stdout.write(
    `${renderTable(
      ['', ''],
      rows.map((row) => row.map((text) => shown(text))),
    ).trimStart()}\n`,
  );
  writeSpools(status.disk.spools, renderTable, bytesText);
}

function diskText(disk: Status['disk'], text: (bytes: number) => string): string {
  return `store ${text(disk.store_bytes)}, stream ${text(disk.stream_bytes)}, spools ${text(disk.spool_bytes)}, free ${text(disk.free_bytes)}`;
}

function writeSpools(
  spools: Status['disk']['spools'],
  renderTable: (names: string[], rows: unknown[][]) => string,
  text: (bytes: number) => string,
): void {
  if (spools.length === 0) return;
  const rows = spools.map((spool) => [
    spool.producer_id,
    text(spool.bytes),
    spool.pid === null ? 'its process has ended' : `process ${spool.pid}`,
  ]);
  process.stdout.write(`\n${renderTable(['spool', 'size', 'written by'], rows)}\n`);
}
