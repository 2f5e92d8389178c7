/**
 * A collector in a process of its own, for ours and for the peers: takes any POST, and remembers which of the
 * numbered calls (`call-17.`) it has seen. `GET /seen` says how many, `GET /reset` forgets them.
 */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { gunzipSync } from 'node:zlib';

const seen = new Set<string>();
const server = createServer((request, response) => {
  const chunks: Buffer[] = [];
  request.on('data', (chunk: Buffer) => chunks.push(chunk));
  request.on('end', () => {
    response.setHeader('content-type', 'application/json');
    if (request.method === 'GET') {
      if (request.url === '/reset') seen.clear();
      response.end(JSON.stringify({ seen: seen.size }));
      return;
    }
    const raw = Buffer.concat(chunks);
    const text = (raw[0] === 0x1f && raw[1] === 0x8b ? gunzipSync(raw) : raw).toString();
    for (const match of text.matchAll(/call-(\d+)\./g)) seen.add(match[1]!);
    const lines = request.url === '/v1/events' ? text.split('\n').filter((line) => line !== '').length : 0;
    response.end(JSON.stringify({ accepted: lines, rejected: [], status: 1 }));
  });
});
server.listen(Number(process.argv[2] ?? 0), '127.0.0.1', () => {
  process.send?.({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` });
});
process.on('disconnect', () => process.exit(0));
