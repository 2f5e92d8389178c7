import kafkajs from 'kafkajs';
import { openKafkaStream } from '../../../services/stream/kafka.js';
import { registerCodecs } from '../../../services/stream/kafka-codecs.js';
import type { Source } from './source.js';

/** A topic of Kafka; the plain path reads it by kafkajs' eachBatch. */
export function kafkaSource(brokers: string[], topicPrefix: string): Source {
  return {
    open: () => openKafkaStream({ brokers, clientId: 'bench', topicPrefix }),
    async readAll(events, take, done) {
      registerCodecs();
      const kafka = new kafkajs.Kafka({ brokers, clientId: 'plain', logLevel: kafkajs.logLevel.NOTHING });
      const consumer = kafka.consumer({ groupId: `${topicPrefix}plain-${process.pid}` });
      await consumer.connect();
      await consumer.subscribe({ topics: [`${topicPrefix}calls`], fromBeginning: true });
      let read = 0;
      await new Promise<void>((resolve, reject) => {
        consumer.on('consumer.crash', ({ payload }) => reject(payload.error));
        void consumer.run({
          autoCommit: false,
          eachBatch: async ({ batch: { messages, partition } }) => {
            for (const { value, headers, timestamp, offset } of messages) {
              const [tenant, key] = [String(headers?.tenant), String(headers?.producer_key)];
              const room = take(value as Buffer, tenant, key, partition, Number(timestamp), Number(offset));
              if (room !== undefined) await room;
            }
            read += messages.length;
            await done(read);
            if (read >= events) resolve();
          },
        });
      });
      await consumer.disconnect();
    },
  };
}
