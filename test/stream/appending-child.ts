/** Appends from several callers at once until it is killed, and tells each durable record as `partition,offset,text`. */
import { openLocalStream } from '../../services/stream/local.js';

const [directory, round] = process.argv.slice(2);
const stream = openLocalStream({ directory: directory!, partitions: 3, maxSegmentBytes: 50_000 });
async function caller(name: string): Promise<never> {
  for (let at = 0; ; at++) {
    const texts = Array.from({ length: 1 + (at % 5) }, (_, one) => `${round}-${name}-${at * 10 + one}`);
    const records = texts.map((text) => ({ key: name, value: Buffer.from(text), headers: { name } }));
    const positions = await stream.append('calls', records);
    const lines = positions.map(({ partition, offset }, one) => `${partition},${offset},${texts[one]}\n`);
    process.stdout.write(lines.join(''));
  }
}
for (const name of ['a', 'b', 'c', 'd', 'e', 'f']) void caller(name);
