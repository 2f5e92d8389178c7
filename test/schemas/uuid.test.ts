import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parseUuid, timeOfUuid } from '../../schemas/uuid.js';

const words = new Uint32Array(4);

test('a UUID is read as four words, and its time only where it has one', () => {
  expect(parseUuid('019ab3f0-8c1b-7001-9f3e-5d2c8a417be6', words)).toBe(true);
  expect([...words]).toEqual([0x019ab3f0, 0x8c1b7001, 0x9f3e5d2c, 0x8a417be6]);
  expect(timeOfUuid(words)).toBe(0x019ab3f08c1b);
  expect(parseUuid('ffffffff-ffff-7fff-bfff-ffffffffffff', words)).toBe(true);
  expect(timeOfUuid(words)).toBe(2 ** 48 - 1);
  expect(parseUuid('ffffffff-ffff-4fff-bfff-ffffffffffff', words)).toBe(true);
  expect(timeOfUuid(words)).toBe(0);
});

test('takes exactly what the pattern takes', () => {
  const pattern = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
  const almost = fc
    .tuple(fc.uuid(), fc.nat(36), fc.constantFrom('', '-', 'A', 'g', '/', ':', '`', '\u0130', '\uffff', '\ud800', '0'))
    .map(([uuid, at, replacement]) => uuid.slice(0, at) + replacement + uuid.slice(at + 1));
  fc.assert(
    fc.property(fc.oneof(fc.uuid(), almost, fc.string({ maxLength: 40 })), (text) => {
      expect(parseUuid(text, words)).toBe(pattern.test(text));
    }),
    { numRuns: 2_000 },
  );
});
