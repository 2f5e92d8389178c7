/**
 * The child of kills.ts and takeover.test.ts: detects on a stream that is there already, until it is killed, or until so
 * many different alert records are in the topic. Each line that it writes is a sign that it gets on.
 */
import { writeSync } from 'node:fs';
import { join } from 'node:path';
import { Registry } from 'prom-client';
import { startDetector } from '../../services/detector/detector.js';
import { openKafkaStream } from '../../services/stream/kafka.js';
import { openLocalStream } from '../../services/stream/local.js';

/** With the options of a stream on Kafka, as JSON, on that one. */
const [directory, expected, kafka] = process.argv.slice(2) as [string, string, string?];
const stream =
  kafka === undefined
    ? openLocalStream({ directory: join(directory, 'stream'), durability: 'kernel' })
    : await openKafkaStream(JSON.parse(kafka));
const detector = startDetector({
  stream,
  directory: join(directory, 'detector'),
  rules: { pack: false, paths: [join(directory, 'rules.yaml')] },
  metrics: new Registry(),
  times: { checkpointMs: 20, holdMs: 50 },
  onFault: (error, what) => writeSync(1, `fault ${what} ${String(error)}\n`),
  report: (what, details) => writeSync(1, `report ${what} ${JSON.stringify(details)}\n`),
});
writeSync(1, 'ready\n');
const seen = new Set<string>();
await stream.consume({
  topic: 'alerts',
  assigned: async (partitions) => new Map(partitions.map((partition) => [partition, 0])),
  revoked: async () => undefined,
  async batch({ records }) {
    for (const { value } of records) {
      const { alert_id, revision } = JSON.parse(value.toString());
      seen.add(`${alert_id}/${revision}`);
    }
    writeSync(1, `seen ${seen.size}\n`);
    if (seen.size < Number(expected)) return;
    writeSync(1, 'done\n');
    await detector.close();
    process.exit(0);
  },
});
