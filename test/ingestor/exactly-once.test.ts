import fc from 'fast-check';
import { Registry } from 'prom-client';
import { expect, test } from 'vitest';
import { callCheck } from '../../schemas/check.js';
import { CallsPartition, type DirectProducers, deadLetterOf, type StoredUpTo } from '../../services/ingestor/calls.js';
import { ingestorMetrics } from '../../services/ingestor/metrics.js';
import { PartitionWriter } from '../../services/ingestor/writer.js';
import { Abandoned } from '../../services/stream/retry.js';
import type { NewRecord, Stream, StreamRecord } from '../../services/stream/stream.js';
import { callRecord, idFrom, JsonBlock, MemoryStore, timeOfId } from './memory.js';

const metrics = ingestorMetrics(new Registry());

class Harness {
  readonly store = new MemoryStore();
  readonly dead: NewRecord[] = [];
  readonly faults: unknown[] = [];
  committed = 0;
  private readonly stream = {
    append: async (_topic: string, records: readonly NewRecord[]) => {
      this.dead.push(...records);
      return [];
    },
  } as unknown as Stream;

  constructor(
    private readonly limits = { rows: 2, bytes: 1_000_000, timeMs: 100_000 },
    private readonly ids = 16,
  ) {}

  /** What a start finds. */
  start(direct: DirectProducers = { tenant: 'default', mayNameTenant: false }): {
    calls: CallsPartition;
    writer: PartitionWriter;
  } {
    const byTenant = new Map<string, number>();
    for (const { tenant, event_id } of this.store.rows) {
      const timeMs = timeOfId(event_id);
      byTenant.set(tenant, Math.max(timeMs, byTenant.get(tenant) ?? 0));
    }
    const storedUpTo: StoredUpTo = { defaultMs: 0, byTenant };
    const report = (error: unknown): void => void this.faults.push(error);
    const calls = new CallsPartition({
      partition: 0,
      store: this.store,
      direct,
      rememberedIds: this.ids,
      storedUpTo,
      metrics,
      report,
    });
    const writer = new PartitionWriter({
      topic: 'calls',
      partition: 0,
      stream: this.stream,
      store: this.store,
      limits: this.limits,
      metrics,
      makeBlock: () => new JsonBlock(),
      fenced: () => undefined,
      decode: (record) => calls.decode(record),
      giveUp: (record, reason, message) => {
        calls.forget(record);
        return deadLetterOf('calls', 0, record, reason, message);
      },
      commit: async (nextOffset) => {
        this.committed = nextOffset;
      },
      report,
    });
    return { calls, writer };
  }

  async next(): Promise<number> {
    return Math.max(((await this.store.highestOffsets()).get(0) ?? -1) + 1, this.committed);
  }
}

function batchOf(records: readonly StreamRecord[], endOffset: number) {
  return {
    topic: 'calls' as const,
    partition: 0,
    records,
    nextOffset: records[records.length - 1]!.offset + 1,
    endOffset,
  };
}

test('whatever the order, clocks, evictions and restarts: each event once, nothing lost, no tenant in another’s way', async () => {
  const event = fc.record({
    tenant: fc.constantFrom('a', 'b'),
    name: fc.integer({ min: 0, max: 8 }),
    // Few different times, some far ahead of any clock, so that ids fall on both sides of every boundary.
    clock: fc.constantFrom(1_000, 2_000, 3_000, 2 ** 47, undefined),
  });
  const run = fc.record({
    events: fc.array(event, { minLength: 1, maxLength: 120, size: 'max' }),
    batchSizes: fc.array(fc.integer({ min: 1, max: 7 }), { minLength: 30, maxLength: 30 }),
    // Rare, so that memory fills and forgets between two of them.
    restartBefore: fc.array(
      fc.integer({ min: 0, max: 11 }).map((number) => number === 0),
      { minLength: 30, maxLength: 30 },
    ),
  });
  await fc.assert(
    fc.asyncProperty(run, async ({ events, batchSizes, restartBefore }) => {
      const harness = new Harness();
      const log = events.map(({ tenant, name, clock }, offset) =>
        callRecord(offset, tenant, idFrom(`${name} ${clock}`, clock)),
      );
      let { calls, writer } = harness.start();
      let position = 0;
      for (let step = 0; position < log.length; step++) {
        if (restartBefore[step % 30] && step < 60) {
          // A kill: what was not stored is gone.
          await writer.abandon();
          ({ calls, writer } = harness.start());
          position = await harness.next();
          if (position >= log.length) break;
        }
        const records = log.slice(position, position + batchSizes[step % 30]!);
        await calls.handle(batchOf(records, log.length), writer);
        position += records.length;
      }
      await writer.drain();
      const firsts = new Map<string, number>();
      for (const [offset, { tenant, name, clock }] of events.entries()) {
        const id = `${tenant} ${idFrom(`${name} ${clock}`, clock)}`;
        if (!firsts.has(id)) firsts.set(id, offset);
      }
      const storedOffsets = harness.store.rows.map(({ tenant, event_id, offset }) => [`${tenant} ${event_id}`, offset]);
      expect(storedOffsets).toEqual([...firsts]);
      expect(harness.faults).toEqual([]);
    }),
    { numRuns: 400 },
  );
});

test('ids that are new and nothing forgotten cost no question', async () => {
  const harness = new Harness({ rows: 100, bytes: 1_000_000, timeMs: 100_000 }, 1024);
  const { calls, writer } = harness.start();
  const log = Array.from({ length: 500 }, (_, offset) => callRecord(offset, 'a', idFrom(String(offset), 2_000)));
  await calls.handle(batchOf(log, 500), writer);
  await calls.handle(
    batchOf(
      log.map((record) => ({ ...record, offset: record.offset + 500 })),
      1_000,
    ),
    writer,
  );
  await writer.drain();
  expect([harness.store.rows.length, harness.store.asked, harness.committed]).toEqual([500, 0, 1_000]);
});

test('a store that fails before or after it stored is tried again and nothing is doubled', async () => {
  const harness = new Harness({ rows: 10, bytes: 1_000_000, timeMs: 100_000 }, 1024);
  harness.store.faults = ['before', 'none', 'after', 'before', 'after'];
  const { calls, writer } = harness.start();
  const log = Array.from({ length: 35 }, (_, offset) => callRecord(offset, 'a', idFrom(String(offset), 2_000)));
  await calls.handle(batchOf(log, 35), writer);
  await writer.drain();
  expect(harness.store.rows.map(({ offset }) => offset)).toEqual(log.map(({ offset }) => offset));
  expect(harness.faults).toHaveLength(4);
});

test('blocks are cut at midnight UTC, at their rows and at their bytes', async () => {
  const harness = new Harness({ rows: 4, bytes: 3_000, timeMs: 100_000 }, 1024);
  const { calls, writer } = harness.start();
  const midnight = Date.UTC(2026, 10, 25);
  const times = [-2, -1, 0, 1, 2, 3, 4, 5].map((each) => midnight + each);
  const log = times.map((timestamp, offset) => callRecord(offset, 'a', idFrom(String(offset), 2_000), { timestamp }));
  const { value } = callRecord(8, 'a', idFrom('8', 2_000));
  const large = Buffer.from(value.toString().replace('{', `{"result":"${'x'.repeat(4_000)}",`));
  log.push(callRecord(8, 'a', '', { value: large, timestamp: midnight + 6 }));
  await calls.handle(batchOf(log, 9), writer);
  await writer.drain();
  expect(harness.store.inserts.map(({ firstOffset, lastOffset }) => [firstOffset, lastOffset])).toEqual([
    [0, 1],
    [2, 5],
    [6, 8],
  ]);
});

test('a record that the store refuses becomes a dead letter, the others are stored, and its replay is no repetition', async () => {
  const harness = new Harness({ rows: 16, bytes: 1_000_000, timeMs: 100_000 }, 1024);
  const { calls, writer } = harness.start();
  const log = Array.from({ length: 16 }, (_, offset) => callRecord(offset, 'a', idFrom(String(offset), 2_000)));
  harness.store.poison.add(idFrom('5', 2_000)).add(idFrom('15', 2_000));
  await calls.handle(batchOf(log, 16), writer);
  await writer.drain();
  const good = log.map(({ offset }) => offset).filter((offset) => offset !== 5 && offset !== 15);
  expect(harness.store.rows.map(({ offset }) => offset)).toEqual(good);
  expect(harness.dead.map(({ key, value, headers }) => [key, value, headers.source_offset, headers.reason])).toEqual([
    ['calls/0', log[5]!.value, '5', 'store_refused_block'],
    ['calls/0', log[15]!.value, '15', 'store_refused_block'],
  ]);
  harness.store.poison.clear();
  await calls.handle(batchOf([{ ...log[5]!, offset: 16 }], 17), writer);
  await writer.drain();
  expect(harness.store.rows.at(-1)).toMatchObject({ offset: 16, event_id: idFrom('5', 2_000) });
});

test('a malformed record is a dead letter before anything after it is stored', async () => {
  const harness = new Harness({ rows: 100, bytes: 1_000_000, timeMs: 100_000 }, 1024);
  const { calls, writer } = harness.start();
  const raw = Buffer.from([0x7b, 0xff, 0x00, 0x0a]);
  const log = [0, 1, 2].map((offset) => callRecord(offset, 'a', idFrom(String(offset), 2_000)));
  log[1] = { ...log[1]!, value: raw };
  const insert = harness.store.insert.bind(harness.store);
  let deadAtInsert = -1;
  harness.store.insert = (batch) => {
    deadAtInsert = harness.dead.length;
    return insert(batch);
  };
  await calls.handle(batchOf(log, 3), writer);
  await writer.drain();
  expect(deadAtInsert).toBe(1);
  expect(harness.dead[0]).toMatchObject({ value: raw, headers: { reason: 'invalid_utf8', source_offset: '1' } });
  expect(harness.store.rows.map(({ offset }) => offset)).toEqual([0, 2]);
});

test('one block is filled while one is stored, and then the reader waits', async () => {
  const harness = new Harness({ rows: 2, bytes: 1_000_000, timeMs: 100_000 }, 1024);
  const { calls, writer } = harness.start();
  let release: () => void = () => undefined;
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  const insert = harness.store.insert.bind(harness.store);
  harness.store.insert = async (batch) => {
    await held;
    return insert(batch);
  };
  const log = Array.from({ length: 9 }, (_, offset) => callRecord(offset, 'a', idFrom(String(offset), 2_000)));
  let handled = false;
  const handling = calls.handle(batchOf(log, 9), writer).then(() => {
    handled = true;
  });
  for (let turn = 0; turn < 100; turn++) await Promise.resolve();
  expect([handled, harness.store.rows.length]).toEqual([false, 0]);
  release();
  await handling;
  await writer.drain();
  expect(harness.store.rows).toHaveLength(9);
});

test('what was abandoned is not written any more', async () => {
  const harness = new Harness();
  const { calls, writer } = harness.start();
  harness.store.faults = Array.from({ length: 50 }, () => 'before' as const);
  const log = [0, 1].map((offset) => callRecord(offset, 'a', idFrom(String(offset), 2_000)));
  await calls.handle(batchOf(log, 2), writer);
  await writer.abandon();
  harness.store.faults = [];
  await expect(writer.drain()).rejects.toBeInstanceOf(Abandoned);
  expect(harness.store.rows).toEqual([]);
});

test('a record without headers has the tenant of the configuration, or its own where that is allowed', async () => {
  const event = JSON.parse(callRecord(0, '', idFrom('x', 1)).value.toString());
  const own = callRecord(0, '', '', {
    headers: {},
    value: Buffer.from(JSON.stringify({ ...event, tenant: 'own' })),
  });
  const plain = callRecord(0, '', idFrom('x', 1), { headers: {} });
  const vouched = { ...own, headers: { tenant: 'key', producer_key: 'k' } };
  const check = (record: StreamRecord, mayNameTenant: boolean) => {
    const direct = { tenant: 'kafka', mayNameTenant };
    return callCheck.recordOf(new Harness().start(direct).calls.decode(record));
  };
  expect(check(plain, false)).toMatchObject({ tenant: 'kafka', producer_key: '' });
  expect(() => check(own, false)).toThrow('tenant is set by the gateway, the record claims "own"; it is "kafka" here');
  expect(check(own, true)).toMatchObject({ tenant: 'own' });
  expect(() => check(vouched, true)).toThrow('tenant is set by the gateway, the record claims "own"');
});
