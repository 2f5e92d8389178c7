import { setTimeout as delay } from 'node:timers/promises';
import Table from 'cli-table3';
import build from '../build.js';
import { Cluster } from '../fault/cluster.js';
import type { BenchmarkOptions, BenchmarkResult } from './main.js';

export const description =
  'Emitter, gateway, Kafka, ingestor: from the call to its row, at 1,000 and 10,000 calls a second.';

/** Blocks close after 500 ms as configured by default, emitters wait 25 ms for more: half of each and the work. */
const targetMs = { p50: 1_000, p99: 2_000 };

interface Latency {
  readonly calls: number;
  /** What the emitter came to; when that is less than was asked for, the machine is too small for the rate. */
  readonly calls_per_second: number;
  readonly p50: number;
  readonly p99: number;
}

/**
 * Calls at a steady rate through the real processes, with their default settings. A row is visible when a poll (every
 * 20 ms and the time it takes, which is work for the store too) sees its offset; its call's beginning is its occurred_at, by the same clock.
 */
async function measure(callsPerSecond: number, seconds: number): Promise<Latency> {
  const cluster = await Cluster.start({
    ingestors: 1,
    settings: { MCP_AUDITD_STREAM__KAFKA__SESSION_TIMEOUT_MS: '10000' },
    spoolBytes: 256 * 1024 ** 2,
  });
  try {
    await cluster.record(1_000);
    await cluster.missing();
    const [{ from = '0' } = {}] = await cluster.sql.select(
      'SELECT toString(toUnixTimestamp64Micro(max(occurred_at))) AS from FROM calls',
    );
    const seen: { atMs: number; highest: Map<number, number> }[] = [];
    let done = false;
    const polling = (async () => {
      while (!done) {
        const rows = await cluster.sql.select(
          'SELECT stream_partition AS p, toUInt64(max(stream_offset)) AS o FROM calls GROUP BY p',
        );
        seen.push({ atMs: Date.now(), highest: new Map(rows.map(({ p, o }) => [Number(p), Number(o)])) });
        await delay(20);
      }
    })();
    const startedAt = performance.now();
    await cluster.record(callsPerSecond * seconds, callsPerSecond);
    const reached = Math.round((callsPerSecond * seconds * 1000) / (performance.now() - startedAt));
    await cluster.missing();
    await delay(100);
    done = true;
    await polling;
    const rows = await cluster.sql.select(
      `SELECT stream_partition AS p, toUInt64(stream_offset) AS o, toFloat64(toUnixTimestamp64Micro(occurred_at)) / 1000 AS at FROM calls WHERE toUnixTimestamp64Micro(occurred_at) > ${from} ORDER BY p, o`,
    );
    const latencies: number[] = [];
    let poll = 0;
    let partition = -1;
    for (const { p, o, at } of rows as { p: number; o: number; at: number }[]) {
      if (Number(p) !== partition) [partition, poll] = [Number(p), 0];
      while (poll < seen.length && (seen[poll]!.highest.get(partition) ?? -1) < Number(o)) poll++;
      if (poll < seen.length) latencies.push(seen[poll]!.atMs - Number(at));
    }
    latencies.sort((a, b) => a - b);
    const at = (share: number): number =>
      Math.round(latencies[Math.floor((latencies.length - 1) * share)] ?? Number.NaN);
    return { calls: latencies.length, calls_per_second: reached, p50: at(0.5), p99: at(0.99) };
  } finally {
    await cluster.stop();
  }
}

/** Each rate for `--seconds`. */
export async function run(options: BenchmarkOptions): Promise<BenchmarkResult> {
  build();
  const seconds = Number(options.seconds ?? 15);
  const slow = await measure(1_000, seconds);
  const fast = await measure(10_000, seconds);
  const table = new Table({ head: ['calls/s', 'reached', 'rows', 'p50 ms', 'p99 ms'] });
  table.push(
    [1_000, slow.calls_per_second, slow.calls, slow.p50, slow.p99],
    [10_000, fast.calls_per_second, fast.calls, fast.p50, fast.p99],
  );
  console.log(table.toString());
  const ratio = fast.p50 / slow.p50;
  return {
    name: 'kafka-latency',
    ratio: Math.round(ratio * 100) / 100,
    target: `p50 ≤ ${targetMs.p50} ms and p99 ≤ ${targetMs.p99} ms at both rates (ratio: p50 at 10,000 by p50 at 1,000)`,
    ok: Math.max(slow.p50, fast.p50) <= targetMs.p50 && Math.max(slow.p99, fast.p99) <= targetMs.p99,
    seconds,
    at_1000: slow,
    at_10000: fast,
  };
}
