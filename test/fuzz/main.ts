/**
 * `npm run fuzz -- --seed S --messages N`: malformed JSON-RPC both ways through `wrap` and through `proxy`. Never a
 * crash, never a changed byte, every request and every oddity on record once. The last line is the count.
 */
import { parseArgs } from 'node:util';
import { fuzzProxy } from './proxy.js';
import { fuzzStdio } from './stdio.js';

/** Each round has an emitter of its own, so that what waits in memory and in the spool stays small. */
const roundMessages = 20_000;

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    messages: { type: 'string', default: '100000' },
    help: { type: 'boolean', short: 'h', default: false },
  },
});
if (values.help) {
  console.log('npm run fuzz -- [--seed S] [--messages N]');
  process.exit(0);
}
const seed = Number(values.seed);
const wanted = Number(values.messages);
if (!Number.isSafeInteger(seed) || seed < 0 || !Number.isSafeInteger(wanted) || wanted < 1) {
  console.error('--seed and --messages take whole numbers, --messages at least 1.');
  process.exit(2);
}
console.log(`seed ${seed}`);
const passed = { stdio: 0, proxy: 0 };
for (let round = 0; passed.stdio + passed.proxy < wanted; round += 1) {
  const messages = Math.min(roundMessages, wanted - passed.stdio - passed.proxy);
  if (round % 2 === 0) passed.stdio += await fuzzStdio(seed + round, messages);
  else passed.proxy += await fuzzProxy(seed + round, messages);
  if (round % 10 === 9) console.log(`${passed.stdio + passed.proxy} messages`);
}
console.log(
  `${passed.stdio + passed.proxy} messages (${passed.stdio} stdio, ${passed.proxy} proxy): 0 crashes, 0 changed bytes, 0 missing records`,
);
process.exit(0);
