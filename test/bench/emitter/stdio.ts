import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { startCollector, withDataDirectory } from './processes.js';

/** A stdio server that answers each line at once, so that the CPU measured is that of what stands between. */
const server = `
let rest = '';
process.stdin.on('data', (chunk) => {
  const lines = (rest + chunk).split('\\n');
  rest = lines.pop();
  for (const line of lines) {
    const { id, params } = JSON.parse(line);
    process.stdout.write(JSON.stringify({ jsonrpc: '2.0', id, result: { content: [{ type: 'text', text: params.arguments.message }] } }) + '\\n');
  }
});`;

const inFlight = 32;

/** Calls whose cost is taken away: the start of the process, and until the compiler has done its work. */
const idleCalls = 5_000;

/** CPU in microseconds a call of the process that stands between; lowest of the rounds, of its start and of the whole. */
export async function measureStdio(calls: number, rounds: number): Promise<Record<'parsing' | 'wrap', number>> {
  const modes = ['parsing', 'wrap'] as const;
  const idle = { parsing: Number.POSITIVE_INFINITY, wrap: Number.POSITIVE_INFINITY };
  const busy = { ...idle };
  const collector = await startCollector();
  try {
    for (let round = 0; round < rounds; round += 1) {
      for (const mode of modes) {
        idle[mode] = Math.min(idle[mode], await cpuMicros(mode, collector.url, idleCalls));
        busy[mode] = Math.min(busy[mode], await cpuMicros(mode, collector.url, idleCalls + calls));
      }
    }
  } finally {
    await collector.stop();
  }
  return { parsing: (busy.parsing - idle.parsing) / calls, wrap: (busy.wrap - idle.wrap) / calls };
}

function cpuMicros(mode: string, url: string, calls: number): Promise<number> {
  return withDataDirectory(async (data) => {
    const file = fileURLToPath(new URL('./passthrough.ts', import.meta.url));
    const child = spawn(process.execPath, ['--import', 'tsx', file, mode, data, url, '-e', server], {
      stdio: ['pipe', 'pipe', 'inherit', 'ipc'],
    });
    const cpu = once(child, 'message') as Promise<[{ micros: number }]>;
    let sent = 0;
    let answered = 0;
    const ask = (): void => {
      if (sent >= calls) return;
      const params = { name: 'echo', arguments: { message: `call-${sent}.` } };
      child.stdin!.write(`${JSON.stringify({ jsonrpc: '2.0', id: sent, method: 'tools/call', params })}\n`);
      sent += 1;
    };
    child.stdout!.on('data', (chunk: Buffer) => {
      for (const byte of chunk) {
        if (byte !== 0x0a) continue;
        answered += 1;
        ask();
        if (answered === calls) child.stdin!.end();
      }
    });
    for (let n = 0; n < inFlight; n += 1) ask();
    const [{ micros }] = await cpu;
    return micros;
  });
}
