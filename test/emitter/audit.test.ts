import { Client as ClientV2 } from '@modelcontextprotocol/client';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { InMemoryTransport } from '@modelcontextprotocol/sdk/inMemory.js';
import { Server } from '@modelcontextprotocol/sdk/server/index.js';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import {
  CallToolRequestSchema,
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  ListToolsRequestSchema,
} from '@modelcontextprotocol/sdk/types.js';
import { InMemoryTransport as InMemoryTransportV2, McpServer as McpServerV2 } from '@modelcontextprotocol/server';
import { beforeEach, describe, expect, it, vi } from 'vitest';
import { z } from 'zod';
import { audit } from '../../services/emitter/index.js';
import { Recording } from './recording.js';

vi.mock('../../services/emitter/recorder.js', async () => {
  const { Recording } = await import('./recording.js');
  return { Recorder: Recording };
});

let name = 0;
const text = (value: string) => ({ content: [{ type: 'text' as const, text: value }] });

function newServer(): McpServer {
  name += 1;
  const server = new McpServer({ name: `server-${name}`, version: '1.2.3' });
  server.registerTool('echo', { inputSchema: { message: z.string() } }, ({ message }) => text(message));
  return server;
}

async function connected(server: McpServer | Server): Promise<Client> {
  const [clientSide, serverSide] = InMemoryTransport.createLinkedPair();
  await server.connect(serverSide);
  const client = new Client(
    { name: 'test-client', version: '9.9.9' },
    { capabilities: { sampling: {}, elicitation: {} } },
  );
  await client.connect(clientSide);
  return client;
}

beforeEach(() => {
  Recording.opened.length = 0;
});

describe('audit() of a v1 McpServer', () => {
  it('records a tool call with who, what, result and the outcome', async () => {
    const server = newServer();
    audit(server);
    const client = await connected(server);
    await client.listTools();
    const result = await client.callTool({ name: 'echo', arguments: { message: 'hello' } });
    expect(result).toEqual(text('hello'));
    const [call] = Recording.latest().of('tools/call');
    expect(call).toMatchObject({
      tool_name: 'echo',
      arguments: { message: 'hello' },
      result: text('hello'),
      outcome: 'success',
      client_name: 'test-client',
      client_version: '9.9.9',
      server_name: `server-${name}`,
      server_version: '1.2.3',
      transport: 'memory',
      request_id: '2',
    });
    expect(call!.tool_definition_hash).toMatch(/^[0-9a-f]{16}$/);
    expect(Recording.latest().of('initialize')).toMatchObject([{ outcome: 'success', client_name: 'test-client' }]);
    expect(Recording.latest().of('tools/list')).toHaveLength(1);
  });

  it('records tools that were registered after the line', async () => {
    const server = newServer();
    audit(server);
    server.registerTool('late', {}, () => text('late'));
    const client = await connected(server);
    await client.callTool({ name: 'late' });
    expect(Recording.latest().of('tools/call')).toMatchObject([{ tool_name: 'late', outcome: 'success' }]);
  });

  it('records a server that is connected already, and once when audited twice', async () => {
    const server = newServer();
    const client = await connected(server);
    expect(audit(server)).toBe(audit(server.server));
    await client.callTool({ name: 'echo', arguments: { message: 'a' } });
    expect(Recording.latest().of('tools/call')).toHaveLength(1);
  });

  it('records thrown handlers, isError results, unknown tools and unknown methods', async () => {
    const server = newServer();
    server.registerTool('throws', {}, () => {
      throw new Error('broken');
    });
    audit(server);
    const client = await connected(server);
    await client.callTool({ name: 'throws' });
    await client.callTool({ name: 'nothing' });
    await expect(client.request({ method: 'no/such' }, z.any())).rejects.toThrow('Method not found');
    expect(Recording.latest().of('tools/call')).toMatchObject([
      { tool_name: 'throws', outcome: 'tool_error', error_type: 'tool_error', error_message: 'broken' },
      { tool_name: 'nothing', outcome: 'tool_error' },
    ]);
    expect(Recording.latest().of('no/such')).toMatchObject([
      { outcome: 'protocol_error', error_type: 'method_not_found', error_code: -32601 },
    ]);
  });

  it('pairs concurrent calls that are answered out of order', async () => {
    const server = newServer();
    const releases: (() => void)[] = [];
    server.registerTool('wait', { inputSchema: { n: z.number() } }, async ({ n }) => {
      await new Promise<void>((resolve) => {
        releases[n] = resolve;
      });
      return text(String(n));
    });
    audit(server);
    const client = await connected(server);
    const calls = [0, 1, 2, 3].map((n) => client.callTool({ name: 'wait', arguments: { n } }));
    await vi.waitFor(() => expect(releases.filter(Boolean)).toHaveLength(4));
    for (const n of [2, 0, 3, 1]) {
      releases[n]!();
      await calls[n];
    }
    const recorded = Recording.latest().of('tools/call');
    expect(recorded.map((call) => call.result)).toEqual([0, 1, 2, 3].map((n) => text(String(n))));
  });

  it('records a cancelled call, and one whose connection closed before the answer', async () => {
    const server = newServer();
    server.registerTool('hang', {}, () => new Promise(() => {}));
    audit(server);
    const client = await connected(server);
    const abort = new AbortController();
    const cancelled = client.callTool({ name: 'hang' }, undefined, { signal: abort.signal });
    abort.abort();
    await expect(cancelled).rejects.toThrow();
    const unanswered = client.callTool({ name: 'hang' });
    unanswered.catch(() => {});
    await client.close();
    expect(Recording.latest().of('tools/call')).toMatchObject([{ outcome: 'cancelled' }, { outcome: 'no_response' }]);
  });

  it('records sampling and elicitation as requests of the server, with ids of their own', async () => {
    const server = newServer();
    server.registerTool('ask', {}, async () => {
      await server.server.createMessage({
        messages: [{ role: 'user', content: { type: 'text', text: 'q' } }],
        maxTokens: 5,
      });
      const answer = await server.server.elicitInput({
        message: 'Sure?',
        requestedSchema: { type: 'object', properties: {} },
      });
      return text(answer.action);
    });
    audit(server);
    const client = await connected(server);
    client.setRequestHandler(CreateMessageRequestSchema, () => ({
      model: 'm',
      role: 'assistant',
      content: { type: 'text', text: 'a' },
    }));
    client.setRequestHandler(ElicitRequestSchema, () => ({ action: 'decline' }));
    expect(await client.callTool({ name: 'ask' })).toEqual(text('decline'));
    const recording = Recording.latest();
    expect(recording.of('tools/call')).toMatchObject([{ outcome: 'success', result: text('decline') }]);
    for (const method of ['sampling/createMessage', 'elicitation/create']) {
      expect(recording.of(method)).toMatchObject([
        { outcome: 'success', attributes: { direction: 'server_to_client' } },
      ]);
      expect(recording.of(method)[0]).not.toHaveProperty('arguments');
      expect(recording.of(method)[0]).not.toHaveProperty('result');
    }
  });

  it('keeps several connections of one server one after the other apart', async () => {
    const server = newServer();
    audit(server);
    for (const message of ['a', 'b']) {
      const client = await connected(server);
      await client.callTool({ name: 'echo', arguments: { message } });
      await client.close();
    }
    const calls = Recording.latest().of('tools/call');
    expect(calls).toHaveLength(2);
    expect(calls[0]!.session_id).not.toBe(calls[1]!.session_id);
    expect(Recording.opened).toHaveLength(1);
  });
});

describe('audit() of other servers', () => {
  it('records a low-level v1 Server, tools in pages, and their hints', async () => {
    const server = new Server({ name: 'low', version: '1.0.0' }, { capabilities: { tools: {} } });
    audit(server);
    const tool = (toolName: string, readOnlyHint: boolean) => ({
      name: toolName,
      inputSchema: { type: 'object' as const },
      annotations: { readOnlyHint },
    });
    server.setRequestHandler(ListToolsRequestSchema, ({ params }) =>
      params?.cursor ? { tools: [tool('two', false)] } : { tools: [tool('one', true)], nextCursor: 'next' },
    );
    server.setRequestHandler(CallToolRequestSchema, () => text('ok'));
    const client = await connected(server);
    const first = await client.listTools();
    expect(first.nextCursor).toBe('next');
    await client.listTools({ cursor: 'next' });
    for (const each of ['one', 'two', 'three']) await client.callTool({ name: each });
    expect(Recording.latest().of('tools/call')).toMatchObject([
      { tool_name: 'one', tool_read_only: true, tool_destructive: null },
      { tool_name: 'two', tool_read_only: false },
      { tool_name: 'three' },
    ]);
    expect(Recording.latest().of('tools/call')[2]).not.toHaveProperty('tool_definition_hash');
  });

  it('records a v2 McpServer', async () => {
    const server = new McpServerV2({ name: 'second', version: '2.0.0' });
    audit(server);
    server.registerTool('echo', { inputSchema: z.object({ message: z.string() }) }, ({ message }) => text(message));
    const [clientSide, serverSide] = InMemoryTransportV2.createLinkedPair();
    await server.connect(serverSide);
    const client = new ClientV2({ name: 'client-two', version: '2.0.0' });
    await client.connect(clientSide);
    await client.callTool({ name: 'echo', arguments: { message: 'x' } });
    expect(Recording.latest().of('tools/call')).toMatchObject([
      { tool_name: 'echo', outcome: 'success', client_name: 'client-two', server_name: 'second', transport: 'memory' },
    ]);
    await client.close();
  });

  it.each([
    ['null', null],
    ['a string', 'server'],
    ['an object of another shape', { tool() {} }],
    ['a client', new Client({ name: 'c', version: '1' })],
  ])('refuses %s at the line, loudly', (_what, value) => {
    expect(() => audit(value as object)).toThrow(TypeError);
    expect(Recording.opened).toHaveLength(0);
  });
});

describe('a transport', () => {
  it.each([
    ['of another shape', { start() {} }, 'it has no send()'],
    ['that cannot be changed', Object.freeze(InMemoryTransport.createLinkedPair()[0]), 'InMemoryTransport'],
    ['that is none', undefined, 'undefined cannot be observed'],
  ])('%s is refused at start: what goes over it would not be on record', async (_what, transport, message) => {
    const server = newServer();
    audit(server);
    await expect(server.connect(transport as never)).rejects.toThrow(message);
    await expect(server.connect(transport as never)).rejects.toThrow('audit(): the transport');
  });
});

describe('an option', () => {
  it.each([
    [{ redact: {} }, 'there is no option redact; did you mean redaction?'],
    [{ redaction: { keys: ['iban'] } }, 'there is no option redaction.keys'],
    [{ limits: { argumentBytes: 1 } }, 'did you mean limits.argumentsBytes?'],
    [
      { payloads: { 'tools/call': 'all' } },
      'payloads["tools/call"] must be one of both, arguments, result, none, got all',
    ],
    [{ spool: { maxBytes: '1 GB' } }, 'spool.maxBytes must be a whole number from 0, got 1 GB'],
  ])('%j is refused at the line, with what it should be', (options, message) => {
    expect(() => audit(newServer(), options as never)).toThrow(message);
    expect(Recording.opened).toHaveLength(0);
  });
});

describe('the call path', () => {
  it('goes on when nothing can be recorded, and counts it', async () => {
    const server = newServer();
    const handle = audit(server, {
      actor: () => {
        throw new Error('operator');
      },
    });
    Recording.latest().failing = true;
    const client = await connected(server);
    expect(await client.callTool({ name: 'echo', arguments: { message: 'x' } })).toEqual(text('x'));
    expect(handle.counters.errors).toBeGreaterThan(0);
  });

  it('refuses, with failClosed, a call that cannot be recorded, before and after it ran', async () => {
    const server = newServer();
    let ran = 0;
    server.registerTool('count', {}, () => {
      ran += 1;
      return text('ran');
    });
    audit(server, { failClosed: true });
    const client = await connected(server);
    Recording.latest().failing = true;
    await expect(client.callTool({ name: 'count' })).rejects.toThrow('could not be recorded');
    expect(ran).toBe(0);
    Recording.latest().failing = false;
    Recording.latest().failingEnds = true;
    await expect(client.callTool({ name: 'count' })).rejects.toThrow('could not be recorded');
    expect(ran).toBe(1);
  });

  it('closes a shared recorder with its last handle', async () => {
    const options = { name: 'shared' };
    const [one, two] = [audit(newServer(), options), audit(newServer(), options)];
    expect(Recording.opened).toHaveLength(1);
    await one.close();
    expect(Recording.latest().closed).toBe(false);
    await two.close();
    expect(Recording.latest().closed).toBe(true);
  });
});

describe('the actor', () => {
  async function actorOfCall(options: Parameters<typeof audit>[1], authInfo?: object) {
    const server = newServer();
    audit(server, options);
    const [clientSide, serverSide] = InMemoryTransport.createLinkedPair();
    await server.connect(serverSide);
    serverSide.onmessage!({ jsonrpc: '2.0', id: 1, method: 'ping' }, { authInfo } as never);
    await clientSide.close();
    const [call] = Recording.latest().of('ping');
    return [call!.actor_id, call!.actor_type, call!.actor_verified === true, call!.client_id];
  }

  it('is verified when it comes from authInfo: the user before the client', async () => {
    const authInfo = { clientId: 'app', token: 't', scopes: [] };
    expect(await actorOfCall({}, authInfo)).toEqual(['app', 'service', true, 'app']);
    expect(await actorOfCall({}, { ...authInfo, extra: { sub: 'alice' } })).toEqual(['alice', 'user', true, 'app']);
  });

  it('is claimed when it comes from the environment or is given as text', async () => {
    vi.stubEnv('MCP_AUDITD_ACTOR', 'ci-bot');
    vi.stubEnv('WHO', 'dora');
    expect(await actorOfCall({})).toEqual(['ci-bot', 'unknown', false, '']);
    expect(await actorOfCall({ actor: { env: 'WHO' } })).toEqual(['dora', 'unknown', false, '']);
    expect(await actorOfCall({ actor: () => 'eve' })).toEqual(['eve', 'unknown', false, '']);
    vi.unstubAllEnvs();
    expect(await actorOfCall({})).toEqual(['', 'unknown', false, '']);
  });

  it('is what a function of the request says', async () => {
    const actor = () => ({ id: 'svc', type: 'service', verified: true });
    expect(await actorOfCall({ actor })).toEqual(['svc', 'service', true, '']);
    expect(await actorOfCall({ actor: (() => Promise.resolve('x')) as never })).toEqual(['', 'unknown', false, '']);
  });
});
