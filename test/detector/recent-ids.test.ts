/** The remembered ids against a set of texts, through every growth and beyond the limit. */
import { expect, test } from 'vitest';
import { RecentIds } from '../../services/detector/recent-ids.js';
import { seededRandom } from '../traffic.js';

test('what was seen is known until the limit forgets it, however the table grew, saved and loaded', () => {
  const seed = Number(process.env.SEED ?? Date.now() % 1_000_000);
  console.log(`seed ${seed}`);
  const random = seededRandom(seed);
  // It begins with room for 4,096 ids, and then for sixteen times as many.
  const limit = 2 ** 17;
  const word = (): number => Math.floor(random() * 2 ** 32);
  const fresh = Array.from({ length: limit + 20_000 }, () => Uint32Array.of(word(), word(), word(), word()));
  const tenant = 'default';
  let ids = new RecentIds(limit);
  let wrong = 0;
  for (const [at, id] of fresh.entries()) {
    if (!ids.see(id, tenant, at)) wrong++;
    // One that is kept, from anywhere among them.
    const kept = Math.max(0, at - limit + 1);
    if (ids.see(fresh[kept + Math.floor(random() * (at - kept + 1))] as Uint32Array, tenant, at)) wrong++;
    // Halfway, and when the oldest has been forgotten.
    if (at === limit / 2 || at === limit + 1_000) {
      const saved = structuredClone(ids.save());
      ids = new RecentIds(limit);
      ids.load(saved);
    }
  }
  expect(wrong).toBe(0);
  expect(ids.forgottenThrough).toBe(fresh.length - limit - 1);
  // Forgotten, and of nobody else.
  expect(ids.see(fresh[0] as Uint32Array, tenant, fresh.length)).toBe(true);
  expect(ids.see(fresh[fresh.length - 1] as Uint32Array, 'another', fresh.length)).toBe(true);
});
