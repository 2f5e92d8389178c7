import { PassThrough } from 'node:stream';
import { runWrap } from '../../services/emitter/wrap.js';
import { fuzzText, Random, recordsOf } from './messages.js';
import { Recorded } from './recorded.js';

/**
 * Sends so many lines through a wrapped `cat`, which sends them back: both directions see every one of them.
 * @returns how many messages passed, both ways counted.
 * @throws Error when a byte is changed, a record is missing or too many, or the process ends otherwise.
 */
export async function fuzzStdio(seed: number, messages: number): Promise<number> {
  const random = new Random(seed);
  const recorded = new Recorded();
  try {
    const lines: string[] = [];
    let expected = 0;
    for (let made = 0; made < messages / 2; made += 1) {
      const line = fuzzText(random).replaceAll('\n', ' ');
      lines.push(`${line}${random.below(10) === 0 ? '\r' : ''}\n`);
      if (line.trim() !== '') expected += 2 * recordsOf(line);
    }
    const input = Buffer.from(lines.join(''));
    const [stdin, stdout] = [new PassThrough(), new PassThrough()];
    const output: Buffer[] = [];
    stdout.on('data', (chunk: Buffer) => output.push(chunk));
    const exitCode = runWrap({
      command: process.execPath,
      args: ['-e', 'process.stdin.pipe(process.stdout)'],
      recorderOptions: recorded.options,
      throttle: false,
      stdin,
      stdout,
    });
    for (let start = 0; start < input.length; ) {
      const end = start + 1 + random.below(100_000);
      if (!stdin.write(input.subarray(start, end))) await new Promise((resolve) => stdin.once('drain', resolve));
      start = end;
    }
    stdin.end();
    const code = await exitCode;
    if (code !== 0) throw new Error(`seed ${seed}: wrap ended with ${code}`);
    if (!Buffer.concat(output).equals(input)) throw new Error(`seed ${seed}: stdio: bytes were changed`);
    if (recorded.count !== expected)
      throw new Error(`seed ${seed}: stdio: ${recorded.count} records instead of ${expected}`);
    return lines.length * 2;
  } finally {
    recorded.dispose();
  }
}
