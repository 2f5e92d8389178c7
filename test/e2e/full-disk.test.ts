/** A disk that is full: what was acknowledged stays, what is not taken is said so, and all goes on when there is room. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fastify from 'fastify';
import { Registry } from 'prom-client';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ensureKeys, keyFilePath, openKeys, readSecretFile } from '../../services/access/keys.js';
import { createGateway, gatewayServerOptions } from '../../services/gateway/gateway.js';
import { startIngestor } from '../../services/ingestor/ingestor.js';
import { openChdbStore } from '../../services/store/chdb.js';
import { openLocalStream } from '../../services/stream/local.js';
import { rowsOf } from '../contract/store.js';
import { generateEventLines } from '../traffic.js';

// A small tmpfs is the only file system that is full on demand; mounting one needs root on Linux.
const canMount = process.platform === 'linux' && process.getuid?.() === 0;

let directory: string;
const mounts: string[] = [];
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'full-disk-'));
});
afterEach(() => {
  for (const mount of mounts.splice(0)) execFileSync('umount', [mount]);
  rmSync(directory, { recursive: true, force: true });
});

function mountSmall(name: string, size: string): string {
  const mount = join(directory, name);
  mkdirSync(mount);
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', mount]);
  mounts.push(mount);
  return mount;
}

/** Takes what is left of the disk but for some bytes; returns how to give it back. */
function fill(mount: string, leaveBytes: number): () => void {
  const { bavail, bsize } = statfsSync(mount);
  const path = join(mount, 'filler');
  writeFileSync(path, Buffer.alloc(Math.max(0, bavail * bsize - leaveBytes)));
  return () => rmSync(path);
}

test.skipIf(!canMount)(
  'a full stream: the gateway answers 503 with Retry-After, keeps what it acknowledged, and goes on (needs root on Linux to mount a tmpfs)',
  async () => {
    const mount = mountSmall('stream', '4m');
    await ensureKeys(directory);
    const stream = openLocalStream({ directory: join(mount, 'stream') });
    const metrics = new Registry();
    const gateway = createGateway({ stream, keys: openKeys(directory), metrics, isTrusted: () => false });
    const server = fastify(gatewayServerOptions);
    await server.register(gateway.plugin);
    const url = await server.listen({ host: '127.0.0.1', port: 0 });
    const authorization = `Bearer ${readSecretFile(keyFilePath(directory, 'emit'))}`;
    const lines = [...generateEventLines({ seed: 7, count: 6_000 })];
    const post = async (from: number) => {
      const body = lines.slice(from, from + 500).join('\n');
      const headers = { 'content-type': 'application/x-ndjson', authorization };
      const response = await fetch(`${url}/v1/events`, { method: 'POST', headers, body });
      return { status: response.status, retryAfter: response.headers.get('retry-after'), body: await response.json() };
    };
    const giveBack = fill(mount, 1_000_000);
    let acknowledged = 0;
    let refusals = 0;
    for (let from = 0; from < lines.length; ) {
      const answer = await post(from);
      if (answer.status === 200) {
        acknowledged += 500;
        from += 500;
        continue;
      }
      expect(answer).toMatchObject({ status: 503, body: { error: { code: 'stream_unwritable' } } });
      expect(Number(answer.retryAfter)).toBeGreaterThan(0);
      expect((await gateway.health()).state).not.toBe('ok');
      // The second time there is room again.
      if (++refusals === 2) giveBack();
      if (refusals > 2) break;
    }
    expect({ refusals, atLeastSome: acknowledged >= 500 }).toEqual({ refusals: 3, atLeastSome: true });
    expect((await stream.partitions('calls'))[0]).toMatchObject({ earliestOffset: 0, endOffset: acknowledged });
    await server.close();
    await stream.close();
    const again = openLocalStream({ directory: join(mount, 'stream') });
    expect((await again.partitions('calls'))[0]).toMatchObject({ earliestOffset: 0, endOffset: acknowledged });
    await again.close();
  },
);

test.skipIf(!canMount)(
  'a full store: the block is tried again until there is room, and is stored once (needs root on Linux to mount a tmpfs)',
  async () => {
    const mount = mountSmall('store', '192m');
    const stream = openLocalStream({ directory: join(directory, 'stream'), durability: 'kernel' });
    const store = await openChdbStore({ directory: join(mount, 'store') });
    await store.migrate();
    const append = (seed: number) => {
      const headers = { tenant: 'default', producer_key: 'k' };
      const lines = generateEventLines({ seed, count: 20_000, startMs: Date.UTC(2026, 9, seed) });
      return stream.append(
        'calls',
        [...lines].map((value) => ({ key: 'k', value, headers })),
      );
    };
    let failed: () => void = () => undefined;
    const faults: string[] = [];
    const failedTwice = new Promise<void>((resolve) => {
      failed = resolve;
    });
    const ingestor = await startIngestor({
      stream,
      store,
      metrics: new Registry(),
      onFault: (error, what) => {
        faults.push(`${what} ${(error as { code?: string }).code}`);
        if (faults.length === 2) failed();
      },
    });
    const stored = async (events: number): Promise<void> => {
      while (((await stream.committed('calls', 'ingestor')).get(0) ?? 0) < events) await new Promise(setImmediate);
    };
    await append(1);
    await stored(20_000);
    const giveBack = fill(mount, 200_000);
    await append(2);
    await failedTwice;
    expect(new Set(faults)).toEqual(new Set(['insert store_unavailable']));
    const count = 'SELECT count() AS calls, uniqExact(event_id) AS ids FROM calls';
    expect(await rowsOf(store, count)).toEqual([{ calls: 20_000, ids: 20_000 }]);
    giveBack();
    await stored(40_000);
    expect(await rowsOf(store, count)).toEqual([{ calls: 40_000, ids: 40_000 }]);
    await ingestor.close();
    await store.close();
    await stream.close();
  },
);
