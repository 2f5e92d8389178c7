/** Runs the built program, in a directory and an environment of its own. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { program } from '../build.js';

export const root = resolve(import.meta.dirname, '..', '..');
/** The arguments of node that run the program; test/build.ts has built it. */
export const cli: readonly string[] = [program];
/** The arguments of node with which it runs TypeScript. */
export const typescript: readonly string[] = ['--import', join(root, 'node_modules', 'tsx', 'dist', 'loader.mjs')];

/** Rows usually appear within a second; a busy machine takes longer. */
const untilTimeoutMs = 30_000;

export interface Result {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Running {
  readonly child: ChildProcess;
  readonly url: string;
  /** Ends it with a signal and tells how it ended. */
  stop(signal?: NodeJS.Signals): Promise<Result>;
}

/** A temporary data directory with the program on it. */
export class Sandbox {
  readonly home = mkdtempSync(join(tmpdir(), 'mcp-auditd-commands-'));
  readonly data: string;
  private readonly running = new Set<ChildProcess>();

  constructor(
    data?: string,
    private readonly program: readonly string[] = cli,
  ) {
    this.data = data ?? join(this.home, 'data');
  }

  private start(words: readonly string[], environment: NodeJS.ProcessEnv = {}): ChildProcess {
    const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('MCP_AUDITD_'));
    const child = spawn(process.execPath, [...this.program, ...words], {
      cwd: this.home,
      env: {
        ...Object.fromEntries(inherited),
        HOME: this.home,
        NO_COLOR: '1',
        MCP_AUDITD_DATA: this.data,
        ...environment,
      },
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    this.running.add(child);
    child.once('exit', () => this.running.delete(child));
    return child;
  }

  async run(
    words: readonly string[],
    options: { input?: string; environment?: NodeJS.ProcessEnv } = {},
  ): Promise<Result> {
    const child = this.start(words, options.environment);
    child.stdin!.end(options.input ?? '');
    return outcome(child);
  }

  /** Starts `up` on a free port and resolves when it says where it listens. */
  async up(words: readonly string[] = [], environment: NodeJS.ProcessEnv = {}): Promise<Running> {
    const child = this.start(['up', '--listen', '127.0.0.1:0', ...words], environment);
    const result = outcome(child);
    const lines = createInterface({ input: child.stdout! });
    const url = await new Promise<string>((resolve, reject) => {
      lines.on('line', (line) => {
        const match = /^mcp-auditd listens on (\S+)$/.exec(line);
        if (match !== null) resolve(match[1]!);
      });
      void result.then(({ code, stderr }) => reject(new Error(`up ended with ${code}: ${stderr}`)));
    });
    return {
      child,
      url,
      stop(signal = 'SIGTERM') {
        child.kill(signal);
        return result;
      },
    };
  }

  /** Starts a command that goes on by itself; `lines` yields its standard output. */
  follow(
    words: readonly string[],
    environment: NodeJS.ProcessEnv = {},
  ): { child: ChildProcess; lines: AsyncIterator<string>; ended: Promise<Result> } {
    const child = this.start(words, environment);
    const lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
    return { child, lines, ended: outcome(child) };
  }

  key(role: 'emitter' | 'reader'): string {
    return readFileSync(join(this.data, 'keys', `${role}.key`), 'utf8').trim();
  }

  /** Sends lines to the gateway and returns its answer. */
  async send(url: string, lines: readonly (object | string)[]): Promise<{ accepted: number; rejected: object[] }> {
    const response = await fetch(`${url}/v1/events`, {
      method: 'POST',
      headers: { authorization: `Bearer ${this.key('emitter')}`, 'content-type': 'application/x-ndjson' },
      body: lines.map((line) => (typeof line === 'string' ? line : JSON.stringify(line))).join('\n'),
    });
    return (await response.json()) as { accepted: number; rejected: object[] };
  }

  /** The rows of an answer. */
  async ask(url: string, sql: string): Promise<Record<string, unknown>[]> {
    const response = await fetch(`${url}/v1/query`, {
      method: 'POST',
      headers: { authorization: `Bearer ${this.key('reader')}`, 'content-type': 'application/json' },
      body: JSON.stringify({ sql, format: 'JSONEachRow' }),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(text);
    return text
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
  }

  /** Asks until the answer of the SQL is the expected text: rows appear within a second of being accepted. */
  async until(url: string, sql: string, expected: string): Promise<string> {
    const deadline = Date.now() + untilTimeoutMs;
    for (;;) {
      const response = await fetch(`${url}/v1/query`, {
        method: 'POST',
        headers: { authorization: `Bearer ${this.key('reader')}`, 'content-type': 'application/json' },
        body: JSON.stringify({ sql, format: 'TSV' }),
      });
      const text = (await response.text()).trim();
      if (text === expected) return text;
      if (Date.now() > deadline) throw new Error(`${sql} answers ${text}, not ${expected}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  async dispose(): Promise<void> {
    const children = [...this.running];
    for (const child of children) child.kill('SIGKILL');
    await Promise.all(children.map((child) => (child.exitCode === null ? once(child, 'exit') : undefined)));
    rmSync(this.home, { recursive: true, force: true });
  }
}

async function outcome(child: ChildProcess): Promise<Result> {
  let stdout = '';
  let stderr = '';
  child.stdout!.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
  });
  child.stderr!.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, stdout, stderr };
}

let count = 0;

/** An event of its own with what a test cares about. */
export function event(fields: object = {}): Record<string, unknown> {
  const suffix = (++count).toString(16).padStart(12, '0');
  return {
    event_id: `019ab3f0-8c1b-7001-9f3e-${suffix}`,
    occurred_at: '2026-11-24T03:52:00.123456Z',
    method: 'tools/call',
    tool_name: 'add',
    server_name: 'calculator',
    actor_id: 'alice',
    outcome: 'success',
    duration_ms: 1.5,
    ...fields,
  };
}
