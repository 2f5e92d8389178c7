/** The store over HTTP in a process of its own; `stop` resolves to the microseconds of CPU that it used. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { fileURLToPath } from 'node:url';
import { writeKey } from '../../contract/clickhouse-server.js';

export interface EndpointProcess {
  readonly connection: { url: string; username: string; password: string; database: string };
  stop(): Promise<number>;
}

export async function startEndpoint(directory: string): Promise<EndpointProcess> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as { port: number };
  await new Promise((done) => probe.close(done));
  const script = fileURLToPath(new URL('../../fault/cluster-store.ts', import.meta.url));
  const child: ChildProcess = spawn(process.execPath, ['--import', 'tsx', script, directory, String(port)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(child.stdout!, 'data');
  return {
    connection: { url: `http://127.0.0.1:${port}`, username: 'bench', password: writeKey, database: 'default' },
    stop: async () => {
      if (child.exitCode !== null || child.signalCode !== null) return 0;
      const micros = cpuMicros(child.pid as number);
      const exited = once(child, 'exit');
      child.kill('SIGKILL');
      await exited;
      return micros;
    },
  };
}

/** User and system time of a process so far: fields 14 and 15 of its stat, in hundredths of a second. */
export function cpuMicros(pid: number): number {
  const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) * 10_000;
}
