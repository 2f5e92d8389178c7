import { openKafkaStream } from '../../../services/stream/kafka.js';
import type { KafkaCompression } from '../../../services/stream/kafka-codecs.js';
import { generateEventLines } from '../../traffic.js';

/**
 * Appends generated events to the topic `calls` as a gateway does, 5,000 at a time. Resolves to their average bytes and
 * the seconds that appending took (not generating).
 */
export async function fillTopic(options: {
  readonly brokers: readonly string[];
  readonly topicPrefix: string;
  readonly events: number;
  readonly compression?: KafkaCompression;
}): Promise<{ bytesPerEvent: number; seconds: number; cpuMicros: number }> {
  const { brokers, topicPrefix, events, compression = 'zstd' } = options;
  const stream = await openKafkaStream({ brokers, clientId: 'fill', topicPrefix, compression });
  const headers = { tenant: 'default', producer_key: 'emitter' };
  const startMs = Date.now() - 3_600_000;
  let records: { key: string; value: Buffer; headers: typeof headers }[] = [];
  let bytes = 0;
  let milliseconds = 0;
  let cpu = 0;
  const append = async (): Promise<void> => {
    const [startedAt, cpuBefore] = [performance.now(), process.cpuUsage()];
    await stream.append('calls', records);
    milliseconds += performance.now() - startedAt;
    const { user, system } = process.cpuUsage(cpuBefore);
    cpu += user + system;
    records = [];
  };
  let number = 0;
  for (const value of generateEventLines({ seed: 1, count: events, startMs, spanMs: 3_600_000 })) {
    // As the gateway's keys are: by tenant and actor, here one of a hundred.
    records.push({ key: `default\0actor-${number++ % 100}`, value, headers });
    bytes += value.length;
    if (records.length === 5_000) await append();
  }
  if (records.length > 0) await append();
  await stream.close();
  return { bytesPerEvent: bytes / events, seconds: milliseconds / 1000, cpuMicros: cpu / events };
}
