/**
 * Whole detectors on a real broker: one owns, one is killed, one leaves, and the alerts are those of one alone.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Registry } from 'prom-client';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { formatTimeMicros } from '../../schemas/time.js';
import { type Detector, startDetector } from '../../services/detector/detector.js';
import { type Ask, readHistory } from '../../services/detector/history.js';
import { replay } from '../../services/detector/replay.js';
import { startIngestor } from '../../services/ingestor/ingestor.js';
import { openChdbStore } from '../../services/store/chdb.js';
import { openKafkaStream } from '../../services/stream/kafka.js';
import { type Broker, namedBrokers, startBroker } from '../kafka/broker.js';
import { makeTopics } from '../kafka/topics.js';
import { newId, rulesOf } from './rules.js';

const directory = mkdtempSync(join(tmpdir(), 'takeover-'));
let broker: Broker | undefined;
beforeAll(async () => {
  broker = namedBrokers() === undefined ? await startBroker() : undefined;
}, 120_000);
afterAll(async () => {
  await broker?.stop();
  rmSync(directory, { recursive: true, force: true });
});

// Two rules that count across partitions, one of which is told of again: an alert that outlives its detectors.
const rules = `rules:
- {id: calls, type: event_count, detection: {s: {method: tools/call}}, group-by: server, timespan: 10m, condition: {gte: 4}, realert: {every: 10s}}
- {id: steps, type: temporal_ordered, group-by: session, timespan: 10m, steps: [{tool: read}, {tool: send}]}`;

test('detectors that are killed and leave tell the alerts of one alone', async () => {
  const brokers = namedBrokers() ?? broker!.brokers;
  const topicPrefix = await makeTopics(brokers, 2);
  const kafka = { brokers, clientId: 'takeover', topicPrefix, sessionTimeoutMs: 3_000 };
  const stream = await openKafkaStream(kafka);
  const store = await openChdbStore({ directory: join(directory, 'store') });
  await store.migrate();
  const ask: Ask = (sql, format) => store.query(sql, { format });
  // The table is half a second behind the stream, which a detector that takes over has to wait for.
  const ingestor = await startIngestor({ stream, store, limits: { timeMs: 500 }, metrics: new Registry() });
  const path = join(directory, 'rules.yaml');
  writeFileSync(path, rules);

  const faults: string[] = [];
  const detect = (name: string): Detector =>
    startDetector({
      stream,
      directory: join(directory, name),
      rules: { pack: false, paths: [path] },
      metrics: new Registry(),
      ask,
      storedOffsets: () => store.highestOffsets('calls'),
      times: { checkpointMs: 20 },
      onFault: (error, what) => faults.push(`${what} ${String(error)}`),
    });
  const baseMicros = (Date.now() - 60_000) * 1000;
  const call = (seconds: number, fields: Record<string, string>) =>
    stream.append('calls', [
      {
        // Calls are spread by actor, sessions and servers are not.
        key: fields.actor_id ?? '',
        value: Buffer.from(
          JSON.stringify({
            event_id: newId(),
            method: 'tools/call',
            outcome: 'success',
            occurred_at: formatTimeMicros(baseMicros + seconds * 1e6),
            ...fields,
          }),
        ),
        headers: { tenant: 'acme', producer_key: 'emitter' },
      },
    ]);
  const some = async (from: number, session: string, tool_name: string): Promise<void> => {
    for (let index = 0; index < 4; index++)
      await call(from + index, { actor_id: `actor-${index}`, server_name: 's', session_id: session, tool_name });
  };
  const told = async (): Promise<string[]> => {
    const chunks: Buffer[] = [];
    const sql = `SELECT concat(rule_id, ' ', state, ' ', alert_id, ' ', toString(revision), ' ', toString(count)) FROM alerts ORDER BY 1`;
    for await (const chunk of ask(sql, 'TSV')) chunks.push(Buffer.from(chunk));
    return Buffer.concat(chunks).toString().split('\n').filter(Boolean);
  };
  const until = async (rule: string, count: number): Promise<void> => {
    while ((await told()).filter((line) => line.startsWith(rule)).length < count)
      await new Promise((resolve) => setTimeout(resolve, 50));
  };
  const script = join(import.meta.dirname, 'detecting-child.ts');
  const first = spawn(
    process.execPath,
    ['--import', 'tsx', script, directory, String(Number.MAX_SAFE_INTEGER), JSON.stringify(kafka)],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  const open: Detector[] = [];
  try {
    await once(first.stdout, 'data');
    await some(0, 'one', 'read');
    await until('calls', 1);
    const second = detect('second');
    open.push(second);
    first.kill('SIGKILL');
    // Begun before the kill, ended after it.
    await some(12, 'one', 'send');
    await until('calls', 2);
    await until('steps', 1);
    await some(14, 'two', 'read');
    const third = detect('third');
    open.push(third);
    await second.close();
    await some(40, 'two', 'send');
    await until('calls', 3);
    await until('steps', 2);
    const range = { fromMicros: 0, untilMicros: (Date.now() + 60_000) * 1000 };
    const records = [];
    for await (const each of readHistory(ask, range, [
      'method',
      'outcome',
      'server_name',
      'session_id',
      'tool_name',
      'actor_id',
    ]))
      records.push(...each);
    expect(records).toHaveLength(16);
    const alone = replay(rulesOf(rules), records).map(
      ({ rule_id, state, alert_id, revision, count }) => `${rule_id} ${state} ${alert_id} ${revision} ${count}`,
    );
    expect(await told()).toEqual(alone.sort());
    expect(faults).toEqual([]);
  } finally {
    first.kill('SIGKILL');
    for (const each of open) await each.close();
    await ingestor.close();
    await stream.close();
    await store.close();
  }
}, 180_000);
