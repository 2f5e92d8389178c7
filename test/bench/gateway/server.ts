/**
 * A server to be measured, in a process of its own: the gateway as it runs, or its limit, a bare node:http server that
 * reads the same bodies, looks at nothing and appends each as one record to the same kind of stream, with the same sync.
 */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import fastify from 'fastify';
import { Registry } from 'prom-client';
import { ensureKeys, openKeys } from '../../../services/access/keys.js';
import { createGateway, gatewayServerOptions } from '../../../services/gateway/gateway.js';
import { openLocalStream } from '../../../services/stream/local.js';

const [variant, data] = process.argv.slice(2) as ['ours' | 'limit', string];
// What five million events write is more than a disk need hold.
const stream = openLocalStream({ directory: `${data}/stream`, retention: { maxBytes: 512 * 1024 * 1024 } });
setInterval(() => stream.enforceRetention(), 1_000).unref();

async function ours(): Promise<string> {
  await ensureKeys(data);
  const options = { stream, keys: openKeys(data), metrics: new Registry(), isTrusted: () => false };
  const { plugin } = createGateway({ ...options, limits: { eventsPerSecond: 100_000_000 } });
  const server = fastify(gatewayServerOptions);
  await server.register(plugin);
  return server.listen({ host: '127.0.0.1', port: 0 });
}

async function limit(): Promise<string> {
  const headers = { tenant: 'default', producer_key: 'emitter' };
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', async () => {
      await stream.append('calls', [{ key: 'default\0', value: Buffer.concat(chunks), headers }]);
      response.end('{}');
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const url = await (variant === 'ours' ? ours() : limit());
process.on('message', () => {
  const { user, system } = process.cpuUsage();
  const { rss, heapUsed, external } = process.memoryUsage();
  process.send?.({ cpuMicros: user + system, rss, heapUsed, external });
});
process.once('SIGINT', () => process.exit(0));
process.send?.({ url });
