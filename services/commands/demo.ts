import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Command } from 'commander';
import { AuditdError } from '../../schemas/errors.js';
import {
  addCommonOptions,
  type CommonOptions,
  type Daemon,
  findDaemon,
  loadConfiguration,
  request,
} from './context.js';
import type { DemoServer } from './demo-calls.js';

interface DemoOptions extends CommonOptions {
  readonly keep?: boolean;
}

/** `demo`: real servers called by a real client, recorded, watched and asked about. */
export function addDemo(program: Command): void {
  addCommonOptions(program.command('demo'))
    .description('see it work: real MCP servers, a live tail and three questions in SQL, within a minute')
    .option('--keep', "use this user's data directory (or --data) and leave the daemon running")
    .addHelpText('after', '\nExamples:\n  mcp-auditd demo\n  mcp-auditd demo --keep')
    .action(run);
}

const questions = [
  {
    title: 'Who called which server, and how did it go?',
    sql: "SELECT actor_id AS actor, server_name AS server, count() AS calls, countIf(outcome != 'success') AS failed, round(avg(duration_ms), 1) AS average_ms FROM calls WHERE occurred_at >= {since:DateTime64(6, 'UTC')} GROUP BY actor, server ORDER BY calls DESC, actor, server",
  },
  {
    title: 'What was refused or went wrong?',
    sql: "SELECT server_name AS server, if(tool_name = '', method, tool_name) AS what, outcome, substring(error_message, 1, 60) AS error, arguments FROM calls WHERE occurred_at >= {since:DateTime64(6, 'UTC')} AND outcome != 'success' ORDER BY occurred_at LIMIT 12",
  },
  {
    title: 'Which secrets were kept out of the record?',
    sql: "SELECT actor_id AS actor, tool_name AS tool, arrayJoin(redactions) AS redacted, arguments FROM calls WHERE occurred_at >= {since:DateTime64(6, 'UTC')} AND notEmpty(redactions) ORDER BY occurred_at LIMIT 10",
  },
] as const;

/** Longest wait for the last calls to be stored; the usual time is one to two seconds. */
const storedTimeoutMs = 20_000;
const pollMs = 100;

/** The root of the package: where node_modules of a clone lies. */
function packageRoot(): string {
  for (let at = dirname(fileURLToPath(import.meta.url)); ; at = dirname(at)) {
    if (existsSync(join(at, 'package.json')) && existsSync(join(at, 'schemas', 'clickhouse'))) return at;
    if (dirname(at) === at) throw new AuditdError('package_missing', 'The package of mcp-auditd is not complete.');
  }
}

function packageFile(root: string, name: string, file: string): string {
  const path = join(root, 'node_modules', name, file);
  if (!existsSync(path)) throw new AuditdError('package_missing', `The demo needs ${name}, which is not installed.`);
  return path;
}

function demoServers(root: string, folder: string): { servers: DemoServer[]; hint: string | undefined } {
  const files = join(folder, 'files');
  mkdirSync(files, { recursive: true });
  writeFileSync(join(files, 'report.txt'), 'Revenue rose by 7 % in the third quarter.\n');
  writeFileSync(join(files, 'todo.md'), '- write the audit report\n- rotate the keys\n');
  const node = process.execPath;
  const script = (name: string) => packageFile(root, `@modelcontextprotocol/${name}`, 'dist/index.js');
  const servers: DemoServer[] = [
    { name: 'everything', command: [node, script('server-everything'), 'stdio'], files },
    { name: 'filesystem', command: [node, script('server-filesystem'), files], files },
    {
      name: 'memory',
      command: [node, script('server-memory')],
      files,
      environment: { MEMORY_FILE_PATH: join(folder, 'memory.jsonl') },
    },
  ];
  const python = spawnSync('python3', ['-c', 'import mcp_server_time'], { stdio: 'ignore' });
  if (python.status === 0) servers.push({ name: 'time', command: ['python3', '-m', 'mcp_server_time'], files });
  const hint =
    python.status === 0
      ? undefined
      : 'A Python server joins in once it is there: python3 -m pip install mcp-server-time';
  return { servers, hint };
}

async function run(options: DemoOptions): Promise<void> {
  const { default: colors } = await import('picocolors');
  const say = (text: string): void => void process.stdout.write(`${text}\n`);
  const keep = options.keep === true;
  const root = packageRoot();
  const folder = mkdtempSync(join(tmpdir(), 'mcp-auditd-demo-'));
  const given = keep ? options : { ...options, data: options.data ?? join(folder, 'data') };
  const loaded = await loadConfiguration(given);
  const stops: (() => Promise<void> | void)[] = [() => rmSync(folder, { recursive: true, force: true })];
  try {
    const { servers, hint } = demoServers(root, folder);
    say(`${colors.bold('mcp-auditd')}: every call of every MCP server, on record`);
    if (hint !== undefined) say(colors.dim(hint));
    const since = new Date().toISOString().replace('T', ' ').replace('Z', '');
    const daemon = (await findDaemon(loaded.data)) ?? (await startDaemon(loaded.data, options, keep, stops));
    say(`\n${colors.bold('1. The daemon')} listens on ${daemon.url}${keep ? `, data in ${loaded.data}` : ''}`);

    say(
      `\n${colors.bold('2. Calls')} of ${servers.length} real servers by a real client, as mcp-auditd tail shows them\n`,
    );
    const tail = await followCalls(daemon, say);
    stops.push(tail.stop);
    const { callServers } = await import('./demo-calls.js');
    const made = await callServers(servers, { root, data: loaded.data });
    await tail.seen(made);
    await stored(daemon, loaded, since, made);

    say(`\n${colors.bold('3. Questions')} in SQL`);
    const [{ askRows }, { renderTable }] = await Promise.all([import('./ask.js'), import('./terminal.js')]);
    for (const { title, sql } of questions) {
      const { names, rows } = await askRows(loaded, { sql, parameters: { since } }, 100);
      const width = process.stdout.isTTY ? process.stdout.columns : 118;
      say(`\n${colors.cyan(title)}\n\n${renderTable(names, rows, width)}`);
    }
    const [{ counted } = { counted: 0 }] = await countCalls(loaded, since);
    say(`\n${colors.green(`${made} requests were answered, ${counted} are on record.`)}`);
    say(`\n${colors.bold('Next')}`);
    for (const [command, what] of nextCommands(keep)) say(`  ${command.padEnd(62)} ${colors.dim(what)}`);
  } finally {
    for (const stop of stops.reverse()) await stop();
  }
}

function nextCommands(keep: boolean): [command: string, what: string][] {
  return [
    ...(keep ? [] : [['npx mcp-auditd up', 'start recording for good'] as [string, string]]),
    ['npx mcp-auditd wrap -- npx -y some-mcp-server', "the server's line in your MCP client's configuration"],
    ['npx mcp-auditd tail', 'watch calls'],
    ['npx mcp-auditd query "SELECT * FROM tool_calls LIMIT 10"', 'ask; docs/query.md has more questions'],
    ['npx mcp-auditd status', 'see how recording goes'],
    ...(keep
      ? [
          [
            'kill "$(npx mcp-auditd status --json | node -p \'JSON.parse(fs.readFileSync(0)).pid\')"',
            'stop the daemon',
          ] as [string, string],
        ]
      : []),
  ];
}

/** Starts `up` as a process of its own and resolves when it listens. */
async function startDaemon(
  data: string,
  options: CommonOptions,
  keep: boolean,
  stops: (() => Promise<void> | void)[],
): Promise<Daemon> {
  const { startProcess } = await import('./demo-daemon.js');
  const cli = resolve(process.argv[1]!);
  const words = ['up', '--data', data, ...(options.config === undefined ? [] : ['--config', options.config])];
  if (!keep) words.push('--listen', '127.0.0.1:0', '--log-level', 'warn');
  const started = await startProcess([...process.execArgv, cli, ...words], { keep, log: join(data, 'daemon.log') });
  if (!keep) stops.push(() => started.stop());
  const daemon = await findDaemon(data);
  if (daemon === undefined) {
    await started.stop();
    throw new AuditdError('daemon_unreachable', 'The daemon that the demo started does not listen.');
  }
  return daemon;
}

/** Prints calls as the tail tells them. `seen` resolves when so many were printed. */
async function followCalls(
  daemon: Daemon,
  say: (text: string) => void,
): Promise<{ seen(count: number): Promise<void>; stop(): void }> {
  const [{ serverSentEvents }, { eventLine }] = await Promise.all([import('./tail.js'), import('./lines.js')]);
  const stopped = new AbortController();
  const response = await request(daemon, '/v1/tail', { signal: stopped.signal });
  const events = serverSentEvents(response.body!);
  await events.next();
  const columns = Math.max(10, (process.stdout.isTTY ? process.stdout.columns : 150) - 95);
  let count = 0;
  let wanted = Number.POSITIVE_INFINITY;
  let reached: () => void = () => undefined;
  void (async () => {
    try {
      for await (const { event, data } of events) {
        if (event !== 'message') continue;
        say(eventLine(JSON.parse(data) as Record<string, unknown>, columns));
        if (++count >= wanted) reached();
      }
    } catch {
      // Stopped; the tables below tell the same calls.
    }
    reached();
  })();
  return {
    seen(target) {
      wanted = target;
      if (count >= target) return Promise.resolve();
      return new Promise((resolve) => {
        const timer = setTimeout(resolve, storedTimeoutMs);
        reached = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    },
    stop: () => stopped.abort(),
  };
}

type LoadedConfiguration = Awaited<ReturnType<typeof loadConfiguration>>;

async function countCalls(loaded: LoadedConfiguration, since: string): Promise<{ counted: number }[]> {
  const { askObjects } = await import('./ask.js');
  return askObjects(loaded, {
    sql: "SELECT toUInt32(count()) AS counted FROM calls WHERE occurred_at >= {since:DateTime64(6, 'UTC')}",
    parameters: { since },
  });
}

async function stored(daemon: Daemon, loaded: LoadedConfiguration, since: string, made: number): Promise<void> {
  for (let waitedMs = 0; waitedMs < storedTimeoutMs; waitedMs += pollMs) {
    const [row] = await countCalls(loaded, since);
    if ((row?.counted ?? 0) >= made) return;
    await new Promise((resolve) => setTimeout(resolve, pollMs));
  }
  throw new AuditdError(
    'daemon_unreachable',
    `Not all calls were stored within ${storedTimeoutMs} ms by ${daemon.url}.`,
  );
}
