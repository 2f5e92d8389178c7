import { mkdirSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Registry } from 'prom-client';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Alert } from '../../schemas/alert.js';
import { formatTimeMicros } from '../../schemas/time.js';
import { type Detector, type DetectorOptions, startDetector } from '../../services/detector/detector.js';
import { openLocalStream } from '../../services/stream/local.js';
import type { Stream } from '../../services/stream/stream.js';
import { newId } from './rules.js';

let directory: string;
let stream: Stream;
let detector: Detector | undefined;
let reports: string[];
/** Alerts as they reach the stream. */
let alerts: Alert[];
let changed: () => void;

const volume = (threshold: number): string => `rules:
- {id: volume, type: event_count, detection: {s: {method: tools/call}}, group-by: actor, timespan: 1m, condition: {gte: ${threshold}}}
`;

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'detector-'));
  mkdirSync(join(directory, 'rules'));
  stream = openLocalStream({ directory: join(directory, 'stream'), partitions: 2, durability: 'kernel' });
  reports = [];
  alerts = [];
  changed = () => undefined;
  await stream.consume({
    topic: 'alerts',
    assigned: async (partitions) => new Map(partitions.map((partition) => [partition, 0])),
    revoked: async () => undefined,
    async batch({ records }) {
      alerts.push(...records.map(({ value }) => JSON.parse(value.toString()) as Alert));
      changed();
    },
  });
});

afterEach(async () => {
  await detector?.close();
  detector = undefined;
  await stream.close();
  rmSync(directory, { recursive: true, force: true });
});

function start(options: Partial<DetectorOptions> = {}): Detector {
  detector = startDetector({
    stream,
    directory: join(directory, 'detector'),
    rules: { pack: false, paths: [join(directory, 'rules')] },
    metrics: new Registry(),
    times: { reloadMs: 10, checkpointMs: 10, holdMs: 10 },
    onFault: (error, what) => reports.push(`${what}: ${String(error)}`),
    report: (what) => reports.push(what),
    warn: (what) => reports.push(`warned: ${what}`),
    ...options,
  });
  return detector;
}

function write(text: string, file = 'own.yaml'): void {
  writeFileSync(join(directory, 'rules', file), text);
}

async function call(actor: string, count = 1): Promise<void> {
  const records = Array.from({ length: count }, () => {
    const event = { event_id: newId(), method: 'tools/call', outcome: 'success', actor_id: actor };
    const value = { ...event, occurred_at: formatTimeMicros(Date.now() * 1000) };
    return { key: `default\0${actor}`, value: Buffer.from(JSON.stringify(value)), headers: { tenant: 'acme' } };
  });
  await stream.append('calls', records);
}

const arrived = (count: number): Promise<void> =>
  new Promise((resolve) => {
    changed = () => {
      if (alerts.length >= count) resolve();
    };
    changed();
  });

/** Resolves when a condition holds that nothing tells of; looked at each turn of the event loop. */
async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 5));
}

describe('calls in, alerts out', () => {
  test('an alert is a record of the topic, with the tenant of the header', async () => {
    write(volume(3));
    start();
    await call('a', 2);
    await call('b', 3);
    await arrived(1);
    expect(alerts).toMatchObject([{ rule_id: 'volume', state: 'firing', tenant: 'acme', group: { actor_id: 'b' } }]);
  });

  test('what it says of itself: rules, records, groups, lag', async () => {
    write(volume(3));
    const metrics = new Registry();
    const running = start({ metrics });
    await call('a', 3);
    await arrived(1);
    expect(running.health()).toEqual({ state: 'ready' });
    expect(running.status()).toMatchObject({ rules: 1, problems: [], records: 3, alerts: 1, firing: 1, groups: 1 });
    const text = await metrics.metrics();
    expect(text).toContain('mcp_auditd_detector_alerts_total{rule="volume",state="firing"} 1');
    expect(text).toContain('mcp_auditd_detector_records_total{kind="event"} 3');
  });

  test('goes on after a stop as if it had not been stopped', async () => {
    write(volume(4));
    await start().close();
    for (const round of [1, 2, 3]) {
      await call('a');
      const running = start();
      await until(() => running.status().records >= round);
      await running.close();
    }
    expect(alerts).toEqual([]);
    start();
    await call('a');
    await arrived(1);
    expect(alerts).toMatchObject([{ values: { count: 4 } }]);
    expect(reports.filter((line) => line.includes('learn'))).toEqual([]);
  });

  test('a damaged checkpoint is told of and left', async () => {
    write(volume(2));
    const running = start();
    await call('a');
    await until(() => running.status().checkpoint_at !== undefined);
    await running.close();
    const file = join(directory, 'detector', 'checkpoint');
    truncateSync(file, readFileSync(file).length - 5);
    start();
    await call('b', 2);
    await arrived(1);
    expect(alerts).toMatchObject([{ group: { actor_id: 'b' } }]);
    expect(reports).toContain('the checkpoint is not usable; the rules learn from stored history');
  });
});

describe('rule files that change', () => {
  test('are taken up, and what did not change keeps its state', async () => {
    write(volume(3));
    const running = start();
    await call('a', 2);
    await until(() => running.status().records === 2);
    write('rules: [{id: other, detection: {s: {actor: nobody}}}]', 'more.yaml');
    await until(() => running.status().rules === 2);
    await call('a');
    await arrived(1);
    expect(alerts).toMatchObject([{ rule_id: 'volume', values: { count: 3 } }]);
  });

  test('with a mistake leave the old rules in force, and the mistake is shown', async () => {
    write(volume(3));
    const running = start();
    await until(() => running.status().rules === 1);
    write('rules: [{id: other, detecton: {}}]', 'more.yaml');
    await until(() => running.status().problems.length > 0);
    expect(running.status()).toMatchObject({ rules: 1 });
    expect(running.status().problems[0]?.message).toContain('Did you mean "detection"?');
    await call('a', 3);
    await arrived(1);
    rmSync(join(directory, 'rules', 'more.yaml'));
    await until(() => running.status().problems.length === 0);
    expect(reports).toContain('warned: rule files have mistakes; the rules of before stay in force');
  });

  test('that are broken at the start cost only the broken rules', async () => {
    write(volume(3));
    write('rules: [{id: other, detecton: {}}]', 'more.yaml');
    const running = start();
    await call('a', 3);
    await arrived(1);
    expect(running.status().problems).not.toEqual([]);
  });
});
