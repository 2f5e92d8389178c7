/** What stands between client and server: `parsing` parses every line and appends it to a file, `wrap` is ours. */
import { spawn } from 'node:child_process';
import { appendFileSync } from 'node:fs';
import type { Readable, Writable } from 'node:stream';
import { builtEmitter } from './built.js';

const [mode, data, url, ...server] = process.argv.slice(2) as [string, string, string, ...string[]];

async function parsing(): Promise<number> {
  const child = spawn(process.execPath, server, { stdio: ['pipe', 'pipe', 'inherit'] });
  pass(process.stdin, child.stdin);
  pass(child.stdout, process.stdout);
  process.stdin.on('end', () => child.stdin.end());
  return await new Promise((resolve) => child.on('close', (code) => resolve(code ?? 1)));
}

function pass(source: Readable, sink: Writable): void {
  let rest = '';
  source.on('data', (chunk: Buffer) => {
    const lines = (rest + chunk.toString()).split('\n');
    rest = lines.pop()!;
    for (const line of lines) appendFileSync(`${data}/parsed.jsonl`, `${JSON.stringify(JSON.parse(line))}\n`);
    sink.write(chunk);
  });
}

let exitCode: number;
if (mode === 'parsing') {
  exitCode = await parsing();
} else {
  const { runWrap } = await builtEmitter();
  const recorderOptions = { name: 'bench', data, url, key: 'bench' };
  exitCode = await runWrap({ command: process.execPath, args: server, recorderOptions });
}
const { user, system } = process.cpuUsage();
process.send?.({ micros: user + system }, () => process.exit(exitCode));
