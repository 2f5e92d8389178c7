import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { InMemoryTransport } from '@modelcontextprotocol/sdk/inMemory.js';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import Table from 'cli-table3';
import { audit } from '../../services/emitter/audit.js';
import { Sandbox } from '../commands/run.js';
import { round2 } from './figures.js';
import type { BenchmarkOptions, BenchmarkResult } from './main.js';

export const description = 'From the call that crosses a rule to the first refusal, one process: p50 and p99.';

const targetMs = 100;
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

/** Where the time goes, by the clocks of records: milliseconds. */
const stagesSql = `
SELECT
  quantile(0.5)(dateDiff('millisecond', c.occurred_at, c.recorded_at)) AS call_to_stream,
  quantile(0.5)(dateDiff('millisecond', a.caused_at, a.recorded_at)) AS stream_to_alert,
  quantile(0.5)(dateDiff('millisecond', a.recorded_at, t.recorded_at)) AS alert_to_signal
FROM throttle AS t
JOIN (SELECT * FROM alerts WHERE revision = 1) AS a ON t.alert_ids[1] = a.alert_id
JOIN (SELECT actor_id, occurred_at, recorded_at FROM calls WHERE method = 'tools/call' ORDER BY occurred_at LIMIT ${threshold - 1}, 1 BY actor_id) AS c
  ON c.actor_id = a.\`group\`['actor_id']
WHERE t.revision = 1`;

/**
 * A real daemon in a process of its own, a real server with the audit line, a real client in a loop. Each round is a
 * fresh actor that calls as fast as it is answered; the time runs from the call that makes the rule hold to the first
 * answer 429. Beside it, in the same run: how long a call takes that is not refused.
 */
export async function run(options: BenchmarkOptions): Promise<BenchmarkResult> {
  const rounds = Number(options.rounds ?? 100);
  const sandbox = new Sandbox();
  try {
    mkdirSync(join(sandbox.data, 'rules'), { recursive: true, mode: 0o700 });
    writeFileSync(join(sandbox.data, 'rules', 'loop.yaml'), rules);
    const daemon = await sandbox.up([], {
      MCP_AUDITD_RULES__PACK: 'false',
      // So that no round is left to a person.
      MCP_AUDITD_THROTTLER__MOST_ACTORS: String(rounds + 10),
    });
    let actor = '';
    const server = new McpServer({ name: 'looped', version: '1' });
    const handle = audit(server, { data: sandbox.data, url: daemon.url, actor: () => actor });
    server.registerTool('echo', {}, () => ({ content: [{ type: 'text', text: 'here' }] }));
    const client = new Client({ name: 'loop', version: '1' });
    const [a, b] = InMemoryTransport.createLinkedPair();
    await Promise.all([server.connect(a), client.connect(b)]);
    while (handle.counters.throttle?.connected !== true) await new Promise((resolve) => setTimeout(resolve, 20));
    const latencies: number[] = [];
    const callTimes: number[] = [];
    for (let round = 0; round < rounds; round++) {
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
    await sandbox.until(daemon.url, 'SELECT count() FROM throttle', String(rounds));
    const stages = await sandbox.ask(daemon.url, stagesSql);
    await daemon.stop();
    const at = (values: number[], share: number): number =>
      round2(
        [...values].sort((x, y) => x - y)[Math.min(values.length - 1, Math.floor(values.length * share))] as number,
      );
    const table = new Table({ head: ['', 'p50 ms', 'p99 ms', 'rounds'] });
    table.push(['crossing call → first refusal', at(latencies, 0.5), at(latencies, 0.99), latencies.length]);
    table.push(['a call that passes', at(callTimes, 0.5), at(callTimes, 0.99), callTimes.length]);
    console.log(table.toString());
    console.log(`in milliseconds, median: ${JSON.stringify(stages)}`);
    const p99 = at(latencies, 0.99);
    return {
      name: 'throttle-latency',
      ratio: round2(p99 / targetMs),
      target: `p99 below ${targetMs} ms`,
      ok: p99 < targetMs,
      p50_ms: at(latencies, 0.5),
      p99_ms: p99,
      rounds: latencies.length,
      call_p50_ms: at(callTimes, 0.5),
    };
  } finally {
    await sandbox.dispose();
  }
}
