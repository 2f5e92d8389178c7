import { once } from 'node:events';
import { createReadStream } from 'node:fs';
import type { Command } from 'commander';
import type { Alert } from '../../../schemas/alert.js';
import { AuditdError } from '../../../schemas/errors.js';
import { addSourceOptions } from './rules.js';
import { loadSound, ownRules, type SourceOptions, sourcesOf } from './sources.js';

interface Options extends SourceOptions {
  readonly events: string;
  readonly until?: string;
  readonly withPack?: boolean;
}

/** `rules run`. */
export function addRun(rules: Command): void {
  addSourceOptions(rules.command('run'))
    .description('run rules over events as JSON lines; alerts as JSON lines')
    .argument('<rules...>', 'files and directories')
    .requiredOption('--events <file>', 'events, one JSON object a line; - is standard input')
    .option('--until <time>', 'time passes up to here after the last event, for example 2026-11-24T12:00:00Z')
    .option('--with-pack', 'run the shipped rules as well')
    .addHelpText(
      'after',
      `
The engine is the one that runs live, and it knows no other time than the
events': the same lines give the same alerts. Events have the fields of
docs/events.md, and any may be missing. Without recorded_at an event was
recorded when it occurred. A line that is no JSON object is named on standard
error, and the exit code is 1.

Examples:
  mcp-auditd rules run my-rules/ --events calls.jsonl
  mcp-auditd tail --json | mcp-auditd rules run volume.yaml --events - | jq .reason`,
    )
    .action(run);
}

/** A line that is longer is refused: the gateway takes 4 MiB. */
const longestLine = 64 * 1024 * 1024;
/** Lines that are named when they cannot be read. */
const mostNamed = 20;

async function run(paths: string[], options: Options): Promise<void> {
  const sources = await sourcesOf(paths, options);
  const all = await loadSound(sources);
  const set = options.withPack === true ? all : await ownRules(all);
  if (set.rules.length === 0) throw new AuditdError('argument_invalid', `${sources.named}: holds no rules.`);
  const { parseTimeMicros } = await import('../../../schemas/time.js');
  const until = options.until === undefined ? undefined : parseTimeMicros(options.until);
  if (until !== undefined && Number.isNaN(until))
    throw new AuditdError(
      'argument_invalid',
      `--until ${options.until}: expected a time such as 2026-11-24T12:00:00Z.`,
    );
  const [{ Engine }, { handLimits, UnrecordedEvents }] = await Promise.all([
    import('../../detector/engine.js'),
    import('../../detector/replay.js'),
  ]);
  let out: string[] = [];
  const engine = new Engine(set, (alert: Alert) => out.push(JSON.stringify(alert), '\n'), handLimits);
  const flush = async (): Promise<void> => {
    const text = out.join('');
    out = [];
    if (text !== '' && !process.stdout.write(text)) await once(process.stdout, 'drain');
  };
  const unrecorded = new UnrecordedEvents();
  let number = 0;
  const take = (line: Buffer): void => {
    number++;
    if (line.length === 0 || (line.length === 1 && line[0] === 13)) return;
    const before = engine.counts.unreadable;
    engine.take(unrecorded.next(line));
    if (engine.counts.unreadable === before) return;
    if (engine.counts.unreadable <= mostNamed) process.stderr.write(`${options.events}:${number}: no JSON object\n`);
  };
  for await (const lines of linesOf(options.events)) {
    for (const line of lines) take(line);
    await flush();
  }
  if (until !== undefined) engine.passTime(until);
  await flush();
  const { records, unreadable, alerts, repeated } = engine.counts;
  if (unreadable > mostNamed) process.stderr.write(`${unreadable} lines in all are no JSON objects\n`);
  if (process.stderr.isTTY || unreadable > 0)
    process.stderr.write(
      `${records} events, ${repeated} repeated, ${unreadable} unreadable, ${alerts} alert records\n`,
    );
  if (unreadable > 0) process.exitCode = 1;
}

/** The lines of a file or of standard input, as many at a time as one read brought. */
async function* linesOf(file: string): AsyncGenerator<Buffer[]> {
  const input = file === '-' ? process.stdin : createReadStream(file, { highWaterMark: 1024 * 1024 });
  let rest: Buffer[] = [];
  let length = 0;
  try {
    for await (const chunk of input as AsyncIterable<Buffer>) {
      const lines: Buffer[] = [];
      let from = 0;
      for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, from)) {
        const piece = chunk.subarray(from, end);
        lines.push(rest.length === 0 ? piece : Buffer.concat([...rest, piece]));
        rest = [];
        length = 0;
        from = end + 1;
      }
      if (from < chunk.length) {
        rest.push(chunk.subarray(from));
        length += chunk.length - from;
        if (length > longestLine)
          throw new AuditdError('argument_invalid', `${file}: a line is longer than ${longestLine} bytes.`);
      }
      if (lines.length > 0) yield lines;
    }
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (error instanceof AuditdError || code === undefined) throw error;
    throw new AuditdError('argument_invalid', `${file}: cannot be read: ${message}`);
  }
  if (rest.length > 0) yield [Buffer.concat(rest)];
}
