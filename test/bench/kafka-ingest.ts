import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Table from 'cli-table3';
import { kafkaClient } from '../../services/stream/kafka.js';
import { startBroker } from '../kafka/broker.js';
import { makeTopics } from '../kafka/topics.js';
import { median, round2 } from './figures.js';
import { measureIngest, printParts } from './ingest/measure.js';
import type { IngestMeasure } from './ingest/stopwatch.js';
import type { IngestTask } from './ingest/worker.js';
import { type EndpointProcess, startEndpoint } from './kafka/endpoint.js';
import { fillTopic } from './kafka/fill.js';
import type { BenchmarkOptions, BenchmarkResult } from './main.js';

export const description = 'Kafka to table, beside the plain path: kafkajs, JSON.parse, check, JSON text inserted.';

const target = { ratio: 1.3, cpuMicros: 17 };
/** `http`: as ours, with the store over ClickHouse's HTTP protocol; the engine is in another process. */
type Path = IngestTask['path'] | 'http';
const reading = [
  [
    'kafkajs',
    /^(connection|socket|decoder|encoder|batch|fetcher|runner|record|response|request|worker|v\d+|index|long|crc32C|.*Queue)\.js$/,
  ],
  ['our consumer', /^kafka.*\.ts$/],
] as const;

async function forgetGroups(brokers: string[]): Promise<void> {
  const admin = kafkaClient({ brokers, clientId: 'bench' }).admin();
  await admin.connect();
  const { groups } = await admin.listGroups();
  if (groups.length > 0) await admin.deleteGroups(groups.map(({ groupId }) => groupId));
  await admin.disconnect();
}

/** `--events` in each of `--rounds`, the first fifth of them as warm-up; the paths take turns. Medians count. */
export async function run(options: BenchmarkOptions): Promise<BenchmarkResult> {
  const events = Number(options.events ?? 250_000);
  const rounds = Number(options.rounds ?? 3);
  const partitions = Number(options.partitions ?? 1);
  const directory = mkdtempSync(join(tmpdir(), 'kafka-ingest-bench-'));
  const broker = await startBroker();
  let endpoint: EndpointProcess | undefined;
  try {
    const figures: Record<Path, IngestMeasure[]> = { ours: [], http: [], plain: [], read: [] };
    const serverCpu: number[] = [];
    const topicPrefix = await makeTopics(broker.brokers, partitions);
    const { bytesPerEvent } = await fillTopic({ brokers: broker.brokers, topicPrefix, events });
    const one = async (path: Path, round: number, profile = false): Promise<IngestMeasure> => {
      const home = join(directory, `${path}-${round}`);
      // A group of an earlier round would go on at the end.
      await forgetGroups(broker.brokers);
      const task: IngestTask = {
        path: path === 'http' ? 'ours' : path,
        source: { brokers: broker.brokers, topicPrefix },
        store: home,
        events,
        warmup: events / 5,
        profile,
      };
      if (path !== 'http') {
        const found = await measureIngest(task);
        rmSync(home, { recursive: true, force: true });
        return found;
      }
      endpoint = await startEndpoint(home);
      const found = await measureIngest({ ...task, connection: endpoint.connection });
      serverCpu.push((await endpoint.stop()) / events);
      rmSync(home, { recursive: true, force: true });
      return found;
    };
    for (let round = 0; round < rounds; round++) {
      for (const path of ['plain', 'ours', 'http', 'read'] as const) figures[path].push(await one(path, round));
      process.stderr.write(`\rround ${round + 1} of ${rounds}`);
    }
    process.stderr.write('\r');
    const rate = (path: Path): number => Math.round(median(figures[path].map((each) => each.eventsPerSecond)));
    const cpu = (path: Path): number => median(figures[path].map((each) => each.cpuMicros));
    const memory = (path: Path): number => median(figures[path].map((each) => each.residentMiB));
    const names: Record<Path, string> = {
      ours: 'Kafka → parse, check, deduplicate → Native block → table, verified',
      http: 'the same, store over HTTP in another process',
      plain: 'kafkajs → JSON.parse, check → JSON text → table',
      read: 'kafkajs alone',
    };
    const table = new Table({ head: ['path', 'events/s', 'CPU µs an event', 'MiB'] });
    for (const path of ['ours', 'http', 'plain', 'read'] as const)
      table.push([names[path], rate(path).toLocaleString('en'), cpu(path).toFixed(1), memory(path)]);
    console.log(
      `${events.toLocaleString('en')} events of ${Math.round(bytesPerEvent)} bytes, median of ${rounds} rounds`,
    );
    console.log(table.toString());
    const profiled = await one('ours', rounds, true);
    const parts = printParts(profiled, reading, 'other threads: insert, verification, merges, decompression');
    const ratio = median(figures.ours.map((each, at) => each.eventsPerSecond / figures.plain[at]!.eventsPerSecond));
    return {
      name: 'kafka-ingest',
      ratio: round2(ratio),
      target: `≥ ${target.ratio} × the plain path's events/s and ≤ ${target.cpuMicros} µs of CPU an event`,
      ok: ratio >= target.ratio && cpu('ours') <= target.cpuMicros,
      events,
      rounds,
      partitions,
      events_per_second: rate('ours'),
      events_per_second_http: rate('http'),
      events_per_second_plain: rate('plain'),
      events_per_second_reading: rate('read'),
      cpu_micros: round2(cpu('ours')),
      cpu_micros_http: round2(cpu('http')),
      cpu_micros_http_server: round2(median(serverCpu)),
      cpu_micros_plain: round2(cpu('plain')),
      cpu_micros_reading: round2(cpu('read')),
      resident_mib: memory('ours'),
      parts,
    };
  } finally {
    await endpoint?.stop();
    await broker.stop();
    rmSync(directory, { recursive: true, force: true });
  }
}
