import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { Client as ClientV2 } from '@modelcontextprotocol/client';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { SSEClientTransport } from '@modelcontextprotocol/sdk/client/sse.js';
import { InMemoryTransport } from '@modelcontextprotocol/sdk/inMemory.js';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { SSEServerTransport } from '@modelcontextprotocol/sdk/server/sse.js';
import { InMemoryTransport as InMemoryTransportV2, McpServer as McpServerV2 } from '@modelcontextprotocol/server';
import Fastify, { type FastifyInstance } from 'fastify';
import { Registry } from 'prom-client';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { isSignedBy, type UnsignedSignal } from '../../schemas/throttle.js';
import { formatTimeMicros } from '../../schemas/time.js';
import { ensureKeys, keyFilePath, openKeys, readSecretFile } from '../../services/access/keys.js';
import { type AuditHandle, type AuditOptions, audit } from '../../services/emitter/audit.js';
import { openProxy, type ProxyOptions } from '../../services/emitter/proxy/proxy.js';
import { runWrap } from '../../services/emitter/wrap.js';
import { createGateway } from '../../services/gateway/gateway.js';
import { type LocalStream, openLocalStream } from '../../services/stream/local.js';
import { makeSignal, makeSigner } from '../throttler/signals.js';

const signer = makeSigner();
let directory: string;
let stream: LocalStream;
let app: FastifyInstance;
let gateway: ReturnType<typeof createGateway>;
let options: AuditOptions;
let events: Record<string, unknown>[];
const undo: (() => unknown)[] = [];

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'enforcement-'));
  stream = openLocalStream({ directory: join(directory, 'stream'), durability: 'kernel' });
  await ensureKeys(directory);
  gateway = createGateway({
    stream,
    keys: openKeys(directory),
    metrics: new Registry(),
    isTrusted: (signal) => isSignedBy(signal, signer.publicKey),
  });
  await gateway.start();
  app = Fastify();
  await app.register(gateway.plugin);
  const url = await app.listen({ host: '127.0.0.1', port: 0 });
  events = [];
  options = {
    data: directory,
    url,
    key: readSecretFile(keyFilePath(directory, 'emit')),
    actor: () => 'alice',
    throttle: { publicKeys: String(signer.publicKey.export({ type: 'spki', format: 'pem' })) },
    delivery: { lingerMs: 1 },
  };
  const consumer = await stream.consume({
    topic: 'calls',
    assigned: async (partitions) => new Map(partitions.map((partition) => [partition, 0])),
    revoked: async () => undefined,
    batch: async ({ records }) => {
      for (const { value } of records) events.push(JSON.parse(value.toString()));
    },
  });
  undo.push(() => consumer.close());
});

afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step();
  await app.close();
  await gateway.close();
  await stream.close();
  rmSync(directory, { recursive: true, force: true });
});

function issue(changed: Partial<UnsignedSignal>): Promise<unknown> {
  const signal = signer.sign(makeSignal(Date.now() * 1000, changed));
  return stream.append('throttle', [
    { key: signal.signal_id, value: Buffer.from(JSON.stringify(signal)), headers: {} },
  ]);
}

/** Resolves when the emitter knows so many signals. */
async function known(handle: AuditHandle, signals: number): Promise<void> {
  await expect
    .poll(() => handle.counters.throttle, { interval: 5, timeout: 10_000 })
    .toMatchObject({ connected: true, signals });
}

interface Asking {
  call(): Promise<unknown>;
  ping(): Promise<unknown>;
  handle: AuditHandle;
}

async function sdk1(changed: Partial<AuditOptions> = {}): Promise<Asking> {
  const server = new McpServer({ name: 'one', version: '1' });
  const handle = audit(server, { ...options, ...changed });
  server.registerTool('echo', {}, () => ({ content: [{ type: 'text', text: 'here' }] }));
  const client = new Client({ name: 'c', version: '1' });
  const [a, b] = InMemoryTransport.createLinkedPair();
  await Promise.all([server.connect(a), client.connect(b)]);
  undo.push(
    () => handle.close(),
    () => client.close(),
  );
  return { call: () => client.callTool({ name: 'echo' }), ping: () => client.ping(), handle };
}

async function sdk2(changed: Partial<AuditOptions> = {}): Promise<Asking> {
  const server = new McpServerV2({ name: 'two', version: '1' });
  const handle = audit(server, { ...options, ...changed });
  server.registerTool('echo', {}, () => ({ content: [{ type: 'text', text: 'here' }] }));
  const client = new ClientV2({ name: 'c', version: '1' });
  const [a, b] = InMemoryTransportV2.createLinkedPair();
  await Promise.all([server.connect(a), client.connect(b)]);
  undo.push(
    () => handle.close(),
    () => client.close(),
  );
  return { call: () => client.callTool({ name: 'echo' }), ping: () => client.ping(), handle };
}

describe.each([
  ['SDK 1', sdk1],
  ['SDK 2', sdk2],
])('a call to a server of %s', (_name, start) => {
  it('is refused beyond the burst with 429 and when to come back, and is on record with the signal', async () => {
    const { call, ping, handle } = await start();
    await known(handle, 0);
    await issue({ burst: 2, interval_micros: 3600e6 });
    await known(handle, 1);
    await call();
    await call();
    await expect(call()).rejects.toMatchObject({
      code: 429,
      data: { kind: 'rate_limited', retryAfterSeconds: expect.any(Number) },
    });
    await ping();
    await handle.flush();
    await expect
      .poll(() => events.filter(({ outcome }) => outcome === 'throttled'), { timeout: 10_000 })
      .toMatchObject([
        {
          method: 'tools/call',
          error_code: 429,
          error_type: 'rate_limited',
          attributes: { throttle_signal_id: expect.stringMatching(/^[0-9a-f]{32}$/) },
        },
      ]);
    expect(handle.counters.throttle).toMatchObject({ refusedCalls: 1 });
  });

  it('passes again when the signal is lifted', async () => {
    const { call, handle } = await start();
    await issue({ block: true });
    await known(handle, 1);
    await expect(call()).rejects.toMatchObject({ code: 429 });
    await issue({ block: true, revision: 2, state: 'lifted' });
    await known(handle, 0);
    await call();
  });

  it('gets a result that a model reads, where that is chosen', async () => {
    const throttle = { ...(options.throttle as object), answer: 'result' as const };
    const { call, handle } = await start({ throttle });
    await issue({ block: true });
    await known(handle, 1);
    expect(await call()).toMatchObject({
      isError: true,
      content: [{ type: 'text', text: expect.stringContaining('Wait') }],
      structuredContent: { kind: 'rate_limited' },
    });
  });

  it('waits where the signal says so', async () => {
    const { call, handle } = await start();
    await issue({ interval_micros: 0, burst: 0, delay_ms: 60 });
    await known(handle, 1);
    const before = performance.now();
    await call();
    expect(performance.now() - before).toBeGreaterThan(50);
    expect(handle.counters.throttle).toMatchObject({ delayedCalls: 1, refusedCalls: 0 });
  });
});

describe('an emitter', () => {
  it('knows after a reconnect what was lifted while it was away', async () => {
    const { call, handle } = await sdk1();
    await issue({ block: true });
    await known(handle, 1);
    const { port } = new URL(options.url as string);
    await app.close();
    await expect.poll(() => handle.counters.throttle?.connected, { timeout: 10_000 }).toBe(false);
    await expect(call()).rejects.toMatchObject({ code: 429 });
    await issue({ block: true, revision: 2, state: 'lifted' });
    await gateway.close();
    gateway = createGateway({
      stream,
      keys: openKeys(directory),
      metrics: new Registry(),
      isTrusted: (signal) => isSignedBy(signal, signer.publicKey),
    });
    await gateway.start();
    app = Fastify();
    await app.register(gateway.plugin);
    await app.listen({ host: '127.0.0.1', port: Number(port) });
    await known(handle, 0);
    await call();
  });

  it('follows a signal no longer than it holds, with nobody there to lift it', async () => {
    const { call, handle } = await sdk1();
    await issue({ block: true, expires_at: formatTimeMicros(Date.now() * 1000 + 6_000_000) });
    await known(handle, 1);
    await expect(call()).rejects.toMatchObject({ code: 429 });
    await app.close();
    await expect
      .poll(
        () =>
          call().then(
            () => 'passed',
            () => 'refused',
          ),
        { interval: 50, timeout: 15_000 },
      )
      .toBe('passed');
  });

  it('does not look for signals where that is chosen', async () => {
    const { call, handle } = await sdk1({ throttle: false });
    await issue({ block: true });
    await call();
    expect(handle.counters.throttle).toBeUndefined();
  });
});

describe('a wrapped stdio server', () => {
  /** Answers every request with its id. */
  const echo = `
    require('node:readline').createInterface({ input: process.stdin }).on('line', (line) => {
      const message = JSON.parse(line);
      for (const { id } of [message].flat()) if (id !== undefined) console.log(JSON.stringify({ jsonrpc: '2.0', id, result: {} }));
    });`;

  function wrapped(): { ask(line: string): void; answers: Record<string, unknown>[]; end(): Promise<number> } {
    const stdin = new PassThrough();
    const stdout = new PassThrough();
    const answers: Record<string, unknown>[] = [];
    let text = '';
    stdout.on('data', (chunk: Buffer) => {
      const lines = (text + chunk.toString()).split('\n');
      text = lines.pop() ?? '';
      for (const line of lines) answers.push(JSON.parse(line));
    });
    const { actor, throttle, ...recorderOptions } = options;
    const exit = runWrap({
      command: process.execPath,
      args: ['-e', echo],
      recorderOptions: { ...recorderOptions, name: 'wrapped' },
      actor: () => 'alice',
      ...(throttle === undefined ? {} : { throttle }),
      stdin,
      stdout,
    });
    return {
      ask: (line) => stdin.write(line),
      answers,
      end: () => {
        stdin.end();
        return exit;
      },
    };
  }

  const request = (id: number, method = 'tools/call'): object => ({
    jsonrpc: '2.0',
    id,
    method,
    params: { name: 'echo' },
  });

  it('never sees a call that is refused, and sees all others as they are', async () => {
    await issue({ block: true });
    const server = wrapped();
    let id = 0;
    const answeredWith429 = (): boolean => {
      server.ask(`${JSON.stringify(request(++id))}\n`);
      return server.answers.some(({ error }) => (error as { code?: number } | undefined)?.code === 429);
    };
    await expect.poll(answeredWith429, { interval: 20, timeout: 10_000 }).toBe(true);
    server.ask(`${JSON.stringify(request(1000, 'ping'))}\n`);
    // A batch with a call that is refused is refused as a whole.
    server.ask(`${JSON.stringify([request(2001), request(2002, 'ping')])}\n`);
    await expect
      .poll(() => server.answers.map(({ id }) => id), { timeout: 10_000 })
      .toEqual(expect.arrayContaining([1000, 2001, 2002]));
    const of = (wanted: number) => server.answers.find(({ id }) => id === wanted);
    expect(of(1000)).toMatchObject({ result: {} });
    expect(of(2001)).toMatchObject({ error: { code: 429 } });
    expect(of(2002)).toMatchObject({ error: { code: 429 } });
    expect(await server.end()).toBe(0);
    await expect
      .poll(() => events.filter(({ request_id }) => Number(request_id) > 2000).map(({ outcome }) => outcome), {
        timeout: 10_000,
      })
      .toEqual(['throttled', 'throttled']);
  });

  it('gets a delayed call later, even when the client has closed its end by then', async () => {
    await issue({ interval_micros: 0, burst: 0, delay_ms: 150 });
    const server = wrapped();
    server.ask(`${JSON.stringify(request(1, 'ping'))}\n`);
    await expect.poll(() => server.answers.length, { timeout: 10_000 }).toBe(1);
    let id = 1;
    // Until the signal is known calls pass at once.
    await expect
      .poll(
        async () => {
          const before = performance.now();
          server.ask(`${JSON.stringify(request(++id))}\n`);
          await expect.poll(() => server.answers.some((answer) => answer.id === id), { interval: 2 }).toBe(true);
          return performance.now() - before > 140;
        },
        { interval: 5, timeout: 10_000 },
      )
      .toBe(true);
    server.ask(`${JSON.stringify(request(999))}\n`);
    expect(await server.end()).toBe(0);
    expect(server.answers.at(-1)).toMatchObject({ id: 999, result: {} });
  });
});

describe('a server behind the HTTP proxy', () => {
  async function proxied(changed: Partial<ProxyOptions> = {}) {
    let asked = 0;
    const http = createServer(async (request, response) => {
      let body = '';
      for await (const chunk of request) body += chunk;
      asked += 1;
      const answers = [JSON.parse(body)].flat().map(({ id }: { id: unknown }) => ({ jsonrpc: '2.0', id, result: {} }));
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end(JSON.stringify(body.startsWith('[') ? answers : answers[0]));
    });
    await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve));
    const { actor, throttle, ...recorderOptions } = options;
    const proxy = await openProxy({
      upstream: `http://127.0.0.1:${(http.address() as AddressInfo).port}/mcp`,
      recorderOptions,
      actor: () => 'alice',
      ...(throttle === undefined ? {} : { throttle }),
      drainMs: 100,
      ...changed,
    });
    undo.push(
      () => http.close(),
      () => http.closeAllConnections(),
      () => proxy.close(),
    );
    const send = (message: unknown) =>
      fetch(proxy.url, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(message),
      });
    const refused = async (): Promise<Response> => {
      for (;;) {
        const response = await send(request(1));
        if (response.status !== 200) return response;
        await response.text();
      }
    };
    return { send, refused, asked: () => asked };
  }

  const request = (id: number, method = 'tools/call'): object => ({
    jsonrpc: '2.0',
    id,
    method,
    params: { name: 'echo' },
  });

  it('never sees a refused call, whose caller gets 429, Retry-After and the JSON-RPC error', async () => {
    await issue({ interval_micros: 0, burst: 0, delay_ms: 0, block: true });
    const { send, refused, asked } = await proxied();
    const response = await refused();
    expect(response.status).toBe(429);
    const body = (await response.json()) as { error: { data: { retryAfterSeconds: number } } };
    expect(body).toMatchObject({ id: 1, error: { code: 429, data: { kind: 'rate_limited' } } });
    expect(response.headers.get('retry-after')).toBe(String(body.error.data.retryAfterSeconds));
    const before = asked();
    const batch = await send([request(2), request(3, 'ping')]);
    expect(batch.status).toBe(429);
    expect(await batch.json()).toMatchObject([
      { id: 2, error: { code: 429 } },
      { id: 3, error: { code: 429 } },
    ]);
    expect(asked()).toBe(before);
    expect((await send(request(4, 'ping'))).status).toBe(200);
    expect((await send(request(5, 'initialize'))).status).toBe(200);
    await expect
      .poll(() => events.filter(({ outcome }) => outcome === 'throttled').length, { timeout: 10_000 })
      .toBeGreaterThanOrEqual(3);
    expect(events.find(({ outcome }) => outcome === 'throttled')).toMatchObject({
      attributes: { throttle_signal_id: expect.stringMatching(/^[0-9a-f]{32}$/) },
    });
  });

  it('lets calls through again when the signal is lifted', async () => {
    await issue({ block: true });
    const { send, refused } = await proxied();
    await refused();
    await issue({ block: true, revision: 2, state: 'lifted' });
    await expect.poll(async () => (await send(request(1))).status, { timeout: 10_000 }).toBe(200);
  });

  it('gives a result that a model reads, where that is chosen', async () => {
    await issue({ block: true });
    const { send } = await proxied({ throttle: { ...(options.throttle as object), answer: 'result' } });
    await expect
      .poll(async () => (await send(request(1))).json(), { timeout: 10_000 })
      .toMatchObject({ id: 1, result: { isError: true, structuredContent: { kind: 'rate_limited' } } });
  });

  it('sees a delayed call later', async () => {
    await issue({ interval_micros: 0, burst: 0, delay_ms: 120 });
    const { send } = await proxied();
    await expect
      .poll(
        async () => {
          const before = performance.now();
          await (await send(request(1))).text();
          return performance.now() - before > 110;
        },
        { interval: 5, timeout: 10_000 },
      )
      .toBe(true);
  });

  it('of 2024-11-05 answers a refused call on its stream, where the client waits for it', async () => {
    const server = new McpServer({ name: 'old', version: '1' });
    server.registerTool('echo', {}, () => ({ content: [{ type: 'text', text: 'here' }] }));
    let transport: SSEServerTransport;
    const http = createServer(async (request, response) => {
      if (request.method === 'GET') {
        transport = new SSEServerTransport('/message', response);
        await server.connect(transport);
      } else await transport.handlePostMessage(request, response);
    });
    await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve));
    const { actor, throttle, ...recorderOptions } = options;
    const proxy = await openProxy({
      upstream: `http://127.0.0.1:${(http.address() as AddressInfo).port}/sse`,
      recorderOptions,
      actor: () => 'alice',
      ...(throttle === undefined ? {} : { throttle }),
      drainMs: 100,
    });
    const client = new Client({ name: 'c', version: '1' });
    await client.connect(new SSEClientTransport(new URL(proxy.url)) as never);
    undo.push(
      () => http.close(),
      () => http.closeAllConnections(),
      () => proxy.close(),
      () => client.close(),
    );
    await client.callTool({ name: 'echo' });
    await issue({ block: true });
    const outcome = () =>
      client.callTool({ name: 'echo' }).then(
        () => 'passed',
        (error: { code: number; data: unknown }) => error,
      );
    await expect.poll(outcome, { timeout: 10_000 }).toMatchObject({ code: 429, data: { kind: 'rate_limited' } });
    await client.ping();
  });
});
