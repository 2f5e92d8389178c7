/** A detecting process that is killed at random moments against one that never was: the alerts must be the same. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Alert } from '../../schemas/alert.js';
import { streamMicros } from '../../services/detector/event-reader.js';
import { replay } from '../../services/detector/replay.js';
import { openLocalStream } from '../../services/stream/local.js';
import type { StreamRecord, Topic } from '../../services/stream/stream.js';
import { seededRandom } from '../traffic.js';
import { rulesOf } from './rules.js';
import { traffic, trafficRules } from './traffic.js';

export interface KillReport {
  readonly kills: number;
  readonly records: number;
  readonly alerts: number;
  readonly missing: readonly string[];
  readonly unexpected: readonly string[];
  /** Records of one alert and revision that were not equal. */
  readonly different: readonly string[];
  /** Alert records that were appended more than once. */
  readonly repeated: number;
  readonly faults: readonly string[];
}

export async function killDetectors(options: {
  readonly seed: number;
  readonly kills: number;
  readonly records: number;
  readonly progress?: (text: string) => void;
}): Promise<KillReport> {
  const { seed, kills, progress = () => undefined } = options;
  const random = seededRandom(seed);
  const directory = mkdtempSync(join(tmpdir(), 'detector-kills-'));
  try {
    writeFileSync(join(directory, 'rules.yaml'), trafficRules);
    const expected = await uninterrupted(directory, random, options.records);
    const faults: string[] = [];
    for (let kill = 0; kill < kills; kill++) {
      const lines = await detect(directory, String(Number.MAX_SAFE_INTEGER), random() * 500);
      faults.push(...lines.filter((line) => /^(fault|report)/.test(line)));
      progress(`kill ${kill + 1} of ${kills}`);
    }
    const last = await detect(directory, String(expected.size), undefined);
    faults.push(...last.filter((line) => /^(fault|report)/.test(line)));
    const found = await alertsOf(directory);
    const different = [...found].filter(
      ([key, texts]) => expected.has(key) && !texts.every((text) => text === expected.get(key)),
    );
    return {
      kills,
      records: options.records,
      alerts: expected.size,
      missing: [...expected.keys()].filter((key) => !found.has(key)),
      unexpected: [...found.keys()].filter((key) => !expected.has(key)),
      different: different.map(([key]) => key),
      repeated: [...found.values()].reduce((sum, texts) => sum + texts.length - 1, 0),
      faults,
    };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Milliseconds without a sign of life. */
const silenceMs = 60_000;

const identity = ({ alert_id, revision }: Alert): string => `${alert_id}/${revision}`;

/** Fills the stream, and says which alerts it raises. */
async function uninterrupted(directory: string, random: () => number, count: number): Promise<Map<string, string>> {
  let nowMs = 0;
  const stream = openLocalStream({
    directory: join(directory, 'stream'),
    partitions: 2,
    durability: 'kernel',
    now: () => nowMs,
  });
  const all = traffic(random, count, Date.now() - 7 * 86_400_000);
  for (let from = 0; from < all.length; from += 20) {
    const some = all.slice(from, from + 20);
    nowMs = (some[0] as (typeof some)[0]).recordedMs;
    await stream.append(
      'calls',
      some.map(({ record }) => record),
    );
  }
  await stream.close();
  const records = await readTopic(directory, 'calls');
  records.sort((a, b) => a.timestamp - b.timestamp || a.partition - b.partition || a.offset - b.offset);
  const taken = records.map(({ value, partition, offset, timestamp }) => ({
    value,
    tenant: 'default',
    producerKey: '',
    partition,
    offset,
    recordedAtMicros: streamMicros(timestamp),
  }));
  const alerts = replay(rulesOf(trafficRules), taken, { untilMicros: streamMicros(Date.now()) });
  return new Map(alerts.map((alert) => [identity(alert), JSON.stringify(alert)]));
}

/** Lines of a detecting process that is killed after so many milliseconds of work, or ends by itself. */
async function detect(directory: string, expected: string, killAfterMs: number | undefined): Promise<string[]> {
  const script = join(import.meta.dirname, 'detecting-child.ts');
  const child = spawn(process.execPath, ['--import', 'tsx', script, directory, expected], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const lines: string[] = [];
  const ended = once(child, 'close');
  let timer: NodeJS.Timeout | undefined;
  // A process that gets no further must not hold up everything, and is a fault. One that gets on, on a busy machine for
  // many minutes, is waited for: ended before it is done it would count the rest of the alerts as missing.
  const limit = setTimeout(() => {
    lines.push(`fault the process did nothing for ${silenceMs / 1000} s`);
    child.kill('SIGKILL');
  }, silenceMs);
  createInterface({ input: child.stdout }).on('line', (line) => {
    limit.refresh();
    lines.push(line);
    // The moment of the kill is the randomness that this is about.
    if (line === 'ready' && killAfterMs !== undefined) timer = setTimeout(() => child.kill('SIGKILL'), killAfterMs);
  });
  await ended;
  clearTimeout(timer);
  clearTimeout(limit);
  return lines;
}

/** All records of each alert and revision. */
async function alertsOf(directory: string): Promise<Map<string, string[]>> {
  const found = new Map<string, string[]>();
  for (const { value } of await readTopic(directory, 'alerts')) {
    const text = value.toString();
    const key = identity(JSON.parse(text) as Alert);
    found.set(key, [...(found.get(key) ?? []), text]);
  }
  return found;
}

type ReadRecord = Pick<StreamRecord, 'value' | 'offset' | 'timestamp'> & { readonly partition: number };

async function readTopic(directory: string, topic: Topic): Promise<ReadRecord[]> {
  const stream = openLocalStream({ directory: join(directory, 'stream') });
  const found: ReadRecord[] = [];
  const states = await stream.partitions(topic);
  const left = new Set(states.filter(({ endOffset }) => endOffset > 0).map(({ partition }) => partition));
  await new Promise<void>((resolve, reject) => {
    if (left.size === 0) resolve();
    stream
      .consume({
        topic,
        assigned: async (partitions) => new Map(partitions.map((partition) => [partition, 0])),
        revoked: async () => undefined,
        async batch({ records, partition, nextOffset, endOffset }) {
          for (const { value, offset, timestamp } of records) found.push({ value, offset, timestamp, partition });
          if (nextOffset >= endOffset) left.delete(partition);
          if (left.size === 0) resolve();
        },
      })
      .catch(reject);
  });
  await stream.close();
  return found;
}
