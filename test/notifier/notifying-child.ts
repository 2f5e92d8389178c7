/**
 * A notifier in a process of its own, to be killed. Its first argument is JSON: `{directory, section, environment}`,
 * with `kafka` where the stream is not the local one, and `attemptMs` where an attempt is to be over sooner than its
 * channel says: a notifier that takes over waits for twice that.
 * It writes `ready`, then for each line `raise ALERT CHANNEL POINT` of its input appends an alert, having armed the
 * point, and writes `sent ALERT CHANNEL` when a delivery that tells of an alert is on record as sent.
 *
 * A point is `before` or `after`, a colon and the state of a record: the process kills itself there.
 */
import { createInterface } from 'node:readline';
import { Registry } from 'prom-client';
import type { Delivery } from '../../schemas/delivery.js';
import { notifierSection } from '../../schemas/notification.js';
import { makeChannel } from '../../services/notifier/channels.js';
import { startNotifier } from '../../services/notifier/notifier.js';
import { type KafkaStreamOptions, openKafkaStream } from '../../services/stream/kafka.js';
import { openLocalStream } from '../../services/stream/local.js';
import type { Stream } from '../../services/stream/stream.js';
import { alert, timeText } from './alerts.js';

const { directory, section, environment, kafka, attemptMs } = JSON.parse(process.argv[2]!) as {
  directory: string;
  section: Record<string, unknown>;
  environment: Record<string, string>;
  kafka?: KafkaStreamOptions;
  attemptMs?: number;
};
let point = '';
const stream: Stream =
  kafka === undefined ? openLocalStream({ directory, durability: 'kernel' }) : await openKafkaStream(kafka);
const die = (): void => void process.kill(process.pid, 'SIGKILL');
const watched: Stream = {
  append: async (topic, records) => {
    const deliveries =
      topic === 'deliveries' ? records.map(({ value }) => JSON.parse(value.toString()) as Delivery) : [];
    const [when, state] = point.split(':');
    const meant = deliveries.some((each) => each.state === state);
    if (meant && when === 'before') die();
    const positions = await stream.append(topic, records);
    if (meant && when === 'after') die();
    for (const each of deliveries)
      if (each.state === 'sent') for (const id of each.alert_ids) process.stdout.write(`sent ${id} ${each.channel}\n`);
    return positions;
  },
  consume: (options) => stream.consume(options),
  partitions: (topic) => stream.partitions(topic),
  committed: (topic, group) => stream.committed(topic, group),
  close: () => stream.close(),
};
const parsed = notifierSection.parse(section);
const secrets = { directory, environment };
const notifier = await startNotifier({
  stream: watched,
  section: parsed,
  secrets,
  makeChannel: (name) =>
    Object.assign(makeChannel(name, parsed, secrets), attemptMs === undefined ? undefined : { attemptMs }),
  metrics: new Registry(),
  shared: kafka !== undefined,
});
if (kafka === undefined) await tellWhatWasSent();
process.stdout.write('ready\n');
for await (const line of createInterface({ input: process.stdin })) {
  const [word, id = '', channel = '', armed = ''] = line.split(' ');
  if (word !== 'raise') break;
  point = armed;
  const at = timeText(Date.now());
  const record = alert({ alert_id: id, rule_id: id, at, started_at: at, last_at: at, actions: [{ notify: channel }] });
  await stream.append('alerts', [{ key: id, value: Buffer.from(JSON.stringify(record)), headers: {} }]);
}
await notifier.close();
await stream.close();

/** What is on record as sent by processes before. */
async function tellWhatWasSent(): Promise<void> {
  const [state] = await stream.partitions('deliveries');
  if (state === undefined || state.endOffset === 0) return;
  await new Promise<void>((resolve) => {
    const consumer = stream.consume({
      topic: 'deliveries',
      assigned: async (partitions) => new Map(partitions.map((each) => [each, 0])),
      revoked: async () => undefined,
      batch: async ({ records, nextOffset }) => {
        for (const { value } of records) {
          const delivery = JSON.parse(value.toString()) as Delivery;
          if (delivery.state === 'sent')
            for (const id of delivery.alert_ids) process.stdout.write(`sent ${id} ${delivery.channel}\n`);
        }
        if (nextOffset < state.endOffset) return;
        void consumer.then((each) => each.close());
        resolve();
      },
    });
  });
}
