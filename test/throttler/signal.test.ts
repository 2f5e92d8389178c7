import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parseSignal, type ThrottleSignal } from '../../schemas/throttle.js';
import { throttleSignalSchema } from '../../schemas/throttle-topic.js';
import { makeSignal, makeSigner } from './signals.js';

const whole = makeSigner().sign(makeSignal(Date.now() * 1000, { scope: { actor_id: 'a' }, each: ['tool_name'] }));

test('what is taken for a signal is what the schema says', () => {
  const name = fc.constantFrom(...(Object.keys(whole) as (keyof ThrottleSignal)[]));
  const value = fc.oneof(
    fc.constantFrom(undefined, null, '', 'x', 'active', 'lifted', 'person', true, 0, -1, 1.5, 2 ** 60, [], ['x'], [1]),
    fc.constantFrom({}, { actor_id: 'b' }, { actor_id: 1 }, { other: 'x' }, ['actor_id'], ['other']),
  );
  fc.assert(
    fc.property(fc.array(fc.tuple(name, value), { maxLength: 3 }), (changes) => {
      const record = { ...whole, ...Object.fromEntries(changes) };
      const taken = parseSignal(Buffer.from(JSON.stringify(record))) !== undefined;
      const valid = throttleSignalSchema.safeParse(JSON.parse(JSON.stringify(record))).success;
      expect(taken, JSON.stringify(changes)).toBe(valid);
    }),
    { numRuns: 2000 },
  );
});

test.each([
  ['nothing', Buffer.alloc(0)],
  ['no JSON', Buffer.from('{"signal_id":')],
  ['a list', Buffer.from('[]')],
  ['too long', Buffer.from(JSON.stringify({ ...whole, reason: 'x'.repeat(40_000) }))],
  ['deeply nested', Buffer.from('['.repeat(30_000))],
])('%s is no signal', (_name, bytes) => {
  expect(parseSignal(bytes)).toBeUndefined();
});
