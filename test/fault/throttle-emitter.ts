/**
 * A real MCP server with the one line of audit; calls as the actor that each line of standard input names. With brokers
 * and a prefix of topics as words, its events go straight to Kafka, and the gateway tells it signals only.
 */
import { createInterface } from 'node:readline';
import { audit } from '@mcp-auditd/emitter';
import { kafkaSink } from '@mcp-auditd/emitter/kafka';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { InMemoryTransport } from '@modelcontextprotocol/sdk/inMemory.js';
import { makeEchoServer } from './echo-server.js';

const [brokers, topicPrefix = ''] = process.argv.slice(2);
const sink = brokers === undefined ? {} : { sink: kafkaSink({ brokers: brokers.split(','), topicPrefix }) };
let actor = '';
const server = makeEchoServer();
const handle = audit(server, { name: 'throttled', actor: () => ({ id: actor, verified: true }), ...sink });
const client = new Client({ name: 'fault-client', version: '1.0.0' });
const [clientSide, serverSide] = InMemoryTransport.createLinkedPair();
await Promise.all([server.connect(serverSide), client.connect(clientSide)]);
for await (const line of createInterface({ input: process.stdin })) {
  const { actor: asked, calls } = JSON.parse(line) as { actor: string; calls: number };
  actor = asked;
  let passed = 0;
  for (let call = 0; call < calls; call++) {
    try {
      await client.callTool({ name: 'echo', arguments: { n: call } });
      passed++;
    } catch (error) {
      if ((error as { code?: number }).code !== 429) throw error;
    }
  }
  const { connected, refusedSignals } = handle.counters.throttle!;
  process.stdout.write(`${JSON.stringify({ passed, connected, refusedSignals })}\n`);
}
