import { execFileSync } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { AuditdError } from '../../schemas/errors.js';
import { maxRecordBytes, SegmentLog, SegmentReader } from '../../services/segments/segments.js';

const segmentBytes = 1000;
let home: string;
let directories = 0;

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'segments-'));
});
afterEach(() => {
  rmSync(home, { recursive: true, force: true });
});

function newDirectory(): string {
  return join(home, String(directories++));
}

/** Every record from an index on, by index. */
function readAll(log: SegmentReader, maxBytes = 300, fromIndex = 0): Map<number, string> {
  const found = new Map<number, string>();
  let index = fromIndex;
  for (;;) {
    const { records, firstIndex, nextIndex } = log.read(index, maxBytes);
    if (records.length === 0) return found;
    expect(firstIndex).toBeGreaterThanOrEqual(index);
    expect(nextIndex).toBe(firstIndex + records.length);
    for (const [at, record] of records.entries()) found.set(firstIndex + at, record.toString());
    index = nextIndex;
  }
}

function lastFile(directory: string): string {
  return join(directory, readdirSync(directory).sort().at(-1)!);
}

function codeOf(action: () => unknown): string | undefined {
  try {
    action();
    return undefined;
  } catch (error) {
    return error instanceof AuditdError ? error.code : (error as NodeJS.ErrnoException).code;
  }
}

describe('against a model', () => {
  const steps = fc.array(
    fc.oneof(
      {
        weight: 5,
        arbitrary: fc.record({ append: fc.array(fc.string({ maxLength: 200, unit: 'grapheme' }), { maxLength: 8 }) }),
      },
      { weight: 5, arbitrary: fc.record({ one: fc.string({ maxLength: 200, unit: 'grapheme' }) }) },
      fc.record({ reopen: fc.constant(true) }),
      fc.record({ dropTo: fc.double({ min: 0, max: 1, noNaN: true }) }),
      fc.record({ skip: fc.integer({ min: 0, max: 20 }) }),
      fc.record({ roll: fc.constant(true) }),
      fc.record({ readFrom: fc.double({ min: 0, max: 1, noNaN: true }), maxBytes: fc.integer({ min: 0, max: 2000 }) }),
    ),
    { maxLength: 60 },
  );

  test('appends, reads, drops, holes and reopening', () => {
    fc.assert(
      fc.property(steps, (actions) => {
        const directory = newDirectory();
        let log = SegmentLog.open(directory, { maxSegmentBytes: segmentBytes });
        const model = new Map<number, string>();
        let next = 0;
        for (const action of actions) {
          if ('append' in action) {
            expect(log.append(action.append)).toBe(next);
            for (const record of action.append) model.set(next++, record);
          } else if ('one' in action) {
            expect(log.appendOne(action.one)).toBe(next);
            model.set(next++, action.one);
          } else if ('reopen' in action) {
            log.close();
            log = SegmentLog.open(directory, { maxSegmentBytes: segmentBytes });
          } else if ('dropTo' in action) {
            const index = Math.floor(action.dropTo * (next + 1));
            const firstBefore = log.firstIndex;
            log.dropBefore(index);
            expect(log.firstIndex).toBeLessThanOrEqual(Math.max(index, firstBefore));
            for (const known of [...model.keys()]) if (known < log.firstIndex) model.delete(known);
          } else if ('skip' in action) {
            next += action.skip;
            log.skipTo(next);
          } else if ('roll' in action) log.roll();
          else {
            const from = Math.floor(action.readFrom * (next + 1));
            const expected = [...model].filter(([index]) => index >= from);
            expect([...readAll(log, action.maxBytes, from)]).toEqual(expected);
          }
          expect(log.nextIndex).toBe(next);
        }
        expect([...readAll(log)]).toEqual([...model]);
        const onDisk = readdirSync(directory).reduce((sum, file) => sum + statSync(join(directory, file)).size, 0);
        expect(log.bytes).toBe(onDisk);
        const reader = SegmentReader.openForReading(directory);
        expect([...readAll(reader)]).toEqual([...model]);
        expect(reader.tornBytes).toBe(0);
        expect(reader.damages).toEqual([]);
        reader.close();
        log.close();
      }),
      { numRuns: 150 },
    );
  });
});

describe('a torn tail', () => {
  test('is cut at every byte of the last frame, and the log goes on', () => {
    const directory = newDirectory();
    const log = SegmentLog.open(directory, { maxSegmentBytes: 10_000 });
    log.append(['first', 'second']);
    const before = log.bytes;
    log.append(['third', 'fourth', 'fifth']);
    const after = log.bytes;
    log.close();
    const file = lastFile(directory);
    const whole = readFileSync(file);
    for (let size = before; size < after; size++) {
      writeFileSync(file, whole.subarray(0, size));
      const reader = SegmentReader.openForReading(directory);
      expect([reader.tornBytes, reader.nextIndex, statSync(file).size]).toEqual([size - before, 2, size]);
      reader.close();
      const opened = SegmentLog.open(directory, { maxSegmentBytes: 10_000 });
      expect([opened.tornBytes, opened.nextIndex, statSync(file).size]).toEqual([size - before, 2, before]);
      opened.appendOne('again');
      expect([...readAll(opened).values()]).toEqual(['first', 'second', 'again']);
      expect(opened.damages).toEqual([]);
      opened.close();
    }
  });

  test('of a new file that has no whole header keeps the next index', () => {
    const directory = newDirectory();
    const log = SegmentLog.open(directory, { maxSegmentBytes: 10_000 });
    log.append(['a', 'b']);
    log.roll();
    log.close();
    for (const size of [0, 1, 31, 63]) {
      truncateSync(lastFile(directory), size);
      const opened = SegmentLog.open(directory, { maxSegmentBytes: 10_000 });
      expect(opened.nextIndex).toBe(2);
      opened.close();
    }
    const opened = SegmentLog.open(directory, { maxSegmentBytes: 10_000 });
    expect(opened.appendOne('c')).toBe(2);
    expect([...readAll(opened).values()]).toEqual(['a', 'b', 'c']);
    opened.close();
  });

  test('made of a file that imitates a frame inside a record is not believed', () => {
    const source = newDirectory();
    const inner = SegmentLog.open(source, { maxSegmentBytes: 10_000 });
    inner.append(['x', 'y']);
    inner.appendOne('forged');
    inner.close();
    const forged = readFileSync(lastFile(source)).subarray(64);
    const directory = newDirectory();
    const log = SegmentLog.open(directory, { maxSegmentBytes: 10_000 });
    log.append([Buffer.concat([forged, Buffer.alloc(100)])]);
    log.close();
    truncateSync(lastFile(directory), statSync(lastFile(directory)).size - 1);
    const opened = SegmentLog.open(directory, { maxSegmentBytes: 10_000 });
    expect([...readAll(opened).values()]).toEqual([]);
    expect(opened.nextIndex).toBe(0);
    opened.close();
  });
});

test('a flipped bit costs the records of its frame only, and is told with file and position', () => {
  const directory = newDirectory();
  const log = SegmentLog.open(directory, { maxSegmentBytes: 300 });
  const frames: { first: number; count: number }[] = [];
  for (let frame = 0; frame < 12; frame++) {
    const records = Array.from({ length: 1 + (frame % 3) }, (_, at) => `frame ${frame} record ${at}`);
    frames.push({ first: log.append(records), count: records.length });
  }
  const model = readAll(log);
  log.close();
  const files = readdirSync(directory).sort();
  expect(files.length).toBeGreaterThan(2);
  fc.assert(
    fc.property(
      fc.nat(files.length - 1),
      fc.double({ min: 0, max: 0.999, noNaN: true }),
      fc.nat(7),
      (at, part, bit) => {
        const file = join(directory, files[at]!);
        const whole = readFileSync(file);
        const position = Math.floor(part * whole.length);
        const bad = Buffer.from(whole);
        bad[position] = bad[position]! ^ (1 << bit);
        writeFileSync(file, bad);
        const reader = SegmentReader.openForReading(directory);
        const found = readAll(reader);
        const lost = [...model.keys()].filter((index) => !found.has(index));
        for (const [index, record] of found) expect(record).toBe(model.get(index));
        if (position < 64) expect(lost).toEqual([]);
        else {
          const frame = frames.find(({ first, count }) => lost[0]! >= first && lost[0]! < first + count)!;
          expect(lost).toEqual(Array.from({ length: frame.count }, (_, one) => frame.first + one));
          if (reader.tornBytes === 0) {
            expect(reader.damages).toHaveLength(1);
            const [damage] = reader.damages;
            expect([damage!.file, damage!.firstIndex, damage!.nextIndex]).toEqual([
              file,
              frame.first,
              frame.first + frame.count,
            ]);
            expect(damage!.position).toBeLessThanOrEqual(position);
          } else expect(at).toBe(files.length - 1);
        }
        reader.close();
        writeFileSync(file, whole);
      },
    ),
    { numRuns: 300 },
  );
});

test('a segment whose header is gone costs its own records, and its indexes are not given out again', () => {
  const directory = newDirectory();
  const log = SegmentLog.open(directory, { maxSegmentBytes: 10_000 });
  log.append(['a', 'b']);
  log.roll();
  log.append(['c', 'd']);
  log.close();
  const file = lastFile(directory);
  writeFileSync(file, Buffer.concat([Buffer.alloc(64), readFileSync(file).subarray(64)]));
  const opened = SegmentLog.open(directory, { maxSegmentBytes: 10_000 });
  const index = opened.appendOne('e');
  expect(index).toBeGreaterThanOrEqual(4);
  expect([...readAll(opened)]).toEqual([
    [0, 'a'],
    [1, 'b'],
    [index, 'e'],
  ]);
  expect(opened.damages.map((damage) => [damage.file, damage.firstIndex, damage.nextIndex])).toEqual([
    [file, 2, index],
  ]);
  opened.close();
});

test('records of every size up to the limit, in one append of several frames', () => {
  const log = SegmentLog.open(newDirectory(), { maxSegmentBytes: 4_000_000 });
  const records = [0, 1, 1_000_000, 2_000_000, 600_000, 600_000, maxRecordBytes, 5].map((size, at) =>
    Buffer.alloc(size, 97 + at),
  );
  expect(log.append(records)).toBe(0);
  const text = 'ü'.repeat(maxRecordBytes / 2);
  expect(log.appendOne(text)).toBe(records.length);
  let at = 0;
  while (at < log.nextIndex) {
    const { records: found, nextIndex } = log.read(at, 1_000_000);
    for (const [one, record] of found.entries()) {
      expect(record.equals(records[at + one] ?? Buffer.from(text)), `record ${at + one}`).toBe(true);
    }
    expect(found.length).toBeGreaterThan(0);
    at = nextIndex;
  }
  const before = log.bytes;
  expect(codeOf(() => log.append(['small', Buffer.alloc(maxRecordBytes + 1)]))).toBe('record_too_large');
  expect(codeOf(() => log.appendOne('a'.repeat(maxRecordBytes + 1)))).toBe('record_too_large');
  expect([log.bytes, log.nextIndex]).toEqual([before, records.length + 1]);
  log.close();
});

test('the limit on all files refuses an append whole, and dropping makes room', () => {
  const log = SegmentLog.open(newDirectory(), { maxSegmentBytes: 300, maxTotalBytes: 1000 });
  let appended = 0;
  while (codeOf(() => log.append(['x'.repeat(50), 'y'.repeat(30)])) === undefined) appended += 2;
  expect(codeOf(() => log.appendOne('z'.repeat(200)))).toBe('segments_full');
  expect(log.bytes).toBeLessThanOrEqual(1000);
  expect(log.nextIndex).toBe(appended);
  log.dropBefore(log.nextIndex);
  expect(log.append(['again'])).toBe(appended);
  expect([...readAll(log).values()].at(-1)).toBe('again');
  log.close();
});

test('syncs at once share one, and what was dropped meanwhile does not matter', async () => {
  const directory = newDirectory();
  const log = SegmentLog.open(directory, { maxSegmentBytes: 200 });
  log.append(['a'.repeat(150)]);
  const first = log.sync();
  log.append(['b'.repeat(150)]);
  const second = log.sync();
  expect(log.sync()).toBe(second);
  log.dropBefore(1);
  await Promise.all([first, second]);
  expect(log.firstIndex).toBe(1);
  log.close();
  expect(() => log.append(['c'])).toThrow('is closed');
});

test('a newer format is refused and left alone', () => {
  const directory = newDirectory();
  const log = SegmentLog.open(directory, { maxSegmentBytes: 1000 });
  log.append(['a']);
  log.close();
  const file = lastFile(directory);
  const newer = readFileSync(file);
  newer.writeUInt32LE(2, 8);
  newer.writeUInt32LE(crc32(newer.subarray(0, 24)), 24);
  writeFileSync(file, newer);
  expect(codeOf(() => SegmentLog.open(directory, { maxSegmentBytes: 1000 }))).toBe('data_directory_newer');
  expect(readFileSync(file).equals(newer)).toBe(true);
});

test('a directory is private and has one writer in a process', () => {
  const directory = newDirectory();
  const log = SegmentLog.open(directory, { maxSegmentBytes: 1000 });
  expect(statSync(directory).mode & 0o777).toBe(0o700);
  log.append(['a']);
  expect(statSync(lastFile(directory)).mode & 0o777).toBe(0o600);
  expect(() => SegmentLog.open(directory, { maxSegmentBytes: 1000 })).toThrow('already open for writing');
  log.close();
  log.close();
  SegmentLog.open(directory, { maxSegmentBytes: 1000 }).close();
  writeFileSync(join(directory, 'notes.txt'), 'not ours');
  expect([...readAll(SegmentReader.openForReading(directory)).values()]).toEqual(['a']);
});

// A small tmpfs is the only file system that is full on demand; mounting one needs root on Linux.
const canMount = process.platform === 'linux' && process.getuid?.() === 0;
test.skipIf(!canMount)('a full disk leaves the log as it was (needs root on Linux to mount a tmpfs)', () => {
  const mount = newDirectory();
  mkdirSync(mount);
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=256k', 'tmpfs', mount]);
  try {
    const directory = join(mount, 'log');
    let log = SegmentLog.open(directory, { maxSegmentBytes: 100_000 });
    const model = new Map<number, string>();
    let refusals = 0;
    for (let at = 0; at < 200; at++) {
      const record = `${at} `.padEnd(5000, 'x');
      const bytes = log.bytes;
      const code = codeOf(() => model.set(log.append([record]), record));
      if (code === undefined) continue;
      refusals++;
      expect(code).toBe('ENOSPC');
      // A segment that was begun stays; the append itself left nothing.
      expect([0, 64]).toContain(log.bytes - bytes);
      expect([...readAll(log)]).toEqual([...model]);
      if (refusals === 3) log.dropBefore(log.nextIndex);
      for (const index of [...model.keys()]) if (index < log.firstIndex) model.delete(index);
    }
    expect(refusals).toBeGreaterThan(3);
    log.close();
    log = SegmentLog.open(directory, { maxSegmentBytes: 100_000 });
    expect(log.tornBytes).toBe(0);
    expect([...readAll(log)]).toEqual([...model]);
    log.close();
  } finally {
    execFileSync('umount', [mount]);
  }
});
