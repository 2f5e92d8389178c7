import {
  createServer,
  request as httpRequest,
  type IncomingMessage,
  type RequestListener,
  type Server,
} from 'node:http';
import type { AddressInfo } from 'node:net';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { openProxy, type ProxyOptions } from '../../services/emitter/proxy/proxy.js';
import { Recording } from './recording.js';

vi.mock('../../services/emitter/recorder.js', async () => {
  const { Recording } = await import('./recording.js');
  return { Recorder: Recording };
});

const open: (() => unknown)[] = [];
beforeEach(() => {
  Recording.opened.length = 0;
});
afterEach(async () => {
  for (const step of open.splice(0).reverse()) await step();
});

async function serve(listener: RequestListener): Promise<string> {
  const server: Server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  open.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/mcp`;
}

async function proxyTo(upstream: string, options: Partial<ProxyOptions> = {}): ReturnType<typeof openProxy> {
  const proxy = await openProxy({ upstream, throttle: false, drainMs: 200, ...options });
  open.push(() => proxy.close());
  return proxy;
}

interface Answer {
  readonly status: number;
  readonly headers: IncomingMessage['headers'];
  readonly body: Buffer;
}

/** A request that sends exactly these bytes and headers. */
function send(
  url: string,
  options: { method?: string; headers?: Record<string, string>; body?: Buffer | string } = {},
) {
  return new Promise<Answer>((resolve, reject) => {
    const sent = httpRequest(url, { method: options.method ?? 'POST', headers: options.headers ?? {} }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () =>
        resolve({ status: response.statusCode!, headers: response.headers, body: Buffer.concat(chunks) }),
      );
      response.on('error', reject);
    });
    sent.on('error', reject);
    sent.end(options.body);
  });
}

const call = (id: number, name = 'echo') => ({ jsonrpc: '2.0', id, method: 'tools/call', params: { name } });
const json = { 'content-type': 'application/json' };

async function bodyOf(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

/** Answers every request with its id, as JSON. */
const answering: RequestListener = async (request, response) => {
  const { id } = JSON.parse((await bodyOf(request)).toString()) as { id: number };
  response.writeHead(200, json).end(JSON.stringify({ jsonrpc: '2.0', id, result: { here: id } }));
};

describe('bytes', () => {
  it('pass as they came, malformed ones too, and what is odd is on record', async () => {
    const seen: Buffer[] = [];
    const odd = Buffer.from([0x7b, 0xff, 0xfe, 0x00, 0x0a]);
    const url = await serve(async (request, response) => {
      seen.push(await bodyOf(request));
      response.writeHead(200, { ...json, 'x-odd': 'a, b' }).end(odd);
    });
    const proxy = await proxyTo(url);
    const bodies = [odd, Buffer.from(''), Buffer.from('[]'), Buffer.from('{"method":1}'), Buffer.from('\ufeff{"a":1}')];
    for (const body of bodies) {
      const answer = await send(proxy.url, { body, headers: json });
      expect(answer.body.equals(odd)).toBe(true);
      expect(answer.headers['x-odd']).toBe('a, b');
    }
    expect(seen.map((each) => each.toString('hex'))).toEqual(bodies.map((each) => each.toString('hex')));
    expect(Recording.latest().of('invalid').length).toBe(bodies.length * 2);
  });

  it('beyond what is parsed go on unread, and that is on record', async () => {
    let bytes = 0;
    const url = await serve(async (request, response) => {
      bytes = (await bodyOf(request)).length;
      response.writeHead(200, json).end(Buffer.alloc(17 * 1024 * 1024, 0x20));
    });
    const proxy = await proxyTo(url);
    const answer = await send(proxy.url, { body: Buffer.alloc(17 * 1024 * 1024, 0x20), headers: json });
    expect(bytes).toBe(17 * 1024 * 1024);
    expect(answer.body.length).toBe(17 * 1024 * 1024);
    expect(Recording.latest().of('invalid')).toMatchObject([
      { error_message: expect.stringContaining('more than 16777216') },
      { error_message: expect.stringContaining('more than 16777216') },
    ]);
    const small = await proxyTo(url, { maxBodyBytes: 10 });
    expect(await send(small.url, { body: 'longer than that', headers: json })).toMatchObject({ status: 413 });
  });

  it('that are compressed stay so, and are read all the same', async () => {
    const url = await serve(async (request, response) => {
      const { id } = JSON.parse((await bodyOf(request)).toString()) as { id: number };
      const text = JSON.stringify({ jsonrpc: '2.0', id, result: { here: id } });
      if (id === 1) response.writeHead(200, { ...json, 'content-encoding': 'gzip' }).end(gzipSync(text));
      else {
        response.writeHead(200, { 'content-type': 'text/event-stream', 'content-encoding': 'gzip' });
        response.end(gzipSync(`event: message\ndata: ${text}\n\n`));
      }
    });
    const proxy = await proxyTo(url);
    for (const id of [1, 2]) {
      const answer = await send(proxy.url, { body: JSON.stringify(call(id)), headers: json });
      expect(answer.headers['content-encoding']).toBe('gzip');
      expect(answer.body.subarray(0, 2).toString('hex')).toBe('1f8b');
    }
    expect(Recording.latest().of('tools/call')).toMatchObject([
      { outcome: 'success', result: { here: 1 } },
      { outcome: 'success', result: { here: 2 } },
    ]);
  });
});

describe('headers', () => {
  it('go on without those of one hop, with the Host of the server and what a gateway adds', async () => {
    let seen: IncomingMessage['headers'] = {};
    const url = await serve((request, response) => {
      seen = request.headers;
      response.writeHead(200, { connection: 'x-hop', 'x-hop': '1', 'x-end': '2', 'mcp-thing': 'é' }).end('x');
    });
    const proxy = await proxyTo(url);
    const answer = await send(`${proxy.url}?a=%20b`, {
      method: 'GET',
      headers: { connection: 'x-mine', 'x-mine': '1', te: 'trailers', 'x-kept': '3', 'accept-encoding': 'zstd, gzip' },
    });
    expect(answer.headers).toMatchObject({ 'x-end': '2' });
    expect(answer.headers).not.toHaveProperty('x-hop');
    expect(seen).toMatchObject({
      host: new URL(url).host,
      'x-kept': '3',
      via: '1.1 mcp-auditd',
      'x-forwarded-for': '127.0.0.1',
      'x-forwarded-host': new URL(proxy.url).host,
      'accept-encoding': 'gzip',
    });
    expect(seen).not.toHaveProperty('x-mine');
    expect(seen).not.toHaveProperty('te');
  });

  it('tell a foreign name or page from a friend', async () => {
    const url = await serve(answering);
    const proxy = await proxyTo(url, { allowedHosts: ['mcp.internal'], allowedOrigins: ['https://app.example'] });
    const status = async (headers: Record<string, string>) =>
      (await send(proxy.url, { body: JSON.stringify(call(1)), headers: { ...json, ...headers } })).status;
    expect(await status({ host: 'evil.example' })).toBe(403);
    expect(await status({ host: 'mcp.internal:80' })).toBe(200);
    expect(await status({ host: 'localhost:1' })).toBe(200);
    expect(await status({ origin: 'https://evil.example' })).toBe(403);
    expect(await status({ origin: 'null' })).toBe(403);
    expect(await status({ origin: 'https://app.example' })).toBe(200);
    expect(await status({ origin: 'http://localhost:6274' })).toBe(200);
    expect(Recording.latest().of('http/request')).toMatchObject([
      { outcome: 'denied', error_type: 'origin_refused' },
      { outcome: 'denied', error_type: 'origin_refused' },
      { outcome: 'denied', error_type: 'origin_refused' },
    ]);
  });
});

describe('a server', () => {
  it('that is away is a 502 that says so, on record', async () => {
    const url = await serve(answering);
    const proxy = await proxyTo('http://127.0.0.1:9/mcp');
    const answer = await send(proxy.url, { body: JSON.stringify(call(7)), headers: json });
    expect(answer.status).toBe(502);
    expect(JSON.parse(answer.body.toString())).toMatchObject({
      id: 7,
      error: { code: -32000, message: expect.stringContaining('ECONNREFUSED') },
    });
    expect(Recording.latest().of('tools/call')).toMatchObject([
      { outcome: 'no_response', error_type: 'upstream_unreachable' },
    ]);
    expect(url).toContain('http');
  });

  it('that hangs up in the middle, refuses, or answers something else leaves an end on record', async () => {
    const url = await serve(async (request, response) => {
      const { id } = JSON.parse((await bodyOf(request)).toString()) as { id: number };
      if (id === 1) {
        response.writeHead(200, { ...json, 'content-length': 100 }).write('{"');
        setImmediate(() => response.destroy());
      } else if (id === 2) response.writeHead(401).end();
      else if (id === 3)
        response.writeHead(400, json).end('{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"no"}}');
      else response.writeHead(200, { 'content-type': 'text/html' }).end('<html>');
    });
    const proxy = await proxyTo(url);
    const statuses = [];
    for (const id of [1, 2, 3, 4])
      statuses.push((await send(proxy.url, { body: JSON.stringify(call(id)), headers: json })).status);
    expect(statuses).toEqual([502, 401, 400, 200]);
    expect(Recording.latest().of('tools/call')).toMatchObject([
      { outcome: 'no_response', error_type: 'upstream_unreachable' },
      { outcome: 'denied', error_code: 401 },
      { outcome: 'protocol_error', error_code: 400, error_message: 'no' },
      { outcome: 'no_response', error_message: 'answered with 200 text/html' },
    ]);
  });
});

describe('streams', () => {
  it('are passed on chunk by chunk, and a call is on record before its answer leaves', async () => {
    let proceed!: () => void;
    const url = await serve(async (request, response) => {
      await bodyOf(request);
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write(': hello');
      await new Promise<void>((resolve) => {
        proceed = resolve;
      });
      response.end('\n\ndata: {"jsonrpc":"2.0",\r\ndata: "id":1,"result":{"n":1}}\r\n\r\n');
    });
    const proxy = await proxyTo(url);
    const chunks: string[] = [];
    await new Promise<void>((resolve) => {
      httpRequest(proxy.url, { method: 'POST', headers: json }, (response) => {
        response.on('data', (chunk: Buffer) => {
          if (chunks.length === 0) proceed();
          else expect(Recording.latest().of('tools/call')).toMatchObject([{ outcome: 'success', result: { n: 1 } }]);
          chunks.push(chunk.toString());
        });
        response.on('end', resolve);
      }).end(JSON.stringify(call(1)));
    });
    expect(chunks).toEqual([': hello', '\n\ndata: {"jsonrpc":"2.0",\r\ndata: "id":1,"result":{"n":1}}\r\n\r\n']);
  });

  it('slow their writer down when the reader is slow', async () => {
    let written = 0;
    const url = await serve((_request, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      const event = Buffer.from(`data: "${'x'.repeat(65_000)}"\n\n`);
      const write = (): void => {
        while (written < 64 * 1024 * 1024 && !response.destroyed) {
          written += event.length;
          if (!response.write(event)) return void response.once('drain', write);
        }
        response.end();
      };
      write();
    });
    const proxy = await proxyTo(url);
    const response = await new Promise<IncomingMessage>((resolve) => {
      httpRequest(proxy.url, { method: 'GET' }, resolve).end();
    });
    response.pause();
    let last = -1;
    await expect
      .poll(
        () => {
          const isStill = written === last;
          last = written;
          return isStill;
        },
        { interval: 200, timeout: 10_000 },
      )
      .toBe(true);
    expect(written).toBeLessThan(32 * 1024 * 1024);
    let read = 0;
    response.resume();
    response.on('data', (chunk: Buffer) => {
      read += chunk.length;
    });
    await new Promise((resolve) => response.on('end', resolve));
    expect(read).toBe(written);
  });

  it('that break off can be resumed, and the answer that comes then ends the right call', async () => {
    const url = await serve(async (request, response) => {
      const headers = { 'content-type': 'text/event-stream', 'mcp-session-id': 's-1' };
      if (request.method === 'GET') {
        expect(request.headers['last-event-id']).toBe('e1');
        response.writeHead(200, headers);
        response.end('id: e2\ndata: {"jsonrpc":"2.0","id":5,"result":{"late":true}}\n\n');
        return;
      }
      await bodyOf(request);
      response.writeHead(200, headers);
      response.end('id: e1\ndata: \n\n');
    });
    const proxy = await proxyTo(url);
    const headers = { ...json, 'mcp-session-id': 's-1' };
    await send(proxy.url, { body: JSON.stringify(call(5)), headers });
    expect(Recording.latest().of('tools/call')[0]).not.toHaveProperty('outcome');
    await send(proxy.url, { method: 'GET', headers: { 'mcp-session-id': 's-1', 'last-event-id': 'e1' } });
    expect(Recording.latest().of('tools/call')).toMatchObject([
      { outcome: 'success', result: { late: true }, session_id: 's-1' },
    ]);
  });

  it('that the client leaves cancel the call at the server', async () => {
    let closed!: () => void;
    const left = new Promise<void>((resolve) => {
      closed = resolve;
    });
    const url = await serve(async (request, response) => {
      await bodyOf(request);
      response.on('close', closed);
      response.writeHead(200, { 'content-type': 'text/event-stream' }).write('data: {}\n\n');
    });
    const proxy = await proxyTo(url);
    await new Promise<void>((resolve) => {
      const sent = httpRequest(proxy.url, { method: 'POST', headers: json }, (response) => {
        response.on('error', () => {});
        response.once('data', () => {
          sent.destroy();
          resolve();
        });
      });
      sent.on('error', () => {});
      sent.end(JSON.stringify(call(1)));
    });
    await left;
    await expect.poll(() => Recording.latest().of('tools/call')).toMatchObject([{ outcome: 'cancelled' }]);
  });
});

it('with failClosed what cannot be recorded is refused, before the server and before the client', async () => {
  let asked = 0;
  const url = await serve(async (request, response) => {
    asked += 1;
    const { id } = JSON.parse((await bodyOf(request)).toString()) as { id: number };
    Recording.latest().failingEnds = true;
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.end(`id: a\ndata: {"jsonrpc":"2.0","id":${id},"result":{"secret":1}}\n\n`);
  });
  const proxy = await proxyTo(url, { recorderOptions: { failClosed: true } });
  const answer = await send(proxy.url, { body: JSON.stringify(call(1)), headers: json });
  expect(answer.body.toString()).toContain('"code":-32603');
  expect(answer.body.toString()).toContain('id: a\n');
  expect(answer.body.toString()).not.toContain('secret');
  Recording.latest().failing = true;
  const refused = await send(proxy.url, { body: JSON.stringify(call(2)), headers: json });
  expect(refused.status).toBe(503);
  expect(JSON.parse(refused.body.toString())).toMatchObject({ id: 2, error: { code: -32603 } });
  expect(asked).toBe(1);
});

it('closing lets what is under way end, and ends what would go on for ever', async () => {
  let answer!: () => void;
  const url = await serve(async (request, response) => {
    if (request.method === 'GET')
      return void response.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders();
    await bodyOf(request);
    answer = () => response.writeHead(200, json).end('{"jsonrpc":"2.0","id":1,"result":{}}');
  });
  const proxy = await proxyTo(url, { drainMs: 5_000 });
  const stream = await new Promise<IncomingMessage>((resolve) => httpRequest(proxy.url, resolve).end());
  const ended = new Promise((resolve) => stream.on('error', () => {}).on('close', resolve));
  stream.resume();
  const pending = send(proxy.url, { body: JSON.stringify(call(1)), headers: json });
  await expect.poll(() => answer).toBeDefined();
  const closed = proxy.close();
  await ended;
  answer();
  expect((await pending).status).toBe(200);
  await closed;
  expect(Recording.latest().of('tools/call')).toMatchObject([{ outcome: 'success' }]);
});
