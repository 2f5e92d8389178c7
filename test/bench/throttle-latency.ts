import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { InMemoryTransport } from '@modelcontextprotocol/sdk/inMemory.js';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import Table from 'cli-table3';
import { audit } from '../../services/emitter/audit.js';
import { kafkaSink } from '../../services/emitter/kafka-sink.js';
import { Sandbox } from '../commands/run.js';
import { startBroker } from '../kafka/broker.js';
import { round2 } from './figures.js';
import type { BenchmarkOptions, BenchmarkResult } from './main.js';

export const description =
  'From the call that crosses a rule to the first refusal: p50 and p99. One process on the local log; --kafka: on Kafka.';

const targetsMs = { local: 100, kafka: 500 };
const threshold = 20;

const rules = `
rules:
- id: loop
  type: event_count
  level: high
  detection: {sel: {method: tools/call}, condition: sel}
  group-by: [actor]
  window: {size: 1m}
  condition: {gte: ${threshold}}
  actions: [{throttle: {scope: actor, rate: 1/s, burst: 1, ttl: 10m}}]
`;

/** Where the time goes, by the clocks of records: milliseconds, for each round. */
const stagesSql = `
SELECT
  a.\`group\`['actor_id'] AS actor,
  dateDiff('millisecond', c.occurred_at, c.recorded_at) AS call_to_stream,
  dateDiff('millisecond', c.recorded_at, a.recorded_at) AS stream_to_alert,
  dateDiff('millisecond', a.recorded_at, t.recorded_at) AS alert_to_signal
FROM (SELECT * FROM throttle WHERE revision = 1) AS t
JOIN (SELECT * FROM alerts WHERE revision = 1) AS a ON t.alert_ids[1] = a.alert_id
JOIN (SELECT actor_id, occurred_at, recorded_at FROM calls WHERE method = 'tools/call' ORDER BY occurred_at LIMIT ${threshold - 1}, 1 BY actor_id) AS c
  ON c.actor_id = a.\`group\`['actor_id']`;

interface Stages {
  readonly actor: string;
  readonly call_to_stream: number;
  readonly stream_to_alert: number;
  readonly alert_to_signal: number;
}

/**
 * A real daemon in a process of its own, a real server with the audit line, a real client in a loop. Each round is a
 * fresh actor that calls as fast as it is answered; the time runs from the call that makes the rule hold to the first
 * answer 429. On Kafka the emitter writes straight to the broker and has its signals from the gateway. The first round of a process loads what the others find loaded; it is told apart. Beside it, in the same run: how long a call takes that is not refused.
 */
export async function run(options: BenchmarkOptions): Promise<BenchmarkResult> {
  const onKafka = options.kafka !== undefined;
  const rounds = Number(options.rounds ?? (onKafka ? 100 : 300));
  const targetMs = onKafka ? targetsMs.kafka : targetsMs.local;
  const broker = onKafka ? await startBroker() : undefined;
  const kafka: Record<string, string> =
    broker === undefined ? {} : { MCP_AUDITD_STREAM__KAFKA__BROKERS: broker.brokers.join(',') };
  const sandbox = new Sandbox();
  try {
    mkdirSync(join(sandbox.data, 'rules'), { recursive: true, mode: 0o700 });
    writeFileSync(join(sandbox.data, 'rules', 'loop.yaml'), rules);
    if (onKafka) {
      const made = await sandbox.run(['topics', 'create'], { environment: kafka });
      if (made.code !== 0) throw new Error(made.stderr);
    }
    const daemon = await sandbox.up([], {
      ...kafka,
      MCP_AUDITD_RULES__PACK: 'false',
      // So that no round is left to a person.
      MCP_AUDITD_THROTTLER__MOST_ACTORS: String(rounds + 11),
    });
    const sink = broker === undefined ? {} : { sink: kafkaSink({ brokers: broker.brokers }) };
    let actor = '';
    const server = new McpServer({ name: 'looped', version: '1' });
    const handle = audit(server, { data: sandbox.data, url: daemon.url, actor: () => actor, ...sink });
    server.registerTool('echo', {}, () => ({ content: [{ type: 'text', text: 'here' }] }));
    const client = new Client({ name: 'loop', version: '1' });
    const [a, b] = InMemoryTransport.createLinkedPair();
    await Promise.all([server.connect(a), client.connect(b)]);
    while (handle.counters.throttle?.connected !== true) await new Promise((resolve) => setTimeout(resolve, 20));
    const latencies: number[] = [];
    const callTimes: number[] = [];
    for (let round = 0; round <= rounds; round++) {
      actor = `agent-${round}`;
      let crossedAt = 0;
      for (let call = 1; ; call++) {
        // Over a transport in memory a call is microtasks only: without this nothing else in the process would run.
        await setImmediate();
        const begun = performance.now();
        if (call === threshold) crossedAt = begun;
        try {
          await client.callTool({ name: 'echo' });
          callTimes.push(performance.now() - begun);
        } catch (error) {
          if ((error as { code?: number }).code !== 429) throw error;
          latencies.push(performance.now() - crossedAt);
          break;
        }
        if (crossedAt > 0 && performance.now() - crossedAt > 30_000)
          throw new Error(`the caller of round ${round} was not refused within 30 s`);
      }
    }
    await handle.close();
    await sandbox.until(daemon.url, 'SELECT count() FROM throttle WHERE revision = 1', String(rounds + 1));
    const stages = (await sandbox.ask(daemon.url, stagesSql)) as unknown as Stages[];
    await daemon.stop();
    const firstMs = round2(latencies[0] as number);
    const slowest = [...latencies.keys()].slice(1).sort((x, y) => latencies[y]! - latencies[x]!);
    latencies.shift();
    const at = (values: number[], share: number): number =>
      round2(
        [...values].sort((x, y) => x - y)[Math.min(values.length - 1, Math.floor(values.length * share))] as number,
      );
    const table = new Table({ head: ['', 'p50 ms', 'p99 ms', 'rounds'] });
    table.push(['crossing call → first refusal', at(latencies, 0.5), at(latencies, 0.99), latencies.length]);
    table.push(['a call that passes', at(callTimes, 0.5), at(callTimes, 0.99), callTimes.length]);
    console.log(table.toString());
    const stageTable = new Table({ head: ['ms', 'call → stream', '→ alert', '→ signal', '→ refusal', 'in all'] });
    const of = (name: 'call_to_stream' | 'stream_to_alert' | 'alert_to_signal', share: number): number =>
      at(
        stages.map((each) => Number(each[name])),
        share,
      );
    for (const share of [0.5, 0.9])
      stageTable.push([
        `p${share * 100}`,
        of('call_to_stream', share),
        of('stream_to_alert', share),
        of('alert_to_signal', share),
        '',
        at(latencies, share),
      ]);
    for (const round of slowest.slice(0, 5)) {
      const found = stages.find(({ actor }) => actor === `agent-${round}`);
      if (found === undefined) throw new Error(`round ${round} has no signal on record`);
      const parts = [found.call_to_stream, found.stream_to_alert, found.alert_to_signal].map(Number);
      const whole = latencies[round - 1] as number;
      stageTable.push([
        `round ${round}`,
        ...parts,
        Math.round(whole - parts.reduce((sum, part) => sum + part, 0)),
        round2(whole),
      ]);
    }
    console.log(stageTable.toString());
    const p99 = at(latencies, 0.99);
    return {
      name: onKafka ? 'throttle-latency-kafka' : 'throttle-latency',
      ratio: round2(p99 / targetMs),
      target: `p99 below ${targetMs} ms`,
      ok: p99 < targetMs,
      p50_ms: at(latencies, 0.5),
      p99_ms: p99,
      rounds: latencies.length,
      first_ms: firstMs,
      call_p50_ms: at(callTimes, 0.5),
    };
  } finally {
    await sandbox.dispose();
    await broker?.stop();
  }
}
