import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import { AuditdError } from '../../../schemas/errors.js';
import { type CommonOptions, type Daemon, findDaemon, type Loaded, loadConfiguration, request } from '../context.js';
import { shellWord, whenReaderLeaves } from '../output.js';
import type { DemoServer } from './calls.js';
import { packageFile, packageRoot } from './sdk.js';

interface DemoOptions extends CommonOptions {
  readonly keep?: boolean;
}

/** `demo`: real servers called by a real client, recorded, watched and asked about. */
export function addDemo(program: Command): void {
  program
    .command('demo')
    .description('see it work: real MCP servers, a live tail and three questions in SQL, within a minute')
    .option('--keep', 'leave the daemon running and its data in place')
    .option('--data <directory>', 'data directory (default: a new temporary one, never the one of this user)')
    .option('--verbose', 'show where in the program an error came from')
    .addHelpText('after', '\nExamples:\n  mcp-auditd demo\n  mcp-auditd demo --keep')
    .action(run);
}

/** Longest wait for the last calls to be stored; the usual time is one to two seconds. */
const storedTimeoutMs = 20_000;
const pollMs = 100;
/** After this long a person wants to know what the program waits for. */
const patienceMs = 300;
/** A table in a pipe. */
const pipeColumns = 118;

const say = (text: string): void => void process.stdout.write(`${text}\n`);

async function run(options: DemoOptions): Promise<void> {
  // A setting that belongs to this user's own daemon must not lead the demo's calls there.
  for (const name of Object.keys(process.env)) if (name.startsWith('MCP_AUDITD_')) delete process.env[name];
  const stopped = new AbortController();
  const stop = (): void => stopped.abort();
  process.once('SIGINT', stop).once('SIGTERM', stop);
  whenReaderLeaves(stop);
  const undo: (() => Promise<void> | void)[] = [];
  try {
    await show(options, stopped.signal, undo);
  } catch (error) {
    if (!stopped.signal.aborted) throw error;
    process.exitCode = 130;
  } finally {
    stopped.abort();
    for (const step of undo.reverse()) await step();
  }
}

async function show(options: DemoOptions, signal: AbortSignal, undo: (() => Promise<void> | void)[]): Promise<void> {
  const { colors } = await import('../colors.js');
  const keep = options.keep === true;
  const root = packageRoot();
  const folder = mkdtempSync(join(tmpdir(), 'mcp-auditd-demo-'));
  let done = false;
  undo.push(() => rmSync(done && keep ? join(folder, 'files') : folder, { recursive: true, force: true }));
  const files = join(folder, 'files');
  const loaded = await loadConfiguration({ ...options, data: options.data ?? join(folder, 'data') });
  const { pythonServer } = await import('./python.js');
  const python = pythonServer(root, signal);
  const servers = nodeServers(root, files);
  const since = new Date().toISOString().replace('T', ' ').replace('Z', '');

  say(`${colors.bold('mcp-auditd')}  every call of every MCP server, on record\n`);
  let daemon = await findDaemon(loaded.data);
  if (daemon === undefined) {
    const started = await startDaemon(loaded.data, keep);
    undo.push(() => (done && keep ? undefined : started.stop()));
    daemon = started.daemon;
  }
  say(`${colors.bold('1  The daemon')} listens on ${daemon.url}\n`);
  say(`${colors.bold('2  Calls')} by a real client to real servers, as ${colors.cyan('mcp-auditd tail')} shows them\n`);
  const tail = await followCalls(daemon, signal);
  const { Caller } = await import('./calls.js');
  const caller = new Caller(root, loaded.data, files, signal);
  await caller.inProcess();
  for (const server of servers) await caller.throughWrap(server);
  const patience = setTimeout(() => say(colors.dim('pip is installing mcp-server-time …')), patienceMs);
  const found = await python.finally(() => clearTimeout(patience));
  if ('command' in found) await caller.throughWrap({ name: 'time', ...found });
  else say(colors.dim(`no Python server: ${found.why}`));
  await tail.seen(caller.made);
  await stored(loaded, since, caller.made, signal);

  say(`\n${colors.bold('3  Questions')} in SQL, as ${colors.cyan('mcp-auditd query "…"')} answers them`);
  const [{ askRows }, { renderTable }, { questions, shortSql }] = await Promise.all([
    import('../ask.js'),
    import('../terminal.js'),
    import('./questions.js'),
  ]);
  for (const question of questions) {
    const { names, rows } = await askRows(loaded, { sql: question.sql, parameters: { since } }, 100);
    const width = process.stdout.isTTY ? process.stdout.columns : pipeColumns;
    say(`\n${colors.cyan(question.title)}\n${colors.dim(shortSql(question))}\n\n${renderTable(names, rows, width)}`);
  }
  const counted = await countCalls(loaded, since);
  say(`\n${colors.green(`✓ ${caller.made} requests were answered, ${counted} are on record.`)}`);
  done = true;
  say(`\n${colors.bold('Next')}\n`);
  for (const [what, command] of nextCommands(keep ? loaded.data : undefined))
    say(`${colors.dim(`# ${what}`)}\n${command}`);
}

/** The servers of the official packages, which the clone has installed. */
function nodeServers(root: string, files: string): DemoServer[] {
  mkdirSync(files, { recursive: true });
  writeFileSync(join(files, 'report.txt'), 'Revenue rose by 7 % in the third quarter.\n');
  const node = process.execPath;
  const script = (name: string) => packageFile(root, `@modelcontextprotocol/${name}`, 'dist/index.js');
  return [
    { name: 'everything', command: [node, script('server-everything'), 'stdio'] },
    { name: 'filesystem', command: [node, script('server-filesystem'), files] },
    {
      name: 'memory',
      command: [node, script('server-memory')],
      environment: { MEMORY_FILE_PATH: join(files, 'memory.jsonl') },
    },
  ];
}

/** `kept` is the data directory of a daemon that goes on. */
function nextCommands(kept: string | undefined): [what: string, command: string][] {
  const daemon: [string, string][] =
    kept === undefined
      ? [['record for good', 'npx mcp-auditd up']]
      : [['the daemon of the demo goes on; in this shell', `export MCP_AUDITD_DATA=${shellWord(kept)}`]];
  const end: [string, string][] = kept === undefined ? [] : [['stop the daemon', 'npx mcp-auditd down']];
  return [
    ...daemon,
    ["audit a server: its line in your MCP client's configuration", 'npx mcp-auditd wrap -- npx -y some-mcp-server'],
    ['watch calls', 'npx mcp-auditd tail'],
    ['ask; docs/query.md has more questions', 'npx mcp-auditd query "SELECT * FROM tool_calls LIMIT 10"'],
    ['see how recording goes', 'npx mcp-auditd status'],
    ...end,
  ];
}

/** Starts `up` as a process of its own and resolves when it listens. */
async function startDaemon(data: string, keep: boolean): Promise<{ daemon: Daemon; stop(): Promise<void> }> {
  const { startProcess } = await import('./daemon.js');
  const words = ['up', '--data', data, '--listen', '127.0.0.1:0', '--log-level', keep ? 'info' : 'warn'];
  const started = await startProcess([...process.execArgv, resolve(process.argv[1]!), ...words], {
    keep,
    log: join(data, 'daemon.log'),
  });
  const daemon = await findDaemon(data);
  if (daemon !== undefined) return { daemon, stop: started.stop };
  await started.stop();
  throw new AuditdError('daemon_unreachable', 'The daemon that the demo started does not listen.');
}

/** Prints calls as the tail tells them. `seen` resolves when so many were printed. */
async function followCalls(daemon: Daemon, signal: AbortSignal): Promise<{ seen(count: number): Promise<void> }> {
  const [{ serverSentEvents }, { eventLine }] = await Promise.all([import('../tail.js'), import('../lines.js')]);
  const response = await request(daemon, '/v1/tail', { signal });
  const events = serverSentEvents(response.body!);
  await events.next();
  let count = 0;
  let wanted = Number.POSITIVE_INFINITY;
  let reached: () => void = () => undefined;
  void (async () => {
    try {
      for await (const { event, data } of events) {
        if (event !== 'message') continue;
        say(eventLine(JSON.parse(data) as Record<string, unknown>));
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
  };
}

async function countCalls(loaded: Loaded, since: string): Promise<number> {
  const { askObjects } = await import('../ask.js');
  const [row] = await askObjects<{ counted: number }>(loaded, {
    sql: "SELECT toUInt32(count()) AS counted FROM calls WHERE occurred_at >= {since:DateTime64(6, 'UTC')}",
    parameters: { since },
  });
  return row?.counted ?? 0;
}

async function stored(loaded: Loaded, since: string, made: number, signal: AbortSignal): Promise<void> {
  for (let waitedMs = 0; waitedMs < storedTimeoutMs; waitedMs += pollMs) {
    signal.throwIfAborted();
    if ((await countCalls(loaded, since)) >= made) return;
    await new Promise((resolve) => setTimeout(resolve, pollMs));
  }
  throw new AuditdError('daemon_unreachable', `Not all calls were stored within ${storedTimeoutMs / 1000} s.`);
}
