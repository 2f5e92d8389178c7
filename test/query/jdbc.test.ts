/** The JDBC driver of ClickHouse, as DBeaver and Metabase use it, against the endpoint: one run of a JVM. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { writeCityHash128 } from '../../services/query/city-hash.js';
import { openClickHouseStore } from '../../services/store/clickhouse.js';
import { type ClickHouseServer, namedClickHouse, readKey, startClickHouse } from '../contract/clickhouse-server.js';
import { batchOfCalls } from '../contract/store.js';
import { fetchJars } from '../jars.js';

describe.skipIf(namedClickHouse !== undefined)('JDBC (skipped with CLICKHOUSE_URL: the endpoint is ours)', () => {
  let server: ClickHouseServer;
  let found: Record<string, unknown>;
  beforeAll(async () => {
    server = await startClickHouse();
    const store = await openClickHouseStore(server.connection);
    await store.migrate();
    await store.insert(batchOfCalls(0, 0, 1000));
    await store.close();
    const program = join(import.meta.dirname, 'jdbc', 'Reader.java');
    const jars = await fetchJars('jdbc', join(import.meta.dirname, 'jdbc', 'pom.xml'));
    const flags = ['-XX:TieredStopAtLevel=1', '-XX:+UseSerialGC', '-cp', join(jars, '*')];
    const { stdout } = await promisify(execFile)('java', [
      ...flags,
      program,
      new URL(server.connection.url).host,
      readKey,
    ]);
    found = JSON.parse(stdout) as Record<string, unknown>;
  }, 400_000);
  afterAll(() => server.stop());

  test('reads the same through its blocks of LZ4, without compression and with frames of LZ4', () => {
    for (const mode of ['', '?compress=false', '?client.use_http_compression=true']) {
      expect(found[`sum${mode}`]).toBe('1088890');
      expect(found[`characters${mode}`]).toBe(1_822_595);
    }
  });

  test('the checksum of a block is its own, for every short length', () => {
    const hashes = found.hashes as string[];
    expect(hashes).toHaveLength(300);
    for (const [length, hash] of hashes.entries()) {
      const bytes = Uint8Array.from({ length }, (_, at) => at * at + length);
      const view = new DataView(new ArrayBuffer(16));
      writeCityHash128(bytes, view, 0);
      const words = [view.getBigUint64(0, true), view.getBigUint64(8, true)];
      expect(words.map((word) => word.toString(16).padStart(16, '0')).join(''), `${length} bytes`).toBe(hash);
    }
  });

  test('types', () => {
    expect(found.types).toEqual([
      'String',
      'LowCardinality(String)',
      "DateTime64(6, 'UTC')",
      'Array(UInt8)',
      'Map(String, String)',
      'Nullable(String)',
      'UInt64',
      'Decimal(18, 4)',
      'Bool',
      'UUID',
      'Date',
      'Float64',
    ]);
    expect(found.values).toEqual([
      'é',
      'x',
      '2026-01-02 03:04:05.123456',
      '[1, 2]',
      '{a=b}',
      'null',
      '18446744073709551615',
      '1.2500',
      'true',
      '019ab3f0-8c1b-7001-9f3e-5d2c8a417be6',
      '2026-01-02',
      '0.5',
    ]);
  });

  test('prepared statements, and what tools ask about a database', () => {
    expect(found).toMatchObject({
      valid: true,
      prepared: [100, "it's \\ a 'text'"],
      product: 'ClickHouse',
      tables: expect.arrayContaining(['calls', 'tool_calls', 'alerts']),
      columns: expect.arrayContaining(['event_id', 'actor_id', 'arguments']),
      schemas: expect.arrayContaining(['default']),
    });
  });

  test('errors have our message and code, also in the middle of the rows', () => {
    expect(found.refused).toEqual([164, expect.stringContaining('does more than read')]);
    expect(found.unknown).toEqual([47, expect.stringContaining('UNKNOWN_IDENTIFIER')]);
    expect(found.late).toEqual([395, expect.stringContaining('too late')]);
    expect(found.stranger).toContain('516');
  });

  test('cancel, a time limit and closing a result end the query in the engine', () => {
    expect(found).toMatchObject({
      cancel: 'ended',
      timeout: expect.stringContaining('maximum: 1000 ms'),
      after: '1',
    });
  });
});
