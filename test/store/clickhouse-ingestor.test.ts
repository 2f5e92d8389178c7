/** The ingestor on a ClickHouse store that fails in every way, and on one where another process takes its partitions. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Registry } from 'prom-client';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startIngestor } from '../../services/ingestor/ingestor.js';
import { openClickHouseStore } from '../../services/store/clickhouse.js';
import { openLocalStream } from '../../services/stream/local.js';
import { type ClickHouseServer, startClickHouse } from '../contract/clickhouse-server.js';
import { proxyFaults, startFaultProxy } from '../contract/fault-proxy.js';
import { rowsOf } from '../contract/store.js';
import { generateEventLines, seededRandom } from '../traffic.js';

const directory = mkdtempSync(join(tmpdir(), 'mcp-auditd-clickhouse-ingestor-'));
let server: ClickHouseServer;
beforeAll(async () => {
  server = await startClickHouse();
});
afterAll(async () => {
  await server.stop();
  rmSync(directory, { recursive: true, force: true });
});

test('every event is there once, whatever the store does to its inserts and whoever takes the partitions meanwhile', async () => {
  const seed = Number(process.env.MCP_AUDITD_FAULT_SEED ?? Date.now() % 1_000_000);
  console.log(`seed ${seed}`);
  const random = seededRandom(seed);
  const stream = openLocalStream({ directory: join(directory, 'stream'), durability: 'kernel', partitions: 3 });
  const proxy = await startFaultProxy(() => server.connection.url);
  const store = await openClickHouseStore({ ...server.connection, url: proxy.url, timeoutMs: 500 });
  const thief = await openClickHouseStore(server.connection);
  await store.migrate();
  const faults = new Map<string, number>();
  const ingestor = await startIngestor({
    stream,
    store,
    limits: { rows: 100, timeMs: 5 },
    metrics: new Registry(),
    onFault: (error) => {
      const code = (error as { code?: string }).code ?? String(error);
      faults.set(code, (faults.get(code) ?? 0) + 1);
    },
  });
  const ids = new Set<string>();
  const lines = generateEventLines({ seed, count: 4_000, startMs: Date.now() - 60_000, spanMs: 60_000 });
  const headers = { tenant: 'default', producer_key: 'emitter' };
  let round = 0;
  for (let batch = [...take(lines, 100)]; batch.length > 0; batch = [...take(lines, 100)], round++) {
    if (random() < 0.6) proxy.faults.push(proxyFaults[Math.floor(random() * proxyFaults.length)]!);
    // Another process takes a partition and lets it be: its owner has to notice and to take it back.
    if (round % 10 === 5) await thief.takeOver('calls', [Math.floor(random() * 3)]);
    const records = batch.map((value, at) => ({ key: `default\0${at % 9}`, value, headers }));
    await stream.append('calls', records);
    for (const value of batch) ids.add((JSON.parse(value.toString()) as { event_id: string }).event_id);
    await delay(10);
  }
  const count = async () => {
    const sql =
      'SELECT count() AS rows, uniqExact(event_id) AS ids, uniqExact(stream_partition, stream_offset) AS places FROM calls';
    const [row] = await rowsOf<{ rows: number; ids: number; places: number }>(thief, sql);
    return row!;
  };
  while ((await count()).ids < ids.size) await delay(20);
  await ingestor.close();
  expect(await count(), `seed ${seed}`).toEqual({ rows: ids.size, ids: ids.size, places: ids.size });
  expect(proxy.happened.length).toBeGreaterThan(10);
  expect(faults.get('store_fenced') ?? 0, [...faults].join(' ')).toBeGreaterThan(0);
  await store.close();
  await thief.close();
  await proxy.stop();
  await stream.close();
});

function* take<T>(values: Iterator<T>, count: number): Generator<T> {
  for (let left = count; left > 0; left--) {
    const next = values.next();
    if (next.done === true) return;
    yield next.value;
  }
}
