import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { AuditdError } from '../../schemas/errors.js';
import { type LocalStreamOptions, openLocalStream, type StreamProblem } from '../../services/stream/local.js';
import { murmur2 } from '../../services/stream/partitioner.js';
import type { Stream, StreamRecord } from '../../services/stream/stream.js';
import { describeStream } from '../contract/stream.js';

describeStream('local', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'stream-contract-'));
  return {
    open: async () => openLocalStream({ directory, partitions: 3, maxSegmentBytes: 2000 }),
    remove: async () => rmSync(directory, { recursive: true, force: true }),
  };
});

let directory: string;
let problems: StreamProblem[];
let nowMs: number;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'stream-'));
  problems = [];
  nowMs = 1_000_000;
});
afterEach(() => {
  rmSync(directory, { recursive: true, force: true });
});

function open(options: Partial<LocalStreamOptions> = {}) {
  return openLocalStream({ directory, now: () => nowMs, report: (problem) => problems.push(problem), ...options });
}

function record(text: string, key = 'key') {
  return { key, value: Buffer.from(text), headers: { text: 'shared' } };
}

/** Reads everything that is in the topic now. */
async function readAll(stream: Stream, from = 0): Promise<Map<number, StreamRecord[]>> {
  const states = (await stream.partitions('calls')).filter((state) => state.endOffset > from);
  const found = new Map<number, StreamRecord[]>();
  const open = new Set(states.map((state) => state.partition));
  if (open.size === 0) return found;
  await new Promise<void>((resolve, reject) => {
    const consuming = stream.consume({
      topic: 'calls',
      assigned: async (partitions) => new Map(partitions.map((partition) => [partition, from])),
      revoked: async () => undefined,
      batch: async (batch) => {
        found.set(batch.partition, [...(found.get(batch.partition) ?? []), ...batch.records]);
        if (batch.nextOffset >= states.find((state) => state.partition === batch.partition)!.endOffset) {
          open.delete(batch.partition);
        }
        if (open.size === 0) void consuming.then((consumer) => consumer.close());
      },
    });
    consuming.then((consumer) => consumer.closed).then(resolve, reject);
  });
  return found;
}

test("keys go where Kafka's default partitioner sends them", () => {
  const known: Record<string, number> = {
    '21': -973932308,
    foobar: -790332482,
    'a-little-bit-long-string': -985981536,
    'a-little-bit-longer-string': -1486304829,
    lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8: -58897971,
    abc: 479470107,
  };
  for (const [key, hash] of Object.entries(known)) expect(murmur2(Buffer.from(key)), key).toBe(hash);
});

test('the number of partitions is fixed when the stream is made', async () => {
  await open({ partitions: 2 }).close();
  const reopened = open();
  expect(await reopened.partitions('calls')).toHaveLength(2);
  await reopened.close();
  expect(() => open({ partitions: 3 })).toThrow(/was made with 2 partitions a topic and can't be opened with 3/);
  expect(() => open({ partitions: 0 })).toThrow('partitions is 0; expected a whole number from 1 to 256');
  writeFileSync(join(directory, 'meta.json'), '{"version": 2}');
  expect(() => open()).toThrow(AuditdError);
  writeFileSync(join(directory, 'meta.json'), '{"version": 1, "partitions": "two"}');
  expect(() => open()).toThrow('meta.json: partitions is "two"');
});

test('a clock that goes back is held, also across reopening', async () => {
  let stream = open();
  await stream.append('calls', [record('one')]);
  nowMs -= 5000;
  await stream.append('calls', [record('two')]);
  await stream.close();
  stream = open();
  await stream.append('calls', [record('three')]);
  nowMs += 6000;
  await stream.append('calls', [record('four')]);
  const times = (await readAll(stream)).get(0)!.map((one) => one.timestamp);
  expect(times).toEqual([1_000_000, 1_000_000, 1_000_000, 1_001_000]);
  await stream.close();
});

test('equal headers are one object', async () => {
  const stream = open({ durability: 'kernel' });
  await stream.append('calls', [record('one'), record('two'), { ...record('three'), headers: { other: '1' } }]);
  const [one, two, three] = (await readAll(stream)).get(0)!;
  expect(two!.headers).toBe(one!.headers);
  expect(three!.headers).toEqual({ other: '1' });
  await stream.close();
});

test('retention drops whole segments by size and by age, and tells of groups that had not read them', async () => {
  const stream = open({ maxSegmentBytes: 1000, retention: { maxBytes: 3000, maxAgeMs: 60_000 } });
  const consumer = await stream.consume({
    topic: 'calls',
    group: 'slow',
    assigned: async () => new Map(),
    revoked: async () => undefined,
    batch: async (batch) => {
      if (batch.records[0]!.offset === 0) await consumer.commit(0, 1);
    },
  });
  for (let at = 0; at < 50; at++) await stream.append('calls', [record('x'.repeat(200))]);
  while (!(await stream.committed('calls', 'slow')).has(0)) await new Promise((resolve) => setImmediate(resolve));
  stream.enforceRetention();
  const [bySize] = await stream.partitions('calls');
  expect(bySize!.earliestOffset).toBeGreaterThan(30);
  expect(bySize!.endOffset).toBe(50);
  expect(await stream.diskBytes()).toBeLessThanOrEqual(3000);
  expect(problems.map((problem) => problem.kind)).toEqual(['group_lagging']);
  nowMs += 61_000;
  await stream.append('calls', [record('young')]);
  stream.enforceRetention();
  expect(
    (await readAll(stream))
      .get(0)!
      .map((one) => one.value.toString())
      .at(-1),
  ).toBe('young');
  nowMs += 61_000;
  stream.enforceRetention();
  expect((await stream.partitions('calls'))[0]).toEqual({ partition: 0, earliestOffset: 51, endOffset: 51 });
  expect(await stream.append('calls', [record('next')])).toEqual([{ partition: 0, offset: 51 }]);
  await stream.close();
});

test('an offset that a group has passed is not given out again when the disk lost records', async () => {
  let stream = open();
  await stream.append('calls', [record('one')]);
  await stream.close();
  writeFileSync(join(directory, 'calls', 'groups.json'), '{"ingestor": {"0": 7}}');
  stream = open();
  expect(await stream.append('calls', [record('two')])).toEqual([{ partition: 0, offset: 7 }]);
  expect(problems.map((problem) => problem.kind)).toEqual(['records_lost']);
  expect((await readAll(stream)).get(0)!.map((one) => one.offset)).toEqual([0, 7]);
  await stream.close();
});

test('a torn tail is cut and told', async () => {
  let stream = open();
  await stream.append('calls', [record('one')]);
  await stream.close();
  const segments = join(directory, 'calls', '0');
  appendFileSync(join(segments, readdirSync(segments)[0]!), Buffer.alloc(17, 1));
  stream = open();
  expect(problems).toMatchObject([{ kind: 'torn_tail', topic: 'calls', partition: 0 }]);
  expect((await readAll(stream)).get(0)).toHaveLength(1);
  await stream.close();
});

test('what can not be taken is refused with its reason, and nothing of it is stored', async () => {
  const stream = open();
  const large = { ...record('large'), value: Buffer.alloc(9 * 1024 * 1024) };
  await expect(stream.append('calls', [record('small'), large])).rejects.toMatchObject({ code: 'record_too_large' });
  const flood = Array.from({ length: 20 }, () =>
    stream.append('calls', [{ ...large, value: Buffer.alloc(4_000_000) }]),
  );
  const codes = (await Promise.allSettled(flood)).flatMap((one) =>
    one.status === 'rejected' ? [one.reason.code] : [],
  );
  expect(codes.length).toBeGreaterThan(0);
  expect(new Set(codes)).toEqual(new Set(['stream_overloaded']));
  expect((await stream.partitions('calls'))[0]!.endOffset).toBe(20 - codes.length);
  await expect(stream.append('nothing' as 'calls', [])).rejects.toThrow('there is no topic "nothing"');
  await stream.close();
  await expect(stream.append('calls', [record('late')])).rejects.toThrow('the stream is closed');
});

const kills = 6;
test(`${kills} times SIGKILL: what was acknowledged is there once, in order`, async () => {
  const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31));
  console.log(`SEED=${seed}`);
  const acknowledged = new Map<string, string>();
  for (let round = 0; round < kills; round++) {
    const child = spawn(
      process.execPath,
      ['--import', 'tsx', join(import.meta.dirname, 'appending-child.ts'), directory, String(round)],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    const ended = once(child, 'close');
    const killAfter = 1 + ((seed >>> round) % 307);
    let lines = 0;
    for await (const line of createInterface({ input: child.stdout })) {
      const match = /^(\d+,\d+),(\d+-[a-f]-\d+)$/.exec(line);
      if (match === null) continue;
      // The last line may be cut within its text: only what the child told whole is held against the stream.
      acknowledged.set(match[1]!, match[2]!);
      if (++lines === killAfter) child.kill('SIGKILL');
    }
    await ended;
    expect(lines).toBeGreaterThanOrEqual(killAfter);
  }
  const stream = open();
  const stored = await readAll(stream);
  const texts: string[] = [];
  for (const [partition, records] of stored) {
    const last = new Map<string, number>();
    for (const [at, one] of records.entries()) {
      const text = one.value.toString();
      texts.push(text);
      expect(one.offset).toBe(at);
      const told = acknowledged.get(`${partition},${one.offset}`);
      if (told !== undefined) expect(text.startsWith(told)).toBe(true);
      acknowledged.delete(`${partition},${one.offset}`);
      const [round, name, number] = text.split('-');
      const order = Number(round) * 1e9 + Number(number);
      expect(order).toBeGreaterThan(last.get(name!) ?? -1);
      last.set(name!, order);
    }
  }
  expect([...acknowledged]).toEqual([]);
  expect(new Set(texts).size).toBe(texts.length);
  await stream.close();
});
