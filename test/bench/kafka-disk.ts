import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import Table from 'cli-table3';
import type { KafkaCompression } from '../../services/stream/kafka-codecs.js';
import { startBroker } from '../kafka/broker.js';
import { makeTopics } from '../kafka/topics.js';
import { median } from './figures.js';
import { fillTopic } from './kafka/fill.js';
import type { BenchmarkOptions, BenchmarkResult } from './main.js';

export const description = "Bytes on the broker's disk and produce rate with zstd, beside none and gzip.";

const target = { bytes: 0.25, rate: 0.9 };
const codecs: readonly KafkaCompression[] = ['none', 'zstd', 'gzip'];

/** `--events` with each codec in each of `--rounds`, taking turns, appended 5,000 at a time to four partitions. */
export async function run(options: BenchmarkOptions): Promise<BenchmarkResult> {
  const events = Number(options.events ?? 100_000);
  const rounds = Number(options.rounds ?? 5);
  const broker = await startBroker();
  try {
    const bytes: Record<KafkaCompression, number[]> = { none: [], zstd: [], gzip: [] };
    const rates: Record<KafkaCompression, number[]> = { none: [], zstd: [], gzip: [] };
    const cpu: Record<KafkaCompression, number[]> = { none: [], zstd: [], gzip: [] };
    for (let round = 0; round < rounds; round++) {
      for (const compression of codecs) {
        const topicPrefix = await makeTopics(broker.brokers, 4);
        const { seconds, cpuMicros } = await fillTopic({ brokers: broker.brokers, topicPrefix, events, compression });
        bytes[compression].push(bytesOnDisk(broker.dataDirectory, `${topicPrefix}calls-`) / events);
        rates[compression].push(events / seconds);
        cpu[compression].push(cpuMicros);
      }
      process.stderr.write(`\rround ${round + 1} of ${rounds}`);
    }
    process.stderr.write('\r');
    const table = new Table({ head: ['codec', 'bytes an event', 'events/s', 'CPU µs an event'] });
    for (const codec of codecs)
      table.push([
        codec,
        median(bytes[codec]).toFixed(1),
        Math.round(median(rates[codec])).toLocaleString('en'),
        median(cpu[codec]).toFixed(1),
      ]);
    console.log(`${events.toLocaleString('en')} events, median of ${rounds} rounds, acks -1, one batch in flight`);
    console.log(table.toString());
    const ratio = median(bytes.zstd) / median(bytes.none);
    const rate = median(rates.zstd.map((each, at) => each / rates.none[at]!));
    return {
      name: 'kafka-disk',
      ratio: round(ratio),
      target: `≤ ${target.bytes} of the bytes of none at ≥ ${target.rate} of its produce rate`,
      ok: ratio <= target.bytes && rate >= target.rate,
      rate_ratio: round(rate),
      bytes: Object.fromEntries(codecs.map((codec) => [codec, round(median(bytes[codec]))])),
      events_per_second: Object.fromEntries(codecs.map((codec) => [codec, Math.round(median(rates[codec]))])),
      cpu_micros: Object.fromEntries(codecs.map((codec) => [codec, round(median(cpu[codec]))])),
    };
  } finally {
    await broker.stop();
  }
}

const round = (value: number): number => Math.round(value * 1000) / 1000;

/** Of the segments of a topic's partitions, without their indexes, which are preallocated. */
function bytesOnDisk(dataDirectory: string, prefix: string): number {
  let bytes = 0;
  for (const directory of readdirSync(dataDirectory).filter((name) => name.startsWith(prefix)))
    for (const file of readdirSync(join(dataDirectory, directory)).filter((name) => name.endsWith('.log')))
      bytes += statSync(join(dataDirectory, directory, file)).size;
  return bytes;
}
