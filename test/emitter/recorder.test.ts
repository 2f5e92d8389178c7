/** The recorder with its real spool, in this process and in others that are killed; a collector in the gateway's place. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { InMemoryTransport } from '@modelcontextprotocol/sdk/inMemory.js';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { afterEach, beforeEach, describe, expect, it, type TestContext } from 'vitest';
import { z } from 'zod';
import { checkCall } from '../../schemas/check.js';
import type { CallEvent } from '../../schemas/event.js';
import { adoptOrphans } from '../../services/emitter/adopt.js';
import { type AuditOptions, audit } from '../../services/emitter/index.js';
import { Recorder } from '../../services/emitter/recorder.js';
import type { Sink } from '../../services/emitter/sink.js';

let data: string;
const undo: (() => unknown)[] = [];
beforeEach(() => {
  data = mkdtempSync(join(tmpdir(), 'recorder-'));
});
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step();
  rmSync(data, { recursive: true, force: true });
});

/** Checks every event as the gateway does and keeps it; can be away. */
class Collector implements Sink {
  readonly events: CallEvent[] = [];
  isAway = false;

  async send(lines: readonly (string | Buffer)[]) {
    if (this.isAway) return { kind: 'retry', reason: 'away' } as const;
    for (const line of lines) {
      const checked = checkCall(Buffer.from(line), { tenant: 'default', producer_key: 'k' });
      if (!checked.ok) throw new Error(`${checked.message}: ${line}`);
      this.events.push(checked.event);
    }
    return { kind: 'accepted', rejected: [] } as const;
  }

  of(method: string): CallEvent[] {
    return this.events.filter((event) => event.method === method);
  }

  close(): void {}
}

function record(recorder: Recorder, n: number, size = 10): boolean {
  const call = recorder.begin({ method: 'tools/call', toolName: 'echo', arguments: { n, pad: 'x'.repeat(size) } });
  recorder.end(call, { outcome: 'success', result: { n } });
  return recorder.commit();
}

async function server(options: AuditOptions) {
  const mcp = new McpServer({ name: 'tested', version: '1.0.0' });
  let ran = 0;
  mcp.registerTool('echo', { inputSchema: { n: z.number(), pad: z.string().optional() } }, ({ n }) => {
    ran += 1;
    return { content: [{ type: 'text', text: String(n) }] };
  });
  const handle = audit(mcp, { data, ...options });
  const client = new Client({ name: 'c', version: '1' });
  const [clientSide, serverSide] = InMemoryTransport.createLinkedPair();
  await Promise.all([mcp.connect(serverSide), client.connect(clientSide)]);
  undo.push(() => handle.close());
  return { handle, client, ran: () => ran };
}

describe('a recorder', () => {
  it('delivers events that the gateway takes, numbered without gaps, and removes its spool when it is closed', async () => {
    const sink = new Collector();
    const recorder = Recorder.open({ data, name: 'My server/1', sink });
    for (let n = 0; n < 2500; n++) record(recorder, n);
    await recorder.flush();
    expect(sink.events.map((event) => event.producer_sequence)).toEqual(Array.from({ length: 2500 }, (_, n) => n + 1));
    expect(new Set(sink.events.map((event) => event.event_id)).size).toBe(2500);
    expect(sink.events[0]).toMatchObject({
      producer_id: expect.stringMatching(/^My-server-1-[0-9a-f]{8}$/),
      arguments: '{"n":0,"pad":"xxxxxxxxxx"}',
      arguments_bytes: 26,
      arguments_hash: expect.stringMatching(/^[0-9a-f]{16}$/),
      result: '{"n":0}',
      outcome: 'success',
    });
    expect(recorder.counters).toEqual({ recorded: 2500, dropped: 0, rejected: 0, delivered: 2500, pending: 0 });
    await recorder.close();
    expect(readdirSync(join(data, 'spool'))).toEqual([]);
    for (const path of ['keys/arguments.key', 'spool']) expect(statSync(join(data, path)).mode & 0o077).toBe(0);
  });

  it('keeps what the gateway does not take for whoever comes next', async () => {
    const away = new Collector();
    away.isAway = true;
    const recorder = Recorder.open({ data, sink: away, delivery: { closeTimeoutMs: 50 } });
    for (let n = 0; n < 100; n++) record(recorder, n);
    await recorder.close();
    expect(away.events).toEqual([]);
    const sink = new Collector();
    const next = Recorder.open({ data, sink });
    await expect.poll(() => sink.events.length, { timeout: 10_000 }).toBe(100);
    await next.close();
    expect(readdirSync(join(data, 'spool'))).toEqual([]);
  });

  it('keeps bodies as its policy says, and sizes and hash always', async () => {
    const sink = new Collector();
    const payloads = { 'tools/call': 'result', '*': 'arguments' } as const;
    const recorder = Recorder.open({ data, sink, payloads });
    for (const method of ['tools/call', 'resources/read', 'tools/list']) {
      recorder.end(recorder.begin({ method, arguments: { a: 1 } }), { outcome: 'success', result: { b: 2 } });
    }
    await recorder.flush();
    const bodies = sink.events.map(({ arguments: given, result }) => [given, result]);
    expect(bodies).toEqual([
      ['', '{"b":2}'],
      ['{"a":1}', ''],
      ['', ''],
    ]);
    for (const event of sink.events) expect(event).toMatchObject({ arguments_bytes: 7, result_bytes: 7 });
    expect(new Set(sink.events.map((event) => event.arguments_hash)).size).toBe(1);
    await recorder.close();
  });

  it('takes a spool that does not fit for what it is: calls work, the loss is counted, told and its place known', async () => {
    const sink = new Collector();
    sink.isAway = true;
    const { client, handle } = await server({ sink, spool: { maxBytes: 256 * 1024 }, delivery: { lingerMs: 1 } });
    for (let n = 0; n < 400; n++) {
      const pad = 'x'.repeat(1000);
      expect(await client.callTool({ name: 'echo', arguments: { n, pad } })).toMatchObject({
        content: [{ text: String(n) }],
      });
    }
    const { dropped } = handle.counters;
    expect(dropped).toBeGreaterThan(100);
    sink.isAway = false;
    await expect.poll(() => sink.of('audit/loss').length, { timeout: 20_000 }).toBeGreaterThan(0);
    await client.callTool({ name: 'echo', arguments: { n: 400 } });
    await handle.flush();
    const lost = sink.of('audit/loss').reduce((sum, event) => sum + Number(event.attributes.lost_calls), 0);
    expect(lost).toBe(dropped);
    expect(sink.of('audit/loss')[0]).toMatchObject({ error_type: 'calls_lost', attributes: { reason: 'no_room' } });
    const sequences = new Set(sink.events.map((event) => event.producer_sequence));
    expect(Math.max(...sequences)).toBe(sequences.size + dropped);
  });

  it('refuses, with failClosed, what it cannot keep: before the handler runs, and says why', async () => {
    const sink = new Collector();
    sink.isAway = true;
    const { client, handle, ran } = await server({ sink, failClosed: true, spool: { maxBytes: 128 * 1024 } });
    let refused = 0;
    for (let n = 0; n < 200; n++) {
      await client.callTool({ name: 'echo', arguments: { n, pad: 'x'.repeat(1000) } }).catch((error: Error) => {
        expect(error).toMatchObject({ code: -32603, message: expect.stringContaining('could not be recorded') });
        refused += 1;
      });
    }
    expect(refused).toBeGreaterThan(50);
    expect(ran()).toBe(200 - refused);
    expect(handle.counters.dropped).toBe(refused);
  });

  it('begins a new spool under a new name when somebody deleted the old one', async () => {
    const sink = new Collector();
    const recorder = Recorder.open({ data, sink, delivery: { lingerMs: 1 } });
    record(recorder, 1);
    await recorder.flush();
    rmSync(join(data, 'spool'), { recursive: true });
    // What a heartbeat finds; the timer itself comes every 20 s.
    recorder.beat();
    record(recorder, 2);
    await recorder.flush();
    expect(sink.events.map((event) => event.producer_sequence)).toEqual([1, 1]);
    expect(new Set(sink.events.map((event) => event.producer_id)).size).toBe(2);
    await recorder.close();
  });

  it('works where nothing can be written, says so once, and counts', async () => {
    writeFileSync(join(data, 'file'), '');
    const sink = new Collector();
    const { client, handle } = await server({ data: join(data, 'file'), sink });
    for (let n = 0; n < 5; n++) {
      expect(await client.callTool({ name: 'echo', arguments: { n } })).toMatchObject({
        content: [{ text: String(n) }],
      });
    }
    expect(handle.counters).toMatchObject({ recorded: 0, dropped: 6 });
  });
});

describe('a full disk', () => {
  function tmpfs(context: TestContext, bytes: number): string {
    const directory = join(data, 'small');
    mkdirSync(directory);
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${bytes}`, 'tmpfs', directory], { stdio: 'pipe' });
    } catch (error) {
      context.skip(`no tmpfs can be mounted here (${(error as Error).message.split('\n').at(-2)}): needs root`);
    }
    undo.push(() => execFileSync('umount', [directory]));
    return directory;
  }

  it('leaves calls unharmed, counts what is lost, and tells of it once there is room', async (context) => {
    const small = tmpfs(context, 512 * 1024);
    const sink = new Collector();
    sink.isAway = true;
    const { client, handle } = await server({ data: small, sink, delivery: { lingerMs: 1 } });
    const answers = [];
    for (let n = 0; n < 600; n++)
      answers.push(await client.callTool({ name: 'echo', arguments: { n, pad: 'x'.repeat(1000) } }));
    expect(answers.map((answer) => (answer.content as { text: string }[])[0]!.text)).toEqual(
      Array.from({ length: 600 }, (_, n) => String(n)),
    );
    const { dropped } = handle.counters;
    expect(dropped).toBeGreaterThan(100);
    sink.isAway = false;
    // The disk is full of what is now delivered; nothing else makes room.
    await expect.poll(() => handle.counters.pending, { timeout: 20_000 }).toBe(0);
    await client.callTool({ name: 'echo', arguments: { n: 600 } });
    await handle.flush();
    const losses = sink.of('audit/loss');
    expect(losses.reduce((sum, event) => sum + Number(event.attributes.lost_calls), 0)).toBe(handle.counters.dropped);
    expect(losses[0]!.attributes.reason).toBe('ENOSPC');
    expect(sink.of('tools/call').at(-1)!.arguments).toBe('{"n":600}');
    const sequences = new Set(sink.events.map((event) => event.producer_sequence));
    expect(Math.max(...sequences)).toBe(sequences.size + handle.counters.dropped);
    await handle.close();
  });

  it('refuses calls with failClosed, and takes them again when there is room', async (context) => {
    const small = tmpfs(context, 512 * 1024);
    const filler = join(small, 'filler');
    const { client, ran } = await server({ data: small, sink: new Collector(), failClosed: true });
    await client.callTool({ name: 'echo', arguments: { n: 0 } });
    expect(() => writeFileSync(filler, Buffer.alloc(1 << 20))).toThrow('ENOSPC');
    const call = () => client.callTool({ name: 'echo', arguments: { n: 1, pad: 'x'.repeat(9000) } });
    await expect(call()).rejects.toThrow('could not be recorded');
    expect(ran()).toBe(1);
    rmSync(filler);
    await call();
    expect(ran()).toBe(2);
  });
});

describe('a process that is killed', () => {
  function start(
    calls: number,
    hanging: number,
  ): { child: ChildProcess; lines: string[]; until(line: RegExp): Promise<void> } {
    const script = fileURLToPath(new URL('./calling-child.ts', import.meta.url));
    const options = { name: 'killed', data, url: 'http://127.0.0.1:9', key: 'k', throttle: false };
    const args = ['--import', 'tsx', script, String(calls), String(hanging), JSON.stringify(options)];
    const child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'ignore'] });
    undo.push(() => child.kill('SIGKILL'));
    const lines: string[] = [];
    let rest = '';
    child.stdout!.on('data', (chunk: Buffer) => {
      const parts = (rest + chunk).split('\n');
      rest = parts.pop()!;
      lines.push(...parts);
      child.emit('lines');
    });
    return {
      child,
      lines,
      async until(line) {
        while (!lines.some((each) => line.test(each))) await once(child, 'lines');
      },
    };
  }

  async function adopted(): Promise<Collector> {
    const sink = new Collector();
    await adoptOrphans({ data, sink });
    return sink;
  }

  it('right after an answer has every answered call on record, and those that ran as no_response', async () => {
    const { child, lines, until } = start(1_000_000, 5);
    await until(/^answered 2\d\d$/);
    child.kill('SIGKILL');
    await once(child, 'close');
    const answered = lines.filter((line) => line.startsWith('answered')).map((line) => Number(line.slice(9)));
    const sink = await adopted();
    const recorded = sink.of('tools/call').filter((event) => event.outcome === 'success');
    const numbers = new Set(recorded.map((event) => (JSON.parse(event.arguments) as { n: number }).n));
    expect(answered.filter((n) => !numbers.has(n))).toEqual([]);
    const hung = sink.events.filter((event) => event.outcome === 'no_response' && event.tool_name === 'hang');
    expect(hung.map((event) => event.arguments).sort()).toEqual([0, 1, 2, 3, 4].map((n) => `{"n":${n}}`));
    const sequences = sink.events.map((event) => event.producer_sequence).sort((a, b) => a - b);
    expect(sequences).toEqual(sequences.map((_, at) => at + 1));
    expect(readdirSync(join(data, 'spool'))).toEqual([]);
  });

  it('ends by itself when nothing is left to do, whether the gateway is there or not', async () => {
    const { child, until, lines } = start(10, 0);
    await until(/^done/);
    child.stdin!.end();
    const [code] = (await once(child, 'close')) as [number];
    expect(code).toBe(0);
    expect(lines.at(-1)).toBe('closed');
    expect((await adopted()).of('tools/call')).toHaveLength(10);
    expect(existsSync(join(data, 'rejected.jsonl'))).toBe(false);
  });
});
