/**
 * One way from a stream into the engine, in a process of its own, because the engine's threads and memory stay.
 *
 * - `ours`: the ingestor as it runs; with a `connection` the store is ClickHouse's HTTP protocol, its engine elsewhere.
 * - `plain`: what one writes first: read, JSON.parse, check, JSON text inserted, nothing looked at twice and nothing
 *   verified.
 * - `read`: reading alone.
 *
 * All have the same records, table, block size and overlap of insert and reading.
 */
import { rmSync } from 'node:fs';
import { unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Registry } from 'prom-client';
import { checkCall } from '../../../schemas/check.js';
import { defaultIngestorLimits, startIngestor } from '../../../services/ingestor/ingestor.js';
import { openChdbStore } from '../../../services/store/chdb.js';
import { openClickHouseStore } from '../../../services/store/clickhouse.js';
import { insertSettings } from '../../../services/store/statements.js';
import type { Store } from '../../../services/store/store.js';
import { rowsOf } from '../../contract/store.js';
import type { Engine } from '../disk.js';
import { kafkaSource } from './kafka-source.js';
import { localSource } from './local-source.js';
import type { Take } from './source.js';
import { type IngestMeasure, Stopwatch } from './stopwatch.js';

export interface IngestTask {
  readonly path: 'ours' | 'plain' | 'read';
  /** Directory of a local log, or a topic of Kafka. */
  readonly source: { readonly directory: string } | { readonly brokers: string[]; readonly topicPrefix: string };
  /** Directory of the engine in this process; emptied first. */
  readonly store: string;
  /** Of an engine in another process. */
  readonly connection?: { url: string; username: string; password: string; database: string };
  readonly events: number;
  /** Events of the beginning that are not measured. */
  readonly warmup: number;
  readonly profile: boolean;
}

const task = JSON.parse(process.argv[2] as string) as IngestTask;
const source =
  'directory' in task.source
    ? localSource(task.source.directory)
    : kafkaSource(task.source.brokers, task.source.topicPrefix);
const watch = new Stopwatch(task);

async function openStore(): Promise<Store> {
  rmSync(task.store, { recursive: true, force: true });
  const store =
    task.connection === undefined
      ? await openChdbStore({ directory: task.store, retentionDays: 36_500 })
      : await openClickHouseStore({ ...task.connection, retentionDays: 36_500 });
  await store.migrate();
  return store;
}

async function countStored(store: Store): Promise<number> {
  const [row] = await rowsOf<{ events: number }>(store, 'SELECT uniqExact(event_id) AS events FROM calls');
  return Number(row?.events);
}

async function ours(): Promise<IngestMeasure> {
  const stream = await source.open();
  const store = await openStore();
  const faults: unknown[] = [];
  const onFault = (error: unknown): void => void faults.push(error);
  const ingestor = await startIngestor({ stream, store, metrics: new Registry(), onFault });
  for (let done = 0; done < task.events; ) {
    await delay(10);
    done = (await ingestor.status()).rows;
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

/** The same settings as ours, and times as producers write them. */
const settings = Object.entries({
  ...insertSettings,
  date_time_input_format: "'best_effort'",
  input_format_parallel_parsing: 0,
})
  .map(([name, value]) => `${name} = ${value}`)
  .join(', ');

async function plain(): Promise<IngestMeasure> {
  const store = (await openStore()) as unknown as Engine & Store;
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
  const take: Take = (value, tenant, producerKey, partition, timestamp, offset) => {
    // Given text, the check goes by JSON.parse.
    const text = value.toString();
    const checked = checkCall(text, { tenant, producer_key: producerKey });
    if (!checked.ok) throw new Error(checked.message);
    lines.push(
      `${text.slice(0, -1)},"tenant":"${tenant}","producer_key":"${producerKey}","recorded_at":${timestamp},"stream_partition":${partition},"stream_offset":${offset}}`,
    );
    read++;
    return lines.length === defaultIngestorLimits.rows ? flush() : undefined;
  };
  await source.readAll(task.events, take, async () => undefined);
  await flush();
  await inserting;
  const measure = await watch.stop(0);
  const stored = await countStored(store);
  await store.close();
  return { ...measure, stored };
}

async function readOnly(): Promise<IngestMeasure> {
  let read = 0;
  await source.readAll(
    task.events,
    () => undefined,
    async (done) => {
      read = done;
      await watch.reached(done);
    },
  );
  return watch.stop(read);
}

const paths = { ours, plain, read: readOnly };
const measure = await paths[task.path]();
process.send?.(measure, () => process.exit(0));
