/** Who waits for whom at the engine in process. */
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Lanes, Turn } from '../../services/store/lanes.js';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const took = (ms: number) => () => new Promise<void>((resolve) => setTimeout(resolve, ms));

/** A question with one step of so many milliseconds, which ends when it is told to begin again, as the store's does. */
async function question(lanes: Lanes, name: string, ms: number, log: string[]): Promise<void> {
  let end: ((again: boolean) => void) | undefined;
  const turn = new Turn(lanes, () => end?.(true));
  const step = () =>
    new Promise<boolean>((resolve) => {
      end = resolve;
      setTimeout(() => resolve(false), ms);
    });
  while (await turn.step(step, undefined)) await turn.end();
  await turn.end();
  log.push(name);
}

test('long questions hold up one another, and a short one waits for none of them', async () => {
  const lanes = new Lanes(32, () => false);
  const log: string[] = [];
  const long = [1, 2, 3].map((number) => question(lanes, `long ${number}`, 5_000, log));
  await vi.advanceTimersByTimeAsync(1_000);
  const short = question(lanes, 'short', 50, log);
  await vi.advanceTimersByTimeAsync(60);
  expect(log).toEqual(['short']);
  await Promise.all([short, vi.advanceTimersByTimeAsync(20_000), ...long]);
  expect(log).toEqual(['short', 'long 1', 'long 2', 'long 3']);
});

test('a reader who rests gives the turn away, and has to wait for the next one', async () => {
  const lanes = new Lanes(32, () => true);
  const resting = new Turn(lanes, () => undefined);
  const first = resting.step(took(10), undefined);
  await vi.advanceTimersByTimeAsync(10);
  await first;
  const log: string[] = [];
  const next = question(lanes, 'next', 200, log);
  await vi.advanceTimersByTimeAsync(50);
  const again = resting.step(took(10), undefined).then(() => log.push('again'));
  await vi.advanceTimersByTimeAsync(60);
  // It had the turn still when it came back, so the other one begins now.
  expect(log).toEqual(['again']);
  await vi.advanceTimersByTimeAsync(150);
  const late = resting.step(took(10), undefined).then(() => log.push('late'));
  await vi.advanceTimersByTimeAsync(300);
  await Promise.all([next, again, late]);
  expect(log).toEqual(['again', 'next', 'late']);
  await resting.end();
});

test('who leaves while it waits holds no place', async () => {
  const lanes = new Lanes(1, () => true);
  const running = lanes.enter('quick', undefined);
  await running;
  const leaves = new AbortController();
  const left = lanes.enter('quick', leaves.signal);
  await expect(lanes.enter('quick', undefined)).rejects.toMatchObject({ code: 'query_busy' });
  leaves.abort();
  await expect(left).rejects.toMatchObject({ code: 'query_aborted' });
  const next = lanes.enter('quick', undefined);
  lanes.leave('quick');
  await next;
});
