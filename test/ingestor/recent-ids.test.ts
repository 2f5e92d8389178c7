import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parseUuid } from '../../schemas/uuid.js';
import { RecentIds } from '../../services/ingestor/recent-ids.js';
import { timeOfId } from './memory.js';

function idOf(timeMs: number, rest: number, version = '7'): string {
  const time = timeMs.toString(16).padStart(12, '0');
  return `${time.slice(0, 8)}-${time.slice(8)}-${version}000-8000-${rest.toString(16).padStart(12, '0')}`;
}

function wordsOf(id: string): Uint32Array {
  const words = new Uint32Array(4);
  parseUuid(id, words);
  return words;
}

test('never says new of an id that was seen, never repeated of one that was not, and forgets one tenant for itself', () => {
  const step = fc.record({
    tenant: fc.constantFrom('a', 'b'),
    timeMs: fc.oneof(fc.integer({ min: 0, max: 12 }), fc.constant(2 ** 48 - 1)),
    rest: fc.integer({ min: 0, max: 3 }),
    version: fc.constantFrom('7', '7', '7', '4'),
    remove: fc.integer({ min: 0, max: 9 }).map((number) => number === 0),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), fc.constantFrom(2, 8, 64), (steps, limit) => {
      const recent = new RecentIds(limit, () => 3);
      const seen = new Set<string>();
      for (const { tenant, timeMs, rest, version, remove } of steps) {
        const id = idOf(timeMs, rest, version);
        const name = `${tenant} ${id}`;
        if (remove) {
          recent.remove(tenant, wordsOf(id));
          seen.delete(name);
          continue;
        }
        const verdict = recent.see(tenant, wordsOf(id));
        if (verdict === 'new') expect(seen.has(name)).toBe(false);
        if (verdict === 'repeated') expect(seen.has(name)).toBe(true);
        // What was seen before the start has a time of at most 3.
        if (verdict === 'new') expect(timeOfId(id)).toBeGreaterThan(3);
        seen.add(name);
        expect(recent.see(tenant, wordsOf(id))).toBe('repeated');
        expect(recent.size).toBeLessThanOrEqual(limit);
      }
    }),
    { numRuns: 500 },
  );
});

test('while nothing was forgotten every id is decided in memory, through growth', () => {
  const recent = new RecentIds(1 << 15, () => 0);
  for (let index = 1; index <= 1 << 15; index++) expect(recent.see('a', wordsOf(idOf(index, index)))).toBe('new');
  for (let index = 1; index <= 1 << 15; index++)
    if (recent.see('a', wordsOf(idOf(index, index))) !== 'repeated') expect(index).toBe(0);
  expect(recent.size).toBe(1 << 15);
  expect(recent.see('a', wordsOf(idOf(2 ** 40, 1)))).toBe('new');
  expect(recent.see('a', wordsOf(idOf(1, 1)))).toBe('unknown');
  // Another tenant has forgotten nothing.
  expect(recent.see('b', wordsOf(idOf(1, 1)))).toBe('new');
});
