/**
 * The child of kills.test.ts: appends the events it is told to and ingests them, until it is killed. Every append that
 * resolved is acknowledged with a line on standard output, written synchronously.
 */
import { writeSync } from 'node:fs';
import { Registry } from 'prom-client';
import { startIngestor } from '../../services/ingestor/ingestor.js';
import { openChdbStore } from '../../services/store/chdb.js';
import { openLocalStream } from '../../services/stream/local.js';
import { idFrom } from './memory.js';

const [directory, round, rounds, mode] = process.argv.slice(2) as [string, string, string, string];
const stream = openLocalStream({ directory: `${directory}/stream`, partitions: 2 });
const store = await openChdbStore({ directory: `${directory}/store` });
await store.migrate();
const ingestor = await startIngestor({
  stream,
  store,
  limits: { rows: 200, timeMs: 20 },
  metrics: new Registry(),
  onFault: (error, what) => writeSync(1, `fault ${what} ${String(error)}\n`),
});
writeSync(1, 'ready\n');

/** Every round appends its own events, those of the round before once more, and malformed records between. */
async function append(batch: number): Promise<void> {
  const records = Array.from({ length: 50 }, (_, index) => {
    const name = `${index % 5 === 0 ? Math.max(0, Number(round) - 1) : round}/${batch}/${index}`;
    const bad = index % 25 === 24;
    const event = {
      event_id: idFrom(name, Date.UTC(2026, 10, 24) + batch * 1_000),
      occurred_at: '2026-11-24T03:52:00Z',
      method: 'tools/call',
      outcome: 'success',
      request_id: name,
      actor_id: `actor-${index % 7}`,
    };
    const value = Buffer.from(bad ? `broken ${name}` : JSON.stringify(event));
    const key = `default\0${bad ? '' : event.actor_id}`;
    return { name, bad, record: { key, value, headers: { tenant: 'default', producer_key: 'emitter' } } };
  });
  await stream.append(
    'calls',
    records.map(({ record }) => record),
  );
  writeSync(1, records.map(({ name, bad }) => `${bad ? 'bad' : 'good'} ${name}\n`).join(''));
}

if (mode === 'append') for (let batch = 0; ; batch++) await append(batch);
else {
  // The last round only ingests what the others left, and ends by itself.
  const settled = async (topic: 'calls' | 'dead'): Promise<boolean> => {
    const committed = await stream.committed(topic, 'ingestor');
    return (await stream.partitions(topic)).every(
      ({ partition, endOffset }) => endOffset === 0 || (committed.get(partition) ?? 0) >= endOffset,
    );
  };
  while (!(await settled('calls')) || !(await settled('dead'))) await new Promise((resolve) => setTimeout(resolve, 20));
  await ingestor.close();
  await stream.close();
  await store.close();
  writeSync(1, `done ${rounds}\n`);
  process.exit(0);
}
