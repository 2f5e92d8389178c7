import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const file = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

export interface Collector {
  readonly url: string;
  seen(): Promise<number>;
  reset(): Promise<void>;
  stop(): Promise<void>;
}

/** Starts the collector in a process of its own; port 0 takes a free one. */
export async function startCollector(port = 0): Promise<Collector> {
  const child = fork(file('./collector.ts'), [String(port)], { execArgv: ['--import', 'tsx'] });
  const [{ url }] = (await once(child, 'message')) as [{ url: string }];
  const ask = async (path: string) => (await (await fetch(`${url}${path}`)).json()) as { seen: number };
  return {
    url,
    seen: async () => (await ask('/seen')).seen,
    reset: async () => void (await ask('/reset')),
    async stop() {
      child.kill();
      await once(child, 'exit');
    },
  };
}

/** Waits until the collector has seen `wanted` calls, or nothing new for `idleMs`. */
export async function settled(collector: Collector, wanted: number, idleMs: number): Promise<number> {
  let last = await collector.seen();
  for (let changedAt = Date.now(); last < wanted && Date.now() - changedAt < idleMs; ) {
    await new Promise((resolve) => setTimeout(resolve, 100));
    const now = await collector.seen();
    if (now !== last) changedAt = Date.now();
    last = now;
  }
  return last;
}

export interface WorkerTask {
  /** bare, floor, ours, adopt, or a peer's name. */
  readonly variant: string;
  readonly url: string;
  readonly data: string;
  readonly calls: number;
  readonly warmupCalls: number;
  readonly resultBytes: number;
  /** What the worker does after its last answer. */
  readonly ending: 'flush' | 'kill' | 'wait';
  /** Pause between calls; 0 is full speed with 32 in flight. */
  readonly pauseMs: number;
}

export interface WorkerResult {
  readonly cpuMicrosPerCall?: number;
  readonly answered: number;
  readonly exitCode: number | null;
  readonly signal: string | null;
}

/** Runs one server and client in a process of its own; `answered` fires after the last answer (ending `wait`). */
export async function runWorker(
  task: WorkerTask,
  answered?: (child: ChildProcess) => Promise<void>,
): Promise<WorkerResult> {
  const child = fork(file('./worker.ts'), [JSON.stringify(task)], {
    execArgv: ['--import', 'tsx'],
    stdio: ['ignore', 'ignore', process.env.BENCH_VERBOSE ? 'inherit' : 'ignore', 'ipc'],
    env: { ...process.env, MCPCAT_API_URL: task.url, AGENTCAT_API_URL: task.url },
  });
  let result: Partial<WorkerResult> = {};
  child.on('message', (message: Partial<WorkerResult> & { done?: boolean }) => {
    result = { ...result, ...message };
    if (message.done === true) answered?.(child).catch(() => child.kill());
  });
  const [exitCode, signal] = (await once(child, 'exit')) as [number | null, string | null];
  // A worker kills itself only after the last answer, and has no time to say so.
  const answeredCalls = signal === 'SIGKILL' && task.ending === 'kill' ? task.calls : 0;
  return { answered: answeredCalls, ...result, exitCode, signal };
}

/** A data directory with an emitter's key in it, removed after `use`. */
export async function withDataDirectory<T>(use: (data: string) => Promise<T>): Promise<T> {
  const data = mkdtempSync(join(tmpdir(), 'mcp-auditd-bench-'));
  try {
    await mkdir(join(data, 'keys'), { mode: 0o700 });
    writeFileSync(join(data, 'keys', 'emitter.key'), 'bench\n', { mode: 0o600 });
    return await use(data);
  } finally {
    rmSync(data, { recursive: true, force: true });
  }
}
