/**
 * A process with one audited server and a client in it, for tests that kill it: answers every call, tells its parent
 * of each answer with a synchronous write, and does with `hang` calls what its name says.
 *
 * Arguments: calls, calls that hang, options of audit() as JSON.
 */
import { writeSync } from 'node:fs';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { InMemoryTransport } from '@modelcontextprotocol/sdk/inMemory.js';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { z } from 'zod';
import { audit } from '../../services/emitter/index.js';

const [calls, hanging] = process.argv.slice(2, 4).map(Number) as [number, number];
const server = new McpServer({ name: 'calling-child', version: '1.0.0' });
server.registerTool('echo', { inputSchema: { n: z.number() } }, ({ n }) => ({
  content: [{ type: 'text', text: String(n) }],
}));
server.registerTool('hang', { inputSchema: { n: z.number() } }, ({ n }) => {
  // The handler runs: from now on a kill must find the call on record.
  writeSync(1, `running ${n}\n`);
  return new Promise<never>(() => {});
});
const handle = audit(server, JSON.parse(process.argv[4] ?? '{}'));
const client = new Client({ name: 'calling-child', version: '1.0.0' });
const [clientSide, serverSide] = InMemoryTransport.createLinkedPair();
await Promise.all([server.connect(serverSide), client.connect(clientSide)]);

for (let n = 0; n < hanging; n++) client.callTool({ name: 'hang', arguments: { n } }).catch(() => {});
await Promise.all(
  Array.from({ length: 16 }, async (_, lane) => {
    for (let n = lane; n < calls; n += 16) {
      await client.callTool({ name: 'echo', arguments: { n } });
      writeSync(1, `answered ${n}\n`);
    }
  }),
);
await handle.flush();
writeSync(1, `done ${JSON.stringify(handle.counters)}\n`);
process.stdin.resume();
process.stdin.on('end', async () => {
  await handle.close();
  writeSync(1, 'closed\n');
});
