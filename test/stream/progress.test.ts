import { expect, test } from 'vitest';
import { ConsumerProgress, worstHealth } from '../../services/stream/progress.js';
import type { Stream } from '../../services/stream/stream.js';

const minuteMs = 60_000;

/** A stream whose ends the test sets, and a clock that it turns. */
function rig() {
  const state = { now: Date.UTC(2026, 0, 1), end: 0, earliest: 0, away: false };
  const stream = {
    partitions: async () => {
      if (state.away) throw new Error('no broker answers');
      return [{ partition: 3, earliestOffset: state.earliest, endOffset: state.end }];
    },
  } as unknown as Stream;
  const progress = new ConsumerProgress({ stream, topic: 'calls', clock: () => state.now });
  const later = async (ms: number): Promise<void> => {
    state.now += ms;
    await progress.refresh();
  };
  return { state, progress, later };
}

test('idle for an hour is ready, and so is what goes on', async () => {
  const { state, progress, later } = rig();
  progress.assigned(3, 10);
  state.end = 10;
  for (let minute = 0; minute < 60; minute++) {
    await later(minuteMs);
    expect(progress.health()).toEqual({ state: 'ready' });
  }
  for (let minute = 0; minute < 60; minute++) {
    state.end += 100;
    await later(minuteMs);
    progress.reached(3, state.end - 50);
    expect(progress.lags()).toEqual([{ partition: 3, lag: 50 }]);
    expect(progress.health()).toEqual({ state: 'ready' });
  }
});

test('records that nobody deals with for two minutes are stuck, and one step forward ends it', async () => {
  const { state, progress, later } = rig();
  progress.assigned(3, 10);
  state.end = 12;
  await later(0);
  await later(2 * minuteMs);
  expect(progress.health().state).toBe('ready');
  await later(1);
  expect(progress.health()).toEqual({
    state: 'stuck',
    reason: 'partition 3 of calls has 2 records to deal with and does not go on since 2026-01-01T00:00:00.000Z',
  });
  progress.reached(3, 11);
  expect(progress.health().state).toBe('ready');
});

test('a store that is away is waited for and is no reason to restart', async () => {
  const { state, progress, later } = rig();
  progress.assigned(3, 10);
  state.end = 12;
  await later(0);
  progress.failed('insert (store_unavailable)');
  await later(60 * minuteMs);
  expect(progress.health()).toEqual({
    state: 'waiting',
    reason: 'insert (store_unavailable) fails since 2026-01-01T00:00:00.000Z',
  });
  expect(progress.lags()).toEqual([{ partition: 3, lag: 2 }]);
  progress.reached(3, 12);
  expect(progress.health().state).toBe('ready');
});

test('a stream that is away is waited for, with the lag of before', async () => {
  const { state, progress, later } = rig();
  progress.assigned(3, 10);
  state.end = 12;
  await later(0);
  state.away = true;
  await later(10 * minuteMs);
  expect(progress.health()).toEqual({
    state: 'waiting',
    reason: 'the stream does not answer since 2026-01-01T00:00:00.000Z',
  });
  expect(progress.lags()).toEqual([{ partition: 3, lag: 2 }]);
});

test('a partition of another process counts no more, and one without a position begins at its earliest record', async () => {
  const { state, progress, later } = rig();
  state.earliest = 90;
  state.end = 100;
  progress.assigned(3, undefined);
  await later(0);
  expect(progress.lags()).toEqual([{ partition: 3, lag: 10 }]);
  progress.failed('assign');
  progress.revoked(3);
  await later(0);
  expect([progress.lags(), progress.health()]).toEqual([[], { state: 'ready' }]);
});

test('the worst of several is told', () => {
  const waiting = { state: 'waiting', reason: 'a' } as const;
  const stuck = { state: 'stuck', reason: 'b' } as const;
  expect(worstHealth([{ state: 'ready' }, waiting, stuck])).toBe(stuck);
  expect(worstHealth([{ state: 'ready' }, waiting])).toBe(waiting);
  expect(worstHealth([])).toEqual({ state: 'ready' });
});
