/** Real servers and clients, through the proxy and directly: the same answers, and every call on record. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { type AddressInfo, createServer as createSocketServer } from 'node:net';
import { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { Client as ClientV2, StreamableHTTPClientTransport as StreamableV2 } from '@modelcontextprotocol/client';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { SSEClientTransport } from '@modelcontextprotocol/sdk/client/sse.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { createMcpHandler, McpServer } from '@modelcontextprotocol/server';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { z } from 'zod';
import { openProxy } from '../../services/emitter/proxy/proxy.js';
import { Recording } from './recording.js';

vi.mock('../../services/emitter/recorder.js', async () => {
  const { Recording } = await import('./recording.js');
  return { Recorder: Recording };
});

const everything = fileURLToPath(
  new URL('../../node_modules/@modelcontextprotocol/server-everything/dist/index.js', import.meta.url),
);
const open: (() => unknown)[] = [];
beforeEach(() => {
  Recording.opened.length = 0;
});
afterEach(async () => {
  for (const step of open.splice(0).reverse()) await step();
});

async function freePort(): Promise<number> {
  const server = createSocketServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

async function startEverything(kind: 'streamableHttp' | 'sse'): Promise<string> {
  const port = await freePort();
  const child = spawn(process.execPath, [everything, kind], {
    env: { ...process.env, PORT: String(port) },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  open.push(() => {
    child.kill('SIGKILL');
  });
  let errors = '';
  await new Promise<void>((resolve, reject) => {
    child.stderr.on('data', (chunk: Buffer) => {
      errors += chunk.toString();
      if (/listening on port|running on port/.test(errors)) resolve();
    });
    child.once('exit', () => reject(new Error(errors)));
  });
  return `http://127.0.0.1:${port}/${kind === 'sse' ? 'sse' : 'mcp'}`;
}

async function proxied(upstream: string): Promise<string> {
  const proxy = await openProxy({ upstream, throttle: false, drainMs: 200 });
  open.push(() => proxy.close());
  return proxy.url;
}

const calls: [string, Record<string, unknown>][] = [
  ['echo', { message: 'é' }],
  ['get-sum', { a: 1, b: 2 }],
  ['trigger-long-running-operation', { duration: 0.2, steps: 2 }],
  ['no-such', {}],
];

/** What both majors' clients have in common here. */
interface Asking {
  listTools(): Promise<unknown>;
  listPrompts(): Promise<unknown>;
  callTool(call: { name: string; arguments: Record<string, unknown> }): Promise<unknown>;
  close(): Promise<void>;
}

async function answers(client: Asking): Promise<unknown[]> {
  const all: unknown[] = [await client.listTools(), await client.listPrompts()];
  for (const [name, input] of calls)
    all.push(await client.callTool({ name, arguments: input }).catch((error: Error) => error.message));
  await client.close();
  return all;
}

const clients = {
  'SDK 1, Streamable HTTP': [
    'streamableHttp',
    async (url: string) => {
      const client = new Client({ name: 'one', version: '1' });
      await client.connect(new StreamableHTTPClientTransport(new URL(url)) as never);
      return client as Asking;
    },
  ],
  'SDK 1, HTTP+SSE': [
    'sse',
    async (url: string) => {
      const client = new Client({ name: 'old', version: '1' });
      await client.connect(new SSEClientTransport(new URL(url)) as never);
      return client as Asking;
    },
  ],
  'SDK 2, Streamable HTTP': [
    'streamableHttp',
    async (url: string) => {
      const client = new ClientV2({ name: 'two', version: '1' });
      await client.connect(new StreamableV2(new URL(url)));
      return client as Asking;
    },
  ],
} as const;

describe('server-everything', () => {
  it.each(Object.entries(clients))('%s: the same answers as directly', async (_name, [kind, connect]) => {
    const direct = await startEverything(kind);
    const through = await proxied(direct);
    const bare = await answers(await connect(direct));
    expect(await answers(await connect(through))).toEqual(bare);
    const recorded = Recording.latest().of('tools/call');
    expect(recorded.map((call) => call.tool_name)).toEqual(calls.map(([tool]) => tool));
    expect(recorded.map((call) => call.outcome)).toEqual(['success', 'success', 'success', expect.any(String)]);
    expect(new Set(recorded.map((call) => call.session_id)).size).toBe(1);
    expect(recorded[0]).toMatchObject({
      transport: kind === 'sse' ? 'sse' : 'http',
      server_name: expect.stringContaining('everything'),
      tool_definition_hash: expect.stringMatching(/^[0-9a-f]{16}$/),
    });
    expect(Recording.latest().of('invalid')).toEqual([]);
  });
});

describe('a server of the stateless era', () => {
  it('is called without sessions, by clients that number alike', async () => {
    const handler = createMcpHandler(() => {
      const server = new McpServer({ name: 'stateless', version: '3.0.0' });
      server.registerTool('echo', { inputSchema: z.object({ message: z.string() }) }, async ({ message }) => {
        if (message === 'slow') await new Promise((resolve) => setTimeout(resolve, 100));
        return { content: [{ type: 'text', text: message }] };
      });
      return server;
    });
    const http = createServer(async (request, response) => {
      const init = { method: request.method!, headers: request.headers as Record<string, string> };
      const hasBody = request.method === 'POST';
      const body = hasBody ? { body: Readable.toWeb(request) as never, duplex: 'half' } : {};
      const answer = await handler.fetch(
        new Request(`http://${request.headers.host}${request.url}`, { ...init, ...body } as never),
      );
      response.writeHead(answer.status, Object.fromEntries(answer.headers));
      if (answer.body === null) response.end();
      else Readable.fromWeb(answer.body as never).pipe(response);
    });
    http.listen(0, '127.0.0.1');
    await once(http, 'listening');
    open.push(() => {
      http.closeAllConnections();
      http.close();
    });
    const url = await proxied(`http://127.0.0.1:${(http.address() as AddressInfo).port}/mcp`);
    const ask = async (message: string, client: string) => {
      const response = await fetch(url, {
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          accept: 'application/json, text/event-stream',
          'mcp-protocol-version': '2026-07-28',
          'mcp-method': 'tools/call',
          'mcp-name': 'echo',
        },
        body: JSON.stringify({
          jsonrpc: '2.0',
          id: 1,
          method: 'tools/call',
          params: {
            name: 'echo',
            arguments: { message },
            _meta: {
              'io.modelcontextprotocol/protocolVersion': '2026-07-28',
              'io.modelcontextprotocol/clientInfo': { name: client, version: '1' },
              'io.modelcontextprotocol/clientCapabilities': {},
            },
          },
        }),
      });
      return response.text();
    };
    const [slow, fast] = await Promise.all([ask('slow', 'a'), ask('fast', 'b')]);
    expect(slow).toContain('slow');
    expect(fast).toContain('fast');
    const recorded = Recording.latest()
      .of('tools/call')
      .sort((a, b) => String(a.client_name).localeCompare(String(b.client_name)));
    expect(recorded).toMatchObject([
      { client_name: 'a', outcome: 'success', protocol_version: '2026-07-28', result: { content: [{ text: 'slow' }] } },
      { client_name: 'b', outcome: 'success', result: { content: [{ text: 'fast' }] } },
    ]);
    await ask('again', 'c');
    expect(Recording.latest().of('tools/call').at(-1)).toMatchObject({ server_name: 'stateless' });
  });
});
