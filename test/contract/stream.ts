import { randomUUID } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type {
  Consumer,
  ConsumerOptions,
  NewRecord,
  RecordBatch,
  Stream,
  StreamRecord,
} from '../../services/stream/stream.js';

export interface StreamHarness {
  /** Opens the stream; called again only after the stream it gave before was closed. Records outlive closing. */
  open(): Promise<Stream>;
  /** Takes away what `open` made. */
  remove(): Promise<void>;
}

/**
 * What every adapter of the stream's port must do. Nothing is assumed that Kafka does not promise: topics may hold
 * records of other tests, offsets begin anywhere, delivery takes its time, and which partition a key goes to is the
 * adapter's choice. The stream must have at least two partitions for each topic.
 */
export function describeStream(name: string, makeHarness: () => Promise<StreamHarness>): void {
  describe(`stream contract: ${name}`, () => {
    const topic = 'alerts';
    let harness: StreamHarness;
    let stream: Stream;
    /** Marks this test's records among others of the topic. */
    let mine: string;

    beforeEach(async () => {
      harness = await makeHarness();
      stream = await harness.open();
      mine = randomUUID();
    });
    afterEach(async () => {
      await stream.close();
      await harness.remove();
    });

    function record(text: string, key = `${mine}-key`, headers: Record<string, string> = { mine }): NewRecord {
      return { key, value: Buffer.from(`${mine} ${text}`), headers };
    }
    function textOf(one: StreamRecord): string | undefined {
      const text = one.value.toString();
      return text.startsWith(`${mine} `) ? text.slice(mine.length + 1) : undefined;
    }
    async function ends(): Promise<Map<number, number>> {
      return new Map((await stream.partitions(topic)).map((state) => [state.partition, state.endOffset]));
    }

    /** Consumes from where `starts` says, and tells this test's records as they come. */
    async function watch(
      options: Partial<ConsumerOptions>,
      starts: ReadonlyMap<number, number | 'latest' | undefined> = new Map(),
    ) {
      const batches: RecordBatch[] = [];
      const owned = new Set<number>();
      const waiting = new Set<() => void>();
      const changed = () => {
        for (const check of waiting) check();
      };
      const consumer: Consumer = await stream.consume({
        topic,
        assigned: async (partitions) => {
          for (const partition of partitions) owned.add(partition);
          changed();
          return starts;
        },
        revoked: async (partitions) => {
          for (const partition of partitions) owned.delete(partition);
          changed();
        },
        ...options,
        batch: async (batch) => {
          batches.push(batch);
          await options.batch?.(batch);
          changed();
        },
      });
      const texts = () => batches.flatMap((batch) => batch.records.flatMap((one) => textOf(one) ?? []));
      const until = (condition: () => boolean) =>
        new Promise<void>((resolve, reject) => {
          const check = () => {
            if (!condition()) return;
            waiting.delete(check);
            resolve();
          };
          waiting.add(check);
          consumer.closed.catch(reject);
          check();
        });
      return { consumer, batches, owned, texts, until, got: (count: number) => until(() => texts().length >= count) };
    }

    test('what was appended comes back with key, value, headers, position and a time that never decreases', async () => {
      const starts = await ends();
      const sent: NewRecord[] = [
        record('plain'),
        record('no headers', `${mine}-key`, {}),
        record('naïve 日本 \u{1f600}', `${mine}-ключ`, { ce_id: 'ü', mine }),
        {
          key: `${mine}-key`,
          value: Buffer.concat([Buffer.from(`${mine} `), Buffer.from([0, 255, 10, 13, 0])]),
          headers: {},
        },
        record('', `${mine}-key`),
      ];
      const before = Date.now();
      const positions = await stream.append(topic, sent);
      expect(positions).toHaveLength(sent.length);
      const { batches, got, consumer } = await watch({}, starts);
      await got(sent.length);
      for (const [at, position] of positions.entries()) {
        const batch = batches.filter((one) => one.partition === position.partition);
        const found = batch.flatMap((one) => one.records).find((one) => one.offset === position.offset)!;
        expect(found.key).toBe(sent[at]!.key);
        expect(found.value.equals(sent[at]!.value)).toBe(true);
        expect({ ...found.headers }).toEqual(sent[at]!.headers);
        expect(Math.abs(found.timestamp - before)).toBeLessThan(600_000);
      }
      for (const batch of batches) {
        expect(batch.topic).toBe(topic);
        const last = batch.records.at(-1)!;
        expect(batch.nextOffset).toBeGreaterThan(last.offset);
        expect(batch.endOffset).toBeGreaterThanOrEqual(batch.nextOffset);
        const times = batch.records.map((one) => one.timestamp);
        expect(times).toEqual([...times].sort((a, b) => a - b));
        const offsets = batch.records.map((one) => one.offset);
        expect(offsets).toEqual([...new Set(offsets)].sort((a, b) => a - b));
      }
      await consumer.close();
    });

    test('a key keeps its partition and its order; records without a key all arrive', async () => {
      const starts = await ends();
      const appends = Array.from({ length: 20 }, (_, at) =>
        stream.append(topic, [
          record(`a ${at}`, `${mine}-a`),
          record(`b ${at}`, `${mine}-b`),
          record(`none ${at}`, ''),
        ]),
      );
      const positions = await Promise.all(appends);
      expect(new Set(positions.map((three) => three[0]!.partition)).size).toBe(1);
      expect(new Set(positions.map((three) => three[1]!.partition)).size).toBe(1);
      const places = positions.flat().map(({ partition, offset }) => `${partition}/${offset}`);
      expect(new Set(places).size).toBe(60);
      const { texts, got, consumer } = await watch({}, starts);
      await got(60);
      for (const key of ['a', 'b']) {
        const expected = Array.from({ length: 20 }, (_, at) => `${key} ${at}`);
        expect(texts().filter((text) => text.startsWith(`${key} `))).toEqual(expected);
      }
      expect(texts().filter((text) => text.startsWith('none')).length).toBe(20);
      await consumer.close();
    });

    test('partitions tell where they end', async () => {
      const [position] = await stream.append(topic, [record('last')]);
      const state = (await stream.partitions(topic)).find((one) => one.partition === position!.partition)!;
      expect(state.endOffset).toBeGreaterThan(position!.offset);
      expect(state.earliestOffset).toBeLessThanOrEqual(position!.offset);
      expect((await stream.partitions(topic)).length).toBeGreaterThanOrEqual(2);
    });

    test('a number from assigned is where reading starts; one below the earliest starts at the earliest', async () => {
      const positions = await stream.append(topic, [record('one'), record('two'), record('three')]);
      const starts = await ends();
      const { partition, offset } = positions[1]!;
      const late = await watch({}, new Map([...starts, [partition, offset]]));
      await late.got(2);
      expect(late.texts()).toEqual(['two', 'three']);
      await late.consumer.close();
      const early = await watch({}, new Map([...starts, [partition, 0]]));
      await early.got(3);
      expect(early.texts()).toEqual(['one', 'two', 'three']);
      await early.consumer.close();
    });

    test("'latest' skips what is there", async () => {
      await stream.append(topic, [record('old')]);
      const states = await stream.partitions(topic);
      const { texts, consumer } = await watch({}, new Map(states.map(({ partition }) => [partition, 'latest'])));
      // When an adapter begins to read is its own affair, so new records are sent until one has come.
      for (let at = 0; texts().length === 0; at++) await stream.append(topic, [record(`new ${at}`)]);
      expect(texts()).not.toContain('old');
      await consumer.close();
    });

    test('a group goes on where it committed, also after the stream was opened again', async () => {
      const group = `group-${mine}`;
      const starts = await ends();
      const [first, second] = await stream.append(topic, [record('one'), record('two')]);
      expect((await stream.committed(topic, group)).size).toBe(0);
      const before = await watch({ group }, starts);
      await before.got(2);
      await before.consumer.commit(first!.partition, second!.offset);
      for (const [partition, offset] of starts) {
        if (partition !== first!.partition) await before.consumer.commit(partition, offset);
      }
      await before.consumer.close();
      await stream.close();
      stream = await harness.open();
      expect((await stream.committed(topic, group)).get(first!.partition)).toBe(second!.offset);
      const after = await watch({ group });
      await after.got(1);
      expect(after.texts()).toEqual(['two']);
      await after.consumer.close();
    });

    test('one batch at a time for each partition, and the next only after the handler resolved', async () => {
      const starts = await ends();
      const running = new Map<number, number>();
      const most = new Map<number, number>();
      const { texts, got, consumer, batches } = await watch(
        {
          maxBatchBytes: 200,
          batch: async ({ partition }) => {
            running.set(partition, (running.get(partition) ?? 0) + 1);
            most.set(partition, Math.max(most.get(partition) ?? 0, running.get(partition)!));
            await new Promise((resolve) => setImmediate(resolve));
            running.set(partition, running.get(partition)! - 1);
          },
        },
        starts,
      );
      const sent = Array.from({ length: 30 }, (_, at) => record(`${at} ${'x'.repeat(at === 7 ? 1000 : 40)}`));
      await stream.append(topic, sent);
      await got(sent.length);
      expect(new Set(texts()).size).toBe(sent.length);
      expect(Math.max(...most.values())).toBe(1);
      for (const { records } of batches) {
        const bytes = records.reduce((sum, one) => sum + one.value.length, 0);
        expect(records.length === 1 || bytes <= 200, `${records.length} records of ${bytes} bytes`).toBe(true);
      }
      await consumer.close();
    });

    test('a handler that rejects ends its consumer with that error, and no other', async () => {
      const starts = await ends();
      const failing = await stream.consume({
        topic,
        assigned: async () => starts,
        revoked: async () => undefined,
        batch: async () => {
          throw new Error('the handler is broken');
        },
      });
      const other = await watch({}, starts);
      const failed = expect(failing.closed).rejects.toThrow('the handler is broken');
      await stream.append(topic, [record('poison')]);
      await failed;
      await other.got(1);
      await stream.append(topic, [record('after')]);
      await other.got(2);
      await other.consumer.close();
      await failing.close();
    });

    test('consumers of a group share the partitions, and one takes over when another leaves', async () => {
      const group = `group-${mine}`;
      const starts = await ends();
      const all = starts.size;
      const first = await watch({ group }, starts);
      await first.until(() => first.owned.size === all);
      const second = await watch({ group }, starts);
      await Promise.all([
        first.until(() => first.owned.size > 0 && first.owned.size < all),
        second.until(() => second.owned.size > 0),
      ]);
      expect([...first.owned].filter((partition) => second.owned.has(partition))).toEqual([]);
      await second.consumer.close();
      await first.until(() => first.owned.size === all);
      const sent = Array.from({ length: 40 }, (_, at) => record(`${at}`, `${mine}-${at}`));
      await stream.append(topic, sent);
      await first.until(() => new Set(first.texts()).size === sent.length);
      await first.consumer.close();
      expect(new Set(first.texts())).toEqual(new Set(sent.map((_, at) => `${at}`)));
    });

    test('with one owner the newcomer stands by, and takes everything over when the owner leaves', async () => {
      const options = { group: `${mine}-one`, oneOwner: true };
      const all = (await stream.partitions(topic)).length;
      const first = await watch(options);
      await first.until(() => first.owned.size === all);
      const second = await watch(options);
      const third = await watch(options);
      // What is appended now is read by the owner, after whatever the joining of the others did to it.
      await stream.append(topic, [record('one', 'a'), record('two', 'b'), record('three', 'c')]);
      await first.until(() => first.owned.size === all && first.texts().includes('three'));
      expect([second.owned.size, third.owned.size]).toEqual([0, 0]);
      await first.consumer.close();
      // Two that came in the same millisecond are there equally long.
      const [next, last] = await Promise.race(
        [
          [second, third],
          [third, second],
        ].map(async ([one, other]) => {
          await one!.until(() => one!.owned.size === all);
          return [one!, other!] as const;
        }),
      );
      expect(last.owned.size).toBe(0);
      await next.consumer.close();
      await last.until(() => last.owned.size === all);
      await last.consumer.close();
    });

    test('close waits for the batch in hand, gives no other, and may be called twice', async () => {
      const starts = await ends();
      let release = () => {};
      const released = new Promise<void>((resolve) => {
        release = resolve;
      });
      let entered = () => {};
      const inHand = new Promise<void>((resolve) => {
        entered = resolve;
      });
      let calls = 0;
      const consumer = await stream.consume({
        topic,
        assigned: async () => starts,
        revoked: async () => undefined,
        batch: async () => {
          calls++;
          entered();
          await released;
        },
      });
      await stream.append(topic, [record('in hand')]);
      await inHand;
      let isClosed = false;
      const closing = consumer.close().then(() => {
        isClosed = true;
      });
      await stream.append(topic, [record('too late')]);
      expect(isClosed).toBe(false);
      release();
      await closing;
      await consumer.closed;
      await consumer.close();
      expect(calls).toBe(1);
    });
  });
}
