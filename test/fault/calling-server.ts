/**
 * A real MCP server with the one line of audit, and a real client in the same process that calls it as fast as it
 * can. The number of every call that was answered goes to standard output with a synchronous write, so that the
 * parent knows it even when this process is killed right after.
 *
 * Arguments: first call number, most calls, calls in flight.
 */
import { writeSync } from 'node:fs';
import { audit } from '@mcp-auditd/emitter';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { InMemoryTransport } from '@modelcontextprotocol/sdk/inMemory.js';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { z } from 'zod';

const [first, most, inFlight] = process.argv.slice(2).map(Number) as [number, number, number];

const server = new McpServer({ name: 'fault', version: '1.0.0' });
const handle = audit(server, { actor: () => ({ id: `actor-${process.pid % 7}`, verified: true }) });
server.registerTool('echo', { inputSchema: { n: z.number() } }, async ({ n }) => {
  // Some calls take a turn of the event loop or more, so that a kill finds calls that are running.
  if (n % 5 === 0) await new Promise((resolve) => setTimeout(resolve, n % 7));
  return { content: [{ type: 'text', text: String(n) }] };
});

const client = new Client({ name: 'fault-client', version: '1.0.0' });
const [clientSide, serverSide] = InMemoryTransport.createLinkedPair();
await Promise.all([server.connect(serverSide), client.connect(clientSide)]);

let next = first;
async function worker(): Promise<void> {
  while (next < first + most) {
    const n = next++;
    const result = await client.callTool({ name: 'echo', arguments: { n } });
    if (result.isError === true) throw new Error(`call ${n} failed: ${JSON.stringify(result)}`);
    writeSync(1, `${n}\n`);
  }
}
await Promise.all(Array.from({ length: inFlight }, worker));
await client.close();
await handle.close();
