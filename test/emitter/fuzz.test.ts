/**
 * Malformed, hostile and odd JSON-RPC in both directions: never an exception, never a changed byte or argument, every
 * request on record once with an end, and every event one that the gateway takes.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import fc from 'fast-check';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { checkCall } from '../../schemas/check.js';
import type { CallEvent } from '../../schemas/event.js';
import { instrument, type TransportShape } from '../../services/emitter/instrument.js';
import { messageKind } from '../../services/emitter/messages.js';
import { ObservedConnection } from '../../services/emitter/observe.js';
import { Observer } from '../../services/emitter/observer.js';
import { Recorder } from '../../services/emitter/recorder.js';
import { runWrap } from '../../services/emitter/wrap.js';

let data: string;
let events: CallEvent[];
beforeEach(() => {
  data = mkdtempSync(join(tmpdir(), 'fuzz-'));
  events = [];
});
afterEach(() => rmSync(data, { recursive: true, force: true }));

const sink = {
  async send(lines: readonly (string | Buffer)[]) {
    for (const line of lines) {
      const checked = checkCall(Buffer.from(line), { tenant: 'default', producer_key: 'k' });
      if (!checked.ok) throw new Error(`${checked.message}: ${line}`);
      events.push(checked.event);
    }
    return { kind: 'accepted', rejected: [] } as const;
  },
  close() {},
};

const any = fc.oneof(fc.jsonValue(), fc.string({ unit: 'binary' }), fc.constantFrom(null, -1, 1e308, '', [], {}));
const id = fc.oneof(fc.nat(5), fc.constantFrom('a', '', null, 1.5, -0, 'constructor', '__proto__'), any);
const method = fc.oneof(
  fc.constantFrom(
    ...['initialize', 'tools/call', 'tools/list', 'resources/read', 'prompts/get', 'ping', 'tasks/get'],
    ...['notifications/cancelled', 'server/discover', 'sampling/createMessage', '__proto__', 'constructor', ''],
  ),
  any,
);
const params = fc.oneof(
  fc.record(
    {
      name: any,
      arguments: any,
      uri: any,
      requestId: id,
      taskId: any,
      clientInfo: fc.oneof(any, fc.record({ name: any, version: any })),
      protocolVersion: any,
      inputResponses: any,
      requestState: any,
      _meta: fc.oneof(any, fc.record({ traceparent: any, 'io.modelcontextprotocol/clientInfo': any })),
    },
    { requiredKeys: [] },
  ),
  any,
);
const result = fc.oneof(
  fc.record(
    {
      isError: any,
      content: any,
      tools: fc.oneof(any, fc.array(fc.record({ name: any, annotations: any }))),
      task: any,
      resultType: any,
      serverInfo: any,
      inputRequests: any,
    },
    { requiredKeys: [] },
  ),
  any,
);
const error = fc.oneof(fc.record({ code: any, message: any, data: any }, { requiredKeys: [] }), any);
const message = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record(
      { jsonrpc: fc.constantFrom('2.0', '1.0', 2), id, method, params },
      { requiredKeys: ['method'] },
    ),
  },
  { weight: 4, arbitrary: fc.record({ jsonrpc: fc.constant('2.0'), id, result }) },
  { weight: 2, arbitrary: fc.record({ jsonrpc: fc.constant('2.0'), id, error }) },
  { weight: 1, arbitrary: any },
);

it('a transport hands on what it was given, and every request is on record', async () => {
  const step = fc.record({ fromClient: fc.boolean(), message, extra: fc.oneof(fc.constant(undefined), any) });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
      events = [];
      const recorder = Recorder.open({ data, sink, delivery: { lingerMs: 0 } });
      const passed: unknown[][] = [];
      const transport: TransportShape = {
        onmessage: (...given) => void passed.push(given),
        onclose: () => {},
        send: async (...given) => void passed.push(given),
      };
      const connection = new ObservedConnection(new Observer(recorder, false), {
        transport: 'memory',
        server: { name: 'fuzz', version: '1' },
        actor: () => {
          if (passed.length % 3 === 0) throw new Error('operator');
          return { id: 'a'.repeat(passed.length % 300) };
        },
      });
      instrument(transport, connection);
      const given: unknown[][] = [];
      let requests = 0;
      for (const { fromClient, message: each, extra } of steps) {
        const before = JSON.stringify(each);
        const copy = typeof each === 'object' && each !== null ? structuredClone(each) : each;
        given.push([copy, extra]);
        if (fromClient) transport.onmessage!(copy, extra);
        else await transport.send(copy, extra);
        expect(JSON.stringify(copy)).toBe(before);
        const items = Array.isArray(copy) && copy.length > 0 ? copy : [copy];
        requests += items.filter((item) => ['request', 'invalid'].includes(messageKind(item))).length;
      }
      transport.onclose!();
      expect(passed).toEqual(given);
      await recorder.close();
      expect(recorder.counters.dropped).toBe(0);
      expect(events.length).toBe(requests);
      expect(new Set(events.map((event) => event.event_id)).size).toBe(requests);
    }),
    { numRuns: 150 },
  );
});

it('stdio passes every byte on, whatever the lines are, in both directions', async () => {
  const line = fc.oneof(
    { weight: 4, arbitrary: message.map((each) => Buffer.from(JSON.stringify(each) ?? 'x')) },
    { weight: 1, arbitrary: fc.array(message, { maxLength: 4 }).map((batch) => Buffer.from(JSON.stringify(batch))) },
    {
      weight: 2,
      arbitrary: message.chain((each) =>
        fc.nat(60).map((cut) => Buffer.from(JSON.stringify(each) ?? '').subarray(0, cut)),
      ),
    },
    { weight: 2, arbitrary: fc.uint8Array({ maxLength: 60 }).map((bytes) => Buffer.from(bytes)) },
    { weight: 1, arbitrary: fc.nat(3000).map((depth) => Buffer.from('['.repeat(depth))) },
    {
      weight: 1,
      arbitrary: fc.constantFrom(
        Buffer.from('{"a":1,"a":2}\r'),
        Buffer.from('\0'),
        Buffer.from('{"method":"\\ud800","id":1}'),
      ),
    },
  );
  const stream = fc
    .array(line, { maxLength: 60 })
    .map((lines) => Buffer.concat(lines.flatMap((each) => [each, Buffer.from('\n')])));
  await fc.assert(
    fc.asyncProperty(stream, async (input) => {
      events = [];
      const [stdin, stdout] = [new PassThrough(), new PassThrough()];
      const output: Buffer[] = [];
      stdout.on('data', (chunk: Buffer) => output.push(chunk));
      const exitCode = runWrap({
        command: process.execPath,
        args: ['-e', 'process.stdin.pipe(process.stdout)'],
        recorderOptions: { data, sink, delivery: { lingerMs: 0 } },
        throttle: false,
        stdin,
        stdout,
      });
      stdin.end(input);
      expect(await exitCode).toBe(0);
      expect(Buffer.concat(output).equals(input)).toBe(true);
      const sequences = events.map((event) => event.producer_sequence).sort((a, b) => a - b);
      expect(sequences).toEqual(sequences.map((_, at) => at + 1));
    }),
    { numRuns: 12 },
  );
});
