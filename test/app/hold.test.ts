import { mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { type Holder, holdDataDirectory, readHolder } from '../../services/app/hold.js';
import { ownIdentity } from '../../services/emitter/process-identity.js';

let data: string;
let path: string;
beforeEach(() => {
  data = mkdtempSync(join(tmpdir(), 'hold-'));
  path = join(data, 'daemon.json');
});
afterEach(() => {
  vi.useRealTimers();
  rmSync(data, { recursive: true, force: true });
});

function leave(holder: Partial<Holder>): void {
  const whole = { ...ownIdentity(), host: hostname(), version: '0.1.0', started_at: '2026-11-24T03:52:00Z', ...holder };
  writeFileSync(path, JSON.stringify(whole));
}

function silentSince(milliseconds: number): void {
  const then = new Date(Date.now() - milliseconds);
  utimesSync(path, then, then);
}

test('one process holds, tells where it listens, and leaves nothing behind', () => {
  const hold = holdDataDirectory(data, '0.1.0');
  expect(readHolder(data)).toMatchObject({ pid: process.pid, version: '0.1.0' });
  expect(readHolder(data)?.url).toBeUndefined();
  hold.publish('http://127.0.0.1:7467');
  expect(readHolder(data)?.url).toBe('http://127.0.0.1:7467');
  expect(() => holdDataDirectory(data, '0.1.0')).toThrow(
    `${data} is held by process ${process.pid} since ${hold.startedAt}, listening on http://127.0.0.1:7467.`,
  );
  hold.release();
  expect(readdirSync(data)).toEqual([]);
});

test.each([
  ['torn', '{"pid":1'],
  ['empty', ''],
  ['of another shape', '{"pid":"x"}'],
  ['garbage', '\u0000\u0001'],
])('a file that is %s holds nothing', (_what, text) => {
  writeFileSync(path, text);
  const hold = holdDataDirectory(data, '0.1.0');
  expect(readHolder(data)?.pid).toBe(process.pid);
  hold.release();
});

test('a process that ended holds nothing, even when its pid was given out again', () => {
  leave({ pid: process.pid, process_start: '1' });
  expect(readHolder(data)).toBeUndefined();
  holdDataDirectory(data, '0.1.0').release();
});

test('what held before the machine was started again holds nothing', () => {
  leave({ boot_id: 'an earlier boot' });
  expect(readHolder(data)).toBeUndefined();
});

test('a process in another container or on another machine holds while its heart beats', () => {
  for (const elsewhere of [{ boot_id: 'another', host: 'another' }, { pid_namespace: '1' }]) {
    leave(elsewhere);
    silentSince(30_000);
    expect(readHolder(data)).toMatchObject(elsewhere);
    expect(() => holdDataDirectory(data, '0.1.0')).toThrow('is held by');
    silentSince(90_000);
    expect(readHolder(data)).toBeUndefined();
  }
  holdDataDirectory(data, '0.1.0').release();
});

test('the heart beats, and a file that somebody damaged or deleted is written again', () => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
  const hold = holdDataDirectory(data, '0.1.0');
  hold.publish('http://127.0.0.1:7467');
  silentSince(50_000);
  vi.advanceTimersByTime(10_000);
  const whole = readFileSync(path, 'utf8');
  for (const damage of [() => writeFileSync(path, '{"pid":'), () => rmSync(path)]) {
    damage();
    expect(readHolder(data)).toBeUndefined();
    vi.advanceTimersByTime(10_000);
    expect(readFileSync(path, 'utf8')).toBe(whole);
  }
  hold.release();
  vi.advanceTimersByTime(60_000);
  expect(readdirSync(data)).toEqual([]);
});
