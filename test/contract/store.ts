import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type Alert, alertFields } from '../../schemas/alert.js';
import { type Checked, checkCall, RecordCheck } from '../../schemas/check.js';
import { DeadBlock } from '../../schemas/dead.js';
import type { CallEvent } from '../../schemas/event.js';
import type { RecordOf } from '../../schemas/field.js';
import { CallsBlock, RecordBlock } from '../../schemas/native.js';
import { type InsertBatch, identityText, type QueryOptions, type Store } from '../../services/store/store.js';
import { generateEvents } from '../traffic.js';

/** Opens an empty store, and says how to get rid of it. */
export type StoreFactory = () => Promise<{ store: Store; remove(): Promise<void> }>;

const recordedAtMs = Date.UTC(2026, 9, 1, 12);

function checked(record: unknown, tenant = 'default'): CallEvent {
  const result: Checked<CallEvent> = checkCall(JSON.stringify(record), { tenant, producer_key: 'emitter' });
  if (!result.ok) throw new Error(result.message);
  return result.event;
}

const alerts = new RecordCheck<RecordOf<typeof alertFields>>(alertFields);

/** A checked alert, as the detector writes it. */
function alert(over: Partial<Alert> = {}): RecordOf<typeof alertFields> {
  const at = '2026-10-01T12:00:00.000001Z';
  const record: Alert = {
    alert_id: 'd41d8cd98f00b204e9800998ecf8427e',
    revision: 1,
    state: 'firing',
    rule_id: 'volume',
    rule_version: '1f',
    title: 'Too many calls',
    description: '',
    level: 'high',
    tags: ['attack.t1078'],
    runbook: '',
    actions: [{ notify: 'slack-sec' }],
    dry_run: false,
    tenant: 'default',
    group: { actor_id: 'alice' },
    started_at: at,
    at,
    first_at: at,
    last_at: at,
    caused_at: at,
    count: 301,
    values: { count: 301, threshold: 300 },
    reason: '301 calls in 5 minutes',
    evidence: ['019ab3f0-8c1b-7001-9f3e-5d2c8a417be6'],
    evidence_sql: 'SELECT 1',
    flags: [],
    ...over,
  };
  const position = { recordedAtMs, partition: 2, offset: 0 };
  const result = alerts.check(JSON.stringify(record), { position });
  if (!result.ok) throw new Error(result.message);
  return result.event;
}

/** A batch of generated calls: `rows` of them from `firstOffset` on, all recorded in one millisecond, of one tenant or of the one at each offset. */
export function batchOfCalls(
  partition: number,
  firstOffset: number,
  rows: number,
  recordedMs = recordedAtMs,
  tenant: string | ((offset: number) => string) = 'default',
): InsertBatch & { events: CallEvent[] } {
  const block = new CallsBlock();
  const events: CallEvent[] = [];
  for (const event of generateEvents({
    seed: 1000 * partition + firstOffset,
    count: rows,
    startMs: recordedMs,
    spanMs: 10_000,
  })) {
    const offset = firstOffset + events.length;
    const call = checked(event, typeof tenant === 'string' ? tenant : tenant(offset));
    block.append(call, recordedMs, partition, offset);
    events.push(call);
  }
  const lastOffset = firstOffset + rows - 1;
  return { table: 'calls', partition, firstOffset, lastOffset, rows, block: block.finish(), events };
}

/** All rows of a query. */
export async function rowsOf<T = Record<string, unknown>>(
  store: Store,
  sql: string,
  options: Partial<QueryOptions> = {},
): Promise<T[]> {
  const pieces: Uint8Array[] = [];
  for await (const piece of store.query(sql, { format: 'JSONEachRow', ...options })) pieces.push(piece);
  const text = Buffer.concat(pieces).toString().trimEnd();
  return text === '' ? [] : text.split('\n').map((line) => JSON.parse(line) as T);
}

/** What every store must do, run on each adapter. */
export function storeContract(name: string, factory: StoreFactory): void {
  describe(`store contract: ${name}`, () => {
    let store: Store;
    let remove: () => Promise<void>;
    beforeEach(async () => {
      ({ store, remove } = await factory());
      await store.migrate();
    });
    afterEach(() => remove());

    it('applies each migration once', async () => {
      expect(await store.migrate()).toEqual({ applied: [] });
    });

    it('stores a batch and finds it by SQL', async () => {
      const batch = batchOfCalls(3, 100, 500);
      await store.insert(batch);
      const [row] = await rowsOf(
        store,
        'SELECT count() AS calls, uniqExact(event_id) AS ids, min(stream_offset) AS first FROM calls',
      );
      expect(row).toMatchObject({ calls: 500, ids: 500, first: 100 });
      const event = batch.events[17] as CallEvent;
      const rows = await rowsOf(store, 'SELECT * FROM calls WHERE event_id = {id:UUID}', {
        parameters: { id: event.event_id },
      });
      expect(rows).toHaveLength(1);
      expect(rows[0]).toMatchObject({
        actor_id: event.actor_id,
        arguments: event.arguments,
        stream_partition: 3,
        stream_offset: 117,
      });
    });

    it('knows the highest offset of each partition', async () => {
      expect(await store.highestOffsets('calls')).toEqual(new Map());
      await store.insert(batchOfCalls(0, 0, 10));
      await store.insert(batchOfCalls(0, 10, 5));
      await store.insert(batchOfCalls(7, 1000, 3));
      expect(await store.highestOffsets('calls')).toEqual(
        new Map([
          [0, 14],
          [7, 1002],
        ]),
      );
      expect(await store.highestOffsets('dead')).toEqual(new Map());
    });

    it('knows which event ids are stored, whatever their version or time', async () => {
      const batch = batchOfCalls(0, 0, 50);
      await store.insert(batch);
      const other = 'f47ac10b-58cc-4372-a567-0e02b2c3d479';
      const block = new CallsBlock();
      const late = { ...(batch.events[0] as CallEvent), event_id: other, occurred_at: '2001-01-01T00:00:00.000000Z' };
      block.append(late, recordedAtMs, 0, 50);
      await store.insert({
        table: 'calls',
        partition: 0,
        firstOffset: 50,
        lastOffset: 50,
        rows: 1,
        block: block.finish(),
      });
      const stored = batch.events.map(({ event_id }) => event_id);
      const absent = ['019ab3f0-8c1b-7001-9f3e-5d2c8a417be6', 'f47ac10b-58cc-4372-a567-0e02b2c3d470'];
      expect(await store.storedEventIds([...stored, other, ...absent], 'default')).toEqual(new Set([...stored, other]));
      expect(await store.storedEventIds(absent, 'default')).toEqual(new Set());
      expect(await store.storedEventIds([], 'default')).toEqual(new Set());
      expect(await store.storedEventIds(stored, "another' OR 1=1 --")).toEqual(new Set());
      const last = 'ffffffff-ffff-7fff-bfff-ffffffffffff';
      expect(await store.storedEventIds([last, ...stored], 'default')).toEqual(new Set(stored));
    });

    it('answers from the rollups what the table answers', async () => {
      const batch = batchOfCalls(0, 0, 800);
      await store.insert(batch);
      const minutes = await rowsOf(store, 'SELECT sum(calls) AS calls FROM calls_per_minute');
      expect(minutes).toEqual([{ calls: 800 }]);
      const tools = await rowsOf<{ tool: string; failed: boolean }>(store, 'SELECT tool, failed FROM tool_calls');
      expect(tools.filter(({ failed }) => failed)).toHaveLength(
        batch.events.filter(({ outcome }) => outcome !== 'success').length,
      );
    });

    it('keeps dead letters byte for byte', async () => {
      const block = new DeadBlock();
      const raw = Uint8Array.from({ length: 256 }, (_, index) => index);
      block.append(
        {
          source_topic: 'calls',
          source_partition: 2,
          source_offset: 77,
          reason: 'invalid_utf8',
          message: 'the record is not valid UTF-8',
          raw,
          headers: { tenant: 'default' },
        },
        recordedAtMs,
        1,
        5,
      );
      await store.insert({
        table: 'dead',
        partition: 1,
        firstOffset: 5,
        lastOffset: 5,
        rows: 1,
        block: block.finish(),
      });
      expect(await rowsOf(store, 'SELECT source_offset, reason, hex(raw) AS raw, headers FROM dead')).toEqual([
        {
          source_offset: 77,
          reason: 'invalid_utf8',
          raw: Buffer.from(raw).toString('hex').toUpperCase(),
          headers: { tenant: 'default' },
        },
      ]);
      expect(await store.highestOffsets('dead')).toEqual(new Map([[1, 5]]));
    });

    it('keeps alerts, knows those it holds, and shows each as it is now', async () => {
      const hostile = "a'\\\\ '); DROP TABLE alerts; --\0é";
      const revisions = [1, 2, 3].map((revision) => alert({ revision, state: revision === 3 ? 'resolved' : 'firing' }));
      const block = new RecordBlock(alertFields);
      const records = [...revisions, alert({ alert_id: hostile.slice(0, 60) })];
      for (const [offset, record] of records.entries()) block.append(record, recordedAtMs, 2, offset);
      await store.insert({
        table: 'alerts',
        partition: 2,
        firstOffset: 0,
        lastOffset: 3,
        rows: 4,
        block: block.finish(),
      });
      const known = [...records.map(({ alert_id, revision }) => [alert_id, revision] as [string, number])];
      const unknown: [string, number][] = [
        ['d41d8cd98f00b204e9800998ecf8427e', 4],
        ['', 1],
      ];
      expect(await store.storedIdentities('alerts', [...known, ...unknown])).toEqual(new Set(known.map(identityText)));
      expect(await store.storedIdentities('alerts', unknown)).toEqual(new Set());
      expect(await store.storedIdentities('alerts', [])).toEqual(new Set());
      const many = Array.from({ length: 10_000 }, (_, index): [string, number] => [`${index}`.repeat(8), index]);
      expect(await store.storedIdentities('alerts', [...many, ...known])).toEqual(new Set(known.map(identityText)));
      expect(
        await rowsOf(
          store,
          "SELECT state, revision, group['actor_id'] AS actor, toFloat64(values['count']) AS crossed, JSONExtractString(actions, 1, 'notify') AS channel FROM alerts_latest WHERE rule_id = 'volume' ORDER BY revision DESC",
        ),
      ).toEqual([
        { state: 'resolved', revision: 3, actor: 'alice', crossed: 301, channel: 'slack-sec' },
        { state: 'firing', revision: 1, actor: 'alice', crossed: 301, channel: 'slack-sec' },
      ]);
    });

    it('refuses a block that spans two days, whole', async () => {
      const block = new CallsBlock();
      const [first, second] = batchOfCalls(0, 0, 2).events as [CallEvent, CallEvent];
      block.append(first, Date.UTC(2026, 9, 1, 23, 59, 59, 999), 0, 0);
      block.append(second, Date.UTC(2026, 9, 2), 0, 1);
      const inserted = store.insert({
        table: 'calls',
        partition: 0,
        firstOffset: 0,
        lastOffset: 1,
        rows: 2,
        block: block.finish(),
      });
      await expect(inserted).rejects.toMatchObject({ code: 'store_refused_block', retriable: false });
      expect(await rowsOf(store, 'SELECT event_id FROM calls')).toEqual([]);
    });

    it('refuses a block that is cut short, whole', async () => {
      const batch = batchOfCalls(0, 0, 100);
      const inserted = store.insert({ ...batch, block: batch.block.subarray(0, batch.block.length - 10) });
      await expect(inserted).rejects.toMatchObject({ name: 'AuditdError', retriable: false });
      expect(await store.highestOffsets('calls')).toEqual(new Map());
    });

    it('says so when a range is inserted twice', async () => {
      await store.insert(batchOfCalls(0, 0, 10));
      await expect(store.insert(batchOfCalls(0, 0, 10))).rejects.toMatchObject({ code: 'store_inconsistent' });
    });

    it('reports rows and bytes by table', async () => {
      await store.insert(batchOfCalls(0, 0, 300));
      const { tables } = await store.usage();
      const calls = tables.find(({ table }) => table === 'calls');
      expect(calls?.rows).toBe(300);
      expect(calls?.bytes).toBeGreaterThan(1000);
    });

    it('streams rows and formats with parameters', async () => {
      await store.insert(batchOfCalls(0, 0, 10));
      const options = { parameters: { actor: "x' OR 1=1 --", least: '3' } };
      expect(await rowsOf(store, 'SELECT 1 FROM calls WHERE actor_id = {actor:String}', options)).toEqual([]);
      expect(
        await rowsOf(store, 'SELECT count() AS n FROM calls WHERE stream_offset >= {least:UInt64}', options),
      ).toEqual([{ n: 7 }]);
      const csv: Uint8Array[] = [];
      const many = store.query('SELECT number AS n FROM numbers(200000)', { format: 'CSVWithNames' });
      for await (const piece of many) csv.push(piece);
      const lines = Buffer.concat(csv).toString().trimEnd().split('\n');
      expect(lines).toHaveLength(200_001);
      expect(lines.filter((line) => line.includes('n'))).toEqual(['"n"']);
    });
  });

  // One store for all: they only read, and what they must not write is looked for after each.
  describe(`store contract, queries: ${name}`, () => {
    let store: Store;
    let remove: () => Promise<void>;
    beforeAll(async () => {
      ({ store, remove } = await factory());
      await store.migrate();
    });
    afterAll(() => remove());

    it('takes SHOW, DESCRIBE, EXPLAIN and WITH', async () => {
      expect(await rowsOf(store, 'SHOW TABLES')).toContainEqual({ name: 'calls' });
      expect((await rowsOf(store, 'DESCRIBE calls')).length).toBeGreaterThan(40);
      expect((await rowsOf(store, 'EXPLAIN SELECT 1')).length).toBeGreaterThan(0);
      expect(await rowsOf(store, 'WITH 2 AS two SELECT two + 1 AS three -- with a comment')).toEqual([{ three: 3 }]);
    });

    it.each([
      ['time', 'SELECT count() FROM numbers(1000000000000)', { timeMs: 200 }],
      ['memory', 'SELECT groupArray(number) FROM numbers(100000000)', { memoryBytes: 50_000_000 }],
      ['rows', 'SELECT number FROM numbers(1000)', { resultRows: 100 }],
      ['bytes', "SELECT repeat('a', 1000) FROM numbers(10000)", { resultBytes: 100_000 }],
    ])('stops a query at its limit of %s', async (_limit, sql, limits) => {
      await expect(rowsOf(store, sql, { limits })).rejects.toMatchObject({ code: 'query_limit' });
    });

    it('ends a query when its caller aborts', async () => {
      const controller = new AbortController();
      const query = rowsOf(store, 'SELECT count() FROM numbers(100000000000)', {
        signal: controller.signal,
        limits: { timeMs: 1000 },
      });
      setImmediate(() => controller.abort());
      await expect(query).rejects.toMatchObject({ code: 'query_aborted' });
      expect(await rowsOf(store, 'SELECT 1 AS one')).toEqual([{ one: 1 }]);
    });

    it('frees its place when the caller stops reading', async () => {
      for (let round = 0; round < 5; round++) {
        for await (const piece of store.query('SELECT number FROM numbers(1000000)', { format: 'TSV' })) {
          expect(piece.length).toBeGreaterThan(0);
          break;
        }
      }
      expect(await rowsOf(store, 'SELECT 1 AS one')).toEqual([{ one: 1 }]);
    });

    it('runs many queries at once, each with its own parameters', async () => {
      const answers = await Promise.all(
        Array.from({ length: 12 }, (_, index) =>
          rowsOf(store, 'SELECT {n:UInt32} AS n', { parameters: { n: String(index) } }),
        ),
      );
      expect(answers.flat()).toEqual(Array.from({ length: 12 }, (_, index) => ({ n: index })));
    });

    it('names the place of a syntax error', async () => {
      await expect(rowsOf(store, 'SELEC 1')).rejects.toMatchObject({
        code: 'query_failed',
        message: expect.stringContaining('failed at position 7'),
      });
      await expect(rowsOf(store, 'SELECT nothing FROM calls')).rejects.toMatchObject({ code: 'query_failed' });
    });

    it.each([
      'DROP TABLE calls',
      'INSERT INTO calls (method) VALUES (1)',
      'ALTER TABLE calls DELETE WHERE 1',
      'TRUNCATE TABLE calls',
      'OPTIMIZE TABLE calls',
      'CREATE TEMPORARY TABLE t (a Int8)',
      'SET readonly = 0',
      'USE system',
      'SYSTEM FLUSH LOGS',
      'KILL QUERY WHERE 1',
      'SELECT 1; DROP TABLE calls',
      'SELECT 1; SELECT 2',
      'SELECT 1; DROP TABLE calls; (',
      "SELECT 1; SELECT 2 INTO OUTFILE 'out.txt'; (",
      'graph = 1 SELECT 1',
      "SELECT 1 INTO OUTFILE 'out.txt'",
      "EXPLAIN SELECT 1 INTO OUTFILE 'out.txt'",
      "SHOW TABLES INTO OUTFILE 'out.txt'",
      'SELECT 1 SETTINGS readonly = 0',
      'SELECT * FROM (SELECT 1 SETTINGS readonly = 0)',
      'SELECT 1 SETTINGS max_execution_time = 0',
      "SELECT file('/etc/passwd')",
      "SELECT `file`('/etc/passwd')",
      "SELECT `fi\\x6ce`('/etc/passwd')",
      "SELECT arrayMap(file, ['/etc/passwd'])",
      "SELECT arrayMap(p -> file(p), ['/etc/passwd'])",
      "SELECT * APPLY(file) FROM (SELECT '/etc/passwd')",
      "SELECT * APPLY(x -> file(x)) FROM (SELECT '/etc/passwd')",
      "SELECT * REPLACE(file(p) AS p) FROM (SELECT '/etc/passwd' AS p)",
      "EXPLAIN SELECT file('/etc/passwd')",
      "EXPLAIN QUERY TREE SELECT file('/etc/passwd')",
      "DESCRIBE (SELECT file('/etc/passwd'))",
      "SELECT * FROM file('/etc/passwd', 'LineAsString')",
      "DESCRIBE file('/etc/passwd', 'CSV')",
      "SELECT * FROM '/etc/passwd'",
      'SELECT * FROM `/etc/passwd`',
      "SELECT * FROM url('http://127.0.0.1:1/', 'CSV', 'a String')",
      "SELECT * FROM s3('http://127.0.0.1:1/b/k', 'CSV', 'a String')",
      "SELECT * FROM remote('127.0.0.1:1', 'default', 'calls')",
      "SELECT * FROM executable('id', 'TSV', 'a String')",
      "SELECT * FROM mysql('127.0.0.1:1', 'a', 'b', 'c', 'd')",
      "SELECT * FROM sqlite('/tmp/x.db', 't')",
      "SELECT 1 WHERE 1 IN (SELECT a FROM url('http://127.0.0.1:1/', 'CSV', 'a UInt8'))",
      "WITH t AS (SELECT * FROM file('/etc/passwd')) SELECT * FROM t",
      "BACKUP TABLE calls TO File('out')",
    ])('refuses %s', async (sql) => {
      await expect(rowsOf(store, sql)).rejects.toMatchObject({
        code: expect.stringMatching(/^query_(refused|failed)$/),
      });
      expect(await rowsOf(store, 'SELECT count() AS n FROM calls')).toEqual([{ n: 0 }]);
    });

    it('refuses a file that comes in through a parameter', async () => {
      const map = rowsOf(store, 'SELECT arrayMap({f:Identifier}, [1])', { parameters: { f: 'file' } });
      await expect(map).rejects.toMatchObject({ code: 'query_refused' });
      const table = rowsOf(store, 'SELECT * FROM {t:Identifier}', { parameters: { t: '/etc/passwd' } });
      await expect(table).rejects.toMatchObject({ code: expect.stringMatching(/^query_(refused|failed)$/) });
    });

    it('refuses a format that is no name', async () => {
      await expect(rowsOf(store, 'SELECT 1', { format: 'CSV; DROP TABLE calls' })).rejects.toMatchObject({
        code: 'query_refused',
      });
    });

    it('answers a burst beyond its bound with busy', async () => {
      const answers = await Promise.allSettled(Array.from({ length: 60 }, () => rowsOf(store, 'SELECT 1 AS one')));
      const codes = new Set(answers.map((answer) => (answer.status === 'fulfilled' ? 'ok' : answer.reason.code)));
      expect(codes).toEqual(new Set(['ok', 'query_busy']));
    });
  });
}
