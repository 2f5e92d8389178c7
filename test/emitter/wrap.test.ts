import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { ReadBuffer, serializeMessage } from '@modelcontextprotocol/sdk/shared/stdio.js';
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js';
import fc from 'fast-check';
import { beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { pythonServer } from '../../services/commands/demo/python.js';
import { LineSplitter } from '../../services/emitter/lines.js';
import { runWrap } from '../../services/emitter/wrap.js';
import { Recording } from './recording.js';

vi.mock('../../services/emitter/recorder.js', async () => {
  const { Recording } = await import('./recording.js');
  return { Recorder: Recording };
});

beforeEach(() => {
  Recording.opened.length = 0;
});

/** A wrapped `node ARGS`, with everything that comes out of it. */
function wrapped(args: string[], recorderOptions = {}, command = process.execPath) {
  const [stdin, stdout, stderr] = [new PassThrough(), new PassThrough(), new PassThrough()];
  const output: Buffer[] = [];
  const complaints: Buffer[] = [];
  stdout.on('data', (chunk: Buffer) => output.push(chunk));
  stderr.on('data', (chunk: Buffer) => complaints.push(chunk));
  const exitCode = runWrap({ command, args, recorderOptions, stdin, stdout, stderr });
  return {
    stdin,
    stdout,
    exitCode,
    output: () => Buffer.concat(output),
    complaints: () => String(Buffer.concat(complaints)),
  };
}

const cat = ['-e', 'process.stdin.pipe(process.stdout)'];

describe('bytes', () => {
  const line = fc.oneof(
    fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)),
    fc.jsonValue().map((value) => Buffer.from(`${JSON.stringify(value)}\r`)),
    fc.constant(Buffer.from('{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"é"}}')),
    fc.constant(Buffer.from([0xff, 0xfe, 0x00])),
  );

  it('come out as they went in, whatever they are and however they are cut', async () => {
    const lines = fc.array(line, { maxLength: 20 });
    await fc.assert(
      fc.asyncProperty(lines, fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 1 }), async (parts, sizes) => {
        const input = Buffer.concat(parts.flatMap((part) => [part, Buffer.from('\n')]));
        const run = wrapped(cat);
        for (let start = 0, turn = 0; start < input.length; turn += 1) {
          const size = sizes[turn % sizes.length]!;
          run.stdin.write(input.subarray(start, start + size));
          start += size;
        }
        run.stdin.end();
        expect(await run.exitCode).toBe(0);
        expect(run.output().equals(input)).toBe(true);
      }),
      { numRuns: 12 },
    );
  });

  it('come out whole when there are many of them and the reader is slow', async () => {
    const run = wrapped(cat);
    const input = Buffer.alloc(8 * 1024 * 1024, `{"x":"${'y'.repeat(1000)}"}\n`);
    run.stdin.end(input);
    expect(await run.exitCode).toBe(0);
    expect(run.output().equals(input)).toBe(true);
  });

  it('are cut at newlines only, and a line beyond the bound is handed on once, without its bytes', () => {
    fc.assert(
      fc.property(fc.array(fc.string({ maxLength: 12 })), fc.integer({ min: 1, max: 7 }), (texts, size) => {
        const lines = texts.map((each) => each.replaceAll('\n', ''));
        const input = Buffer.from(lines.map((each) => `${each}\n`).join(''));
        const seen: (string | undefined)[] = [];
        const splitter = new LineSplitter((each) => seen.push(each), 8);
        for (let start = 0; start < input.length; start += size) splitter.push(input.subarray(start, start + size));
        splitter.end();
        expect(seen).toEqual(lines.map((each) => (Buffer.byteLength(each) > 8 ? undefined : each)));
      }),
    );
  });
});

describe('calls', () => {
  it('bear the name that the server gives itself, its first answer included', async () => {
    const answer = { jsonrpc: '2.0', id: 1, result: { serverInfo: { name: 'its-own-name', version: '3' } } };
    const script = `process.stdin.on('data', () => {}).on('end', () => console.log(${JSON.stringify(JSON.stringify(answer))}))`;
    const run = wrapped(['-e', script], { name: 'guess' });
    run.stdin.end(`${JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'initialize', params: {} })}\n`);
    expect(await run.exitCode).toBe(0);
    expect(Recording.latest().of('initialize')).toMatchObject([{ server_name: 'its-own-name', server_version: '3' }]);
  });

  it('are recorded in batches too, and what is no message as invalid', async () => {
    const answer = (id: number) => ({ jsonrpc: '2.0', id, result: { n: id } });
    const script = `process.stdin.on('data', () => {}).on('end', () => console.log(${JSON.stringify(JSON.stringify([answer(2), answer(1)]))}))`;
    const run = wrapped(['-e', script], { name: 'batch' });
    const ask = (id: number) => ({ jsonrpc: '2.0', id, method: 'tools/call', params: { name: `t${id}` } });
    run.stdin.end(`${JSON.stringify([ask(1), ask(2)])}\r\nnot json\n\n${JSON.stringify(ask(3))}\n`);
    expect(await run.exitCode).toBe(0);
    const recording = Recording.latest();
    expect(recording.of('tools/call')).toMatchObject([
      { tool_name: 't1', outcome: 'success', result: { n: 1 }, transport: 'stdio', server_name: 'batch' },
      { tool_name: 't2', outcome: 'success', result: { n: 2 } },
      { tool_name: 't3', outcome: 'no_response' },
    ]);
    expect(recording.of('invalid')).toMatchObject([{ outcome: 'protocol_error', error_type: 'parse_error' }]);
    expect(recording.closed).toBe(true);
  });

  it('are refused with failClosed when they cannot be recorded', async () => {
    const run = wrapped(cat, { failClosed: true });
    Recording.latest().failing = true;
    run.stdin.end('{"jsonrpc":"2.0","id":7,"method":"tools/call"}\n{"jsonrpc":"2.0","method":"notifications/x"}\n');
    expect(await run.exitCode).toBe(0);
    const lines = run
      .output()
      .toString()
      .trim()
      .split('\n')
      .map((each) => JSON.parse(each));
    expect(lines).toContainEqual(expect.objectContaining({ id: 7, error: expect.objectContaining({ code: -32603 }) }));
    expect(lines).toContainEqual({ jsonrpc: '2.0', method: 'notifications/x' });
    expect(lines).toHaveLength(2);
  });
});

describe('the process', () => {
  it('leaves with the code of the server, or 128 and its signal', async () => {
    expect(await wrapped(['-e', 'process.exit(7)']).exitCode).toBe(7);
    expect(await wrapped(['-e', 'process.kill(process.pid, "SIGKILL")']).exitCode).toBe(137);
  });

  it('passes signals on', async () => {
    const script = "process.on('SIGHUP', () => process.exit(3)); setInterval(() => {}, 1000); console.log('ready')";
    const run = wrapped(['-e', script]);
    await new Promise((resolve) => run.stdout.once('data', resolve));
    process.kill(process.pid, 'SIGHUP');
    expect(await run.exitCode).toBe(3);
    expect(process.listenerCount('SIGHUP')).toBe(0);
  });

  it('says which command cannot be started', async () => {
    const missing = wrapped([], {}, 'no-such-command-here');
    expect(await missing.exitCode).toBe(127);
    expect(missing.complaints()).toContain('cannot start no-such-command-here: there is no such command');
    const notExecutable = wrapped([], {}, fileURLToPath(import.meta.url));
    expect(await notExecutable.exitCode).toBe(126);
  });
});

/** A client transport over the two streams of a server, wrapped or bare. */
function streamTransport(input: PassThrough, output: PassThrough): Transport {
  const buffer = new ReadBuffer();
  const transport: Transport = {
    async start() {
      output.on('data', (chunk: Buffer) => {
        buffer.append(chunk);
        for (let message = buffer.readMessage(); message !== null; message = buffer.readMessage()) {
          transport.onmessage?.(message);
        }
      });
    },
    async send(message) {
      input.write(serializeMessage(message));
    },
    async close() {
      input.end();
      transport.onclose?.();
    },
  };
  return transport;
}

const serverFile = (name: string) =>
  fileURLToPath(new URL(`../../node_modules/@modelcontextprotocol/${name}/dist/index.js`, import.meta.url));

describe('a server in Python', () => {
  it('answers through wrap, and is on record', { timeout: 180_000 }, async (context) => {
    // As the demo has it, and where the demo has put it.
    // A test waits longer for pip than the demo does: on a busy machine it is not skipped for that.
    const root = join(import.meta.dirname, '..', '..');
    const found = await pythonServer(root, AbortSignal.timeout(150_000), 140_000);
    if ('why' in found) return context.skip(`no Python server can be had: ${found.why}`);
    for (const [name, value] of Object.entries(found.environment)) vi.stubEnv(name, value);
    onTestFinished(() => void vi.unstubAllEnvs());
    const [python, ...words] = found.command;
    const run = wrapped([...words, '--local-timezone', 'UTC'], { name: 'time' }, python);
    const client = new Client({ name: 'asker', version: '1' });
    await client.connect(streamTransport(run.stdin, run.stdout));
    expect((await client.listTools()).tools.map((tool) => tool.name)).toContain('get_current_time');
    const answer = await client.callTool({ name: 'get_current_time', arguments: { timezone: 'UTC' } });
    expect(JSON.stringify(answer.content)).toContain('datetime');
    await client.close();
    await run.exitCode;
    expect(Recording.latest().of('tools/call')).toMatchObject([
      { tool_name: 'get_current_time', outcome: 'success', arguments: { timezone: 'UTC' } },
    ]);
  });
});

describe('real servers', () => {
  it.each([
    [
      'server-everything',
      [],
      [
        ['echo', { message: 'é' }],
        ['get-sum', { a: 1, b: 2 }],
        ['no-such', {}],
      ],
    ],
    [
      'server-filesystem',
      ['.'],
      [
        ['list_allowed_directories', {}],
        ['read_text_file', { path: '/no/such' }],
      ],
    ],
    ['server-memory', [], [['search_nodes', { query: 'nothing-of-this-name' }]]],
  ] as [string, string[], [string, Record<string, unknown>][]][])(
    '%s answers the same bare and wrapped',
    async (name, args, calls) => {
      const { StdioClientTransport } = await import('@modelcontextprotocol/sdk/client/stdio.js');
      async function answers(transport: Transport): Promise<unknown[]> {
        const client = new Client({ name: 'comparer', version: '1' });
        await client.connect(transport);
        const all: unknown[] = [await client.listTools()];
        for (const [tool, input] of calls) {
          all.push(await client.callTool({ name: tool, arguments: input }).catch((error: Error) => error.message));
        }
        await client.close();
        return all;
      }
      const file = serverFile(name);
      const bare = await answers(
        new StdioClientTransport({ command: process.execPath, args: [file, ...args], stderr: 'ignore' }),
      );
      const run = wrapped([file, ...args], { name });
      const audited = await answers(streamTransport(run.stdin, run.stdout));
      expect(audited).toEqual(bare);
      await run.exitCode;
      const recorded = Recording.latest().of('tools/call');
      expect(recorded.map((call) => call.tool_name)).toEqual(calls.map(([tool]) => tool));
      expect(recorded.every((call) => call.tool_definition_hash !== '' || call.tool_name === 'no-such')).toBe(true);
    },
  );
});
