import { isUtf8 } from 'node:buffer';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { callCheck, checkCall, type Vouched } from '../../schemas/check.js';
import { type EventField, eventFields } from '../../schemas/event.js';
import { CallsBlock } from '../../schemas/native.js';
import { generateEventLines } from '../traffic.js';

const vouched: Vouched = {
  tenant: 'default',
  producer_key: 'emitter',
  position: { recordedAtMs: Date.UTC(2026, 10, 24), partition: 0, offset: 7 },
};

/** JSON and what is nearly JSON, by the letter. */
const numbers = [
  ...['0', '-0', '00', '01', '-1', '1.', '.5', '1.5', '0.1', '-0.0', '0.0005', '1.0004999', '12.345', '1e3', '1E-7'],
  ...['999999999999999', '9007199254740991', '9007199254740992', '-9007199254740991', '4294967295', '4294967296'],
  ...[
    '123456789.123456',
    '0.123456789012345',
    '8999999999999.999',
    '9000000000000.1',
    '1e999',
    '--1',
    '+1',
    '1-',
    '1 2',
  ],
];
const texts = [
  ...['""', '"a"', '"abcd"', '"a b\\tc"', '"\\""', '"\\\\"', '"\\/"', '"\\b\\f\\n\\r\\t"', '"\\u0000"', '"\\u001F"'],
  ...['"\\u0041"', '"\\u00e9x"', '"\\u20AC"', '"\\ud83d\\ude00"', '"\\ud800"', '"x\\udc00y"', '"\\uD83D"', '"\\u12"'],
  ...[
    '"\\u12g4"',
    '"\\x41"',
    '"\\',
    '"',
    '"\u0001"',
    '"a\nb"',
    '"é"',
    '"€uro"',
    '"😀"',
    '"\ufeff"',
    '"\u2028"',
    '"\x7f"',
  ],
  ...[`"${'x'.repeat(256)}"`, `"${'x'.repeat(257)}"`, `"${'é'.repeat(128)}"`, `"${'é'.repeat(129)}"`, '"__proto__"'],
  ...[`"${'\\n'.repeat(128)}"`, `"${'\\n'.repeat(129)}"`, `"${'\\u0041'.repeat(60)}"`, `"${'y'.repeat(2049)}"`],
];
const words = ['true', 'false', 'null', 'True', 'nul', 'truee', 'falsey', 'NaN', 'Infinity', 'undefined', ''];
const nested = [
  ...['[]', '{}', '["a","b"]', '[1]', '["\\ud800"]', '["\\u0041"]', '[,]', '["a"', '{"a":1}', '{"a":"b"}', '{"a":"é"}'],
  ...[
    '{"__proto__":"x"}',
    '{"a":{"b":[1,"]"]}}',
    '{"a":"}"}',
    '{"a":1,"a":2}',
    '{a:1}',
    "{'a':1}",
    '[[[[]]]]',
    '{"a":"\\""}',
  ],
];
const times = [
  ...['"2026-11-24T03:52:00.123456Z"', '"2026-11-24t03:52:00.123456Z"', '"2026-11-24T03:52:00.123456z"'],
  ...[
    '"2026-11-24T03:52:00.123Z"',
    '"2026-11-24T03:52:00Z"',
    '"2026-02-29T03:52:00.123456Z"',
    '"1999-12-31T23:59:59.999999Z"',
  ],
  ...[
    '"2099-12-31T23:59:59.999999Z"',
    '"2100-01-01T00:00:00.000000Z"',
    '"2026-11-24T24:00:00.123456Z"',
    '"2028-02-29T00:00:00.000000Z"',
  ],
  ...[
    '"2026-11-24T03:52:60.123456Z"',
    '"2026-11-24T03:52:00.12345aZ"',
    '"2026-13-24T03:52:00.123456Z"',
    '"2026/11/24T03:52:00.123456Z"',
  ],
  ...['"2026-11-24T03:52:00.1+02:00"', '"2026-11-24T05:52:00+02:00:Z"', '"20261-1-24T03:52:00.123456Z"'],
];
const ids = [
  ...[
    '"019ab3f0-8c1b-7001-9f3e-5d2c8a417be6"',
    '"019AB3F0-8c1b-7001-9f3e-5d2c8a417be6"',
    '"019ab3f08-c1b-7001-9f3e-5d2c8a417be6"',
  ],
  ...[
    '"ffffffff-ffff-ffff-ffff-ffffffffffff"',
    '"019ab3f0-8c1b-7001-9f3e-5d2c8a417beg"',
    '"019ab3f0-8c1b-7001-9f3e-5d2c8a417be"',
  ],
];
const outcomes = ['"success"', '"tool_error"', '"no_response"', '"ok"', '"succes\\u0073"', '"Success"'];

const fields = Object.entries(eventFields) as [string, EventField][];
const required = fields.filter(([, field]) => field.required);

/** A member as it stands in a record: mostly right, sometimes anything. */
const member = fc.constantFrom(...fields).chain(([name, { kind, example }]) => {
  const own = { uuid: ids, time_micros: times, choice: outcomes, counter: numbers, size: numbers, integer: numbers };
  const likely: readonly string[] =
    kind in own
      ? own[kind as keyof typeof own]
      : kind === 'duration'
        ? numbers
        : kind === 'list' || kind === 'map'
          ? nested
          : texts;
  return fc
    .oneof(
      { weight: 12, arbitrary: fc.constant(JSON.stringify(example)) },
      { weight: 4, arbitrary: fc.constantFrom(...likely) },
      {
        weight: 1,
        arbitrary: fc.constantFrom(...numbers, ...texts, ...words, ...nested, ...times, ...ids, ...outcomes),
      },
      { weight: 1, arbitrary: fc.string({ unit: 'binary', maxLength: 90 }).map((text) => JSON.stringify(text)) },
    )
    .map((value) => ({ name, value }));
});
const otherName = fc.constantFrom(
  'other',
  '',
  '__proto__',
  'constructor',
  'method\\u0041',
  '\\u006dethod',
  'tool_nam',
  'tool_names',
);
const space = fc.constantFrom('', '', '', ' ', '\n\n', '\t\r ', '\u00a0', '\ufeff');

const record = fc
  .record({
    members: fc.array(member, { maxLength: 12 }),
    others: fc.array(fc.tuple(otherName, fc.constantFrom(...texts, ...nested, ...numbers)), { maxLength: 1 }),
    whole: fc.double({ min: 0, max: 1, noNaN: true }),
    shuffle: fc.infiniteStream(fc.nat({ max: 1000 })),
    space,
  })
  .map(({ members, others, whole, shuffle, space: blank }) => {
    const given = new Set(members.map(({ name }) => name));
    const all = [
      // Nearly always all that is required is there; what was drawn above comes instead of it.
      ...required
        .filter(([name]) => whole < 0.95 && !given.has(name))
        .map(([name, { example }]) => [name, JSON.stringify(example)]),
      ...(whole < 0.8 ? members.filter(({ name }) => !('setBy' in eventFields[name as 'tenant'])) : members).map(
        ({ name, value }) => [name, value],
      ),
      ...(whole < 0.6 ? [] : others),
    ] as [string, string][];
    const keys = new Map(all.map((each) => [each, shuffle.next().value as number]));
    all.sort((a, b) => (keys.get(a) as number) - (keys.get(b) as number));
    return `${blank}{${all.map(([name, value]) => `${blank}"${name}"${blank}:${blank}${value}${blank}`).join(',')}}${blank}`;
  });

/** Bytes changed at random places, so that ends, quotes and UTF-8 are broken. */
const change = fc.record({
  at: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
  remove: fc.constantFrom(0, 0, 1, 2, 40, 10_000),
  insert: fc.oneof(
    fc
      .constantFrom('', '"', '\\', '{', '}', '[', ']', ',', ':', ' ', '\n', '\0', '\\u', 'é', '0', '-')
      .map((text) => Buffer.from(text)),
    fc.uint8Array({ maxLength: 3 }).map((bytes) => Buffer.from(bytes)),
  ),
});
const changed = fc
  .tuple(
    record,
    fc.oneof({ weight: 2, arbitrary: fc.constant([]) }, { weight: 1, arbitrary: fc.array(change, { maxLength: 2 }) }),
  )
  .map(([text, changes]) => {
    let bytes = Buffer.from(text);
    for (const { at, remove, insert } of changes) {
      const place = Math.floor(at * bytes.length);
      bytes = Buffer.concat([bytes.subarray(0, place), insert, bytes.subarray(place + remove)]);
    }
    return bytes;
  });

/** Holds what is made of the bytes to what JSON.parse makes of their text; true when the scanner took them. */
function sameAsParsed(bytes: Buffer): boolean {
  if (!isUtf8(bytes)) {
    expect(checkCall(bytes, vouched)).toMatchObject({ ok: false, code: 'invalid_utf8' });
    return false;
  }
  const text = bytes.toString('utf8');
  expect(checkCall(bytes, vouched)).toEqual(checkCall(text, vouched));
  const scanned = callCheck.checkRow(bytes, vouched);
  const taken = scanned.ok && scanned.bytes.length > 0;
  expect(blockOf(bytes).equals(blockOf(text)), text).toBe(true);
  return taken;
}

const block = new CallsBlock();
function blockOf(...records: (string | Buffer)[]): Buffer {
  block.reset();
  for (const [offset, each] of records.entries()) {
    const row = callCheck.checkRow(each, vouched);
    if (row.ok) block.appendRow(row, Date.UTC(2026, 10, 24), 0, offset);
  }
  return Buffer.from(block.finish());
}

describe('what is read from the bytes of a record', () => {
  it('is what JSON.parse and the check make of its text, in every value, message and byte of the block', () => {
    let taken = 0;
    let runs = 0;
    fc.assert(
      fc.property(changed, (bytes) => {
        runs++;
        // At odd places of a larger memory, as records of a batch are.
        const memory = Buffer.concat([Buffer.from('"\\{'), bytes, Buffer.from('"}')]);
        if (sameAsParsed(memory.subarray(3, 3 + bytes.length))) taken++;
      }),
      { numRuns: 4_000 },
    );
    // Without changes and rare forms nearly all are; here a good part must be, or the test would show nothing.
    expect(taken / runs).toBeGreaterThan(0.1);
  });

  it('takes the records that an emitter writes, and makes the same block of many of them', () => {
    const lines = [...generateEventLines({ seed: 5, count: 1_000 })];
    for (const line of lines) expect(sameAsParsed(line)).toBe(true);
    expect(blockOf(...lines).equals(blockOf(...lines.map(String)))).toBe(true);
  });

  it('takes every required field, and each other one with its example', () => {
    for (const [name, { example, setBy }] of fields) {
      const event = Object.fromEntries(required.map(([each, field]) => [each, field.example]));
      const bytes = Buffer.from(JSON.stringify({ ...event, [name]: example }));
      expect([name, sameAsParsed(bytes)]).toEqual([name, setBy === undefined]);
    }
  });

  it('keeps a row that is copied, whatever is checked after it', () => {
    const [first, second] = [...generateEventLines({ seed: 6, count: 2 })] as [Buffer, Buffer];
    const row = callCheck.checkRow(first, vouched);
    if (!row.ok) throw new Error(row.message);
    const copy = row.copy();
    callCheck.checkRow(second, vouched);
    expect(callCheck.recordOf(copy, vouched.position)).toEqual(
      (checkCall(String(first), vouched) as { event: unknown }).event,
    );
  });

  it('tells names of one hash apart, long ones and those with escapes too', () => {
    const names = Array.from(
      { length: 5_000 },
      (_, at) => `actor ${at}${at % 7 === 0 ? '\n' : ''}${at % 11 === 0 ? 'x'.repeat(130) : ''}`,
    );
    const lines = [...names, ...names.reverse()].map((actor_id) => {
      const event = Object.fromEntries(required.map(([each, field]) => [each, field.example]));
      return Buffer.from(JSON.stringify({ ...event, actor_id }));
    });
    expect(blockOf(...lines).equals(blockOf(...lines.map(String)))).toBe(true);
  });
});
