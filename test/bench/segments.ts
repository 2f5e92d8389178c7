import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Table from 'cli-table3';
import { SegmentLog } from '../../services/segments/segments.js';
import type { BenchmarkOptions, BenchmarkResult } from './main.js';

export const description = 'Segment files: appends and reading back, beside bare writes of the same bytes.';

const target = 'a single append ≤ 2.5 × a bare write of the same bytes';
const maxRatio = 2.5;
const recordBytes = 564;
const batchRecords = 100;

/** Microseconds of wall time a record: the best of three turns, because other work on the machine only adds. */
function bestMicros(records: number, action: () => void): number {
  let best = Number.POSITIVE_INFINITY;
  for (let turn = 0; turn < 3; turn++) {
    const start = performance.now();
    action();
    best = Math.min(best, ((performance.now() - start) * 1000) / records);
  }
  return best;
}

/**
 * `--records` (default 30,000) of 564 bytes in each turn: 200 MB in all, below what makes the kernel write back
 * meanwhile and charge it to whoever writes next.
 */
export async function run(options: BenchmarkOptions): Promise<BenchmarkResult> {
  const records = Number(options.records ?? 30_000);
  const directory = mkdtempSync(join(tmpdir(), 'segments-bench-'));
  const text = JSON.stringify({ text: 'a'.repeat(recordBytes - 11) });
  const batch = Array.from({ length: batchRecords }, () => text);
  try {
    const descriptor = openSync(join(directory, 'bare'), 'w');
    const floorSingle = bestMicros(records, () => {
      for (let at = 0; at < records; at++) writeSync(descriptor, text);
    });
    const floorBatch = bestMicros(records, () => {
      for (let at = 0; at < records; at += batchRecords) writeSync(descriptor, batch.join(''));
    });
    closeSync(descriptor);
    const log = SegmentLog.open(join(directory, 'log'), { maxSegmentBytes: 64 * 1024 * 1024 });
    const single = bestMicros(records, () => {
      for (let at = 0; at < records; at++) log.appendOne(text);
    });
    const inBatch = bestMicros(records, () => {
      for (let at = 0; at < records; at += batchRecords) log.append(batch);
    });
    const stored = log.nextIndex;
    const read = bestMicros(stored, () => {
      for (let index = 0; index < stored; ) index = log.read(index, 4 * 1024 * 1024).nextIndex;
    });
    log.close();
    const table = new Table({ head: ['step', 'µs a record', 'records/s', 'bare write, µs'] });
    const row = (name: string, micros: number, floor?: number) =>
      table.push([name, micros.toFixed(2), Math.round(1e6 / micros).toLocaleString('en'), floor?.toFixed(2) ?? '']);
    row('append one', single, floorSingle);
    row(`append ${batchRecords}`, inBatch, floorBatch);
    row('read back, checked', read);
    console.log(table.toString());
    const ratio = single / floorSingle;
    const figures = { records, recordBytes, single, floorSingle, inBatch, floorBatch, read };
    return { name: 'segments', ratio, target, ok: ratio <= maxRatio, ...figures };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
