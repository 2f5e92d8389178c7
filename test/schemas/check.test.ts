import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { checkCall, maxRecordBytes, replacedAttribute, type Vouched } from '../../schemas/check.js';
import { producedEventSchema } from '../../schemas/contract.js';
import { type CallEvent, type EventField, eventFields } from '../../schemas/event.js';

const vouched: Vouched = { tenant: 'default', producer_key: 'emitter' };
const minimal = {
  event_id: '019ab3f0-8c1b-7001-9f3e-5d2c8a417be6',
  occurred_at: '2026-11-24T03:52:00.123456Z',
  method: 'tools/call',
  outcome: 'success',
};

function accepted(record: unknown): CallEvent {
  const result = checkCall(typeof record === 'string' ? record : JSON.stringify(record), vouched);
  if (!result.ok) throw new Error(`${result.code}: ${result.message}`);
  return result.event;
}

describe('checkCall', () => {
  it('fills every field of the contract', () => {
    const event = accepted(minimal);
    expect(Object.keys(event)).toEqual(Object.keys(eventFields));
    expect(event).toMatchObject({
      ...minimal,
      tenant: 'default',
      producer_key: 'emitter',
      duration_ms: null,
      error_code: 0,
    });
  });

  it('takes the example of every field', () => {
    const examples = Object.entries(eventFields).filter(([, field]) => !('setBy' in field));
    const record = Object.fromEntries(examples.map(([name, field]) => [name, field.example]));
    expect(accepted(record)).toMatchObject(record);
  });

  it('takes a position and refuses a record that claims another', () => {
    const position = { recordedAtMs: Date.UTC(2026, 10, 24, 3, 52), partition: 3, offset: 17 };
    const check = (claim: object) => checkCall(JSON.stringify({ ...minimal, ...claim }), { ...vouched, position });
    expect(check({})).toMatchObject({
      ok: true,
      event: { recorded_at: '2026-11-24T03:52:00.000Z', stream_partition: 3, stream_offset: 17 },
    });
    expect(check({ stream_offset: 17, tenant: 'default', recorded_at: '2026-11-24T04:52:00+01:00' }).ok).toBe(true);
    for (const [field, value] of Object.entries({
      stream_offset: 18,
      stream_partition: 0,
      tenant: 'other',
      producer_key: '',
    })) {
      const refused = check({ [field]: value });
      expect(refused).toMatchObject({ ok: false, code: 'not_yours_to_set', field });
      expect(refused).toHaveProperty('message', expect.stringContaining(JSON.stringify(value)));
    }
  });

  it('refuses a claimed position where none is known', () => {
    expect(checkCall(JSON.stringify({ ...minimal, stream_offset: 0 }), vouched)).toMatchObject({
      ok: false,
      code: 'not_yours_to_set',
      field: 'stream_offset',
    });
  });

  it.each([
    ['cut off', '{"event_id":"019ab3f0', 'invalid_json', undefined],
    ['empty', '', 'invalid_json', undefined],
    ['an array', '[]', 'not_an_object', undefined],
    ['null', 'null', 'not_an_object', undefined],
    ['a text', '"x"', 'not_an_object', undefined],
    ['a raw NUL', '{"a":"\u0000"}', 'invalid_json', undefined],
    ['no id', { ...minimal, event_id: undefined }, 'missing_field', 'event_id'],
    ['a null id', { ...minimal, event_id: null }, 'missing_field', 'event_id'],
    ['an empty method', { ...minimal, method: '' }, 'missing_field', 'method'],
    ['a number as name', { ...minimal, tool_name: 5 }, 'wrong_type', 'tool_name'],
    ['an object as flag', { ...minimal, truncated: {} }, 'wrong_type', 'truncated'],
    ['a text as number', { ...minimal, result_bytes: '5' }, 'wrong_type', 'result_bytes'],
    ['a number in a list', { ...minimal, redactions: ['a', 5] }, 'wrong_type', 'redactions'],
    ['an array as map', { ...minimal, attributes: [] }, 'wrong_type', 'attributes'],
    ['a negative size', { ...minimal, result_bytes: -1 }, 'out_of_range', 'result_bytes'],
    ['a size of 2^32', { ...minimal, result_bytes: 2 ** 32 }, 'out_of_range', 'result_bytes'],
    ['a fraction', { ...minimal, producer_sequence: 1.5 }, 'out_of_range', 'producer_sequence'],
    ['a counter of 2^53', { ...minimal, producer_sequence: 2 ** 53 }, 'out_of_range', 'producer_sequence'],
    ['an infinite number', JSON.stringify(minimal).replace('}', ',"error_code":1e999}'), 'out_of_range', 'error_code'],
    ['a negative duration', { ...minimal, duration_ms: -0.5 }, 'out_of_range', 'duration_ms'],
    ['an endless duration', { ...minimal, duration_ms: 1e18 }, 'out_of_range', 'duration_ms'],
    ['an unknown outcome', { ...minimal, outcome: 'ok' }, 'out_of_range', 'outcome'],
    ['an id that is none', { ...minimal, event_id: 'x' }, 'out_of_range', 'event_id'],
    ['an ancient time', { ...minimal, occurred_at: '1999-12-31T23:59:59Z' }, 'out_of_range', 'occurred_at'],
    ['a future time', { ...minimal, occurred_at: '2100-01-01T00:00:00Z' }, 'out_of_range', 'occurred_at'],
    ['a day that is none', { ...minimal, occurred_at: '2026-02-29T00:00:00Z' }, 'out_of_range', 'occurred_at'],
    ['a time without zone', { ...minimal, occurred_at: '2026-02-28T00:00:00' }, 'out_of_range', 'occurred_at'],
    ['a long name', { ...minimal, tool_name: 'x'.repeat(257) }, 'out_of_range', 'tool_name'],
    ['a name long in bytes', { ...minimal, tool_name: 'ü'.repeat(200) }, 'out_of_range', 'tool_name'],
    ['a long body', { ...minimal, result: 'x'.repeat(1024 * 1024 + 1) }, 'out_of_range', 'result'],
    [
      'too many unknown fields',
      { ...minimal, ...Object.fromEntries(Array.from({ length: 200 }, (_, i) => [`x${i}`, i])) },
      'out_of_range',
      'attributes',
    ],
    ['a deep body', `{"arguments":${'['.repeat(100_000)}${']'.repeat(100_000)}}`, 'too_deep', 'arguments'],
    [
      'a deep unknown field',
      JSON.stringify(minimal).replace('}', `,"x":${'['.repeat(100_000)}${']'.repeat(100_000)}}`),
      'too_deep',
      'attributes',
    ],
  ])('refuses %s with code and field', (_name, record, code, field) => {
    const result = checkCall(typeof record === 'string' ? record : JSON.stringify(record), vouched);
    expect(result).toMatchObject({ ok: false, code });
    expect('field' in result ? result.field : undefined).toBe(field);
    if (!result.ok && field) expect(result.message.startsWith(field)).toBe(true);
    if (!result.ok) expect(result.message.length).toBeLessThan(400);
  });

  it('refuses a record that is too large before it parses it', () => {
    expect(checkCall(Buffer.alloc(50 * 1024 * 1024, 0x5b), vouched)).toMatchObject({ ok: false, code: 'too_large' });
    expect(checkCall('x'.repeat(maxRecordBytes + 1), vouched)).toMatchObject({ ok: false, code: 'too_large' });
    expect(checkCall(JSON.stringify(minimal), vouched, 20)).toMatchObject({ ok: false, code: 'too_large' });
  });

  it('refuses bytes that are not UTF-8 and takes those that are', () => {
    const text = JSON.stringify({ ...minimal, actor_id: 'zoë' });
    expect(checkCall(Buffer.from(text, 'latin1'), vouched)).toMatchObject({ ok: false, code: 'invalid_utf8' });
    expect(checkCall(Buffer.from(text), vouched)).toMatchObject({ ok: true, event: { actor_id: 'zoë' } });
  });

  it('takes whitespace and empty lines between tokens, as JSON does', () => {
    const text = JSON.stringify(minimal).replace(',', ',\n\n');
    expect(checkCall(Buffer.from(text), vouched).ok).toBe(true);
  });

  it('goes by the last of two equal keys, in what it checks and in what it returns', () => {
    const text = JSON.stringify(minimal);
    expect(accepted(text.replace('}', ',"method":"tools/list"}')).method).toBe('tools/list');
    const claim = checkCall(text.replace('{', '{"tenant":"other",').replace('}', ',"tenant":"default"}'), vouched);
    expect(claim).toMatchObject({ ok: true, event: { tenant: 'default' } });
    const later = checkCall(text.replace('{', '{"tenant":"default",').replace('}', ',"tenant":"other"}'), vouched);
    expect(later).toMatchObject({ ok: false, field: 'tenant' });
  });

  it('keeps what it does not know', () => {
    const event = accepted({
      ...minimal,
      region: 'eu',
      retries: 3,
      nested: { a: [1] },
      __proto__x: 1,
      attributes: { region: 'us' },
    });
    expect({ ...event.attributes }).toEqual({
      region: 'us',
      'record.region': 'eu',
      retries: '3',
      nested: '{"a":[1]}',
      __proto__x: '1',
    });
  });

  it('keeps keys that are names of JavaScript', () => {
    const event = accepted(
      JSON.stringify(minimal).replace('}', ',"__proto__":{"method":"x"},"constructor":1,"toString":"y"}'),
    );
    expect(Object.entries(event.attributes)).toEqual([
      ['__proto__', '{"method":"x"}'],
      ['constructor', '1'],
      ['toString', 'y'],
    ]);
    expect(event.method).toBe('tools/call');
  });

  it('serialises a body that is a JSON value', () => {
    const event = accepted({ ...minimal, arguments: { path: '/x', n: [1, null] }, result: 5 });
    expect(event).toMatchObject({ arguments: '{"path":"/x","n":[1,null]}', result: '5' });
  });

  it('replaces lone surrogates, says where, and leaves pairs alone', () => {
    const event = accepted(
      JSON.stringify(minimal).replace(
        '}',
        ',"actor_id":"a\\ud800b","tool_name":"\\ud83d\\ude00","x\\udfff":"y","redactions":["\\uDC00"]}',
      ),
    );
    expect(event).toMatchObject({ actor_id: 'a\ufffdb', tool_name: '😀', redactions: ['\ufffd'] });
    expect({ ...event.attributes }).toEqual({ 'x\ufffd': 'y', [replacedAttribute]: 'actor_id,x\ufffd,redactions' });
  });

  it('keeps NUL in a text', () => {
    expect(accepted({ ...minimal, actor_id: 'a\u0000b' }).actor_id).toBe('a\u0000b');
  });

  it.each([
    ['2026-11-24T03:52:00Z', '2026-11-24T03:52:00.000000Z'],
    ['2026-11-24T03:52:00.5Z', '2026-11-24T03:52:00.500000Z'],
    ['2026-11-24T03:52:00.123456789Z', '2026-11-24T03:52:00.123456Z'],
    ['2026-11-24t03:52:00z', '2026-11-24T03:52:00.000000Z'],
    ['2026-11-24T05:22:00.1+01:30', '2026-11-24T03:52:00.100000Z'],
    ['2000-01-01T00:00:00Z', '2000-01-01T00:00:00.000000Z'],
    ['2024-02-29T23:59:59.999999-00:00', '2024-02-29T23:59:59.999999Z'],
    ['2099-12-31T23:59:59.999999Z', '2099-12-31T23:59:59.999999Z'],
  ])('brings %s to UTC with six decimals', (text, expected) => {
    expect(accepted({ ...minimal, occurred_at: text }).occurred_at).toBe(expected);
  });

  it('reads every time as Date does', () => {
    fc.assert(
      fc.property(
        fc.date({ min: new Date('2000-01-01'), max: new Date('2099-12-31'), noInvalidDate: true }),
        (date) => {
          const text = date.toISOString();
          expect(Date.parse(accepted({ ...minimal, occurred_at: text }).occurred_at)).toBe(date.getTime());
        },
      ),
    );
  });
});

/** Values that are right, wrong and on the edge for a field, by its kind. */
function valuesFor({ kind, example }: EventField): fc.Arbitrary<unknown> {
  const hostile = fc.oneof(
    fc.string({ unit: 'grapheme' }),
    fc.double(),
    fc.integer(),
    fc.boolean(),
    fc.constant(null),
    fc.jsonValue({ maxDepth: 2 }),
  );
  const edges: Record<string, unknown[]> = {
    size: [0, 0xffffffff, 0x100000000, -1, 0.5],
    counter: [0, Number.MAX_SAFE_INTEGER, 2 ** 53, -1],
    integer: [Number.MIN_SAFE_INTEGER, -(2 ** 53), Number.MAX_SAFE_INTEGER],
    duration: [0, 9e12, 9.1e12, -0.001],
    name: ['', 'x'.repeat(256), 'x'.repeat(257), 'é'.repeat(128), 'é'.repeat(129)],
    text: ['x'.repeat(2048), '€'.repeat(683)],
    time_micros: [
      '2026-02-30T00:00:00Z',
      '2026-01-01 00:00:00Z',
      '2026-01-01T00:00:00+25:00',
      '1999-12-31T23:59:59-01:00',
    ],
    list: [[], ['x'.repeat(1024)], ['x'.repeat(1025)], Array(257).fill('x')],
    map: [{}, { a: 1 }, { ['x'.repeat(257)]: '' }, { a: 'x'.repeat(8193) }],
    uuid: ['019AB3F0-8C1B-7001-9F3E-5D2C8A417BE6', '019ab3f0'],
  };
  return fc.oneof(
    { weight: 3, arbitrary: fc.constant(example) },
    { weight: 1, arbitrary: fc.constantFrom(...(edges[kind] ?? [example])) },
    { weight: 1, arbitrary: hostile },
  );
}

const producerFields = (Object.entries(eventFields) as [string, EventField][]).filter(([, field]) => !field.setBy);
const records = fc
  .tuple(
    fc
      .subarray(producerFields, { maxLength: 5 })
      .chain((chosen) => fc.record(Object.fromEntries(chosen.map(([name, field]) => [name, valuesFor(field)])))),
    fc.dictionary(fc.string({ maxLength: 20 }), fc.jsonValue({ maxDepth: 1 }), { maxKeys: 3 }),
  )
  .map(([record, unknownFields]) => ({ ...unknownFields, ...minimal, ...record }));

describe('the check and the contract in zod', () => {
  it('accept and refuse the same records, at the same fields', () => {
    let taken = 0;
    fc.assert(
      fc.property(records, (candidate) => {
        const record = JSON.parse(JSON.stringify(candidate));
        const checked = checkCall(JSON.stringify(record), vouched);
        const parsed = producedEventSchema.safeParse(record);
        if (checked.ok) taken++;
        // An empty method is text to zod, and no method to the check.
        const emptyRequired = !checked.ok && checked.code === 'missing_field' && record[checked.field as string] === '';
        expect(checked.ok || emptyRequired, JSON.stringify([checked, parsed.error?.issues])).toBe(parsed.success);
        if (!checked.ok && !emptyRequired) {
          expect(parsed.error?.issues.map(({ path }) => path[0])).toContain(checked.field);
        }
      }),
      { numRuns: 2000 },
    );
    expect(taken).toBeGreaterThan(200);
  });

  it('never throws on any text', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.json(),
          fc.uint8Array().map((bytes) => Buffer.from(bytes)),
        ),
        (value) => {
          expect(typeof checkCall(value, vouched).ok).toBe('boolean');
        },
      ),
    );
  });
});
