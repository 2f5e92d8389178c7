/** The child of rules.ts: one number of rules. Prints its figures as JSON. */

import { parseTimeMicros } from '../../../schemas/time.js';
import { Engine } from '../../../services/detector/engine.js';
import { rulesOf } from '../../detector/rules.js';
import type { RulesFigures } from '../rules.js';
import { eventLines, ownYaml, ruleMix } from './corpus.js';

const [size, count, rounds] = process.argv.slice(2).map(Number) as [number, number, number];

// As a batch of a stream lies in memory: one block, and a view of it for each record.
const texts = [...eventLines(count)];
const block = Buffer.from(`${texts.join('\n')}\n`);
const lines: Buffer[] = [];
const recorded: number[] = [];
let clock = 0;
for (let at = 0; at < block.length; ) {
  const end = block.indexOf(10, at);
  lines.push(block.subarray(at, end));
  const { occurred_at } = JSON.parse(block.toString('latin1', at, end)) as { occurred_at: string };
  clock = Math.max(clock, parseTimeMicros(occurred_at) + 250_000);
  recorded.push(clock);
  at = end + 1;
}

let sum = 0;
/** Of this process, in seconds: what others do on the machine costs no ratio. */
function cpuSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}

function parseAll(): number {
  const started = cpuSeconds();
  for (const line of lines) sum += (JSON.parse(line.toString()) as { result_bytes: number }).result_bytes;
  return cpuSeconds() - started;
}

const rules = rulesOf(ownYaml(ruleMix(size)));
const setUpStarted = performance.now();
let alerts = 0;
new Engine(rules, () => undefined);
const setUpMs = performance.now() - setUpStarted;

function matchAll(): number {
  alerts = 0;
  const engine = new Engine(rules, () => alerts++);
  const started = cpuSeconds();
  // As the detector does.
  for (let from = 0; from < lines.length; from += 64) {
    engine.takeAll(
      lines.slice(from, from + 64).map((value, index) => ({
        value,
        tenant: 'default',
        partition: 0,
        offset: from + index,
        recordedAtMicros: recorded[from + index] as number,
      })),
    );
  }
  return cpuSeconds() - started;
}

let parse = Number.POSITIVE_INFINITY;
let match = Number.POSITIVE_INFINITY;
for (let round = 0; round < rounds; round++) {
  parse = Math.min(parse, parseAll());
  match = Math.min(match, matchAll());
}
const figures: RulesFigures = { rules: size, parse: count / parse, engine: count / match, setUpMs, alerts };
if (!(sum > 0)) throw new Error('nothing was parsed');
console.log(JSON.stringify(figures));
