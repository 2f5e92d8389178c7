import { execFileSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { cli, root, Sandbox } from '../commands/run.js';

// A small tmpfs is the only file system that is full on demand; mounting one needs root on Linux.
const canMount = process.platform === 'linux' && process.getuid?.() === 0;

describe.skipIf(!canMount)('on a full disk (needs root on Linux to mount a tmpfs)', () => {
  const mount = mkdtempSync(join(tmpdir(), 'mcp-auditd-full-'));
  const sandbox = new Sandbox(join(mount, 'data'));
  const filler = join(mount, 'filler');
  const script = (path: string) => ['--import', 'tsx', join(root, path)];

  beforeAll(() => {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', mount]);
  });
  afterAll(async () => {
    await sandbox.dispose();
    execFileSync('umount', [mount]);
    rmSync(mount, { recursive: true });
  });

  /** Writes until nothing more fits; the daemon may use or free some space meanwhile. */
  function fill(): void {
    const file = openSync(filler, 'w');
    for (const size of [64 * 1024, 4 * 1024]) {
      try {
        for (;;) writeSync(file, Buffer.alloc(size));
      } catch (error) {
        expect((error as NodeJS.ErrnoException).code).toBe('ENOSPC');
      }
    }
    closeSync(file);
  }

  /** Calls a wrapped server; resolves to how many calls were answered, and what was said on standard error. */
  async function call(count: number, environment: NodeJS.ProcessEnv): Promise<{ answered: number; errors: string }> {
    const transport = new StdioClientTransport({
      command: process.execPath,
      args: [...cli, 'wrap', '--', process.execPath, ...script('test/fault/stdio-server.ts')],
      env: { ...process.env, MCP_AUDITD_DATA: sandbox.data, ...environment } as Record<string, string>,
      cwd: root,
      stderr: 'pipe',
    });
    let errors = '';
    transport.stderr!.on('data', (chunk: Buffer) => {
      errors += chunk.toString();
    });
    const client = new Client({ name: 'full-disk', version: '1.0.0' });
    await client.connect(transport);
    let answered = 0;
    for (let n = 0; n < count; n++) {
      const result = await client.callTool({ name: 'echo', arguments: { n } });
      if (result.isError !== true) answered++;
    }
    await client.close();
    return { answered, errors };
  }

  test('up and keys say what is the matter and leave nothing half-made', async () => {
    fill();
    for (const words of [['up'], ['keys', 'create', 'x', '--role', 'read']]) {
      const { code, stderr } = await sandbox.run(words);
      expect(stderr).toMatch(/^mcp-auditd: ENOSPC.*\nFree disk space, or give another directory with --data\.\n$/);
      expect(code).toBe(1);
    }
    rmSync(filler);
    const daemon = await sandbox.up();
    expect((await daemon.stop()).code).toBe(0);
  });

  test('calls work, their loss is counted and told where there is room, and recording goes on afterwards', {
    timeout: 180_000,
  }, async () => {
    const daemon = await sandbox.up();
    await call(10, {});
    await sandbox.until(daemon.url, 'SELECT count() FROM calls', '11');
    fill();
    // The stream is on the full disk as well: a few bytes may fit, else these are told on standard error only.
    const lost = await call(10, {});
    expect(lost.answered).toBe(10);
    expect(lost.errors).toMatch(/calls are not recorded: ENOSPC/);
    expect(lost.errors).toMatch(/11 calls of mcp-server-[0-9a-f]{8} were not recorded/);
    rmSync(filler);
    const emptied = await call(10, {});
    expect(emptied).toEqual({ answered: 10, errors: '' });
    await sandbox.until(daemon.url, "SELECT count() FROM calls WHERE method != 'audit/loss'", '22');
    // Here only the emitter's disk is full: a directory that cannot be made, and a gateway that takes the count.
    const blocked = join(sandbox.home, 'blocked');
    writeFileSync(blocked, '');
    const told = await call(10, {
      MCP_AUDITD_DATA: join(blocked, 'data'),
      MCP_AUDITD_URL: daemon.url,
      MCP_AUDITD_KEY: sandbox.key('emitter'),
    });
    expect(told.answered).toBe(10);
    const producer = /11 calls of (\S+) were not recorded/.exec(told.errors)![1];
    await sandbox.until(
      daemon.url,
      `SELECT attributes['lost_calls'] FROM calls WHERE method = 'audit/loss' AND producer_id = '${producer}'`,
      '11',
    );
    expect((await sandbox.run(['status'])).stdout).toMatch(/^lost +(11|22) calls not recorded, 0 records damaged; /m);
    expect((await daemon.stop()).code).toBe(0);
  });
});
