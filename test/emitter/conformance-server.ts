/**
 * The server that the MCP conformance suite expects, on Streamable HTTP with sessions, or on stdio.
 *
 *   http bare|audited|proxy   in this process; audited: with the one line; proxy: behind the HTTP proxy
 *   bridge bare|wrap          HTTP before a child on stdio; wrap: through `runWrap`
 *   stdio                     that child
 *
 * The data directory of the emitter comes from MCP_AUDITD_DATA. Prints its URL.
 */
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { PassThrough, type Readable, type Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { McpServer, ResourceTemplate } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StdioServerTransport } from '@modelcontextprotocol/sdk/server/stdio.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import { ReadBuffer, serializeMessage } from '@modelcontextprotocol/sdk/shared/stdio.js';
import {
  CompleteRequestSchema,
  SubscribeRequestSchema,
  UnsubscribeRequestSchema,
} from '@modelcontextprotocol/sdk/types.js';
import { z } from 'zod';
import { audit, openProxy } from '../../services/emitter/index.js';
import { runWrap } from '../../services/emitter/wrap.js';

const png = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';
const wav = 'UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAA=';
const text = (value: string) => ({ type: 'text' as const, text: value });
const image = { type: 'image' as const, data: png, mimeType: 'image/png' };
const resource = (uri: string) => ({
  type: 'resource' as const,
  resource: { uri, mimeType: 'text/plain', text: 'This is an embedded resource content.' },
});

const elicitedDefaults = {
  name: { type: 'string', default: 'John Doe' },
  age: { type: 'integer', default: 30 },
  score: { type: 'number', default: 95.5 },
  status: { type: 'string', enum: ['active', 'inactive', 'pending'], default: 'active' },
  verified: { type: 'boolean', default: true },
};
const choices = ['option1', 'option2', 'option3'];
const titled = choices.map((each, at) => ({ const: each, title: `Option ${at + 1}` }));
const elicitedEnums = {
  untitledSingle: { type: 'string', enum: choices },
  titledSingle: { type: 'string', oneOf: titled },
  legacyEnum: { type: 'string', enum: choices, enumNames: ['One', 'Two', 'Three'] },
  untitledMulti: { type: 'array', items: { type: 'string', enum: choices } },
  titledMulti: { type: 'array', items: { anyOf: titled } },
};

function makeServer(): McpServer {
  const server = new McpServer(
    { name: 'conformance', version: '1.0.0' },
    { capabilities: { logging: {}, resources: { subscribe: true }, completions: {} } },
  );
  server.registerTool('test_simple_text', { description: 'test_simple_text' }, () => ({
    content: [text('This is a simple text response for testing.')],
  }));
  server.registerTool('test_image_content', { description: 'test_image_content' }, () => ({ content: [image] }));
  server.registerTool('test_audio_content', { description: 'test_audio_content' }, () => ({
    content: [{ type: 'audio', data: wav, mimeType: 'audio/wav' }],
  }));
  server.registerTool('test_embedded_resource', { description: 'test_embedded_resource' }, () => ({
    content: [resource('test://embedded-resource')],
  }));
  server.registerTool('test_multiple_content_types', { description: 'test_multiple_content_types' }, () => ({
    content: [text('Multiple content types test:'), image, resource('test://mixed-content-resource')],
  }));
  server.registerTool('test_error_handling', { description: 'test_error_handling' }, () => {
    throw new Error('This tool intentionally returns an error for testing');
  });
  server.registerTool('test_tool_with_logging', { description: 'test_tool_with_logging' }, async (extra) => {
    for (const data of ['Tool execution started', 'Tool processing data', 'Tool execution completed']) {
      await extra.sendNotification({ method: 'notifications/message', params: { level: 'info', data } });
    }
    return { content: [text('Tool with logging executed successfully')] };
  });
  server.registerTool('test_tool_with_progress', { description: 'test_tool_with_progress' }, async (extra) => {
    const progressToken = extra._meta?.progressToken ?? 0;
    for (const progress of [0, 50, 100]) {
      await extra.sendNotification({
        method: 'notifications/progress',
        params: { progressToken, progress, total: 100, message: `Completed step ${progress} of 100` },
      });
    }
    return { content: [text(String(progressToken))] };
  });
  server.registerTool(
    'test_sampling',
    { description: 'test_sampling', inputSchema: { prompt: z.string() } },
    async ({ prompt }, extra) => {
      const answer = await extra.sendRequest(
        {
          method: 'sampling/createMessage',
          params: { messages: [{ role: 'user', content: text(prompt) }], maxTokens: 100 },
        },
        z.object({ content: z.object({ text: z.string() }).loose() }).loose(),
      );
      return { content: [text(`LLM response: ${answer.content.text}`)] };
    },
  );
  const elicit = async (message: string, properties: object, sendRequest: (...rest: never[]) => Promise<unknown>) => {
    const requestedSchema = { type: 'object', properties, required: [] };
    const request = { method: 'elicitation/create', params: { message, requestedSchema } };
    const answer = (await sendRequest(request as never, z.looseObject({}) as never)) as Record<string, unknown>;
    const told = `action=${answer.action}, content=${JSON.stringify(answer.content)}`;
    return { content: [text(`Elicitation completed: ${told}`)] };
  };
  server.registerTool(
    'test_elicitation',
    { description: 'asks the user', inputSchema: { message: z.string() } },
    ({ message }, extra) => elicit(message, { response: { type: 'string' } }, extra.sendRequest),
  );
  server.registerTool('test_elicitation_sep1034_defaults', { description: 'asks with defaults' }, (extra) =>
    elicit('Please review', elicitedDefaults, extra.sendRequest),
  );
  server.registerTool('test_elicitation_sep1330_enums', { description: 'asks with choices' }, (extra) =>
    elicit('Please choose', elicitedEnums, extra.sendRequest),
  );
  server.server.setRequestHandler(SubscribeRequestSchema, () => ({}));
  server.server.setRequestHandler(UnsubscribeRequestSchema, () => ({}));
  server.server.setRequestHandler(CompleteRequestSchema, () => ({
    completion: { values: ['one'], total: 1, hasMore: false },
  }));
  server.registerResource('static-text', 'test://static-text', { mimeType: 'text/plain' }, (uri) => ({
    contents: [{ uri: uri.href, mimeType: 'text/plain', text: 'This is the content of the static text resource.' }],
  }));
  server.registerResource('static-binary', 'test://static-binary', { mimeType: 'image/png' }, (uri) => ({
    contents: [{ uri: uri.href, mimeType: 'image/png', blob: png }],
  }));
  const template = new ResourceTemplate('test://template/{id}/data', { list: undefined });
  server.registerResource('template', template, { mimeType: 'application/json' }, (uri, { id }) => ({
    contents: [{ uri: uri.href, mimeType: 'application/json', text: JSON.stringify({ id, data: `Data for ${id}` }) }],
  }));
  const user = (content: ReturnType<typeof text> | ReturnType<typeof resource> | typeof image) => ({
    role: 'user' as const,
    content,
  });
  server.registerPrompt('test_simple_prompt', { description: 'test_simple_prompt' }, () => ({
    messages: [user(text('This is a simple prompt for testing.'))],
  }));
  const two = { arg1: z.string(), arg2: z.string() };
  server.registerPrompt(
    'test_prompt_with_arguments',
    { description: 'test_prompt_with_arguments', argsSchema: two },
    ({ arg1, arg2 }) => ({
      messages: [user(text(`Prompt with arguments: arg1='${arg1}', arg2='${arg2}'`))],
    }),
  );
  const one = { resourceUri: z.string() };
  server.registerPrompt(
    'test_prompt_with_embedded_resource',
    { description: 'test_prompt_with_embedded_resource', argsSchema: one },
    ({ resourceUri }) => ({
      messages: [user(resource(resourceUri)), user(text('Please process the embedded resource above.'))],
    }),
  );
  server.registerPrompt('test_prompt_with_image', { description: 'test_prompt_with_image' }, () => ({
    messages: [user(image), user(text('Analyze it.'))],
  }));
  return server;
}

/** A server on stdio in a child, bare or wrapped: its input and its output. */
function child(wrapped: boolean): { input: Writable; output: Readable } {
  const args = ['--import', 'tsx', fileURLToPath(import.meta.url), 'stdio'];
  if (!wrapped) {
    const started = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    return { input: started.stdin, output: started.stdout };
  }
  const [stdin, stdout] = [new PassThrough(), new PassThrough()];
  void runWrap({ command: process.execPath, args, recorderOptions: { name: 'conformance' }, stdin, stdout });
  return { input: stdin, output: stdout };
}

async function connect(transport: StreamableHTTPServerTransport, kind: string, how: string): Promise<void> {
  if (kind === 'http') {
    const server = makeServer();
    if (how === 'audited') audit(server);
    await server.connect(transport as never);
    return;
  }
  bridge ??= openBridge(how === 'wrap');
  const { input } = bridge;
  transport.onmessage = (message) => {
    if ('method' in message && 'id' in message) latest = { transport, id: message.id };
    input.write(serializeMessage(message));
  };
  await transport.start();
}

/** The suite asks one thing after the other, so one child serves all its sessions. */
let bridge: { input: Writable } | undefined;
/** Over stdio a request of the server bears no mark of the call it belongs to: it is the latest one. */
let latest: { transport: StreamableHTTPServerTransport; id: string | number } | undefined;

function openBridge(wrapped: boolean): { input: Writable } {
  const { input, output } = child(wrapped);
  const buffer = new ReadBuffer();
  output.on('data', (chunk: Buffer) => {
    buffer.append(chunk);
    for (let message = buffer.readMessage(); message !== null; message = buffer.readMessage()) {
      const related = 'method' in message && latest !== undefined ? { relatedRequestId: latest.id } : {};
      latest?.transport.send(message, related).catch(() => {});
    }
  });
  return { input };
}

const [kind = 'stdio', how = 'bare'] = process.argv.slice(2);
if (kind === 'stdio') {
  await makeServer().connect(new StdioServerTransport());
} else {
  const sessions = new Map<string, StreamableHTTPServerTransport>();
  const http = createServer(async (request, response) => {
    let transport = sessions.get(String(request.headers['mcp-session-id'] ?? ''));
    if (transport === undefined) {
      const made = new StreamableHTTPServerTransport({
        sessionIdGenerator: () => randomUUID(),
        onsessioninitialized: (id) => void sessions.set(id, made),
        enableDnsRebindingProtection: true,
        allowedHosts: [`127.0.0.1:${(http.address() as AddressInfo).port}`],
      });
      await connect(made, kind, how);
      transport = made;
    }
    await transport.handleRequest(request, response);
  });
  http.listen(0, '127.0.0.1', async () => {
    const url = `http://127.0.0.1:${(http.address() as AddressInfo).port}/mcp`;
    console.log(how === 'proxy' ? (await openProxy({ upstream: url })).url : url);
  });
}
