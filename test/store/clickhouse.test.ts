import { once } from 'node:events';
import { createServer } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { tableFields } from '../../schemas/tables.js';
import { openClickHouseStore } from '../../services/store/clickhouse.js';
import { clusterStatements } from '../../services/store/clickhouse-cluster.js';
import { ClickHouseConnection } from '../../services/store/clickhouse-connection.js';
import { readMigrations } from '../../services/store/migrations.js';
import type { Store } from '../../services/store/store.js';
import { type ClickHouseServer, startClickHouse } from '../contract/clickhouse-server.js';
import { type FaultProxy, proxyFaults, startFaultProxy } from '../contract/fault-proxy.js';
import { batchOfCalls, rowsOf, storeContract } from '../contract/store.js';
import { makeCertificates } from '../kafka/certificates.js';

let server: ClickHouseServer;
let direct: ClickHouseConnection;
beforeAll(async () => {
  server = await startClickHouse();
  direct = new ClickHouseConnection(server.connection);
});
afterAll(async () => {
  await direct.close();
  await server.stop();
});

/** One server for all tests of this file: opening an engine takes longer than emptying its tables. */
async function empty(): Promise<void> {
  for (const table of [...Object.keys(tableFields), 'ingest_owners'])
    await direct.run(`TRUNCATE TABLE IF EXISTS ${table}`);
}

storeContract('clickhouse', async () => {
  await empty();
  const store = await openClickHouseStore(server.connection);
  return { store, remove: () => store.close() };
});

describe('an insert whose end nobody sees', () => {
  let proxy: FaultProxy;
  let store: Store;
  beforeEach(async () => {
    await empty();
    proxy = await startFaultProxy(() => server.connection.url);
    store = await openClickHouseStore({ ...server.connection, url: proxy.url, timeoutMs: 2000 });
    await store.migrate();
    await store.takeOver('calls', [0]);
  });
  afterEach(async () => {
    await store.close();
    await proxy.stop();
  });

  test.each(proxyFaults)('%s: the range is read back, and the block is there once', async (fault) => {
    proxy.faults.push(fault);
    const batch = batchOfCalls(0, 0, 200);
    const carriedOut = fault.endsWith('_after');
    const inserting = store.insert(batch);
    if (carriedOut) await inserting;
    else {
      await expect(inserting).rejects.toMatchObject({ code: 'clickhouse_unreachable', retriable: true });
      expect(await store.highestOffsets('calls')).toEqual(new Map());
      await store.insert(batch);
    }
    expect(proxy.happened).toEqual([fault]);
    expect(await rowsOf(store, 'SELECT count() AS rows, uniqExact(stream_offset) AS offsets FROM calls')).toEqual([
      { rows: 200, offsets: 200 },
    ]);
  });

  test('a server that is gone right after it stored: the next attempt finds the rows and adds none', async () => {
    const batch = batchOfCalls(0, 0, 200);
    proxy.faults.push('close_after');
    const inserting = store.insert(batch);
    // Away before anything can be asked about it.
    const seen = setInterval(() => {
      if (proxy.happened.length > 0) proxy.away = true;
    }, 1);
    await expect(inserting).rejects.toMatchObject({ code: 'clickhouse_unreachable', retriable: true });
    clearInterval(seen);
    await expect(store.insert(batch)).rejects.toMatchObject({ code: 'clickhouse_unreachable' });
    proxy.away = false;
    await store.insert(batch);
    expect(await rowsOf(store, 'SELECT count() AS rows FROM calls')).toEqual([{ rows: 200 }]);
  });

  test('a server without an answer is an error after the time that is configured', async () => {
    proxy.delayMs = 60_000;
    const short = await openClickHouseStore({ ...server.connection, timeoutMs: 200 });
    await short.close();
    const slow = new ClickHouseConnection({ ...server.connection, url: proxy.url, timeoutMs: 200 });
    await expect(slow.run('SELECT 1')).rejects.toThrow('no answer within 200 ms');
    await slow.close();
  });
});

describe('who owns a partition', () => {
  let first: Store;
  let second: Store;
  beforeEach(async () => {
    await empty();
    first = await openClickHouseStore(server.connection);
    second = await openClickHouseStore(server.connection);
    await first.migrate();
  });
  afterEach(async () => {
    await first.close();
    await second.close();
  });

  test('the owner before stores nothing any more, however late its block arrives', async () => {
    await first.takeOver('calls', [0, 1]);
    await first.insert(batchOfCalls(0, 0, 10));
    expect(await second.takeOver('calls', [0])).toEqual(new Map([[0, 9]]));
    // What the first one had in hand when it was frozen, and its attempts to go on.
    for (const from of [10, 20]) {
      await expect(first.insert(batchOfCalls(0, from, 10))).rejects.toMatchObject({ code: 'store_fenced' });
    }
    await second.insert(batchOfCalls(0, 10, 5));
    await expect(first.insert(batchOfCalls(0, 10, 10))).rejects.toMatchObject({ code: 'store_fenced' });
    expect(await first.highestOffsets('calls')).toEqual(new Map([[0, 14]]));
    // The other partition is still its own, and the first one it may take back.
    await first.insert(batchOfCalls(1, 0, 10));
    expect(await first.takeOver('calls', [0])).toEqual(new Map([[0, 14]]));
    await first.insert(batchOfCalls(0, 15, 5));
    await expect(second.insert(batchOfCalls(0, 15, 5))).resolves.toBeUndefined();
    await expect(second.insert(batchOfCalls(0, 20, 5))).rejects.toMatchObject({ code: 'store_fenced' });
  });

  test('of many that take a partition at once exactly one can insert', async () => {
    const stores = await Promise.all(Array.from({ length: 6 }, () => openClickHouseStore(server.connection)));
    await Promise.all(stores.map((store) => store.takeOver('calls', [0])));
    const outcomes = await Promise.allSettled(stores.map((store) => store.insert(batchOfCalls(0, 0, 20))));
    // Those that are fenced find the same rows there, stored by the owner, or are told that they lost.
    const codes = outcomes.flatMap((one) => (one.status === 'rejected' ? [one.reason.code] : []));
    expect(new Set(codes).size).toBeLessThanOrEqual(1);
    for (const code of codes) expect(code).toBe('store_fenced');
    expect(await rowsOf(first, 'SELECT count() AS rows FROM calls')).toEqual([{ rows: 20 }]);
    await Promise.all(stores.map((store) => store.close()));
  });
});

describe('opening', () => {
  /** A server that answers everything with one text. */
  async function answering(status: number, text: string) {
    const other = createServer((_request, answer) => void answer.writeHead(status).end(text));
    await once(other.listen(0, '127.0.0.1'), 'listening');
    const url = `http://127.0.0.1:${(other.address() as AddressInfo).port}`;
    return { url, stop: () => new Promise((resolve) => other.close(resolve)) };
  }

  test.each([
    ['an old server', 200, '23.8.16.16\n', 'clickhouse_too_old', /runs ClickHouse 23\.8\.16\.16; expected 25\.3/],
    ['a very old server', 200, '18.16.1\n', 'clickhouse_too_old', /expected 25\.3 or later/],
    [
      'a wrong password',
      403,
      'Code: 516. DB::Exception: ingestor: Authentication failed: password is incorrect, or there is no user with such name. (AUTHENTICATION_FAILED) (version 25.8.1.1)',
      'clickhouse_login_refused',
      /Authentication failed/,
    ],
    [
      'a wrong password at an old server',
      500,
      'Code: 193, e.displayText() = DB::Exception: Wrong password for user default, e.what() = DB::Exception\n',
      'clickhouse_login_refused',
      /Wrong password/,
    ],
    ['a page of something else', 502, '<html>Bad gateway</html>', 'clickhouse_unreachable', /Bad gateway/],
  ])('%s is one clear error', async (_what, status, text, code, message) => {
    const { url, stop } = await answering(status, text);
    await expect(openClickHouseStore({ url })).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
    await stop();
  });

  test('a wrong key is refused by the endpoint in the same words', async () => {
    const wrong = openClickHouseStore({ ...server.connection, password: 'wrong' });
    await expect(wrong).rejects.toMatchObject({ code: 'clickhouse_login_refused', retriable: false });
  });

  test('nobody there is an error that may pass and names the address', async () => {
    const { url, stop } = await answering(200, '');
    await stop();
    await expect(openClickHouseStore({ url })).rejects.toMatchObject({
      code: 'clickhouse_unreachable',
      retriable: true,
      message: expect.stringContaining(url),
    });
  });

  test('a certificate that has run out, or that nobody vouches for, is one clear error; a good one works', async () => {
    const { valid, expired, authorityPem } = await makeCertificates();
    const open = async (pair: { keyPem: string; certificatePem: string }, ca?: string) => {
      const tls = createTlsServer({ key: pair.keyPem, cert: pair.certificatePem }, (_request, answer) =>
        answer.end('23.8.1.1\n'),
      );
      tls.on('tlsClientError', () => undefined);
      await once(tls.listen(0, '127.0.0.1'), 'listening');
      const url = `https://127.0.0.1:${(tls.address() as AddressInfo).port}`;
      try {
        await openClickHouseStore({ url, ...(ca === undefined ? {} : { tls: { ca } }) });
      } finally {
        tls.closeAllConnections();
        tls.close();
      }
    };
    await expect(open(expired, authorityPem)).rejects.toMatchObject({
      code: 'clickhouse_certificate_invalid',
      message: expect.stringContaining('expired'),
    });
    await expect(open(valid)).rejects.toMatchObject({ code: 'clickhouse_certificate_invalid', retriable: false });
    // Past TLS it is the version that is refused.
    await expect(open(valid, authorityPem)).rejects.toMatchObject({ code: 'clickhouse_too_old' });
  });
});

test.each(['none', 'gzip', 'zstd'] as const)('a block that is sent as %s is the same block', async (compression) => {
  await empty();
  const store = await openClickHouseStore({ ...server.connection, compression });
  await store.migrate();
  await store.insert(batchOfCalls(0, 0, 3000));
  expect(await rowsOf(store, "SELECT count() AS rows FROM calls WHERE arguments != ''")).toEqual([{ rows: 3000 }]);
  expect(await rowsOf(store, "SELECT rows FROM system.parts WHERE table = 'calls' AND active")).toEqual([
    { rows: 3000 },
  ]);
  await store.close();
});

describe('a cluster', () => {
  const statements = readMigrations().flatMap((migration) => migration.statements);

  test.each([false, true])(
    'every statement of the tables is one that the engine parses (sharded: %s)',
    async (sharded) => {
      const all = statements.flatMap((statement) => clusterStatements(statement, { cluster: "main's", sharded }));
      for (const statement of all) {
        const ast = (await direct.run(`EXPLAIN AST ${statement}`)).toString();
        expect(ast, statement).toMatch(/^(Create|Alter)/);
        expect(statement).toContain("ON CLUSTER 'main\\'s'");
      }
      const tables = all.filter((one) => one.startsWith('CREATE TABLE'));
      expect(tables.length).toBe(Object.keys(tableFields).length * (sharded ? 2 : 1));
      for (const one of tables) expect(one).toMatch(/ENGINE = (ReplicatedMergeTree|Distributed)\(/);
    },
  );

  test('rows are spread over shards by partition, and what all must agree on is on every server', () => {
    const sharded = { cluster: 'c', sharded: true };
    const [local, distributed] = clusterStatements(
      'CREATE TABLE IF NOT EXISTS calls\n(\n    a UInt8\n)\nENGINE = MergeTree\nORDER BY a',
      sharded,
    );
    expect(local).toContain("CREATE TABLE IF NOT EXISTS calls_local ON CLUSTER 'c'");
    expect(local).toContain("ReplicatedMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}')");
    expect(distributed).toContain(
      "AS calls_local ENGINE = Distributed('c', currentDatabase(), 'calls_local', stream_partition)",
    );
    expect(
      clusterStatements('CREATE TABLE IF NOT EXISTS ingest_owners (a UInt8) ENGINE = MergeTree ORDER BY a', sharded),
    ).toEqual([
      "CREATE TABLE IF NOT EXISTS ingest_owners ON CLUSTER 'c' (a UInt8) ENGINE = ReplicatedMergeTree('/clickhouse/tables/all/{database}/{table}', '{shard}-{replica}') ORDER BY a",
    ]);
    expect(
      clusterStatements('CREATE TABLE IF NOT EXISTS t (a UInt8) ENGINE = ReplacingMergeTree(v) ORDER BY a', {
        cluster: 'c',
        sharded: false,
      })[0],
    ).toContain("ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}', v)");
    expect(clusterStatements('ALTER TABLE calls ADD COLUMN b UInt8', sharded)).toEqual([
      "ALTER TABLE calls_local ON CLUSTER 'c' ADD COLUMN b UInt8",
      "ALTER TABLE calls ON CLUSTER 'c' ADD COLUMN b UInt8",
    ]);
    expect(clusterStatements('ALTER TABLE calls MODIFY TTL a', sharded)).toEqual([
      "ALTER TABLE calls_local ON CLUSTER 'c' MODIFY TTL a",
    ]);
  });

  test('a cluster that the server does not know is an error that names those it knows', async () => {
    const opening = openClickHouseStore({ ...server.connection, cluster: 'nobody' });
    await expect(opening).rejects.toMatchObject({
      code: 'configuration_invalid',
      message: expect.stringMatching(/no cluster nobody; it knows /),
    });
  });
});
