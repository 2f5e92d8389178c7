/** The daemon under faults: started, killed, and asked, on one data directory. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { program } from '../build.js';

export const root = resolve(import.meta.dirname, '..', '..');

/** Longest wait for a start, or for spools to drain and rows to appear; the usual time is one to two seconds. */
const settleTimeoutMs = 60_000;
/** The last of standard error that is kept for a message. */
const keptErrors = 20_000;

/** Starts a script of this repository, or the built program; `errors` tells the end of its standard error. */
export function startScript(
  script: string,
  words: readonly string[],
  data: string,
): { child: ChildProcess; errors(): string } {
  const sources = script.endsWith('.ts') ? ['--import', 'tsx'] : [];
  const child = spawn(process.execPath, [...sources, resolve(root, script), ...words], {
    cwd: root,
    env: { ...process.env, MCP_AUDITD_DATA: data },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let errors = '';
  child.stderr!.on('data', (chunk: Buffer) => {
    errors = (errors + chunk.toString()).slice(-keptErrors);
  });
  return { child, errors: () => errors };
}

/** Resolves when the process has ended. */
export async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
}

class Refused extends Error {}

export class Daemon {
  private running: ReturnType<typeof startScript> | undefined;
  private url = '';
  private key = '';

  constructor(private readonly data: string) {}

  /** Starts `up` and resolves when it is ready. */
  async up(): Promise<void> {
    this.running = this.start();
    const { child, errors } = this.running;
    await this.until(async () => {
      if (child.exitCode !== null) throw new Error(`the daemon ended with ${child.exitCode}: ${errors()}`);
      const file = join(this.data, 'daemon.json');
      if (!existsSync(file)) return false;
      const { url, pid } = JSON.parse(readFileSync(file, 'utf8')) as { url?: string; pid: number };
      if (pid !== child.pid || url === undefined || !(await fetch(`${url}/readyz`)).ok) return false;
      this.url = url;
      this.key = readFileSync(join(this.data, 'keys', 'reader.key'), 'utf8').trim();
      return true;
    });
  }

  /** Starts `up` and kills it after a time that ends, as a rule, in the middle of its start. */
  async dieStarting(afterMs: number): Promise<void> {
    const { child } = this.start();
    await new Promise((resolve) => setTimeout(resolve, afterMs));
    child.kill('SIGKILL');
    await ended(child);
  }

  async end(signal: 'SIGKILL' | 'SIGTERM'): Promise<void> {
    if (this.running === undefined) return;
    const { child } = this.running;
    child.kill(signal);
    await ended(child);
  }

  async sql<T>(text: string): Promise<T[]> {
    const response = await fetch(`${this.url}/v1/query`, {
      method: 'POST',
      headers: { authorization: `Bearer ${this.key}`, 'content-type': 'application/json' },
      body: JSON.stringify({ sql: text, format: 'JSONEachRow' }),
    });
    const body = await response.text();
    if (!response.ok) throw new Error(`query answered ${response.status}: ${body}`);
    return body
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as T);
  }

  /** Says what a person decided; false when nobody knows whether it is on record. */
  async decide(decision: object): Promise<boolean> {
    try {
      const key = readFileSync(join(this.data, 'keys', 'responder.key'), 'utf8').trim();
      const response = await fetch(`${this.url}/v1/responses`, {
        method: 'POST',
        headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
        body: JSON.stringify({ author: 'faults', ...decision }),
      });
      const text = await response.text();
      if (!response.ok) throw new Refused(`${response.status}: ${text}`);
      return true;
    } catch (error) {
      if (error instanceof Refused) throw error;
      return false;
    }
  }

  /** Waits until the ingestor has read everything that the stream holds. */
  async caughtUp(): Promise<void> {
    await this.until(async () => (await this.lag()) === 0);
  }

  private async lag(): Promise<number> {
    const response = await fetch(`${this.url}/v1/status`, { headers: { authorization: `Bearer ${this.key}` } });
    return ((await response.json()) as { ingestor: { lag: number } }).ingestor.lag;
  }

  /** Waits until no spool is left and the ingestor has read everything that the stream holds. */
  async settled(): Promise<void> {
    await this.until(async () => {
      const spools = join(this.data, 'spool');
      if (existsSync(spools) && readdirSync(spools, { withFileTypes: true }).some((entry) => entry.isDirectory()))
        return false;
      return (await this.lag()) === 0;
    });
  }

  private start(): ReturnType<typeof startScript> {
    const started = startScript(program, ['up', '--listen', '127.0.0.1:0'], this.data);
    started.child.stdout!.resume();
    return started;
  }

  private async until(isTrue: () => Promise<boolean>): Promise<void> {
    const deadline = Date.now() + settleTimeoutMs;
    let last: unknown = 'it never became true';
    while (Date.now() < deadline) {
      try {
        if (await isTrue()) return;
      } catch (error) {
        if ((error as Error).message.startsWith('the daemon ended')) throw error;
        // A half-written file or a port that does not listen yet: look again.
        last = error;
      }
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    throw new Error(`not within ${settleTimeoutMs} ms: ${last}\n${this.running?.errors() ?? ''}`);
  }
}
