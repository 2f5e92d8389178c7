import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import Table from 'cli-table3';
import build from '../build.js';
import { Cluster } from '../fault/cluster.js';
import { fillTopic } from './kafka/fill.js';
import type { BenchmarkOptions, BenchmarkResult } from './main.js';

export const description = 'One, two and four ingestors on four partitions: events a second, and memory of each.';

/** An ingestor that has caught up with a full topic. Its blocks, ids and engine-less process are what it holds. */
const memoryTargetMiB = 512;

/** Not the short session of the fault rounds: on a busy machine that makes the group share out its partitions again and again. */
const usual = { MCP_AUDITD_STREAM__KAFKA__SESSION_TIMEOUT_MS: '10000' };

interface Measure {
  readonly eventsPerSecond: number;
  readonly memoryMiB: readonly number[];
}

/** The roles as processes, each with its own event loop; they wait for the topic to be filled, then start at once. */
async function measure(ingestors: number, events: number): Promise<Measure> {
  const cluster = await Cluster.start({ ingestors, settings: usual });
  try {
    await Promise.all(cluster.ingestors.map((each) => each.end('SIGTERM')));
    const { broker, topicPrefix } = cluster;
    await fillTopic({ brokers: broker.brokers, topicPrefix, events });
    await Promise.all(cluster.ingestors.map((each) => each.start()));
    let startedAt = 0;
    let before = 0;
    for (;;) {
      const rows = Number((await cluster.sql.select('SELECT toUInt64(count()) AS n FROM calls'))[0]?.n);
      // From the first rows on, so that neither starting nor joining counts.
      if (startedAt === 0 && rows > 0) [startedAt, before] = [performance.now(), rows];
      if (rows >= events) break;
      await delay(20);
    }
    const seconds = (performance.now() - startedAt) / 1000;
    const memoryMiB = cluster.ingestors.map(({ child }) => highestMiB(child?.pid as number));
    return { eventsPerSecond: Math.round((events - before) / seconds), memoryMiB };
  } finally {
    await cluster.stop();
  }
}

function highestMiB(pid: number): number {
  const kib = Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
  return Math.round(kib / 1024);
}

/** `--events` are put into the topic anew for each number of ingestors. */
export async function run(options: BenchmarkOptions): Promise<BenchmarkResult> {
  build();
  const events = Number(options.events ?? 200_000);
  const measures = new Map<number, Measure>();
  for (const ingestors of [1, 2, 4]) measures.set(ingestors, await measure(ingestors, events));
  const table = new Table({ head: ['ingestors', 'events/s', 'MiB of each at its highest'] });
  for (const [ingestors, { eventsPerSecond, memoryMiB }] of measures)
    table.push([ingestors, eventsPerSecond.toLocaleString('en'), memoryMiB.join(', ')]);
  console.log(`${events.toLocaleString('en')} events on four partitions; broker and store share the machine's cores`);
  console.log(table.toString());
  const rate = (ingestors: number): number => measures.get(ingestors)!.eventsPerSecond;
  const highest = Math.max(...[...measures.values()].flatMap(({ memoryMiB }) => memoryMiB));
  const ratio = rate(2) / rate(1);
  return {
    name: 'kafka-scale',
    ratio: Math.round(ratio * 100) / 100,
    target: `two ingestors ≥ 1 × one, with broker and store on the same cores; each ≤ ${memoryTargetMiB} MiB`,
    ok: ratio >= 1 && highest <= memoryTargetMiB,
    events,
    events_per_second: Object.fromEntries([...measures].map(([count, each]) => [count, each.eventsPerSecond])),
    memory_mib: Object.fromEntries([...measures].map(([count, each]) => [count, each.memoryMiB])),
  };
}
