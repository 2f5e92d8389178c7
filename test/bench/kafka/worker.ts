/**
 * One way from Kafka into the engine, in a process of its own, because the engine's threads and memory stay.
 *
 * - `ours`: the ingestor as it runs, with the engine in this process.
 * - `http`: the same with the store over ClickHouse's HTTP protocol; the engine is in another process.
 * - `plain`: what one writes first: kafkajs' eachBatch, JSON.parse, check, JSON text inserted into the engine in this
 *   process, nothing looked at twice and nothing verified.
 * - `read`: kafkajs' eachBatch alone.
 */
import { unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import kafkajs from 'kafkajs';
import { Registry } from 'prom-client';
import { checkCall } from '../../../schemas/check.js';
import { defaultIngestorLimits, startIngestor } from '../../../services/ingestor/ingestor.js';
import { openChdbStore } from '../../../services/store/chdb.js';
import { openClickHouseStore } from '../../../services/store/clickhouse.js';
import { insertSettings } from '../../../services/store/statements.js';
import type { Store } from '../../../services/store/store.js';
import { openKafkaStream } from '../../../services/stream/kafka.js';
import { registerCodecs } from '../../../services/stream/kafka-codecs.js';
import { rowsOf } from '../../contract/store.js';
import type { Engine } from '../disk.js';
import { type IngestMeasure, Stopwatch } from '../ingest/stopwatch.js';

export interface KafkaIngestTask {
  readonly path: 'ours' | 'http' | 'plain' | 'read';
  readonly brokers: string[];
  readonly topicPrefix: string;
  /** Directory of the engine in this process. */
  readonly directory: string;
  /** Of the endpoint, for `http`. */
  readonly connection?: { url: string; username: string; password: string; database: string };
  readonly events: number;
  /** Events of the beginning that are not measured. */
  readonly warmup: number;
  readonly profile: boolean;
}

const task = JSON.parse(process.argv[2] as string) as KafkaIngestTask;
const watch = new Stopwatch(task);

async function openStore(): Promise<Store> {
  const store =
    task.connection === undefined
      ? await openChdbStore({ directory: task.directory, retentionDays: 36_500 })
      : await openClickHouseStore({ ...task.connection, retentionDays: 36_500 });
  await store.migrate();
  return store;
}

async function countStored(store: Store): Promise<number> {
  const [row] = await rowsOf<{ events: number }>(store, 'SELECT uniqExact(event_id) AS events FROM calls');
  return Number(row?.events);
}

async function ours(): Promise<IngestMeasure> {
  const { brokers, topicPrefix } = task;
  const stream = await openKafkaStream({ brokers, clientId: 'bench', topicPrefix });
  const store = await openStore();
  const faults: unknown[] = [];
  const registry = new Registry();
  const onFault = (error: unknown): void => void faults.push(error);
  const ingestor = await startIngestor({ stream, store, metrics: registry, onFault });
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

/** Gives every batch of the topic to `handle`, until all events were given. */
async function readAll(handle: (batch: kafkajs.Batch) => Promise<void> | void): Promise<void> {
  registerCodecs();
  const { brokers, topicPrefix, events } = task;
  const kafka = new kafkajs.Kafka({ brokers, clientId: 'plain', logLevel: kafkajs.logLevel.NOTHING });
  const consumer = kafka.consumer({ groupId: `${topicPrefix}plain-${process.pid}` });
  await consumer.connect();
  await consumer.subscribe({ topics: [`${topicPrefix}calls`], fromBeginning: true });
  let read = 0;
  await new Promise<void>((resolve, reject) => {
    consumer.on('consumer.crash', ({ payload }) => reject(payload.error));
    void consumer.run({
      autoCommit: false,
      eachBatch: async ({ batch }) => {
        await handle(batch);
        read += batch.messages.length;
        if (read >= events) resolve();
      },
    });
  });
  await consumer.disconnect();
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
  const path = join(task.directory, 'plain.jsonl');
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
  await readAll(async ({ messages, partition }) => {
    for (const { value, headers, timestamp, offset } of messages) {
      const [tenant, key] = [String(headers?.tenant), String(headers?.producer_key)];
      // Given text, the check goes by JSON.parse.
      const text = (value as Buffer).toString();
      const checked = checkCall(text, { tenant, producer_key: key });
      if (!checked.ok) throw new Error(checked.message);
      lines.push(
        `${text.slice(0, -1)},"tenant":"${tenant}","producer_key":"${key}","recorded_at":${timestamp},"stream_partition":${partition},"stream_offset":${offset}}`,
      );
      read++;
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

async function readOnly(): Promise<IngestMeasure> {
  let read = 0;
  await readAll(async ({ messages }) => {
    read += messages.length;
    await watch.reached(read);
  });
  return watch.stop(read);
}

const paths = { ours, http: ours, plain, read: readOnly };
const measure = await paths[task.path]();
process.send?.(measure, () => process.exit(0));
