import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { InMemoryTransport } from '@modelcontextprotocol/sdk/inMemory.js';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { audit } from '../../services/emitter/audit.js';
import { event, type Running, Sandbox } from './run.js';

const sandbox = new Sandbox();
let daemon: Running;
beforeAll(async () => {
  daemon = await sandbox.up();
});
afterAll(() => sandbox.dispose());

const holding = (count: number): Promise<string> =>
  sandbox.until(daemon.url, 'SELECT count() FROM throttles WHERE holds', String(count));

test('add holds a caller back, list and show tell of it, lift ends it', async () => {
  expect((await sandbox.run(['throttles', 'list'])).stdout).toBe('Nobody is held back.\n');
  const words = ['throttles', 'add', '--actor', 'agent-7', '--rate', '100/m', '--burst', '5', '--ttl', '30m'];
  const added = await sandbox.run([...words, '--reason', 'runaway loop', '--author', 'eve']);
  expect(added.stdout).toMatch(
    /^signal [0-9a-f]{8}, actor agent-7, until \S+ \S+ UTC; it reaches the servers within a second\n$/,
  );
  await holding(1);
  const listed = await sandbox.run(['throttles', 'list']);
  expect(listed.stdout).toMatch(/actor agent-7 +100\/m \(5 at once\) +until \S+ \S+ UTC +eve +runaway loop/);
  const { stdout } = await sandbox.run(['throttles', 'list', '--json']);
  const { signal_id: id } = JSON.parse(stdout) as { signal_id: string };
  expect(added.stdout).toContain(`signal ${id.slice(0, 8)},`);
  expect((await sandbox.run(['throttles', 'lift', id.slice(0, 8), '--reason', 'mended'])).stdout).toBe(
    `lifted ${id}\n`,
  );
  await holding(0);
  const shown = await sandbox.run(['throttles', 'show', id]);
  expect(shown.stdout).toMatch(
    /actor agent-7, lifted \S+ \S+ UTC\n[\s\S]* 1 +\S+ \S+ UTC +active[^\n]*runaway loop\n +2 +\S+ \S+ UTC +lifted[^\n]*mended/,
  );
  const again = await sandbox.run(['throttles', 'lift', id]);
  expect(again).toMatchObject({ code: 2, stderr: expect.stringContaining('holds nobody back: lifted') });
});

test('a dry run tells whom it would have held back', async () => {
  expect((await sandbox.run(['throttles', 'list', '--dry-run'])).stdout).toBe('There are no dry runs.\n');
  await sandbox.run(['throttles', 'add', '--each', 'actor', '--rate', '1/h', '--burst', '2', '--dry-run']);
  await holding(1);
  const occurred_at = (): string => new Date().toISOString();
  const calls = ['loop', 'loop', 'loop', 'loop', 'calm', 'calm'].map((actor_id) =>
    event({ actor_id, occurred_at: occurred_at() }),
  );
  const refused = event({ actor_id: 'loop', outcome: 'throttled', occurred_at: occurred_at() });
  const listing = event({ actor_id: 'loop', method: 'tools/list', occurred_at: occurred_at() });
  await sandbox.send(daemon.url, [...calls, refused, listing]);
  await sandbox.until(daemon.url, "SELECT count() FROM calls WHERE actor_id IN ('loop', 'calm')", '8');
  const listed = await sandbox.run(['throttles', 'list', '--dry-run']);
  expect(listed.stdout).toMatch(
    /each actor +1\/h \(2 at once\) \(dry run\) +2 calls of 1 actor, of the 6 calls since \S+/,
  );
  const { stdout } = await sandbox.run(['throttles', 'list', '--dry-run', '--json']);
  const { signal_id: id, would_hold } = JSON.parse(stdout) as { signal_id: string; would_hold: object };
  expect(would_hold).toMatchObject({ calls: 6, held_calls: 2, held_actors: 1, is_cut: false });
  expect((await sandbox.run(['throttles', 'show', id])).stdout).toContain('It would have held back 2 calls of 1 actor');
  await sandbox.run(['throttles', 'lift', id]);
  await holding(0);
});

test('a rotated key: what holds is signed anew, emitters follow, and after the grace the old key counts no more', async () => {
  await sandbox.run(['throttles', 'add', '--actor', 'agent-9', '--block', '--ttl', '30m', '--reason', 'loop']);
  await holding(1);
  const server = new McpServer({ name: 'rotated', version: '1' });
  const handle = audit(server, { data: sandbox.data, url: daemon.url, actor: () => 'agent-9' });
  server.registerTool('echo', {}, () => ({ content: [] }));
  const client = new Client({ name: 'loop', version: '1' });
  const [near, far] = InMemoryTransport.createLinkedPair();
  await Promise.all([server.connect(near), client.connect(far)]);
  await expect.poll(() => handle.counters.throttle?.signals, { timeout: 10_000 }).toBe(1);
  const prepared = await sandbox.run(['keys', 'rotate-throttle', '--prepare']);
  const next = /^next key ([0-9a-f]{16});/.exec(prepared.stdout)?.[1] ?? '';
  expect(next).not.toBe('');
  expect((await sandbox.run(['keys', 'rotate-throttle', '--prepare'])).stdout).toBe(prepared.stdout);
  expect((await sandbox.run(['keys', 'rotate-throttle', '--grace', '0s'])).stdout).toContain(`signed with ${next} now`);
  await sandbox.until(
    daemon.url,
    "SELECT argMax(key_id, revision) FROM throttle WHERE scope['actor_id'] = 'agent-9'",
    next,
  );
  await expect.poll(() => handle.counters.throttle?.signals).toBe(1);
  await expect(client.callTool({ name: 'echo' })).rejects.toMatchObject({ code: 429 });
  const { stdout } = await sandbox.run(['throttles', 'list', '--json']);
  await sandbox.run(['throttles', 'lift', (JSON.parse(stdout) as { signal_id: string }).signal_id]);
  await holding(0);
  await expect.poll(() => handle.counters.throttle?.signals, { timeout: 10_000 }).toBe(0);
  await handle.close();
  await client.close();
}, 60_000);

test('override stops everything at once', async () => {
  const { stdout } = await sandbox.run(['throttles', 'override', '--ttl', '10m', '--reason', 'false alarm']);
  expect(stdout).toMatch(/^nobody is held back until \S+ \S+ UTC; mcp-auditd throttles lift [0-9a-f]{8} ends that\n$/);
  await sandbox.until(daemon.url, "SELECT origin FROM throttles WHERE holds AND origin = 'override'", 'override');
});

test.each([
  [['throttles', 'add', '--actor', 'a'], 2, 'Say how: --rate, --delay or --block.'],
  [['throttles', 'add', '--rate', '1/s'], 2, 'Say who'],
  [['throttles', 'add', '--actor', 'a', '--rate', '1/x'], 2, '--rate 1/x: expected a rate such as 1/s'],
  [['throttles', 'add', '--actor', 'a', '--rate', '1/s', '--burst', '0'], 2, '--burst 0: expected a number of calls'],
  [['throttles', 'add', '--actor', 'a', '--block', '--burst', '3'], 2, '--burst needs --rate.'],
  [['throttles', 'add', '--actor', 'a', '--delay', '2m'], 2, '--delay 2m: expected a duration up to 60s'],
  [['throttles', 'add', '--actor', 'a', '--block'], 2, 'Say why: --reason.'],
  [['throttles', 'override'], 2, 'Say why: --reason.'],
  [['throttles', 'add', '--actor', 'a', '--block', '--ttl', '25h'], 2, 'expected a duration up to 24h'],
  [['throttles', 'add', '--each', 'actors', '--block'], 2, 'expected one of actor, session'],
  [['throttles', 'lift', 'zz'], 2, 'expected at least 4 hex digits'],
  [['throttles', 'lift', 'ffffffffffff'], 2, 'There is no such signal'],
])('%j is refused with %i and the reason', async (words, code, message) => {
  const result = await sandbox.run(words);
  expect(result.stderr).toContain(message);
  expect(result.code).toBe(code);
});
