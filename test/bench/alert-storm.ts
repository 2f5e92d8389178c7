import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Table from 'cli-table3';
import { Registry } from 'prom-client';
import { notifierSection } from '../../schemas/notification.js';
import type { Channel } from '../../services/notifier/channel.js';
import { startNotifier } from '../../services/notifier/notifier.js';
import { openLocalStream } from '../../services/stream/local.js';
import { alert, timeText } from '../notifier/alerts.js';
import { round2 } from './figures.js';
import type { BenchmarkOptions, BenchmarkResult } from './main.js';

export const description = 'A storm of 10,000 alerts: routed and grouped a second, messages, memory, restart.';

/**
 * Alerts of 10,000 actors and 100 rules on the local stream, a tree of 100 routes with inhibition, one channel at
 * Slack's pace whose far side answers at once. Beside it, in the same run: `JSON.parse` of the same records alone, the
 * least that reading them costs.
 */
export async function run(options: BenchmarkOptions): Promise<BenchmarkResult> {
  const count = Number(options.alerts ?? 10_000);
  const directory = mkdtempSync(join(tmpdir(), 'mcp-auditd-storm-'));
  const stream = openLocalStream({ directory, durability: 'kernel' });
  const section = notifierSection.parse({
    channels: { team: { type: 'webhook', url: 'http://127.0.0.1:1/', secret_variable: 'NONE' } },
    route: {
      channels: ['team'],
      group_by: ['rule', 'actor'],
      group_wait: '0s',
      group_interval: '1s',
      routes: Array.from({ length: 100 }, (_, at) => ({
        match: [`rule=rule${at}`, 'level>=low'],
        channels: ['team'],
      })),
    },
    inhibit: [{ source: ['level=critical'], target: ['level<=low'], equal: ['actor'] }],
  });
  const told = new Set<string>();
  let messages = 0;
  let allTold: () => void = () => undefined;
  const channel = (name: string): Channel => ({
    name,
    type: 'test',
    pace: { intervalMs: 1_050, burst: 1, concurrency: 1 },
    attemptMs: 1_000,
    async send({ delivery }) {
      messages++;
      for (const id of Object.keys(delivery.telling)) told.add(id);
      if (told.size === count) allTold();
      return { kind: 'sent', reference: String(messages), answer: 'ok' };
    },
    async close() {},
  });
  const start = () =>
    startNotifier({
      stream,
      section,
      secrets: { directory, environment: {} },
      metrics: new Registry(),
      shared: false,
      makeChannel: channel,
    });
  try {
    let notifier = await start();
    const values = Array.from({ length: count }, (_, at) => {
      const now = timeText(Date.now());
      const record = alert({
        alert_id: at.toString(16).padStart(32, '0'),
        rule_id: `rule${at % 100}`,
        level: at % 50 === 0 ? 'critical' : 'medium',
        group: { actor_id: `actor-${at}@example.com` },
        at: now,
        started_at: now,
        evidence: Array.from({ length: 20 }, () => '019ab3f0-8c1b-7001-9f3e-5d2c8a417be6'),
        evidence_sql: 'SELECT * FROM calls WHERE actor_id = 1 AND occurred_at > 2 ORDER BY occurred_at LIMIT 100',
      });
      return Buffer.from(JSON.stringify(record));
    });
    const parseBegun = process.cpuUsage();
    for (const value of values) JSON.parse(value.toString('utf8'));
    const parseMicros = process.cpuUsage(parseBegun).user;
    globalThis.gc?.();
    const memoryBefore = process.memoryUsage();
    const finished = new Promise<void>((resolve) => {
      allTold = resolve;
    });
    const begun = performance.now();
    const cpuBegun = process.cpuUsage();
    await stream.append(
      'alerts',
      values.map((value, at) => ({ key: String(at), value, headers: {} })),
    );
    while (notifier.status().alerts < count) await new Promise((resolve) => setImmediate(resolve));
    const takenMs = performance.now() - begun;
    const cpuMicros = process.cpuUsage(cpuBegun).user;
    await finished;
    const toldMs = performance.now() - begun;
    const memory = process.memoryUsage();
    await notifier.close();
    const before = messages;
    const restartBegun = performance.now();
    notifier = await start();
    while (notifier.status().channels.length === 0) await new Promise((resolve) => setImmediate(resolve));
    const restartMs = performance.now() - restartBegun;
    await notifier.close();
    const perSecond = Math.round(count / (takenMs / 1_000));
    const heapMb = round2((memory.heapUsed - memoryBefore.heapUsed) / 1024 ** 2);
    const table = new Table({
      head: [
        'alerts',
        'alerts/s routed and grouped',
        'CPU µs an alert',
        'JSON.parse alone',
        'heap MB',
        'messages',
        'all told after',
        'restart',
      ],
    });
    table.push([
      count,
      perSecond,
      round2(cpuMicros / count),
      round2(parseMicros / count),
      heapMb,
      before,
      `${round2(toldMs / 1_000)} s`,
      `${round2(restartMs / 1_000)} s`,
    ]);
    console.log(table.toString());
    const ok = perSecond >= 5_000 && before <= 20 && messages === before && told.size === count;
    return {
      name: 'alert-storm',
      ratio: round2(cpuMicros / parseMicros),
      target: '5,000 alerts a second, at most 20 messages, none repeated by a restart',
      ok,
      alerts_per_second: perSecond,
      cpu_micros_per_alert: round2(cpuMicros / count),
      parse_micros_per_alert: round2(parseMicros / count),
      heap_mb: heapMb,
      rss_mb: round2(memory.rss / 1024 ** 2),
      messages: before,
      repeated_by_restart: messages - before,
      told_seconds: round2(toldMs / 1_000),
      restart_seconds: round2(restartMs / 1_000),
    };
  } finally {
    await stream.close();
    rmSync(directory, { recursive: true, force: true });
  }
}
