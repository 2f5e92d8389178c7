import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { InMemoryTransport } from '@modelcontextprotocol/sdk/inMemory.js';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import Fastify from 'fastify';
import { Registry } from 'prom-client';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { isSignedBy } from '../../schemas/throttle.js';
import { ensureKeys, openKeys } from '../../services/access/keys.js';
import { audit } from '../../services/emitter/audit.js';
import { kafkaSink } from '../../services/emitter/kafka-sink.js';
import type { Sink } from '../../services/emitter/sink.js';
import { createGateway } from '../../services/gateway/gateway.js';
import { startIngestor } from '../../services/ingestor/ingestor.js';
import { openChdbStore } from '../../services/store/chdb.js';
import { openKafkaStream } from '../../services/stream/kafka.js';
import { partitionOfKey } from '../../services/stream/partitioner.js';
import type { Stream, StreamRecord } from '../../services/stream/stream.js';
import { event } from '../commands/run.js';
import { type Broker, namedBrokers, startBroker } from '../kafka/broker.js';
import { makeTopics } from '../kafka/topics.js';
import { makeSignal, makeSigner } from '../throttler/signals.js';

const partitions = 4;
const never = new AbortController().signal;
let broker: Broker;
let topicPrefix: string;
let stream: Stream;
let sink: Sink;

beforeAll(async () => {
  broker = await startBroker();
  topicPrefix = await makeTopics(broker.brokers, partitions);
  stream = await openKafkaStream({ brokers: broker.brokers, clientId: 'reader', topicPrefix });
  sink = kafkaSink({ brokers: broker.brokers, topicPrefix });
});
afterAll(async () => {
  sink.close();
  await stream.close();
  await broker.stop();
});

/** The records of the topic from the first on, until there are so many. */
async function read(count: number): Promise<(StreamRecord & { partition: number })[]> {
  const records: (StreamRecord & { partition: number })[] = [];
  let enough: () => void = () => undefined;
  const all = new Promise<void>((done) => {
    enough = done;
  });
  const consumer = await stream.consume({
    topic: 'calls',
    assigned: async (assigned) => new Map(assigned.map((partition) => [partition, 0])),
    revoked: async () => undefined,
    batch: async (batch) => {
      // Read one by one: a record makes its key and value when asked.
      for (const { key, value, headers, timestamp, offset } of batch.records)
        records.push({ key, value, headers, timestamp, offset, partition: batch.partition });
      if (records.length >= count) enough();
    },
  });
  await all;
  await consumer.close();
  return records;
}

test('an event is a CloudEvent in binary mode, on the partition that the gateway would choose, in order', async () => {
  const events = Array.from({ length: 60 }, (_, index) =>
    event({ actor_id: `actor-${index % 5}`, producer_id: 'a b' }),
  );
  for (let at = 0; at < 60; at += 20) {
    const lines = events.slice(at, at + 20).map((each, index) => {
      const text = JSON.stringify(each);
      return index % 2 === 0 ? text : Buffer.from(text);
    });
    expect(await sink.send(lines, never)).toEqual({ kind: 'accepted', rejected: [] });
  }
  const records = await read(60);
  expect(records).toHaveLength(60);
  for (const { key, value, headers, partition } of records) {
    const sent = JSON.parse(value.toString()) as { event_id: string; actor_id: string; occurred_at: string };
    expect(key).toBe(`default\0${sent.actor_id}`);
    expect(partition).toBe(partitionOfKey(key, partitions));
    expect(headers).toEqual({
      'content-type': 'application/json',
      ce_specversion: '1.0',
      ce_type: 'mcp-auditd.call',
      ce_source: '/mcp-auditd/producers/a%20b',
      ce_id: sent.event_id,
      ce_time: sent.occurred_at,
    });
  }
  for (const actor of ['actor-0', 'actor-4']) {
    const ids = (list: readonly object[]) =>
      list
        .filter((each) => (each as { actor_id: string }).actor_id === actor)
        .map((each) => (each as { event_id: string }).event_id);
    expect(ids(records.map(({ value }) => JSON.parse(value.toString()) as object))).toEqual(ids(events));
  }
});

test('a line that is no JSON object is rejected by itself', async () => {
  const answer = await sink.send(['{"event_id"', JSON.stringify(event()), '7'], never);
  expect(answer).toEqual({
    kind: 'accepted',
    rejected: [expect.objectContaining({ index: 0, code: 'not_json' }), expect.objectContaining({ index: 2 })],
  });
});

test('what the broker finds too large is refused as a batch, and the next batch is taken', async () => {
  // Random text does not shrink.
  const arguments_ = Buffer.from(Array.from({ length: 9 << 20 }, () => Math.random() * 256)).toString('base64');
  expect(await sink.send([JSON.stringify(event({ arguments: arguments_ }))], never)).toMatchObject({ kind: 'refused' });
  expect(await sink.send([JSON.stringify(event())], never)).toMatchObject({ kind: 'accepted' });
});

test('the ingestor stores what came so, with the tenant that it is configured with, and once', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'kafka-sink-'));
  const store = await openChdbStore({ directory });
  await store.migrate();
  const ingestor = await startIngestor({
    stream,
    store,
    metrics: new Registry(),
    direct: { tenant: 'acme', mayNameTenant: false },
  });
  const marked = JSON.stringify(event({ tool_name: 'marked' }));
  // The acknowledgement of the first was lost, say.
  await sink.send([marked], never);
  await sink.send([marked], never);
  const rows = async (): Promise<string> => {
    const sql = "SELECT count(), any(tenant), any(producer_key) FROM calls WHERE tool_name = 'marked'";
    let text = '';
    for await (const chunk of store.query(sql, { format: 'CSV' })) text += Buffer.from(chunk).toString();
    return text.trim();
  };
  while ((await rows()) !== '1,"acme",""') await new Promise((done) => setTimeout(done, 100));
  const ends = await stream.partitions('calls');
  const sum = (list: Iterable<number>) => [...list].reduce((total, each) => total + each, 0);
  while (sum((await stream.committed('calls', 'ingestor')).values()) < sum(ends.map(({ endOffset }) => endOffset)))
    await new Promise((done) => setTimeout(done, 100));
  expect(await rows()).toBe('1,"acme",""');
  await ingestor.close();
  await store.close();
  rmSync(directory, { recursive: true, force: true });
});

test('beside the sink a gateway tells signals and nothing else: calls are refused, and their events are on Kafka', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'kafka-signals-'));
  const signer = makeSigner();
  await ensureKeys(directory);
  const gateway = createGateway({
    stream,
    keys: openKeys(directory),
    metrics: new Registry(),
    isTrusted: (signal) => isSignedBy(signal, signer.publicKey),
  });
  await gateway.start();
  const app = Fastify();
  await app.register(gateway.plugin);
  const url = await app.listen({ host: '127.0.0.1', port: 0 });
  const server = new McpServer({ name: 'direct', version: '1' });
  server.registerTool('echo', {}, () => ({ content: [] }));
  const publicKeys = String(signer.publicKey.export({ type: 'spki', format: 'pem' }));
  const handle = audit(server, { data: directory, url, actor: () => 'carol', sink, throttle: { publicKeys } });
  const client = new Client({ name: 'c', version: '1' });
  const [here, there] = InMemoryTransport.createLinkedPair();
  await Promise.all([server.connect(there), client.connect(here)]);
  await client.callTool({ name: 'echo' });
  const signal = signer.sign(makeSignal(Date.now() * 1000, { scope: { actor_id: 'carol' }, block: true }));
  await stream.append('throttle', [
    { key: signal.signal_id, value: Buffer.from(JSON.stringify(signal)), headers: { tenant: 'default' } },
  ]);
  await vi.waitFor(() => expect(handle.counters.throttle?.signals).toBe(1), { timeout: 30_000, interval: 20 });
  await expect(client.callTool({ name: 'echo' })).rejects.toMatchObject({ code: 429 });
  await handle.close();
  await client.close();
  const outcomes = (await read((await stream.partitions('calls')).reduce((sum, { endOffset }) => sum + endOffset, 0)))
    .map(({ value }) => value.toString())
    .filter((text) => text.includes('"carol"') && text.includes('tools/call'))
    .map((text) => (JSON.parse(text) as { outcome: string }).outcome);
  expect(outcomes).toEqual(['success', 'throttled']);
  expect(gateway.status()).toMatchObject({ acceptedEvents: 0, refusedRequests: 0 });
  await app.close();
  await gateway.close();
  rmSync(directory, { recursive: true, force: true });
});

test('a process that has nothing else to do ends', async () => {
  const loader = resolve(import.meta.dirname, '..', '..', 'node_modules/tsx/dist/loader.mjs');
  const file = join(import.meta.dirname, 'kafka-sink-child.ts');
  const words = ['--import', loader, file, broker.brokers.join(), topicPrefix, JSON.stringify(event())];
  const child = spawn(process.execPath, words, { stdio: ['ignore', 'pipe', 'inherit'] });
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => {
    output += chunk.toString();
  });
  expect(await once(child, 'close')).toEqual([0, null]);
  expect(JSON.parse(output)).toEqual({ kind: 'accepted', rejected: [] });
});

test.skipIf(namedBrokers() !== undefined)(
  'while the broker is away the batch is to be sent again, and afterwards it is taken (skipped with KAFKA_BROKERS: it kills the broker)',
  async () => {
    await broker.kill();
    const line = JSON.stringify(event());
    expect(await sink.send([line], never)).toMatchObject({
      kind: 'retry',
      reason: expect.stringContaining(broker.brokers[0]!),
    });
    await broker.restart();
    let answer = await sink.send([line], never);
    while (answer.kind === 'retry') answer = await sink.send([line], never);
    expect(answer).toEqual({ kind: 'accepted', rejected: [] });
  },
);
