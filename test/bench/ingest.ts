import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Table from 'cli-table3';
import { openLocalStream } from '../../services/stream/local.js';
import { generateEventLines } from '../traffic.js';
import { median, round2 } from './figures.js';
import { measureIngest, printParts } from './ingest/measure.js';
import type { IngestMeasure } from './ingest/stopwatch.js';
import type { IngestTask } from './ingest/worker.js';
import type { BenchmarkOptions, BenchmarkResult } from './main.js';

export const description = 'Local log to table, beside the plain path: JSON.parse, check, JSON text inserted.';

const target = { ratio: 1.3, cpuMicros: 17 };
const appendRecords = 1_000;
const reading = [['read the log', /^(reader|format|segments|local.*)\.ts$/]] as const;

/** A stream as the gateway leaves it. Every round reads the same one. */
async function fillStream(directory: string, events: number): Promise<number> {
  const stream = openLocalStream({ directory, durability: 'kernel' });
  const headers = { tenant: 'default', producer_key: 'emitter' };
  let records: { key: string; value: Buffer; headers: typeof headers }[] = [];
  let bytes = 0;
  const append = async (): Promise<void> => {
    await stream.append('calls', records);
    records = [];
  };
  for (const value of generateEventLines({
    seed: 1,
    count: events,
    startMs: Date.now() - 3_600_000,
    spanMs: 3_600_000,
  })) {
    records.push({ key: 'default\0', value, headers });
    bytes += value.length;
    if (records.length === appendRecords) await append();
  }
  if (records.length > 0) await append();
  await stream.close();
  return bytes / events;
}

/** `--events` in each of `--rounds`, the first fifth of them as warm-up; the paths take turns. Medians count. */
export async function run(options: BenchmarkOptions): Promise<BenchmarkResult> {
  const events = Number(options.events ?? 300_000);
  const rounds = Number(options.rounds ?? 3);
  const directory = mkdtempSync(join(tmpdir(), 'ingest-bench-'));
  try {
    const bytes = await fillStream(join(directory, 'stream'), events);
    const task = (path: IngestTask['path'], profile = false): IngestTask => ({
      path,
      source: { directory: join(directory, 'stream') },
      store: join(directory, 'store'),
      events,
      warmup: Math.floor(events / 5),
      profile,
    });
    const figures: Record<IngestTask['path'], IngestMeasure[]> = { ours: [], plain: [], read: [] };
    for (let round = 0; round < rounds; round++) {
      for (const path of ['plain', 'ours', 'read'] as const) figures[path].push(await measureIngest(task(path)));
      if (process.stderr.isTTY) process.stderr.write(`\rround ${round + 1} of ${rounds}`);
    }
    if (process.stderr.isTTY) process.stderr.write('\r\u001b[K');
    const rate = (path: IngestTask['path']): number =>
      Math.round(median(figures[path].map((one) => one.eventsPerSecond)));
    const cpu = (path: IngestTask['path']): number => median(figures[path].map((one) => one.cpuMicros));
    const memory = (path: IngestTask['path']): number => median(figures[path].map((one) => one.residentMiB));
    const table = new Table({ head: ['path', 'events/s', 'CPU µs an event', 'MiB'] });
    const names = {
      ours: 'read → parse, check, deduplicate → Native block → table, verified',
      plain: 'read → JSON.parse, check → JSON text → table',
      read: 'read only',
    };
    for (const path of ['ours', 'plain', 'read'] as const)
      table.push([names[path], rate(path).toLocaleString('en'), cpu(path).toFixed(1), memory(path)]);
    console.log(`${events.toLocaleString('en')} events of ${Math.round(bytes)} bytes, median of ${rounds} rounds`);
    console.log(table.toString());
    const profiled = await measureIngest(task('ours', true));
    const parts = printParts(profiled, reading, "the engine's threads: insert, verification, merges");
    const ratio = median(figures.ours.map((one, at) => one.eventsPerSecond / figures.plain[at]!.eventsPerSecond));
    return {
      name: 'ingest',
      ratio: round2(ratio),
      target: `≥ ${target.ratio} × the plain path's events/s and < ${target.cpuMicros} µs of CPU an event`,
      ok: ratio >= target.ratio && cpu('ours') < target.cpuMicros,
      events,
      rounds,
      cpu_micros: round2(cpu('ours')),
      cpu_micros_plain: round2(cpu('plain')),
      cpu_micros_reading: round2(cpu('read')),
      events_per_second: rate('ours'),
      events_per_second_plain: rate('plain'),
      resident_mib: memory('ours'),
      parts,
    };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
