/** The MCP conformance suite gives the same results with an emitter and without, in process, through stdio and through the HTTP proxy. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { adoptOrphans } from '../../services/emitter/adopt.js';

const suite = fileURLToPath(
  new URL('../../node_modules/@modelcontextprotocol/conformance/dist/index.js', import.meta.url),
);
const fixture = fileURLToPath(new URL('./conformance-server.ts', import.meta.url));

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'conformance-'));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

/** Every check of the suite and how it ended, and the tools whose calls are on record afterwards. */
async function run(kind: string, how: string): Promise<{ checks: string[]; recorded: Set<string> }> {
  const data = join(directory, `${kind}-${how}`);
  const env = { ...process.env, MCP_AUDITD_DATA: data, MCP_AUDITD_URL: 'http://127.0.0.1:9', MCP_AUDITD_KEY: 'k' };
  const server = spawn(process.execPath, ['--import', 'tsx', fixture, kind, how], {
    env,
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const closed = once(server, 'close');
  try {
    const [line] = (await once(server.stdout, 'data')) as [Buffer];
    const output = join(directory, `${kind}-${how}-results`);
    // The suite exits with 1 when a check fails; what counts here is that the same checks do.
    await promisify(execFile)(process.execPath, [suite, 'server', '--url', String(line).trim(), '-o', output]).catch(
      (error: { stdout?: string }) => expect(error.stdout).toContain('=== SUMMARY ==='),
    );
    const checks = readdirSync(output).flatMap((scenario) => {
      const found = JSON.parse(readFileSync(join(output, scenario, 'checks.json'), 'utf8')) as Record<string, string>[];
      const name = scenario.replace(/-\d{4}-\d\d-\d\dT.*/, '');
      return found.map(({ id, status, errorMessage }) => `${name} ${id} ${status} ${errorMessage ?? ''}`.trim());
    });
    return { checks: checks.sort(), recorded: await recordedTools(server, data) };
  } finally {
    server.kill('SIGKILL');
    await closed;
  }
}

/** Kills the server, and takes from its spool what it had recorded. */
async function recordedTools(server: ChildProcess, data: string): Promise<Set<string>> {
  server.kill('SIGKILL');
  const tools = new Set<string>();
  const sink = {
    async send(lines: readonly (string | Buffer)[]) {
      for (const line of lines) tools.add((JSON.parse(String(line)) as { tool_name?: string }).tool_name ?? '');
      return { kind: 'accepted', rejected: [] } as const;
    },
    close() {},
  };
  const look = async (): Promise<boolean> => {
    await adoptOrphans({ data, sink });
    return tools.size > 0 || data.endsWith('bare');
  };
  await expect.poll(look).toBe(true);
  return tools;
}

it.each([
  ['http', 'audited'],
  ['bridge', 'wrap'],
  ['http', 'proxy'],
])('%s: bare and %s', { timeout: 120_000 }, async (kind, how) => {
  const bare = await run(kind, 'bare');
  const withEmitter = await run(kind, how);
  expect(withEmitter.checks).toEqual(bare.checks);
  expect(bare.checks.filter((line) => line.includes('SUCCESS')).length).toBeGreaterThan(25);
  expect(bare.checks.filter((line) => line.includes('FAILURE'))).toEqual([]);
  expect(withEmitter.recorded).toContain('test_simple_text');
  expect(withEmitter.recorded).toContain('test_sampling');
});
