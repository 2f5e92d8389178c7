import { afterAll, beforeAll, expect, test } from 'vitest';
import { StoreHealth } from '../../services/query/store-health.js';
import { openClickHouseStore } from '../../services/store/clickhouse.js';
import type { Store } from '../../services/store/store.js';
import { type ClickHouseServer, startClickHouse } from '../contract/clickhouse-server.js';
import { type FaultProxy, startFaultProxy } from '../contract/fault-proxy.js';

let server: ClickHouseServer;
let proxy: FaultProxy;
let store: Store;
let now = 0;
beforeAll(async () => {
  server = await startClickHouse();
  proxy = await startFaultProxy(() => server.connection.url);
  store = await openClickHouseStore({ ...server.connection, url: proxy.url });
});
afterAll(async () => {
  await store.close();
  await proxy.stop();
  await server.stop();
});

test('ready while the store answers, waiting while it is away or silent, ready again', async () => {
  const health = new StoreHealth(store, () => now);
  expect(await health.ask()).toEqual({ state: 'ready' });
  proxy.away = true;
  expect(await health.ask(), 'asked a moment ago').toEqual({ state: 'ready' });
  now += 2_000;
  expect(await health.ask()).toMatchObject({ state: 'waiting', reason: expect.stringContaining('asking ClickHouse') });
  proxy.away = false;
  proxy.delayMs = 60_000;
  now += 2_000;
  expect(await health.ask()).toEqual({
    state: 'waiting',
    reason: 'a query of the store fails: no answer within 3000 ms',
  });
  proxy.delayMs = 0;
  now += 2_000;
  expect(await health.ask()).toEqual({ state: 'ready' });
});
