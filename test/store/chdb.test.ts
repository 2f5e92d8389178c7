import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openChdbStore } from '../../services/store/chdb.js';
import type { Store } from '../../services/store/store.js';
import { batchOfCalls, rowsOf, storeContract } from '../contract/store.js';
import { seededRandom } from '../traffic.js';

async function newDirectory(): Promise<string> {
  return mkdtemp(join(tmpdir(), 'auditd-store-'));
}

storeContract('chdb', async () => {
  const directory = await newDirectory();
  const store = await openChdbStore({ directory });
  return {
    store,
    async remove() {
      await store.close();
      await rm(directory, { recursive: true });
    },
  };
});

const child = fileURLToPath(new URL('./inserting.ts', import.meta.url));

function startChild(...commandArguments: string[]) {
  return spawn(process.execPath, ['--import', 'tsx', child, ...commandArguments], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
}

describe('chdb', () => {
  let directory: string;
  let store: Store | undefined;
  beforeEach(async () => {
    directory = await newDirectory();
  });
  afterEach(async () => {
    await store?.close();
    store = undefined;
    await rm(directory, { recursive: true });
  });

  it('says who holds the directory', async () => {
    const holder = startChild(directory, '0', '0');
    const lines = createInterface({ input: holder.stdout });
    await once(lines, 'line');
    await expect(openChdbStore({ directory })).rejects.toMatchObject({
      code: 'data_directory_held',
      message: expect.stringContaining(`process ${holder.pid}`),
    });
    holder.kill('SIGKILL');
    await once(holder, 'exit');
  });

  it('refuses a directory that a newer program wrote, and changes nothing', async () => {
    store = await openChdbStore({ directory });
    await store.migrate();
    await (store as unknown as { execute(sql: string): Promise<void> }).execute(
      "INSERT INTO schema_migrations (name) VALUES ('9999_from_the_future')",
    );
    await expect(store.migrate()).rejects.toMatchObject({
      code: 'data_directory_newer',
      message: expect.stringContaining('9999_from_the_future'),
    });
  });

  it('begins no question while open ones hold more memory than they may, and goes on when one has ended', async () => {
    store = await openChdbStore({ directory, heldBytes: 32 * 1024 ** 2 });
    const { query } = store;
    const resting = Array.from({ length: 2 }, () =>
      query
        .call(store, 'SELECT number, count() FROM numbers(400000) GROUP BY number', { format: 'TSV' })
        [Symbol.asyncIterator](),
    );
    for (const each of resting) expect((await each.next()).done).toBe(false);
    await expect(rowsOf(store, 'SELECT 1 AS one')).rejects.toMatchObject({ code: 'query_busy', retriable: true });
    for (const each of resting) await each.return?.();
    expect(await rowsOf(store, 'SELECT 1 AS one')).toEqual([{ one: 1 }]);
  });

  it('brings the tables to the retention asked for, and alters nothing when they have it', async () => {
    store = await openChdbStore({ directory, retentionDays: 7, bodyRetentionDays: 2 });
    await store.migrate();
    const definition = async () =>
      (await rowsOf<{ statement: string }>(store as Store, 'SHOW CREATE TABLE calls'))[0]?.statement ?? '';
    const first = await definition();
    expect(first).toMatch(/\nTTL toDate\(recorded_at\) \+ toIntervalDay\(7\)/);
    expect(first.match(/toIntervalDay\(2\)/g)).toHaveLength(2);
    const saved = await rowsOf<{ statement: string }>(store, 'SHOW CREATE TABLE saved_queries');
    expect(saved[0]?.statement).not.toContain('TTL');
    const executed: string[] = [];
    const target = store as unknown as { execute(sql: string): Promise<void> };
    const execute = target.execute.bind(store);
    target.execute = (sql) => {
      executed.push(sql);
      return execute(sql);
    };
    await store.migrate();
    expect(executed.filter((sql) => sql.startsWith('ALTER'))).toEqual([]);
    expect(await definition()).toBe(first);
    const mutations = "SELECT command FROM system.mutations WHERE NOT command LIKE '%MATERIALIZE INDEX%'";
    expect(await rowsOf(store, mutations)).toEqual([]);
  });

  it('drops expired rows and bodies, and keeps what is younger', async () => {
    store = await openChdbStore({ directory, retentionDays: 10, bodyRetentionDays: 2 });
    await store.migrate();
    const dayMs = 86_400_000;
    const now = Date.now();
    for (const [partition, age] of [0, 5, 20].entries())
      await store.insert(batchOfCalls(partition, 0, 10, now - age * dayMs));
    await (store as unknown as { execute(sql: string): Promise<void> }).execute('OPTIMIZE TABLE calls FINAL');
    const rows = await rowsOf(
      store,
      "SELECT stream_partition AS age, count() AS calls, countIf(arguments != '') AS bodies FROM calls GROUP BY age ORDER BY age",
    );
    expect(rows).toEqual([
      { age: 0, calls: 10, bodies: 10 },
      { age: 1, calls: 10, bodies: 0 },
    ]);
  });

  it('makes one part of one block, however many rows', async () => {
    store = await openChdbStore({ directory });
    await store.migrate();
    await store.insert(batchOfCalls(0, 0, 70_000));
    const parts = await rowsOf(store, "SELECT rows FROM system.parts WHERE table = 'calls' AND active");
    expect(parts).toEqual([{ rows: 70_000 }]);
    expect(await readdir(join(directory, 'blocks'))).toEqual([]);
  });

  it('keeps each batch whole or absent when it is killed', async () => {
    const seed = Number(process.env.SEED ?? Date.now() % 1_000_000);
    console.log(`seed ${seed}`);
    const random = seededRandom(seed);
    const batchRows = 500;
    let acknowledged = -1;
    for (let round = 0; round < 3; round++) {
      const process = startChild(directory, String(acknowledged + 1), String(batchRows));
      const lines = createInterface({ input: process.stdout });
      const killAfter = 2 + Math.floor(random() * 6);
      const delayMs = random() * 40;
      let inserted = 0;
      const gone = once(process, 'exit');
      for await (const line of lines) {
        if (line.startsWith('inserted ')) {
          acknowledged = Number(line.split(' ')[1]);
          if (++inserted === killAfter) setTimeout(() => process.kill('SIGKILL'), delayMs);
        }
      }
      await gone;
      store = await openChdbStore({ directory });
      await store.migrate();
      const [row] = await rowsOf<{ rows: number; highest: number; offsets: number; partial: number }>(
        store,
        `SELECT count() AS rows, max(stream_offset) AS highest, uniqExact(stream_offset) AS offsets,
          (SELECT count() FROM (SELECT intDiv(stream_offset, ${batchRows}) AS batch, count() AS n FROM calls GROUP BY batch HAVING n != ${batchRows})) AS partial
        FROM calls`,
      );
      expect(row, `seed ${seed}, round ${round}`).toMatchObject({ partial: 0, rows: (row?.highest ?? 0) + 1 });
      expect(row?.offsets).toBe(row?.rows);
      expect(row?.highest).toBeGreaterThanOrEqual(acknowledged);
      const [rollup] = await rowsOf(store, 'SELECT sum(calls) AS calls FROM calls_per_minute');
      expect(rollup).toEqual({ calls: row?.rows });
      expect((await store.highestOffsets('calls')).get(0)).toBe(row?.highest);
      acknowledged = row?.highest ?? acknowledged;
      await store.close();
      store = undefined;
    }
    expect(acknowledged).toBeGreaterThan(0);
  });
});
