import type { Command } from 'commander';
import { AuditdError } from '../../schemas/errors.js';
import { addCommonOptions, type CommonOptions, loadConfiguration, request, requireDaemon } from './context.js';

/** Dead letters that one replay sends; the next call takes the rest. 10,000 of at most 4 MiB go in batches below. */
const maxReplayed = 10_000;
/** Lines and bytes of one request, well below the gateway's limits. */
const batchLines = 500;
const batchBytes = 4 * 1024 * 1024;

const position = "concat(toString(stream_partition), ':', toString(stream_offset))";

interface DeadRow {
  readonly position: string;
  readonly tenant: string;
  readonly raw: string;
}

/** `dead`: records that could not be stored. */
export function addDead(program: Command): void {
  const dead = program.command('dead').description('list, show and replay records that could not be stored');
  addCommonOptions(dead.command('list'))
    .description('show place and reason, newest first')
    .option('--limit <rows>', 'rows at most', '50')
    .option('--json', 'one JSON object a line')
    .action(async (options: CommonOptions & { limit: string; json?: boolean }) => {
      const loaded = await loadConfiguration(options);
      if (!/^[1-9]\d{0,5}$/.test(options.limit))
        throw new AuditdError('argument_invalid', `--limit ${options.limit}: expected a number from 1 to 999999.`);
      const { askObjects } = await import('./ask.js');
      const rows = await askObjects<Record<string, unknown>>(loaded, {
        sql: `SELECT ${position} AS position, recorded_at, source_topic, source_partition, toString(source_offset) AS source_offset, reason, message, length(raw) AS bytes FROM dead ORDER BY recorded_at DESC LIMIT {limit:UInt32}`,
        parameters: { limit: options.limit },
      });
      if (options.json === true) {
        for (const row of rows) process.stdout.write(`${JSON.stringify(row)}\n`);
        return;
      }
      const { renderTable } = await import('./terminal.js');
      const names = ['position', 'recorded_at', 'reason', 'message', 'bytes'];
      process.stdout.write(
        rows.length === 0
          ? 'There are no dead letters.\n'
          : `${renderTable(
              names,
              rows.map((row) => names.map((name) => row[name])),
            )}\n`,
      );
    });
  addCommonOptions(dead.command('show'))
    .description('print the bytes of one record')
    .argument('<position>', 'PARTITION:OFFSET as dead list shows it')
    .action(async (place: string, options: CommonOptions) => {
      const loaded = await loadConfiguration(options);
      const [row] = await deadRows(loaded, place);
      if (row === undefined) throw new AuditdError('argument_invalid', `There is no dead letter at ${place}.`);
      const raw = Buffer.from(row.raw, 'base64');
      const { shownLines } = await import('./terminal.js');
      process.stdout.write(process.stdout.isTTY ? `${shownLines(raw.toString('utf8'))}\n` : raw);
    });
  addCommonOptions(dead.command('replay'))
    .description('send records again; those that are refused again are named')
    .argument('[position]', 'PARTITION:OFFSET; without one, all')
    .addHelpText(
      'after',
      `
Needs the daemon. A record that was stored meanwhile is not stored twice: its id
is known. Dead letters stay in the table until their retention ends. The exit
code is 1 when a record is refused again.

Examples:
  mcp-auditd dead replay
  mcp-auditd dead replay 0:17`,
    )
    .action(replay);
}

async function deadRows(loaded: Awaited<ReturnType<typeof loadConfiguration>>, place?: string): Promise<DeadRow[]> {
  if (place !== undefined && !/^\d+:\d+$/.test(place))
    throw new AuditdError('argument_invalid', `${place}: expected PARTITION:OFFSET, as dead list shows it.`);
  const [partition = '0', offset = '0'] = place?.split(':') ?? [];
  const { askObjects } = await import('./ask.js');
  const which =
    place === undefined ? '' : 'AND stream_partition = {partition:UInt32} AND stream_offset = {offset:UInt64}';
  return askObjects<DeadRow>(loaded, {
    sql: `SELECT ${position} AS position, headers['tenant'] AS tenant, base64Encode(raw) AS raw FROM dead WHERE source_topic = 'calls' ${which} ORDER BY stream_partition, stream_offset LIMIT ${maxReplayed}`,
    ...(place === undefined ? {} : { parameters: { partition, offset } }),
  });
}

async function replay(place: string | undefined, options: CommonOptions): Promise<void> {
  const loaded = await loadConfiguration(options);
  const daemon = await requireDaemon(loaded.data);
  const { keyFilePath, listKeys, readSecretFile } = await import('../access/keys.js');
  const emitter = { ...daemon, key: readSecretFile(keyFilePath(loaded.data, 'emit')) };
  const tenant = listKeys(loaded.data).find((key) => key.name === 'emitter')?.tenant ?? 'default';
  const rows = await deadRows(loaded, place);
  if (place !== undefined && rows.length === 0)
    throw new AuditdError('argument_invalid', `There is no dead letter of calls at ${place}.`);
  const refused: string[] = [];
  let accepted = 0;
  // The key vouches for one tenant: the records of others must not change hands.
  const ours = rows.filter((row) => row.tenant === '' || row.tenant === tenant);
  for (const row of rows) if (!ours.includes(row)) refused.push(`${row.position}: belongs to the tenant ${row.tenant}`);
  for (let start = 0; start < ours.length; ) {
    const batch: DeadRow[] = [];
    let bytes = 0;
    while (start < ours.length && batch.length < batchLines && (batch.length === 0 || bytes < batchBytes)) {
      bytes += ours[start]!.raw.length;
      batch.push(ours[start++]!);
    }
    // A line end inside a record can only stand between two tokens of its JSON, where a space means the same.
    const body = batch
      .map((row) =>
        Buffer.from(row.raw, 'base64')
          .toString('latin1')
          .replaceAll(/[\r\n]/g, ' '),
      )
      .join('\n');
    const response = await request(emitter, '/v1/events', {
      method: 'POST',
      headers: { 'content-type': 'application/x-ndjson' },
      body: Buffer.from(`${body}\n`, 'latin1'),
    });
    const answer = (await response.json()) as { accepted: number; rejected: { line: number; message: string }[] };
    accepted += answer.accepted;
    for (const { line, message } of answer.rejected) refused.push(`${batch[line - 1]!.position}: ${message}`);
  }
  const { shown } = await import('./terminal.js');
  process.stdout.write(`${accepted} sent again, ${refused.length} refused\n`);
  for (const each of refused) process.stderr.write(`${shown(each)}\n`);
  if (refused.length > 0) process.exitCode = 1;
}
