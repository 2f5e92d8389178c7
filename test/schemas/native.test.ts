import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { callCheck, checkCall } from '../../schemas/check.js';
import { DeadBlock, deadToRecord, parseDead } from '../../schemas/dead.js';
import { type CallEvent, type EventField, eventFields } from '../../schemas/event.js';
import { CallsBlock, columnTypeOf } from '../../schemas/native.js';
import { tableFields } from '../../schemas/tables.js';
import { openChdbStore } from '../../services/store/chdb.js';
import type { Store } from '../../services/store/store.js';
import { rowsOf } from '../contract/store.js';

const recordedAtMs = Date.UTC(2026, 10, 24, 4, 0, 0, 7);

let directory: string;
let store: Store;
let nextOffset = 0;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'auditd-native-'));
  store = await openChdbStore({ directory });
  await store.migrate();
});
afterAll(async () => {
  await store.close();
  await rm(directory, { recursive: true });
});

/** Stores the events and reads them back through the engine, each field in the form that JSON has it. */
async function roundTrip(events: readonly CallEvent[], block = new CallsBlock()): Promise<CallEvent[]> {
  const firstOffset = nextOffset;
  for (const event of events) block.append(event, recordedAtMs, 4_000_000_000, nextOffset++);
  const lastOffset = nextOffset - 1;
  await store.insert({
    table: 'calls',
    partition: 4_000_000_000,
    firstOffset,
    lastOffset,
    rows: block.rows,
    block: block.finish(),
  });
  const columns = (Object.entries(eventFields) as [string, EventField][]).map(([name, { kind }]) => {
    if (kind === 'time_micros') return `formatDateTime(${name}, '%Y-%m-%dT%H:%i:%S.%fZ') AS ${name}_text`;
    return name;
  });
  const rows = await rowsOf<Record<string, unknown>>(
    store,
    `SELECT ${columns.join(', ')} FROM calls WHERE stream_offset BETWEEN ${firstOffset} AND ${lastOffset} ORDER BY stream_offset`,
  );
  return rows.map(
    ({ occurred_at_text, ...row }) => ({ ...row, occurred_at: occurred_at_text }) as unknown as CallEvent,
  );
}

function accepted(record: object): CallEvent {
  const result = checkCall(JSON.stringify(record), { tenant: 'default', producer_key: 'emitter' });
  if (!result.ok) throw new Error(result.message);
  return result.event;
}

/** What SQL gives back for an event that was stored. */
function asStored(event: CallEvent, offset: number): object {
  return {
    ...event,
    attributes: { ...event.attributes },
    recorded_at: '2026-11-24 04:00:00.007',
    stream_partition: 4_000_000_000,
    stream_offset: offset,
  };
}

const minimal = {
  event_id: '019ab3f0-8c1b-7001-9f3e-5d2c8a417be6',
  occurred_at: '2026-11-24T03:52:00.123456Z',
  method: 'tools/call',
  outcome: 'success',
};

const hostileTexts = [
  '',
  'a',
  'x'.repeat(23),
  'x'.repeat(24),
  'x'.repeat(25),
  'x'.repeat(42),
  'x'.repeat(127),
  'x'.repeat(128),
  'ü'.repeat(63),
  'ü'.repeat(64),
  'ü'.repeat(100),
  '€'.repeat(43),
  '😀'.repeat(33),
  '\u0000',
  'a\u0000b',
  "'); DROP TABLE calls; --",
  '\n\n',
  '\\N',
  '\\',
  '\ufeff',
  '\ufffd',
];

describe('CallsBlock', () => {
  it('gives back every example of the contract', async () => {
    const record = Object.fromEntries(
      Object.entries(eventFields)
        .filter(([, field]) => !('setBy' in field))
        .map(([name, { example }]) => [name, example]),
    );
    const event = accepted(record);
    const offset = nextOffset;
    expect(await roundTrip([event])).toEqual([asStored(event, offset)]);
  });

  it('gives back defaults, edges and hostile texts of every kind', async () => {
    const records = [
      minimal,
      {
        ...minimal,
        error_code: Number.MIN_SAFE_INTEGER,
        producer_sequence: Number.MAX_SAFE_INTEGER,
        result_bytes: 0xffffffff,
        duration_ms: 9e12,
      },
      {
        ...minimal,
        error_code: Number.MAX_SAFE_INTEGER,
        duration_ms: 0.001,
        tool_read_only: false,
        tool_open_world: true,
        truncated: true,
      },
      {
        ...minimal,
        error_code: -1,
        duration_ms: 0,
        occurred_at: '2000-01-01T00:00:00Z',
        event_id: 'ffffffff-ffff-ffff-ffff-ffffffffffff',
      },
      {
        ...minimal,
        error_code: -4294967296,
        occurred_at: '2099-12-31T23:59:59.999999Z',
        event_id: '00000000-0000-0000-0000-000000000000',
      },
      {
        ...minimal,
        redactions: hostileTexts,
        attributes: Object.fromEntries(hostileTexts.map((text, index) => [`${index}${text}`, text])),
      },
      { ...minimal, arguments: 'ü'.repeat(8191), result: `${'x'.repeat(16383)}`, error_message: '€'.repeat(600) },
      { ...minimal, arguments: 'ü'.repeat(8192), result: 'x'.repeat(16384) },
      { ...minimal, arguments: '€'.repeat(349_525), result: 'x'.repeat(1024 * 1024) },
      ...hostileTexts.map((text) => ({ ...minimal, actor_id: text, request_id: text, arguments: text })),
    ];
    const events = records.map(accepted);
    const offset = nextOffset;
    expect(await roundTrip(events)).toEqual(events.map((event, index) => asStored(event, offset + index)));
  });

  it('gives back any text', async () => {
    const text = fc.string({ unit: 'grapheme', maxLength: 60 });
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.record({ a: text, b: text, c: fc.double({ min: 0, max: 1e9, noNaN: true }) }), {
          minLength: 1,
          maxLength: 40,
        }),
        async (rows) => {
          const events = rows.map(({ a, b, c }) =>
            accepted({ ...minimal, client_name: a, result: b, attributes: { [b]: a }, duration_ms: c }),
          );
          const offset = nextOffset;
          expect(await roundTrip(events)).toEqual(events.map((event, index) => asStored(event, offset + index)));
        },
      ),
      { numRuns: 15 },
    );
  });

  it.each([1, 255, 256, 257, 65_535, 65_536, 65_537])(
    'gives back %d distinct names and forgets them at reset',
    async (distinct) => {
      const block = new CallsBlock();
      block.append(accepted({ ...minimal, actor_id: 'forgotten' }), recordedAtMs, 0, 0);
      block.reset();
      expect([block.rows, block.bytes]).toEqual([0, new CallsBlock().bytes]);
      const template = accepted(minimal);
      const firstOffset = nextOffset;
      for (let index = 0; index < distinct; index++) {
        block.append({ ...template, actor_id: `actor ${index}` }, recordedAtMs, 9, nextOffset++);
      }
      await store.insert({
        table: 'calls',
        partition: 9,
        firstOffset,
        lastOffset: nextOffset - 1,
        rows: distinct,
        block: block.finish(),
      });
      const [row] = await rowsOf(
        store,
        `SELECT uniqExact(actor_id) AS actors, countIf(actor_id = 'actor ' || toString(stream_offset - ${firstOffset})) AS right FROM calls WHERE stream_partition = 9 AND stream_offset >= ${firstOffset}`,
      );
      expect(row).toEqual({ actors: distinct, right: distinct });
    },
  );

  it('makes the same bytes of rows that name few fields as of whole records', () => {
    const names = Object.keys(eventFields).filter((name) => !('setBy' in eventFields[name as keyof CallEvent]));
    const named = fc.subarray(names.filter((name) => !(name in minimal)));
    fc.assert(
      fc.property(fc.array(named, { minLength: 1, maxLength: 30 }), (rows) => {
        const sparse = new CallsBlock();
        const whole = new CallsBlock();
        for (const [index, present] of rows.entries()) {
          const examples = present.map((name) => [name, eventFields[name as keyof CallEvent].example]);
          const text = JSON.stringify({ ...minimal, ...Object.fromEntries(examples) });
          const row = callCheck.checkRow(text, { tenant: 'default', producer_key: '' });
          if (!row.ok) throw new Error(row.message);
          whole.append(callCheck.recordOf(row), recordedAtMs, 3, index);
          sparse.appendRow(row, recordedAtMs, 3, index);
        }
        expect(Buffer.compare(Buffer.from(sparse.finish()), Buffer.from(whole.finish()))).toBe(0);
      }),
      { numRuns: 50 },
    );
  });

  it('says roughly how many bytes it has', () => {
    const block = new CallsBlock();
    for (let index = 0; index < 1000; index++)
      block.append(accepted({ ...minimal, result: 'x'.repeat(500) }), recordedAtMs, 0, index);
    const { bytes } = block;
    expect(Math.abs(block.finish().length - bytes)).toBeLessThan(4096);
  });
});

describe('the tables and the lists of columns', () => {
  it.each(Object.entries(tableFields))('agree on names, types and order: %s', async (table, fields) => {
    const columns = await rowsOf<{ name: string; type: string }>(store, `DESCRIBE ${table}`);
    expect(columns.map(({ name, type }) => [name, type])).toEqual(
      Object.entries(fields).map(([name, { kind }]) => [name, columnTypeOf(kind)]),
    );
  });
});

describe('dead letters', () => {
  const dead = {
    source_topic: 'calls',
    source_partition: 3,
    source_offset: 2 ** 52,
    reason: 'invalid_json',
    message: 'the record is not JSON',
    raw: Buffer.from([0, 255, 10, 10]),
    headers: { tenant: 'default', source_topic: 'spoofed' },
  };

  it('come back from a record of the stream', () => {
    const { value, headers } = deadToRecord(dead);
    expect(parseDead(value, headers)).toEqual(dead);
  });

  it('are kept when their headers are missing or wrong', () => {
    const raw = Buffer.from('x');
    expect(parseDead(raw, { source_offset: '-1', source_partition: 'x' })).toEqual({
      source_topic: '',
      source_partition: 0,
      source_offset: 0,
      reason: 'unknown',
      message: '',
      raw,
      headers: {},
    });
  });

  it('reuse a block', () => {
    const block = new DeadBlock();
    block.append(dead, recordedAtMs, 0, 0);
    const first = Buffer.from(block.finish());
    expect([block.rows, block.bytes > 50]).toEqual([1, true]);
    block.reset();
    block.append(dead, recordedAtMs, 0, 0);
    expect(Buffer.from(block.finish())).toEqual(first);
  });
});
