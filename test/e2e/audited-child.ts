/** A server on standard input and output with the one line of audit: of SDK 1 (server-everything itself) or of SDK 2. */
import { StdioServerTransport } from '@modelcontextprotocol/sdk/server/stdio.js';
import { McpServer as McpServerV2 } from '@modelcontextprotocol/server';
import { StdioServerTransport as StdioServerTransportV2 } from '@modelcontextprotocol/server/stdio';
import { z } from 'zod';
import { audit } from '../../services/emitter/index.js';

if (process.argv[2] === '1') {
  // It says nothing about its types; what it exports is said in its own server/index.js.
  const everything = new URL(
    '../../node_modules/@modelcontextprotocol/server-everything/dist/server/index.js',
    import.meta.url,
  );
  const { createServer } = await import(everything.href);
  const { server } = createServer();
  audit(server);
  await server.connect(new StdioServerTransport());
} else {
  const server = new McpServerV2({ name: 'echo', version: '2.0.0' });
  audit(server);
  server.registerTool('echo', { inputSchema: z.object({ message: z.string() }) }, ({ message }) => ({
    content: [{ type: 'text', text: `Echo: ${message}` }],
  }));
  await server.connect(new StdioServerTransportV2());
}
