import { expect, it } from 'vitest';
import { fuzzProxy } from './proxy.js';
import { fuzzStdio } from './stdio.js';

const seed = Number(process.env.FUZZ_SEED ?? Date.now() % 1_000_000);

it.each([
  ['stdio', fuzzStdio],
  ['proxy', fuzzProxy],
])(`%s: no crash, no changed byte, every oddity on record (seed ${seed})`, async (_name, fuzz) => {
  expect(await fuzz(seed, 4_000)).toBeGreaterThanOrEqual(4_000);
});
