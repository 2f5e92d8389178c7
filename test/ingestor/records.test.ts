import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Registry } from 'prom-client';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { readRows } from '../../services/ingestor/calls.js';
import { listDead, replayDead, showDead } from '../../services/ingestor/dead.js';
import { type Ingestor, startIngestor } from '../../services/ingestor/ingestor.js';
import { openChdbStore } from '../../services/store/chdb.js';
import type { Store } from '../../services/store/store.js';
import { type LocalStream, openLocalStream } from '../../services/stream/local.js';

let directory: string;
let stream: LocalStream;
let store: Store;
beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'records-'));
  stream = openLocalStream({ directory: join(directory, 'stream'), durability: 'kernel' });
  store = await openChdbStore({ directory: join(directory, 'store') });
  await store.migrate();
});
afterEach(async () => {
  await stream.close();
  await store.close();
  rmSync(directory, { recursive: true, force: true });
});

const at = '2026-11-24T03:52:00Z';
const alert = {
  alert_id: 'd41d8cd98f00b204e9800998ecf8427e',
  revision: 1,
  state: 'firing',
  rule_id: 'volume',
  level: 'high',
  started_at: at,
  at,
  first_at: at,
  last_at: at,
  caused_at: at,
};

function send(...records: unknown[]) {
  return append('alerts', records);
}

function append(topic: 'alerts' | 'queries', records: readonly unknown[]) {
  return stream.append(
    topic,
    records.map((record) => ({
      key: 'k',
      value: Buffer.from(typeof record === 'string' ? record : JSON.stringify(record)),
      headers: {},
    })),
  );
}

/** Runs an ingestor until everything of both topics is dealt with. */
async function ingest() {
  const ingestor: Ingestor = await startIngestor({ stream, store, limits: { timeMs: 5 }, metrics: new Registry() });
  for (const topic of ['alerts', 'queries', 'dead'] as const) {
    const end = (await stream.partitions(topic))[0]!.endOffset;
    while (((await stream.committed(topic, 'ingestor')).get(0) ?? 0) < end) await new Promise(setImmediate);
  }
  await ingestor.close();
  const { rows, duplicates, deadLetters } = await ingestor.status();
  return { rows, duplicates, deadLetters };
}

async function revisions(): Promise<unknown[]> {
  const found: unknown[] = [];
  const sql = 'SELECT revision, state, attributes, stream_offset FROM alerts ORDER BY stream_offset';
  for await (const row of readRows(store, sql)) found.push(row);
  return found;
}

test('an alert that is sent again is stored once, in one batch, after a restart and under another offset', async () => {
  await send(alert, { ...alert, revision: 2, state: 'updated', future_field: { a: 1 } }, alert);
  expect(await ingest()).toEqual({ rows: 2, duplicates: 1, deadLetters: 0 });
  await send(alert, { ...alert, revision: 3, state: 'resolved' });
  expect(await ingest()).toEqual({ rows: 1, duplicates: 1, deadLetters: 0 });
  expect(await revisions()).toEqual([
    { revision: 1, state: 'firing', attributes: {}, stream_offset: 0 },
    { revision: 2, state: 'updated', attributes: { future_field: '{"a":1}' }, stream_offset: 1 },
    { revision: 3, state: 'resolved', attributes: {}, stream_offset: 4 },
  ]);
});

test('a question that is sent again is stored once, however its time is written, and one of another time beside it', async () => {
  const question = (asked_at: string) => ({
    query_id: 'q',
    asked_at,
    asker: 'reader',
    door: 'sql',
    outcome: 'answered',
  });
  await append('queries', [question('2026-11-24T03:52:00.5Z'), question('2026-11-24T03:52:00.500000Z')]);
  expect(await ingest()).toEqual({ rows: 1, duplicates: 1, deadLetters: 0 });
  await append('queries', [question('2026-11-24T04:52:00.5+01:00'), question('2026-11-24T03:52:00.501Z')]);
  expect(await ingest()).toEqual({ rows: 1, duplicates: 1, deadLetters: 0 });
});

test('what is no alert becomes a dead letter with bytes, place and reason, and its neighbours are stored', async () => {
  await send('{"alert_id":', alert, { ...alert, state: 'asleep', revision: 2 }, { ...alert, revision: undefined }, [1]);
  const { rows, deadLetters } = await ingest();
  expect({ alerts: (await revisions()).length, rows, deadLetters }).toEqual({ alerts: 1, rows: 5, deadLetters: 4 });
  const letters = await listDead(store);
  expect(letters.map(({ id, reason, message }) => [id, reason, message])).toEqual([
    ['alerts/0/4', 'not_an_object', 'expected a JSON object, found an array'],
    ['alerts/0/3', 'missing_field', 'revision is required'],
    ['alerts/0/2', 'out_of_range', 'state expected one of firing, updated, resolved, found "asleep"'],
    ['alerts/0/0', 'invalid_json', expect.stringContaining('the record is not JSON')],
  ]);
  expect((await showDead(store, 'alerts/0/0')).raw.toString()).toBe('{"alert_id":');
  // A replay is a record like any other: it is refused again, at its new place.
  expect(await replayDead(stream, store, ['alerts/0/3'])).toEqual(['alerts/0/3']);
  expect(await ingest()).toMatchObject({ deadLetters: 1 });
  expect((await listDead(store)).map(({ id }) => id)).toContain('alerts/0/5');
});
