import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import Table from 'cli-table3';
import { event, Sandbox } from '../commands/run.js';
import { SlackStandIn } from '../notifier/slack-standin.js';
import { round2 } from './figures.js';
import type { BenchmarkOptions, BenchmarkResult } from './main.js';

export const description = 'From the offending call to the request that leaves for Slack, one process: p50 and p99.';

const targetMs = 250;
const threshold = 3;
/** Slack takes a message a second; a sample that had to wait for that would measure the pace. */
const sampleIntervalMs = 1_100;

const rules = `
rules:
- id: exports
  type: event_count
  level: high
  detection: {sel: {tool: export}, condition: sel}
  group-by: [actor]
  window: {size: 1m}
  condition: {gte: ${threshold}}
`;

const section = (apiUrl: string, pictureMs: number): string => `
rules: {pack: false}
notifier:
  picture_wait_ms: ${pictureMs}
  channels:
    team: {type: slack, token_variable: BENCH_TOKEN, channel: C0123456789, api_url: "${apiUrl}", groups_per_minute: 1000}
  route: {channels: [team], group_by: [actor], group_wait: 0s}
`;

/**
 * A real daemon in a process of its own. Each sample is a fresh actor whose third export crosses the rule; the time
 * runs from sending that call to the message at the stand-in for Slack's servers. Once without the picture of the rate
 * and once with the wait for it that is the default. Beside it, in the same run: the least that any program needs, the
 * durable answer to the call and one request of the same size to the same server.
 */
export async function run(options: BenchmarkOptions): Promise<BenchmarkResult> {
  const rounds = Number(options.rounds ?? 100);
  const bare = await measure(rounds, 0);
  const pictured = await measure(rounds, 100);
  const table = new Table({ head: ['', 'p50 ms', 'p99 ms', 'samples'] });
  table.push(['call → Slack, without picture', at(bare.latencies, 0.5), at(bare.latencies, 0.99), rounds]);
  table.push([
    'call → Slack, picture waited for 100 ms',
    at(pictured.latencies, 0.5),
    at(pictured.latencies, 0.99),
    rounds,
  ]);
  table.push(['floor: durable answer + one request', at(bare.floors, 0.5), at(bare.floors, 0.99), rounds]);
  console.log(table.toString());
  console.log(`by the clocks of records, median without picture, in milliseconds: ${JSON.stringify(bare.stages)}`);
  const p99 = Math.max(at(bare.latencies, 0.99), at(pictured.latencies, 0.99));
  return {
    name: 'alert-latency',
    ratio: round2(p99 / targetMs),
    target: `p99 below ${targetMs} ms, with and without picture`,
    ok: p99 < targetMs,
    p50_ms: at(bare.latencies, 0.5),
    p99_ms: at(bare.latencies, 0.99),
    picture_p50_ms: at(pictured.latencies, 0.5),
    picture_p99_ms: at(pictured.latencies, 0.99),
    floor_p50_ms: at(bare.floors, 0.5),
    first_ms: bare.firstMs,
    samples: rounds,
  };
}

/** Where the time goes, by the clocks of records: milliseconds. */
const stagesSql = `
SELECT
  quantile(0.5)(dateDiff('millisecond', a.caused_at, a.recorded_at)) AS call_to_alert,
  quantile(0.5)(dateDiff('millisecond', a.recorded_at, p.at)) AS alert_to_pending,
  quantile(0.5)(dateDiff('millisecond', p.at, s.at)) AS pending_to_sending,
  quantile(0.5)(toFloat64(d.duration_ms)) AS sending
FROM alerts AS a
JOIN (SELECT alert_ids[1] AS id, at FROM deliveries WHERE state = 'pending') AS p ON p.id = a.alert_id
JOIN (SELECT alert_ids[1] AS id, at FROM deliveries WHERE state = 'sending') AS s ON s.id = a.alert_id
JOIN (SELECT alert_ids[1] AS id, duration_ms FROM deliveries WHERE state = 'sent') AS d ON d.id = a.alert_id
WHERE a.revision = 1`;

async function measure(rounds: number, pictureMs: number) {
  const slack = await SlackStandIn.start({ limitsRate: false });
  const sandbox = new Sandbox();
  try {
    mkdirSync(join(sandbox.data, 'rules'), { recursive: true, mode: 0o700 });
    writeFileSync(join(sandbox.data, 'rules', 'exports.yaml'), rules);
    writeFileSync(join(sandbox.data, 'config.yaml'), section(slack.apiUrl, pictureMs));
    const daemon = await sandbox.up([], { BENCH_TOKEN: slack.options.token });
    const call = (actor: string): object =>
      event({ actor_id: actor, tool_name: 'export', occurred_at: new Date().toISOString() });
    const latencies: number[] = [];
    const floors: number[] = [];
    // The first alert of a process loads what the others find loaded; it is told apart.
    for (let round = 0; round <= rounds; round++) {
      const actor = `actor-${round}`;
      for (let before = 1; before < threshold; before++) await sandbox.send(daemon.url, [call(actor)]);
      const begun = performance.now();
      await sandbox.send(daemon.url, [call(actor)]);
      const answered = performance.now();
      await slack.until(round + 1);
      latencies.push(performance.now() - begun);
      const body = JSON.stringify(slack.of().at(-1));
      const asked = performance.now();
      await (await fetch(`${slack.apiUrl}auth.test`, { method: 'POST', body })).text();
      floors.push(answered - begun + performance.now() - asked);
      await new Promise((resolve) => setTimeout(resolve, sampleIntervalMs));
    }
    await sandbox.until(daemon.url, "SELECT count() FROM deliveries WHERE state = 'sent'", String(rounds + 1));
    const stages = await sandbox.ask(daemon.url, stagesSql);
    await daemon.stop();
    return { firstMs: round2(latencies[0]!), latencies: latencies.slice(1), floors: floors.slice(1), stages };
  } finally {
    await sandbox.dispose();
    await slack.stop();
  }
}

function at(values: readonly number[], share: number): number {
  const sorted = [...values].sort((left, right) => left - right);
  return round2(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]!);
}
