import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Registry } from 'prom-client';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { readRows, readStoredUpTo } from '../../services/ingestor/calls.js';
import { type Ingestor, startIngestor } from '../../services/ingestor/ingestor.js';
import { openChdbStore } from '../../services/store/chdb.js';
import type { Store } from '../../services/store/store.js';
import { type LocalStream, openLocalStream } from '../../services/stream/local.js';
import { pauseMs } from '../../services/stream/retry.js';
import type { Stream } from '../../services/stream/stream.js';
import { callRecord, idFrom, MemoryStore } from './memory.js';

let directory: string;
let stream: LocalStream;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'ingestor-'));
  stream = openLocalStream({ directory: join(directory, 'stream'), durability: 'kernel' });
});
afterEach(async () => {
  await stream.close();
  rmSync(directory, { recursive: true, force: true });
});

const futureMs = Date.UTC(2060, 0, 1);
const farMs = 2 ** 48 - 1;

async function names(store: Store): Promise<string[]> {
  const found: string[] = [];
  const sql = 'SELECT concat(tenant, toString(event_id)) AS name FROM calls ORDER BY stream_offset';
  for await (const { name } of readRows<{ name: string }>(store, sql)) found.push(name);
  return found;
}

test('the real table decides what memory forgot: ids of the future, of year 9999, without time, and of other tenants', async () => {
  const store = await openChdbStore({ directory: join(directory, 'store') });
  await store.migrate();
  const ids = [idFrom('now', Date.now()), idFrom('future', futureMs), idFrom('far', farMs), idFrom('untimed')];
  const ingest = async (): Promise<{ rows: number; duplicates: number }> => {
    const ingestor: Ingestor = await startIngestor({ stream, store, limits: { timeMs: 5 }, metrics: new Registry() });
    const end = (await stream.partitions('calls'))[0]!.endOffset;
    while (((await stream.committed('calls', 'ingestor')).get(0) ?? 0) < end) await new Promise(setImmediate);
    await ingestor.close();
    const { rows, duplicates } = await ingestor.status();
    return { rows, duplicates };
  };
  const send = (tenant: string) =>
    stream.append(
      'calls',
      ids.map((id) => callRecord(0, tenant, id)),
    );
  await send('a');
  expect(await ingest()).toEqual({ rows: 4, duplicates: 0 });
  expect(await readStoredUpTo(store)).toEqual({ defaultMs: 0, byTenant: new Map([['a', farMs]]) });
  // A new start has forgotten everything; a tenant that knows the ids of another takes nothing away from it.
  await send('a');
  await send('b');
  await send('b');
  expect(await ingest()).toEqual({ rows: 4, duplicates: 8 });
  expect(await names(store)).toEqual(['a', 'b'].flatMap((tenant) => ids.map((id) => `${tenant}${id}`)));
  await store.close();
});

test('a store that cannot say where to go on is asked again, and closing ends the asking', async () => {
  const store = new MemoryStore();
  const faults: string[] = [];
  let asked: () => void = () => undefined;
  const twice = new Promise<void>((resolve) => {
    asked = resolve;
  });
  store.highestOffsets = async () => {
    throw new Error('away');
  };
  const ingestor = await startIngestor({
    stream,
    store,
    metrics: new Registry(),
    onFault: (_error, what) => {
      faults.push(what);
      if (faults.length >= 4) asked();
    },
  });
  await twice;
  await ingestor.close();
  expect(new Set(faults)).toEqual(new Set(['assign']));
});

test('partitions that are taken away while they are being taken over are not kept', async () => {
  let answer: () => void = () => undefined;
  const answered = new Promise<void>((resolve) => {
    answer = resolve;
  });
  const takeOver: Store['takeOver'] = async (_table, partitions) => {
    await answered;
    return new Map(partitions.map((partition) => [partition, 6]));
  };
  const store = Object.assign(new MemoryStore(), { takeOver });
  // A stream whose group is another member's a moment after it was this one's.
  const outcomes: Promise<ReadonlyMap<number, unknown>>[] = [];
  const consume: Stream['consume'] = async (options) => {
    const before = options.assigned([0, 1]);
    await new Promise(setImmediate);
    await options.revoked([0, 1]);
    const after = options.assigned([1]);
    outcomes.push(before, after);
    let end: () => void = () => undefined;
    const closed = new Promise<void>((resolve) => {
      end = resolve;
    });
    return { closed, close: async () => end(), commit: async () => undefined };
  };
  const shared = Object.assign(Object.create(stream) as Stream, { consume });
  const ingestor = await startIngestor({ stream: shared, store, metrics: new Registry() });
  while (outcomes.length < 2) await new Promise(setImmediate);
  answer();
  expect(await outcomes[0]).toEqual(new Map());
  expect(await outcomes[1]).toEqual(new Map([[1, 7]]));
  const { partitions } = await ingestor.status();
  expect(partitions.filter(({ topic }) => topic === 'calls')).toEqual([{ topic: 'calls', partition: 1, lag: 0 }]);
  await ingestor.close();
});

test('fewer remembered ids than are in hand are refused at the start', async () => {
  const options = { stream, store: new MemoryStore(), metrics: new Registry() };
  await expect(startIngestor({ ...options, limits: { rememberedIds: 1_024 } })).rejects.toThrow(
    /rememberedIds is 1024/,
  );
});

test('pauses double up to ten seconds, with jitter over the upper half', () => {
  expect([1, 2, 3].map((attempt) => pauseMs(attempt, () => 1))).toEqual([100, 200, 400]);
  expect(pauseMs(1, () => 0)).toBe(50);
  expect(pauseMs(1_000, () => 1)).toBe(10_000);
});
