/** Who waits for whom at the engine in process. */
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Lanes, LongQuestions, Turn } from '../../services/store/lanes.js';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const took = (ms: number) => () => new Promise<void>((resolve) => setTimeout(resolve, ms));

/** Lanes of a process that has a processor to itself. */
const lanesOf = (maxWaiting: number, isRecording: boolean): Lanes =>
  new Lanes(
    maxWaiting,
    () => isRecording,
    () => performance.now(),
  );

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
  const lanes = lanesOf(32, false);
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
  const lanes = lanesOf(32, true);
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
  const lanes = lanesOf(1, true);
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

test('a question that took long begins in the long lane the next time, until it was quick or ten minutes have passed', async () => {
  const known = new LongQuestions(2);
  const asked = (name: string, wasLong: boolean) => known.learn(name, known.laneOf(name), wasLong);
  asked('heavy', true);
  asked('light', false);
  expect(['heavy', 'light'].map((name) => known.laneOf(name))).toEqual(['long', 'quick']);
  asked('heavy', false);
  expect(known.laneOf('heavy')).toBe('quick');
  for (const name of ['first', 'second', 'third']) asked(name, true);
  expect(['first', 'second', 'third'].map((name) => known.laneOf(name))).toEqual(['quick', 'long', 'long']);
  await vi.advanceTimersByTimeAsync(400_000);
  asked('third', true);
  await vi.advanceTimersByTimeAsync(200_000);
  expect(known.laneOf('third')).toBe('quick');
});

test('a question that begins in the long lane leaves the quick one to others', async () => {
  const lanes = lanesOf(32, true);
  const log: string[] = [];
  const heavy = new Turn(lanes, () => undefined, 'long');
  const first = heavy.step(took(1_000), undefined).then(() => log.push('heavy'));
  const short = question(lanes, 'short', 50, log);
  await vi.advanceTimersByTimeAsync(60);
  expect(log).toEqual(['short']);
  await vi.advanceTimersByTimeAsync(1_000);
  await Promise.all([first, short]);
  expect([heavy.isLong, heavy.wasLong]).toEqual([true, true]);
  await heavy.end();
});

test('a question that got little of the processors is no long one for that, until ten times as much has passed', async () => {
  const lanes = new Lanes(
    32,
    () => true,
    () => performance.now() / 20,
  );
  const turn = new Turn(lanes, () => undefined);
  const first = turn.step(took(1_000), undefined);
  await vi.advanceTimersByTimeAsync(1_000);
  await first;
  expect([turn.isLong, turn.wasLong]).toEqual([false, false]);
  const second = turn.step(took(3_100), undefined);
  await vi.advanceTimersByTimeAsync(3_100);
  await second;
  expect(turn.isLong).toBe(true);
  await turn.end();
});
