/** The thread of reading.ts: reads and compiles, hands over in pieces, and waits to be ended. */
import { parentPort, workerData } from 'node:worker_threads';
import type { Excerpt } from './excerpt.js';
import { sizeOf } from './expression.js';
import { type ReadingPiece, reading, type ThreadWork } from './reading.js';
import type { Rule } from './rule.js';
import { atOnce } from './turns.js';

/** Tests in one piece, but at least one rule: a few milliseconds for who fetches it. */
const mostTests = 500;

const { sources, excerpts: wanted, port } = workerData as ThreadWork;
const { set, problems, warnings, excerpts } = atOnce(reading(sources, wanted));
const send = (piece: ReadingPiece): void => port.postMessage(piece);
let rules: Rule[] = [];
let some: Excerpt[] = [];
let tests = 0;
for (const [index, rule] of set.rules.entries()) {
  // The tests were run here, for who wants to know.
  rules.push({ ...rule, tests: [] });
  if (wanted) some.push(excerpts[index] as Excerpt);
  for (const { expression } of rule.roles) tests += sizeOf(expression);
  if (tests < mostTests && rules.length < mostTests && index < set.rules.length - 1) continue;
  send({ rules, excerpts: some });
  [rules, some, tests] = [[], [], 0];
}
send({ calendars: set.calendars, problems, warnings });
port.ref();
parentPort?.postMessage('all is sent');
