/** The command `proxy` as its user runs it: real processes, the daemon's SQL, SIGKILL, the commands of its page. */
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { root, Sandbox } from '../commands/run.js';

const sandbox = new Sandbox();
const server = createServer((request, response) => {
  let body = '';
  request.on('data', (chunk) => {
    body += chunk;
  });
  request.on('end', () => {
    const { id } = JSON.parse(body) as { id: number };
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.end(`event: message\ndata: {"jsonrpc":"2.0","id":${id},"result":{"n":${id}}}\n\n`);
  });
});
let upstream: string;

beforeAll(async () => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  upstream = `http://127.0.0.1:${(server.address() as AddressInfo).port}/mcp`;
});
afterAll(async () => {
  server.closeAllConnections();
  server.close();
  await sandbox.dispose();
});

async function proxy(...words: string[]) {
  const started = sandbox.follow(['proxy', '--upstream', upstream, '--listen', '127.0.0.1:0', ...words]);
  const { value } = await started.lines.next();
  const url = /^mcp-auditd proxy listens on (\S+), before /.exec(String(value))?.[1];
  if (url === undefined) throw new Error(`${value} ${(await started.ended).stderr}`);
  const ask = (id: number, headers: Record<string, string> = {}) =>
    fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify({ jsonrpc: '2.0', id, method: 'tools/call', params: { name: 'echo' } }),
    });
  return { ...started, ask };
}

it('loses nothing when it is killed right after an answer', async () => {
  const { child, ask, ended } = await proxy('--name', 'killed', '--actor', 'alice');
  let answered = 0;
  for (let id = 1; id <= 50; id += 1) {
    expect(await (await ask(id)).text()).toContain(`"n":${id}`);
    answered += 1;
  }
  child.kill('SIGKILL');
  await ended;
  const daemon = await sandbox.up();
  const sql = "SELECT count(), uniqExact(event_id) FROM calls WHERE actor_id = 'alice' AND outcome = 'success'";
  await sandbox.until(daemon.url, sql, `${answered}\t${answered}`);
  await daemon.stop();
});

it('lets in whom its keys name, and stops on SIGTERM', async () => {
  const key = (await sandbox.run(['keys', 'create', 'agent-7', '--role', 'call'])).stdout.trim();
  const emitterKey = sandbox.key('emitter');
  const { child, ask, ended } = await proxy('--auth', 'api-key');
  expect((await ask(1)).status).toBe(401);
  expect((await ask(2, { 'x-api-key': emitterKey })).status).toBe(401);
  expect((await ask(3, { authorization: `Bearer ${key}` })).status).toBe(200);
  child.kill('SIGTERM');
  expect((await ended).code).toBe(0);
});

it.each([
  [['--auth', 'oauth'], '--auth oauth needs --issuer'],
  [['--issuer', 'https://x.example'], '--issuer goes with --auth oauth'],
  [['--auth', 'ldap'], 'expected api-key or oauth'],
  [['--throttle-answer', 'maybe'], 'expected error or result'],
  [['--upstream', 'ftp://x'], '--upstream: expected http:// or https://'],
  [['--listen', 'nowhere'], '--listen: expected host:port'],
])('%j is refused: %s', async (words, message) => {
  const { code, stderr } = await sandbox.run(['proxy', '--upstream', upstream, ...words]);
  expect(stderr).toContain(message);
  expect(code).toBe(2);
});

it('starts as docs/proxy.md says', async () => {
  const commands = readFileSync(join(root, 'docs', 'proxy.md'), 'utf8')
    .split('\n')
    .filter((line) => line.startsWith('mcp-auditd proxy '));
  expect(commands.length).toBeGreaterThan(2);
  for (const command of commands) {
    const words = command.split(' ').slice(2);
    const { child, ended } = await proxy(...words, '--upstream', upstream, '--listen', '127.0.0.1:0');
    child.kill('SIGTERM');
    expect((await ended).code, command).toBe(0);
  }
});
