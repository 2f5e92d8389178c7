/**
 * Consumes `calls` in a group until it is killed, or closes at SIGTERM. Tells `assigned 0,1`, then for each record that
 * was handled `record partition,offset,text`, and at the end `closed`.
 */
import { openKafkaStream } from '../../services/stream/kafka.js';

const [brokers, topicPrefix, group, sessionTimeoutMs] = process.argv.slice(2);
const tell = (line: string) => new Promise<void>((resolve) => process.stdout.write(`${line}\n`, () => resolve()));
const stream = await openKafkaStream({
  brokers: brokers!.split(','),
  clientId: 'consuming-child',
  topicPrefix: topicPrefix!,
  sessionTimeoutMs: Number(sessionTimeoutMs),
});
const consumer = await stream.consume({
  topic: 'calls',
  group: group!,
  assigned: async (partitions) => {
    await tell(`assigned ${[...partitions].sort().join(',')}`);
    return new Map();
  },
  revoked: async () => undefined,
  batch: async ({ partition, records, nextOffset }) => {
    for (const { offset, value } of records) await tell(`record ${partition},${offset},${value}`);
    await consumer.commit(partition, nextOffset);
  },
});
process.once('SIGTERM', async () => {
  await stream.close();
  await tell('closed');
  process.exit(0);
});
await consumer.closed;
