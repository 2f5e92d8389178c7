import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { Sandbox } from './run.js';

const sandbox = new Sandbox();
afterAll(() => sandbox.dispose());

/** Temporary directories of this test's own, so that what a demo leaves behind is seen. */
const environment = { TMPDIR: sandbox.home };

function left(): string[] {
  return readdirSync(sandbox.home).filter((name) => name.startsWith('mcp-auditd-demo-'));
}

test('the demo records what real servers were asked, answers its questions, and leaves nothing behind', async () => {
  const { stdout, stderr, code } = await sandbox.run(['demo'], { environment });
  expect(stderr).toBe('');
  expect(code).toBe(0);
  const made = /✓ (\d+) requests were answered, (\d+) are on record\./.exec(stdout);
  expect(Number(made?.[1])).toBeGreaterThan(30);
  expect(made?.[2]).toBe(made?.[1]);
  for (const server of ['orders', 'mcp-servers/everything', 'secure-filesystem-server', 'memory-server'])
    expect(stdout).toContain(server);
  // Python's server came, or one line says why it did not.
  expect(stdout).toMatch(/ mcp-time |^no Python server: .+$/m);
  expect(stdout).toContain('"password":"[redacted]"');
  expect(stdout).not.toMatch(/correct horse|ghp_|4111 1111/);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: a pipe gets no colours
  expect(stdout).not.toMatch(/\u001b/);
  expect(left()).toEqual([]);
  expect(existsSync(sandbox.data)).toBe(false);
});

test('a reader that leaves, and Ctrl-C, end the demo and its daemon', async () => {
  for (const end of ['head', 'SIGINT'] as const) {
    const { child, lines, ended } = sandbox.follow(['demo'], environment);
    await lines.next();
    if (end === 'head') child.stdout!.destroy();
    else child.kill(end);
    expect((await ended).code).toBe(130);
    expect(left(), end).toEqual([]);
  }
});

test('--keep leaves the daemon and its data, and down ends it', async () => {
  const { stdout, code } = await sandbox.run(['demo', '--keep'], { environment });
  expect(code).toBe(0);
  const data = /^export MCP_AUDITD_DATA=(\S+)$/m.exec(stdout)![1]!;
  expect(data.startsWith(join(sandbox.home, 'mcp-auditd-demo-'))).toBe(true);
  const kept = { environment: { MCP_AUDITD_DATA: data } };
  try {
    const status = JSON.parse((await sandbox.run(['status', '--json'], kept)).stdout) as { running: boolean };
    expect(status.running).toBe(true);
  } finally {
    expect((await sandbox.run(['down'], kept)).stdout).toMatch(/^stopped process \d+\n$/);
  }
  expect((await sandbox.run(['down'], kept)).stdout).toBe(`No daemon runs on ${data}.\n`);
  expect(existsSync(join(data, 'daemon.json'))).toBe(false);
});
