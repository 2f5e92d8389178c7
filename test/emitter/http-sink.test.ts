import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { HttpSink } from '../../services/emitter/http-sink.js';
import { ownIdentity } from '../../services/emitter/process-identity.js';

interface Seen {
  readonly url: string;
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
  readonly port: number | undefined;
}

let data: string;
const servers: Server[] = [];
const never = new AbortController().signal;

beforeEach(() => {
  data = mkdtempSync(join(tmpdir(), 'sink-'));
  mkdirSync(join(data, 'keys'));
  writeFileSync(join(data, 'keys', 'emitter.key'), 'secret-1\n');
});
afterEach(() => {
  vi.unstubAllEnvs();
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
  }
  rmSync(data, { recursive: true, force: true });
});

async function gateway(answer: (seen: Seen, response: ServerResponse) => void): Promise<{ url: string; seen: Seen[] }> {
  const seen: Seen[] = [];
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const { url = '', headers } = request;
    seen.push({ url, headers, body: Buffer.concat(chunks).toString(), port: request.socket.remotePort });
    answer(seen.at(-1)!, response);
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, seen };
}

function acceptAll({ body }: Seen, response: ServerResponse): void {
  response.end(JSON.stringify({ accepted: body.split('\n').length - 1, rejected: [], rejected_total: 0 }));
}

function daemonAt(url: string | undefined, changed = {}): void {
  writeFileSync(join(data, 'daemon.json'), JSON.stringify({ ...ownIdentity(), url, ...changed }));
}

describe('the sink', () => {
  it('finds the daemon and the key in the data directory, and keeps its connection', async () => {
    const { url, seen } = await gateway(acceptAll);
    daemonAt(url);
    const sink = new HttpSink(data, {});
    expect(await sink.send(['{"a":1}', Buffer.from('{"b":"é"}')], never)).toEqual({ kind: 'accepted', rejected: [] });
    expect(await sink.send(['{"c":1}'], never)).toEqual({ kind: 'accepted', rejected: [] });
    expect(seen[0]).toMatchObject({
      url: '/v1/events',
      body: '{"a":1}\n{"b":"é"}\n',
      headers: { authorization: 'Bearer secret-1', 'content-type': 'application/x-ndjson' },
    });
    expect(seen[1]!.port).toBe(seen[0]!.port);
    sink.close();
  });

  it('follows a daemon that moved, and a key that was made anew', async () => {
    const first = await gateway(acceptAll);
    daemonAt(first.url);
    const sink = new HttpSink(data, {});
    await sink.send(['{}'], never);
    servers[0]!.closeAllConnections();
    servers[0]!.close();
    const second = await gateway(acceptAll);
    daemonAt(second.url);
    writeFileSync(join(data, 'keys', 'emitter.key'), 'secret-2\n');
    await expect.poll(async () => (await sink.send(['{}'], never)).kind).toBe('accepted');
    expect(second.seen[0]!.headers.authorization).toBe('Bearer secret-2');
    sink.close();
  });

  it('sends nothing to a port whose daemon has ended: somebody else may listen there', async () => {
    const { url, seen } = await gateway(acceptAll);
    daemonAt(url, { process_start: '1' });
    const sink = new HttpSink(data, {});
    expect(await sink.send(['{}'], never)).toMatchObject({
      kind: 'retry',
      reason: expect.stringContaining('has ended'),
    });
    expect(seen).toEqual([]);
  });

  it.each([
    ['no daemon', () => undefined, 'no daemon runs'],
    ['a daemon that starts', () => daemonAt(undefined), 'is starting'],
    ['a torn daemon.json', () => writeFileSync(join(data, 'daemon.json'), '{"pid":'), 'no daemon runs'],
    ['an address that is none', () => vi.stubEnv('MCP_AUDITD_URL', 'nonsense'), 'no URL of a gateway'],
    [
      'no key',
      () => {
        daemonAt('http://127.0.0.1:9');
        rmSync(join(data, 'keys'), { recursive: true });
      },
      'key cannot be read',
    ],
    ['nobody there', () => daemonAt('http://127.0.0.1:9'), 'cannot be reached'],
  ])('waits for better times when there is %s, and says so', async (_what, prepare, reason) => {
    prepare();
    const sink = new HttpSink(data, {});
    expect(await sink.send(['{}'], never)).toMatchObject({ kind: 'retry', reason: expect.stringContaining(reason) });
  });

  it('takes address and key from options before the environment, and from the environment before the directory', async () => {
    const { url, seen } = await gateway(acceptAll);
    writeFileSync(join(data, 'other.key'), 'from-file\n');
    vi.stubEnv('MCP_AUDITD_URL', `${url}/`);
    vi.stubEnv('MCP_AUDITD_KEY_FILE', join(data, 'other.key'));
    await new HttpSink(data, {}).send(['{}'], never);
    vi.stubEnv('MCP_AUDITD_KEY', 'from-environment');
    await new HttpSink(data, {}).send(['{}'], never);
    await new HttpSink(data, { url, key: 'from-option' }).send(['{}'], never);
    expect(seen.map(({ headers }) => headers.authorization)).toEqual([
      'Bearer from-file',
      'Bearer from-environment',
      'Bearer from-option',
    ]);
  });

  it.each([
    [
      200,
      { accepted: 1, rejected: [{ line: 2, code: 'x', message: 'y' }] },
      { kind: 'accepted', rejected: [{ index: 1, code: 'x', message: 'y' }] },
    ],
    [200, { accepted: 1, rejected: [] }, { kind: 'retry' }],
    [200, { accepted: 0, rejected: [], rejected_total: 2 }, { kind: 'refused', code: 'rejected_unnamed' }],
    [200, 'hello', { kind: 'retry' }],
    [400, { error: { code: 'body_invalid', message: 'm' } }, { kind: 'refused', code: 'body_invalid', message: 'm' }],
    [401, { error: { code: 'key_missing', message: 'm' } }, { kind: 'retry' }],
    [413, 'too large, says a proxy', { kind: 'refused', code: '413' }],
    [302, '', { kind: 'retry' }],
    [404, 'not found', { kind: 'retry' }],
    [429, { error: { code: 'rate_limited', message: 'm' } }, { kind: 'retry', afterMs: 7000 }],
    [503, '', { kind: 'retry', afterMs: 7000 }],
  ])('takes %i %j as %j', async (status, body, expected) => {
    const { url } = await gateway((_seen, response) => {
      const headers: Record<string, string> = status === 429 || status === 503 ? { 'retry-after': '7' } : {};
      if (status === 302) headers.location = '/elsewhere';
      response.writeHead(status, headers).end(typeof body === 'string' ? body : JSON.stringify(body));
    });
    const sink = new HttpSink(data, { url, key: 'k' });
    expect(await sink.send(['{}', '{}'], never)).toMatchObject(expected);
    sink.close();
  });

  it('sends again at once when the gateway closed a connection that was idle', async () => {
    const { url, seen } = await gateway(acceptAll);
    const sink = new HttpSink(data, { url, key: 'k' });
    await sink.send(['{}'], never);
    // The close is on its way while the next request is written.
    servers[0]!.closeAllConnections();
    expect((await sink.send(['{}'], never)).kind).toBe('accepted');
    expect(seen).toHaveLength(2);
    sink.close();
  });

  it('ends when it is told to', async () => {
    const abort = new AbortController();
    const { url } = await gateway(() => abort.abort());
    const sink = new HttpSink(data, { url, key: 'k' });
    expect(await sink.send(['{}'], abort.signal)).toMatchObject({ kind: 'retry' });
    sink.close();
  });
});
