import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Delivery } from '../../services/emitter/delivery.js';
import type { Sink, SinkAnswer } from '../../services/emitter/sink.js';
import type { Batch, Source } from '../../services/emitter/spool.js';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'delivery-'));
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
  rmSync(directory, { recursive: true, force: true });
});

/** Numbered events; `acknowledged` is how far the delivery has told us. */
class Numbers implements Source {
  acknowledged = 0;
  #taken = 0;
  constructor(public count: number) {}

  next(_maxBytes: number, maxLines: number): Batch {
    const from = this.#taken;
    this.#taken = Math.min(this.count, from + Math.min(maxLines, 10));
    const lines = Array.from({ length: this.#taken - from }, (_, at) => `{"n":${from + at}}`);
    return { lines, nextIndex: this.#taken, lastSequence: 0, isFull: lines.length === 10 };
  }

  delivered(batch: Batch): boolean {
    this.acknowledged = batch.nextIndex;
    return false;
  }
}

class Scripted implements Sink {
  readonly kept: string[] = [];
  readonly sent: number[] = [];
  constructor(readonly answer: (lines: readonly string[]) => SinkAnswer) {}

  async send(lines: readonly (string | Buffer)[]): Promise<SinkAnswer> {
    const texts = lines.map(String);
    this.sent.push(texts.length);
    const answer = this.answer(texts);
    if (answer.kind === 'accepted') {
      const rejected = new Set(answer.rejected.map(({ index }) => index));
      this.kept.push(...texts.filter((_, index) => !rejected.has(index)));
    }
    return answer;
  }

  close(): void {}
}

const accepted: SinkAnswer = { kind: 'accepted', rejected: [] };
const deliveryOf = (source: Source, sink: Sink) =>
  new Delivery(source, sink, { lingerMs: 200, rejectedPath: join(directory, 'rejected.jsonl') });
const rejectedLines = () =>
  readFileSync(join(directory, 'rejected.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));

describe('delivery', () => {
  it('sends at once what follows nothing, then waits a moment for more, and sends everything in order', async () => {
    const source = new Numbers(1);
    const sink = new Scripted(() => accepted);
    const delivery = deliveryOf(source, sink);
    delivery.notify();
    await vi.advanceTimersByTimeAsync(1);
    expect(sink.sent).toEqual([1]);
    source.count = 25;
    delivery.notify();
    await vi.advanceTimersByTimeAsync(198);
    expect(sink.sent).toEqual([1]);
    await vi.advanceTimersByTimeAsync(1);
    expect(sink.sent).toEqual([1, 10, 10, 4]);
    expect(sink.kept).toEqual(Array.from({ length: 25 }, (_, n) => `{"n":${n}}`));
    expect(source.acknowledged).toBe(25);
    expect(delivery.delivered).toBe(25);
  });

  it('does not wait for more when a batch is full', async () => {
    const delivery = deliveryOf(new Numbers(10), new Scripted(() => accepted));
    delivery.notify();
    delivery.notify(1024 * 1024);
    await vi.advanceTimersByTimeAsync(0);
    expect(delivery.delivered).toBe(10);
  });

  it('tries again with growing pauses, at most 5 s apart, and nothing is told as delivered before it is', async () => {
    const source = new Numbers(3);
    const sink = new Scripted(() => ({ kind: 'retry', reason: 'away' }));
    const delivery = deliveryOf(source, sink);
    delivery.notify();
    await vi.advanceTimersByTimeAsync(10_000);
    const early = sink.sent.length;
    expect(early).toBeGreaterThan(4);
    await vi.advanceTimersByTimeAsync(100_000);
    expect(sink.sent.length - early).toBeGreaterThanOrEqual(20);
    expect(sink.sent.length - early).toBeLessThanOrEqual(41);
    expect(source.acknowledged).toBe(0);
    Object.assign(sink, { answer: () => accepted });
    await vi.advanceTimersByTimeAsync(5000);
    expect(source.acknowledged).toBe(3);
    await delivery.close();
  });

  it('sends what came while it waited, though nobody calls again', async () => {
    const source = new Numbers(1);
    const sink = new Scripted(() => ({ kind: 'retry', reason: 'away' }));
    const delivery = deliveryOf(source, sink);
    delivery.notify();
    await vi.advanceTimersByTimeAsync(1000);
    source.count = 8;
    delivery.notify();
    Object.assign(sink, { answer: () => accepted });
    await vi.advanceTimersByTimeAsync(10_000);
    expect(source.acknowledged).toBe(8);
  });

  it('waits as long as it is told to', async () => {
    const sink = new Scripted(() => ({ kind: 'retry', reason: 'busy', afterMs: 60_000 }));
    const delivery = deliveryOf(new Numbers(3), sink);
    delivery.notify();
    await vi.advanceTimersByTimeAsync(59_999);
    expect(sink.sent).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(1);
    expect(sink.sent).toHaveLength(2);
    await delivery.close();
  });

  it('finds the lines for which a batch is refused, keeps them apart, and delivers all others once', async () => {
    vi.useRealTimers();
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 40 }),
        fc.uniqueArray(fc.nat(39), { maxLength: 5 }),
        async (n, bad) => {
          rmSync(join(directory, 'rejected.jsonl'), { force: true });
          const isBad = (line: string) => bad.some((each) => line === `{"n":${each}}`);
          const sink = new Scripted((lines) =>
            lines.some(isBad) ? { kind: 'refused', code: 'body_invalid', message: 'no' } : accepted,
          );
          const source = new Numbers(n);
          const delivery = deliveryOf(source, sink);
          await delivery.drain(10_000);
          const all = Array.from({ length: n }, (_, at) => `{"n":${at}}`);
          expect(sink.kept).toEqual(all.filter((line) => !isBad(line)));
          expect(delivery.rejected).toBe(all.filter(isBad).length);
          if (delivery.rejected > 0) {
            expect(rejectedLines().map((entry) => entry.event)).toEqual(all.filter(isBad));
            expect(rejectedLines()[0]).toMatchObject({ code: 'body_invalid', message: 'no' });
          }
          expect(source.acknowledged).toBe(n);
        },
      ),
      { numRuns: 50 },
    );
  });

  it('keeps single lines that were refused, and goes on', async () => {
    const rejected = [{ index: 1, code: 'missing_field', message: 'event_id' }];
    const sink = new Scripted((lines) => (lines.length === 3 ? { kind: 'accepted', rejected } : accepted));
    const delivery = deliveryOf(new Numbers(3), sink);
    const drained = delivery.drain(1000);
    await vi.advanceTimersByTimeAsync(0);
    await drained;
    expect(delivery).toMatchObject({ delivered: 2, rejected: 1 });
    expect(rejectedLines()).toMatchObject([{ code: 'missing_field', message: 'event_id', event: '{"n":1}' }]);
  });

  it('drains what came while it was sending, and gives up when the sink cannot take it', async () => {
    const source = new Numbers(3);
    const sink = new Scripted(() => {
      source.count = 6;
      return accepted;
    });
    const delivery = deliveryOf(source, sink);
    delivery.notify();
    vi.advanceTimersByTime(200);
    await delivery.drain(1000);
    expect(source.acknowledged).toBe(6);
    Object.assign(sink, { answer: () => ({ kind: 'retry', reason: 'away' }) });
    source.count = 9;
    await delivery.drain(1000);
    expect(source.acknowledged).toBe(6);
    await delivery.close();
  });

  it('goes on when the source fails for a moment', async () => {
    const source = new Numbers(3);
    const next = vi.spyOn(source, 'next').mockImplementationOnce(() => {
      throw new Error('EIO');
    });
    const delivery = deliveryOf(source, new Scripted(() => accepted));
    delivery.notify();
    await vi.advanceTimersByTimeAsync(1000);
    expect(next).toHaveBeenCalledTimes(2);
    expect(source.acknowledged).toBe(3);
  });
});
