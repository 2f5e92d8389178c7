/** What no loop can be faster than on this machine: a bare fdatasync, and a record through a bare broker. */
import { randomUUID } from 'node:crypto';
import { closeSync, fdatasyncSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import kafkajs from 'kafkajs';
import { nowMs } from './trace.js';

/** Milliseconds of each write of 1 KB and its fdatasync. */
export function bareSyncs(directory: string, count: number): number[] {
  const file = openSync(join(directory, 'synced'), 'w');
  const bytes = Buffer.alloc(1024, 'x');
  const took = Array.from({ length: count }, () => {
    const begun = nowMs();
    writeSync(file, bytes);
    fdatasyncSync(file);
    return nowMs() - begun;
  });
  closeSync(file);
  return took;
}

/** Milliseconds from `send` to `eachMessage` of records that are sent one after the other, by kafkajs alone. */
export async function bareHops(brokers: readonly string[], count: number): Promise<number[]> {
  const kafka = new kafkajs.Kafka({ brokers: [...brokers], logLevel: kafkajs.logLevel.NOTHING });
  const topic = `hops-${randomUUID()}`;
  const admin = kafka.admin();
  await admin.connect();
  await admin.createTopics({ topics: [{ topic, numPartitions: 1 }] });
  const consumer = kafka.consumer({ groupId: topic, maxWaitTimeInMs: 100 });
  const producer = kafka.producer({ createPartitioner: kafkajs.Partitioners.DefaultPartitioner });
  await Promise.all([consumer.connect(), producer.connect()]);
  await consumer.subscribe({ topic, fromBeginning: true });
  let arrived: () => void = () => undefined;
  const joined = new Promise<void>((resolve) => consumer.on(consumer.events.GROUP_JOIN, () => resolve()));
  await consumer.run({ autoCommit: false, eachMessage: async () => arrived() });
  await joined;
  const took: number[] = [];
  for (let each = 0; each < count; each++) {
    const here = new Promise<void>((resolve) => {
      arrived = resolve;
    });
    const begun = nowMs();
    await producer.send({ topic, acks: -1, messages: [{ value: Buffer.alloc(1024, 'x') }] });
    await here;
    took.push(nowMs() - begun);
  }
  await Promise.all([consumer.disconnect(), producer.disconnect(), admin.disconnect()]);
  return took.slice(1);
}
