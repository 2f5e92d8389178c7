/**
 * One way from the local log into the engine, in a process of its own, because the engine's threads and memory stay.
 * `ours` is the ingestor as it runs; `plain` is what one writes first: read, JSON.parse, check, JSON text inserted, with
 * nothing looked at twice and nothing verified. Both have the same records, table, block size and overlap of insert and
 * reading.
 */
import { rmSync } from 'node:fs';
import { unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Registry } from 'prom-client';
import { checkCall } from '../../../schemas/check.js';
import { defaultIngestorLimits, startIngestor } from '../../../services/ingestor/ingestor.js';
import { openChdbStore } from '../../../services/store/chdb.js';
import { insertSettings } from '../../../services/store/statements.js';
import { type LocalStream, openLocalStream } from '../../../services/stream/local.js';
import type { RecordBatch } from '../../../services/stream/stream.js';
import type { Engine } from '../disk.js';
import { type IngestMeasure, Stopwatch } from './stopwatch.js';

export interface IngestTask {
  readonly path: 'ours' | 'plain' | 'read';
  readonly stream: string;
  readonly store: string;
  readonly events: number;
  /** Events of the beginning that are not measured. */
  readonly warmup: number;
  readonly profile: boolean;
}

function openStream(task: IngestTask): LocalStream {
  // The group's position from an earlier round would make this one begin at the end.
  rmSync(join(task.stream, 'calls', 'groups.json'), { force: true });
  return openLocalStream({ directory: task.stream, durability: 'kernel' });
}

async function openEngine(task: IngestTask): Promise<Engine> {
  const store = (await openChdbStore({ directory: task.store, retentionDays: 36_500 })) as unknown as Engine;
  await store.migrate();
  return store;
}

async function countStored(store: Engine): Promise<number> {
  const [row] = await store.select('SELECT toString(uniqExact(event_id)) AS events FROM calls');
  return Number(row?.events);
}

async function ours(task: IngestTask, watch: Stopwatch): Promise<IngestMeasure> {
  const stream = openStream(task);
  const store = await openEngine(task);
  const faults: unknown[] = [];
  const onFault = (error: unknown): void => void faults.push(error);
  const ingestor = await startIngestor({ stream, store, metrics: new Registry(), onFault });
  for (let done = 0; done < task.events; ) {
    await delay(5);
    done = (await stream.committed('calls', 'ingestor')).get(0) ?? 0;
    await watch.reached(done);
    if (faults.length > 0) throw faults[0];
  }
  const measure = await watch.stop(0);
  const stored = await countStored(store);
  await ingestor.close();
  await store.close();
  await stream.close();
  return { ...measure, stored };
}

/** Gives every batch of the topic to `handle`, until all events were given. */
async function readAll(task: IngestTask, handle: (batch: RecordBatch) => Promise<void> | void): Promise<void> {
  const stream = openStream(task);
  let finish: () => void = () => undefined;
  const all = new Promise<void>((resolve) => {
    finish = resolve;
  });
  const consumer = await stream.consume({
    topic: 'calls',
    assigned: async () => new Map(),
    revoked: async () => undefined,
    batch: async (batch) => {
      await handle(batch);
      if (batch.nextOffset >= task.events) finish();
    },
  });
  await Promise.race([all, consumer.closed]);
  await consumer.close();
  await stream.close();
}

/** The same settings as ours, and times as producers write them. */
const settings = Object.entries({
  ...insertSettings,
  date_time_input_format: "'best_effort'",
  input_format_parallel_parsing: 0,
})
  .map(([name, value]) => `${name} = ${value}`)
  .join(', ');

async function plain(task: IngestTask, watch: Stopwatch): Promise<IngestMeasure> {
  const store = await openEngine(task);
  const path = join(task.store, 'plain.jsonl');
  let lines: string[] = [];
  let inserting: Promise<void> = Promise.resolve();
  let read = 0;
  const insert = async (text: string, done: number): Promise<void> => {
    await writeFile(path, text);
    await store.execute(`INSERT INTO calls SELECT * FROM file('${path}', JSONEachRow) SETTINGS ${settings}`);
    await unlink(path);
    await watch.reached(done);
  };
  const flush = async (): Promise<void> => {
    await inserting;
    inserting = insert(lines.join('\n'), read);
    lines = [];
  };
  await readAll(task, async ({ records, partition }) => {
    for (const { value, headers, timestamp, offset } of records) {
      const { tenant, producer_key } = headers as { tenant: string; producer_key: string };
      // Given text, the check goes by JSON.parse.
      const text = value.toString();
      const checked = checkCall(text, { tenant, producer_key });
      if (!checked.ok) throw new Error(checked.message);
      lines.push(
        `${text.slice(0, -1)},"tenant":"${tenant}","producer_key":"${producer_key}","recorded_at":${timestamp},"stream_partition":${partition},"stream_offset":${offset}}`,
      );
      read = offset + 1;
      if (lines.length === defaultIngestorLimits.rows) await flush();
    }
  });
  await flush();
  await inserting;
  const measure = await watch.stop(0);
  const stored = await countStored(store);
  await store.close();
  return { ...measure, stored };
}

/** Floor: reading alone. */
async function readOnly(task: IngestTask, watch: Stopwatch): Promise<IngestMeasure> {
  let read = 0;
  await readAll(task, async ({ records }) => {
    read += records.length;
    await watch.reached(read);
  });
  return watch.stop(read);
}

const task = JSON.parse(process.argv[2] as string) as IngestTask;
const paths = { ours, plain, read: readOnly };
const measure = await paths[task.path](task, new Stopwatch(task));
process.send?.(measure, () => process.exit(0));
