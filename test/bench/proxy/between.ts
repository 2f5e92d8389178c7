/**
 * One process of the benchmark: `server`, or what stands before it: `plain` (a pipe on Node's http), `library`
 * (http-proxy-3) or `ours`. Sends its URL to its parent and ends with it.
 */
import { Agent, createServer, request as httpRequest, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createProxyServer } from 'http-proxy-3';
import { builtEmitter } from '../emitter/built.js';

const [kind, upstream = '', data = '', collector = ''] = process.argv.slice(2);

/** Answers a call at once, as the SDKs do: one event on a stream of its own. */
function serve(): Server {
  return createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const { id, params } = JSON.parse(Buffer.concat(chunks).toString()) as {
        id: number;
        params: { arguments: { message: string } };
      };
      const result = { content: [{ type: 'text', text: params.arguments.message }] };
      response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-cache' });
      response.end(`event: message\ndata: ${JSON.stringify({ jsonrpc: '2.0', id, result })}\n\n`);
    });
  });
}

function plain(): Server {
  const { hostname, port } = new URL(upstream);
  const agent = new Agent({ keepAlive: true });
  return createServer((request, response) => {
    const { method, url, headers } = request;
    const sent = httpRequest({ agent, hostname, port, method, path: url, headers }, (answer) => {
      response.writeHead(answer.statusCode!, answer.headers);
      answer.pipe(response);
    });
    request.pipe(sent);
  });
}

function library(): Server {
  const proxy = createProxyServer({ target: upstream, agent: new Agent({ keepAlive: true }) });
  return createServer((request, response) => void proxy.web(request, response));
}

async function start(): Promise<string> {
  if (kind === 'ours') {
    const { openProxy } = await builtEmitter();
    const recorderOptions = { data, url: collector, key: 'k', name: 'bench' };
    return (await openProxy({ upstream, recorderOptions })).url;
  }
  const server = kind === 'server' ? serve() : kind === 'plain' ? plain() : library();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const url = await start();
process.send?.({ url });
process.on('message', () => process.send?.(process.cpuUsage()));
process.on('disconnect', () => process.exit(0));
