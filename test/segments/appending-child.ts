/** Appends until it is killed, and tells each append that returned as a line `first index, count`. */
import { SegmentLog } from '../../services/segments/segments.js';

const [directory, seedText] = process.argv.slice(2);
let state = Number(seedText);
function random(below: number): number {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return Math.floor((state / 2 ** 32) * below);
}

const log = SegmentLog.open(directory!, { maxSegmentBytes: 200_000 });
function step(): void {
  for (let turn = 0; turn < 10; turn++) {
    const count = 1 + random(40);
    const next = log.nextIndex;
    const records = Array.from({ length: count }, (_, at) => `${next + at}:${'x'.repeat(random(2000))}`);
    const first = count === 1 ? log.appendOne(records[0]!) : log.append(records);
    process.stdout.write(`${first},${count}\n`);
  }
  setImmediate(step);
}
step();
