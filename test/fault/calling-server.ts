/** A real MCP server with the one line of audit, and a real client in the same process. */
import { audit } from '@mcp-auditd/emitter';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { InMemoryTransport } from '@modelcontextprotocol/sdk/inMemory.js';
import { callAll, callingOptions, tell } from './calling.js';
import { makeEchoServer } from './echo-server.js';

const server = makeEchoServer();
const handle = audit(server, { actor: () => ({ id: `actor-${process.pid % 7}`, verified: true }) });
const client = new Client({ name: 'fault-client', version: '1.0.0' });
const [clientSide, serverSide] = InMemoryTransport.createLinkedPair();
await Promise.all([server.connect(serverSide), client.connect(clientSide)]);
tell(`emitter ${process.pid}`);
await callAll(client, callingOptions());
await client.close();
await handle.close();
