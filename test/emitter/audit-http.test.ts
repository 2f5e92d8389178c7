import { createServer, type Server as HttpServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import { createMcpHandler, inputRequired, McpServer as McpServerV2 } from '@modelcontextprotocol/server';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { z } from 'zod';
import { audit } from '../../services/emitter/index.js';
import { Recording } from './recording.js';

vi.mock('../../services/emitter/recorder.js', async () => {
  const { Recording } = await import('./recording.js');
  return { Recorder: Recording };
});

const text = (value: string) => ({ content: [{ type: 'text' as const, text: value }] });
const open: HttpServer[] = [];

beforeEach(() => {
  Recording.opened.length = 0;
});
afterEach(() => {
  for (const server of open.splice(0)) {
    server.closeAllConnections();
    server.close();
  }
});

describe('Streamable HTTP of v1', () => {
  it('records several sessions, each a transport and a server of its own, into one recorder', async () => {
    const sessions = new Map<string, StreamableHTTPServerTransport>();
    const http = createServer(async (request, response) => {
      const id = request.headers['mcp-session-id'] as string | undefined;
      let transport = id === undefined ? undefined : sessions.get(id);
      if (transport === undefined) {
        const created = new StreamableHTTPServerTransport({
          sessionIdGenerator: () => `session-${sessions.size + 1}`,
          onsessioninitialized: (session) => {
            sessions.set(session, created);
          },
        });
        const server = new McpServer({ name: 'web', version: '1.0.0' });
        server.registerTool('echo', { inputSchema: { message: z.string() } }, ({ message }) => text(message));
        audit(server, { actor: ({ headers }) => headers['x-user'] });
        await server.connect(created as never);
        transport = created;
      }
      await transport.handleRequest(request, response);
    });
    open.push(http);
    await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve));
    const url = new URL(`http://127.0.0.1:${(http.address() as AddressInfo).port}/mcp`);
    const clients = ['alice', 'bob'].map((user) => {
      const client = new Client({ name: `client-of-${user}`, version: '1' });
      const transport = new StreamableHTTPClientTransport(url, { requestInit: { headers: { 'X-User': user } } });
      return { client, transport };
    });
    for (const { client, transport } of clients) await client.connect(transport as never);
    await Promise.all(
      clients.map(async ({ client }, n) => {
        expect(await client.callTool({ name: 'echo', arguments: { message: `m${n}` } })).toEqual(text(`m${n}`));
      }),
    );
    expect(Recording.opened).toHaveLength(1);
    const calls = Recording.latest()
      .of('tools/call')
      .sort((a, b) => String(a.actor_id).localeCompare(String(b.actor_id)));
    expect(calls).toMatchObject([
      {
        actor_id: 'alice',
        client_name: 'client-of-alice',
        session_id: 'session-1',
        transport: 'http',
        outcome: 'success',
      },
      { actor_id: 'bob', client_name: 'client-of-bob', session_id: 'session-2', transport: 'http', outcome: 'success' },
    ]);
    for (const { client } of clients) await client.close();
  });
});

describe('2026-07-28 requests to createMcpHandler', () => {
  const handler = createMcpHandler(() => {
    const server = new McpServerV2({ name: 'stateless', version: '3.0.0' });
    audit(server);
    const inputSchema = z.object({ message: z.string() });
    const annotations = { destructiveHint: false };
    server.registerTool('echo', { inputSchema, annotations }, ({ message }) => text(message));
    server.registerTool('confirm', {}, async (context) => {
      if (context.mcpReq.inputResponses !== undefined) return text('confirmed');
      return inputRequired({
        inputRequests: {
          sure: inputRequired.elicit({ message: 'Sure?', requestedSchema: { type: 'object', properties: {} } }),
        },
        requestState: 'state-1',
      });
    });
    return server;
  });

  let id = 0;
  async function ask(method: string, params: Record<string, unknown>, name?: string) {
    id += 1;
    const _meta = {
      'io.modelcontextprotocol/protocolVersion': '2026-07-28',
      'io.modelcontextprotocol/clientInfo': { name: 'raw-client', version: '0.0.1' },
      'io.modelcontextprotocol/clientCapabilities': { elicitation: { form: {} } },
      traceparent: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01',
    };
    const headers: Record<string, string> = {
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
      'mcp-protocol-version': '2026-07-28',
      'mcp-method': method,
    };
    if (name !== undefined) headers['mcp-name'] = name;
    const body = JSON.stringify({ jsonrpc: '2.0', id, method, params: { ...params, _meta } });
    const request = new Request('http://127.0.0.1/mcp', { method: 'POST', headers, body });
    const authInfo = { token: 't', clientId: 'agent-prod', scopes: [], extra: { sub: 'alice' } };
    const answer = await handler.fetch(request, { authInfo });
    return (await answer.json()) as { result?: Record<string, unknown>; error?: { code: number } };
  }

  it('takes client, version, trace and actor from each request, and remembers listed tools between them', async () => {
    expect((await ask('tools/list', {})).result!.tools).toHaveLength(2);
    const answer = await ask('tools/call', { name: 'echo', arguments: { message: 'hi' } }, 'echo');
    expect(answer.result).toMatchObject(text('hi'));
    const [call] = Recording.named('stateless').of('tools/call');
    expect(call).toMatchObject({
      tool_name: 'echo',
      arguments: { message: 'hi' },
      outcome: 'success',
      protocol_version: '2026-07-28',
      client_name: 'raw-client',
      client_version: '0.0.1',
      client_id: 'agent-prod',
      actor_id: 'alice',
      actor_verified: true,
      transport: 'http',
      server_name: 'stateless',
      trace_id: '4bf92f3577b34da6a3ce929d0e0e4736',
      span_id: '00f067aa0ba902b7',
      tool_destructive: false,
    });
    expect(Recording.opened).toHaveLength(1);
  });

  it('joins the rounds of one call, and records an unknown method', async () => {
    const first = await ask('tools/call', { name: 'confirm', arguments: {} }, 'confirm');
    expect(first.result).toMatchObject({ resultType: 'input_required' });
    const retry = {
      inputResponses: { sure: { action: 'accept', content: {} } },
      requestState: first.result!.requestState,
    };
    const second = await ask('tools/call', { name: 'confirm', arguments: {}, ...retry }, 'confirm');
    expect(second.result).toMatchObject(text('confirmed'));
    const recording = Recording.named('stateless');
    const [asked, confirmed] = recording.of('tools/call').filter((call) => call.tool_name === 'confirm');
    expect(asked).toMatchObject({ outcome: 'input_required' });
    expect(confirmed).toMatchObject({ outcome: 'success', parent_event_id: asked!.event_id });
    const unknown = await ask('no/such', {});
    expect(unknown.error!.code).toBe(-32601);
    expect(recording.of('no/such')).toMatchObject([{ outcome: 'protocol_error', error_type: 'method_not_found' }]);
  });
});
