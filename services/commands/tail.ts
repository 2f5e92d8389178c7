import type { Command } from 'commander';
import { AuditdError } from '../../schemas/errors.js';
import { addCommonOptions, type CommonOptions, loadConfiguration, request, requireDaemon } from './context.js';
import { whenReaderLeaves } from './output.js';

const filterNames = ['tool', 'server', 'actor', 'outcome', 'session', 'method'] as const;

type TailOptions = CommonOptions & { readonly json?: boolean } & {
  readonly [N in (typeof filterNames)[number]]?: string[];
};

/** `tail`: calls as they are recorded. */
export function addTail(program: Command): void {
  const command = addCommonOptions(program.command('tail')).description('show calls as they are recorded');
  for (const name of filterNames) command.option(`--${name} <value...>`, `only calls with this ${name}`);
  command
    .option('--json', 'one JSON object a line, with every field')
    .addHelpText(
      'after',
      `
Examples:
  mcp-auditd tail
  mcp-auditd tail --outcome tool_error denied --server files
  mcp-auditd tail --json | jq .tool_name`,
    )
    .action(run);
}

async function run(options: TailOptions): Promise<void> {
  const { data } = await loadConfiguration(options);
  const daemon = await requireDaemon(data);
  const query = new URLSearchParams();
  for (const name of filterNames) for (const value of options[name] ?? []) query.append(name, value);
  const stop = new AbortController();
  const end = (): void => stop.abort();
  process.once('SIGINT', end).once('SIGTERM', end);
  whenReaderLeaves(end);
  const { eventLine } = await import('./lines.js');
  const response = await request(daemon, `/v1/tail?${query}`, { signal: stop.signal });
  if (options.json !== true && process.stdout.isTTY) process.stderr.write('Waiting for calls. Ctrl-C ends.\n');
  try {
    for await (const { event, data: text } of serverSentEvents(response.body!)) {
      if (event === 'skipped')
        process.stderr.write(
          `${(JSON.parse(text) as { skipped: number }).skipped} calls were skipped: this reader is too slow\n`,
        );
      if (event === 'message')
        process.stdout.write(
          `${options.json === true ? text : eventLine(JSON.parse(text) as Record<string, unknown>)}\n`,
        );
    }
  } catch (error) {
    if (!stop.signal.aborted) throw stoppedError(error);
    return;
  }
  if (!stop.signal.aborted) throw stoppedError();
}

function stoppedError(cause?: unknown): AuditdError {
  return new AuditdError('daemon_unreachable', 'The tail ended because the daemon did.', { cause });
}

/** Reads a stream of server-sent events; comments are skipped. */
export async function* serverSentEvents(
  body: AsyncIterable<Uint8Array>,
): AsyncGenerator<{ event: string; data: string }> {
  const decoder = new TextDecoder();
  let rest = '';
  for await (const chunk of body) {
    const frames = (rest + decoder.decode(chunk, { stream: true })).split('\n\n');
    rest = frames.pop()!;
    for (const frame of frames) {
      let event = 'message';
      const data: string[] = [];
      for (const line of frame.split('\n')) {
        if (line.startsWith('event: ')) event = line.slice('event: '.length);
        if (line.startsWith('data: ')) data.push(line.slice('data: '.length));
      }
      if (data.length > 0) yield { event, data: data.join('\n') };
    }
  }
}
