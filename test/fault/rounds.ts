/**
 * Random faults on one machine: a calling server (emitter in its process) and the daemon, either or both killed with
 * SIGKILL at a random moment, round after round on one data directory. After each round the daemon is running again,
 * every spool has been delivered, and the table is held against what was answered:
 *
 * - lost: calls that were answered and have no row,
 * - duplicated: rows beyond one for a call or an event id,
 * - gaps: numbers missing from a producer's sequence.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { seededRandom } from './random.js';

export interface FaultReport {
  rounds: number;
  lost: number;
  duplicated: number;
  gaps: number;
  answered: number;
  stored: number;
  noResponse: number;
  kills: { emitter: number; daemon: number; both: number; none: number };
}

export interface FaultOptions {
  readonly seed: number;
  readonly rounds: number;
  /** Called after each round with what happened in it. */
  readonly progress?: (line: string) => void;
}

const root = resolve(import.meta.dirname, '..', '..');
const tsx = ['--import', 'tsx'];
/** Longest wait for spools to drain and rows to appear after a round; the usual time is one to two seconds. */
const settleTimeoutMs = 60_000;

function start(script: string, args: readonly string[], data: string): ChildProcess {
  return spawn(process.execPath, [...tsx, join(root, script), ...args], {
    cwd: root,
    env: { ...process.env, MCP_AUDITD_DATA: data },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
}

/** The daemon's address and the reader's key, once it answers. */
async function whenReady(
  data: string,
  child: ChildProcess,
  stderr: () => string,
): Promise<{ url: string; key: string }> {
  const deadline = Date.now() + settleTimeoutMs;
  while (Date.now() < deadline) {
    if (child.exitCode !== null) throw new Error(`the daemon ended with ${child.exitCode}: ${stderr()}`);
    if (existsSync(join(data, 'daemon.json'))) {
      try {
        const { url, pid } = JSON.parse(readFileSync(join(data, 'daemon.json'), 'utf8')) as {
          url?: string;
          pid: number;
        };
        if (pid === child.pid && url !== undefined && (await fetch(`${url}/readyz`)).ok)
          return { url, key: readFileSync(join(data, 'keys', 'reader.key'), 'utf8').trim() };
      } catch {
        // Half-written file or a port that does not listen yet: look again.
      }
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(`the daemon was not ready in ${settleTimeoutMs} ms: ${stderr()}`);
}

export async function runFaults(options: FaultOptions): Promise<FaultReport> {
  const random = seededRandom(options.seed);
  const data = mkdtempSync(join(tmpdir(), 'mcp-auditd-faults-'));
  const report: FaultReport = {
    rounds: 0,
    lost: 0,
    duplicated: 0,
    gaps: 0,
    answered: 0,
    stored: 0,
    noResponse: 0,
    kills: { emitter: 0, daemon: 0, both: 0, none: 0 },
  };
  let daemon: ChildProcess | undefined;
  let daemonErrors = '';
  let address = { url: '', key: '' };
  async function up(): Promise<void> {
    daemonErrors = '';
    const child = start('services/cli.ts', ['up', '--listen', '127.0.0.1:0'], data);
    child.stdout!.resume();
    child.stderr!.on('data', (chunk: Buffer) => {
      daemonErrors = (daemonErrors + chunk.toString()).slice(-20_000);
    });
    daemon = child;
    address = await whenReady(data, child, () => daemonErrors);
  }
  async function sql<T>(text: string): Promise<T[]> {
    const response = await fetch(`${address.url}/v1/query`, {
      method: 'POST',
      headers: { authorization: `Bearer ${address.key}`, 'content-type': 'application/json' },
      body: JSON.stringify({ sql: text, format: 'JSONEachRow' }),
    });
    const body = await response.text();
    if (!response.ok) throw new Error(`query answered ${response.status}: ${body}`);
    return body
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as T);
  }
  try {
    await up();
    let firstCall = 1;
    for (let round = 0; round < options.rounds; round++) {
      const most = 200 + Math.floor(random() * 5_000);
      const inFlight = 1 + Math.floor(random() * 32);
      const afterCalls = Math.floor(random() * most);
      const afterMs = random() * 60;
      const choice = random();
      const fault = choice < 0.35 ? 'emitter' : choice < 0.65 ? 'daemon' : choice < 0.95 ? 'both' : 'none';
      report.kills[fault]++;

      const caller = start('test/fault/calling-server.ts', [String(firstCall), String(most), String(inFlight)], data);
      const answered = new Set<number>();
      let callerErrors = '';
      caller.stderr!.on('data', (chunk: Buffer) => {
        callerErrors = (callerErrors + chunk.toString()).slice(-20_000);
      });
      let rest = '';
      const outputEnded = once(caller.stdout!, 'end');
      const moment = new Promise<void>((resolve) => {
        caller.stdout!.on('data', (chunk: Buffer) => {
          const lines = (rest + chunk.toString()).split('\n');
          rest = lines.pop()!;
          for (const line of lines) answered.add(Number(line));
          if (answered.size >= afterCalls) resolve();
        });
        caller.stdout!.on('end', resolve);
      });
      await moment;
      await new Promise((resolve) => setTimeout(resolve, afterMs));
      if (fault === 'emitter' || fault === 'both') caller.kill('SIGKILL');
      if (fault === 'daemon' || fault === 'both') daemon!.kill('SIGKILL');
      await Promise.all([outputEnded, ended(caller)]);
      if (fault === 'emitter' || fault === 'both' ? false : caller.exitCode !== 0)
        throw new Error(
          `the server was harmed: it ended with ${caller.exitCode ?? caller.signalCode}: ${callerErrors}`,
        );
      if (fault === 'daemon' || fault === 'both') {
        await ended(daemon!);
        await up();
      }

      const lastCall = firstCall + most - 1;
      await settled(data, address);
      const range = `tool_name = 'echo' AND JSONExtractUInt(arguments, 'n') BETWEEN ${firstCall} AND ${lastCall}`;
      const rows = await sql<{ n: number; times: number; outcome: string }>(
        `SELECT toUInt32(JSONExtractUInt(arguments, 'n')) AS n, toUInt32(count()) AS times, any(outcome) AS outcome FROM calls WHERE ${range} GROUP BY n LIMIT 1000000`,
      );
      const stored = new Set(rows.map((row) => row.n));
      const lost = [...answered].filter((n) => !stored.has(n)).length;
      const duplicated = rows.reduce((sum, row) => sum + row.times - 1, 0);
      report.rounds++;
      report.lost += lost;
      report.duplicated += duplicated;
      report.answered += answered.size;
      report.stored += stored.size;
      report.noResponse += rows.filter((row) => row.outcome === 'no_response').length;
      options.progress?.(
        `round ${round + 1}: SIGKILL of ${fault}, ${answered.size} answered, ${stored.size} stored, ${lost} lost, ${duplicated} duplicated`,
      );
      firstCall = lastCall + 1;
    }
    const [ids] = await sql<{ extra: number }>('SELECT toUInt32(count() - uniqExact(event_id)) AS extra FROM calls');
    report.duplicated += ids!.extra;
    const [gaps] = await sql<{ gaps: number }>(
      'SELECT toUInt32(sum(last - held)) AS gaps FROM (SELECT producer_id, max(producer_sequence) AS last, uniqExact(producer_sequence) AS held FROM calls GROUP BY producer_id)',
    );
    report.gaps = gaps!.gaps;
    return report;
  } finally {
    daemon?.kill('SIGTERM');
    if (daemon !== undefined) await ended(daemon);
    rmSync(data, { recursive: true, force: true });
  }
}

/** Waits until no spool is left and the ingestor has read everything that the stream holds. */
async function settled(data: string, address: { url: string; key: string }): Promise<void> {
  const deadline = Date.now() + settleTimeoutMs;
  let last: unknown;
  while (Date.now() < deadline) {
    const spool = join(data, 'spool');
    const producers = existsSync(spool)
      ? readdirSync(spool, { withFileTypes: true }).filter((entry) => entry.isDirectory()).length
      : 0;
    const response = await fetch(`${address.url}/v1/status`, { headers: { authorization: `Bearer ${address.key}` } });
    const status = (await response.json()) as { ingestor?: { lag: number } };
    last = { producers, status };
    if (producers === 0 && status.ingestor?.lag === 0) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`not settled in ${settleTimeoutMs} ms: ${JSON.stringify(last)}`);
}
