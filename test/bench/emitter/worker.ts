/** One MCP server and client of SDK v1 over InMemoryTransport, audited as its task says; reports CPU and answers. */
import { appendFileSync } from 'node:fs';
import { join } from 'node:path';
import { builtEmitter } from './built.js';
import { attachPeer, type PeerName, peerRequire } from './peers.js';
import type { WorkerTask } from './processes.js';

const task = JSON.parse(process.argv[2]!) as WorkerTask;
const { Client } = peerRequire('@modelcontextprotocol/sdk/client/index.js');
const { InMemoryTransport } = peerRequire('@modelcontextprotocol/sdk/inMemory.js');
const { McpServer } = peerRequire('@modelcontextprotocol/sdk/server/mcp.js');
const { z } = peerRequire('zod');

const inFlight = 32;
const filler = 'x'.repeat(task.resultBytes);
const server = new McpServer({ name: 'bench', version: '1.0.0' });
server.registerTool('echo', { inputSchema: { message: z.string() } }, ({ message }: { message: string }) => ({
  content: [{ type: 'text', text: message + filler }],
}));

let flush = async (): Promise<void> => {};
if (task.variant === 'ours' || task.variant === 'adopt') {
  const { audit } = await builtEmitter();
  const handle = audit(server, { name: 'bench', data: task.data, url: task.url, key: 'bench' });
  flush = () => handle.flush();
} else if (task.variant !== 'bare' && task.variant !== 'floor') {
  flush = attachPeer(task.variant as PeerName, server, task.url);
}
const [clientSide, serverSide] = InMemoryTransport.createLinkedPair();
await server.connect(serverSide);
if (task.variant === 'floor') {
  const send = serverSide.send.bind(serverSide);
  const log = join(task.data, 'floor.jsonl');
  serverSide.send = (message: unknown, options: unknown) => {
    appendFileSync(log, `${JSON.stringify(message)}\n`);
    return send(message, options);
  };
}
const client = new Client({ name: 'bench-client', version: '1.0.0' });
await client.connect(clientSide);

let answered = 0;
async function run(calls: number, firstNumber: number): Promise<void> {
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < calls) {
      const message = `call-${firstNumber + next}.`;
      next += 1;
      const { content } = await client.callTool({ name: 'echo', arguments: { message } });
      if (content[0].text !== message + filler) throw new Error(`Wrong answer to ${message}`);
      answered += 1;
      if (task.pauseMs > 0) await new Promise((resolve) => setTimeout(resolve, task.pauseMs));
      // Over InMemoryTransport everything is a microtask; a server that reads from a socket turns its event loop.
      else if (answered % 64 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
  };
  await Promise.all(Array.from({ length: task.pauseMs > 0 ? 1 : inFlight }, lane));
}

if (task.warmupCalls > 0) {
  await run(task.warmupCalls, 1_000_000_000);
  await flush();
}
answered = 0;
const before = process.cpuUsage();
await run(task.calls, 0);
// In the very turn of the last answer: what is only in memory gets no other chance.
if (task.ending === 'kill') process.kill(process.pid, 'SIGKILL');
if (task.ending === 'wait') {
  process.send!({ answered, done: true });
  await new Promise<void>((resolve) => process.once('message', () => resolve()));
}
await flush();
if (task.ending === 'flush' && task.calls > 0) {
  // Peers deliver in the background: their work until the collector has everything belongs to the call.
  let seen = -1;
  for (let idleTurns = 0; idleTurns < 15 && seen < task.calls; ) {
    const now = ((await (await fetch(`${task.url}/seen`)).json()) as { seen: number }).seen;
    idleTurns = now === seen ? idleTurns + 1 : 0;
    seen = now;
    if (task.variant === 'bare' || task.variant === 'floor') break;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}
const used = process.cpuUsage(before);
process.send!({ answered, cpuMicrosPerCall: (used.user + used.system) / Math.max(1, task.calls) }, () =>
  process.exit(0),
);
