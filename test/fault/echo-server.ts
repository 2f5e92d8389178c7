/** The server that is called under faults, on the transport that it is given or on standard input and output. */
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { z } from 'zod';

/** One tool, `echo`. Some calls take a turn of the event loop or more, so that a kill finds calls that are running. */
export function makeEchoServer(): McpServer {
  const server = new McpServer({ name: 'fault', version: '1.0.0' });
  server.registerTool('echo', { inputSchema: { n: z.number() } }, async ({ n }) => {
    if (n % 5 === 0) await new Promise((resolve) => setTimeout(resolve, n % 7));
    return { content: [{ type: 'text', text: String(n) }] };
  });
  return server;
}
