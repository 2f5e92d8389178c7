import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { InMemoryTransport } from '@modelcontextprotocol/sdk/inMemory.js';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import Table from 'cli-table3';
import { audit } from '../../services/emitter/audit.js';
import { HttpSink } from '../../services/emitter/http-sink.js';
import { kafkaSink } from '../../services/emitter/kafka-sink.js';
import type { Sink } from '../../services/emitter/sink.js';
import { Throttles } from '../../services/emitter/throttles.js';
import { root, Sandbox, typescript } from '../commands/run.js';
import { startBroker } from '../kafka/broker.js';
import { round2 } from './figures.js';
import type { BenchmarkOptions, BenchmarkResult } from './main.js';
import { bareHops, bareSyncs } from './throttle/limits.js';
import { actorOf, type Place, places, readTrace, Trace, type Traced } from './throttle/trace.js';

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

/**
 * A real daemon in a process of its own, a real server with the audit line, a real client in a loop. Each round is a
 * fresh actor that calls as fast as it is answered; the time runs from the call that makes the rule hold to the first
 * answer 429, and a table tells when it was where. On Kafka the emitter writes straight to the broker and has its
 * signals from the gateway. The first round of a process loads what the others find loaded; it is told apart. Beside
 * it, in the same run: how long a call takes that is not refused, how long this disk takes for a bare fdatasync, and how
 * long a record takes through the bare broker.
 */
export async function run(options: BenchmarkOptions): Promise<BenchmarkResult> {
  const onKafka = options.kafka !== undefined;
  const rounds = Number(options.rounds ?? (onKafka ? 100 : 300));
  const targetMs = onKafka ? targetsMs.kafka : targetsMs.local;
  const broker = onKafka ? await startBroker() : undefined;
  const kafka: Record<string, string> =
    broker === undefined ? {} : { MCP_AUDITD_STREAM__KAFKA__BROKERS: broker.brokers.join(',') };
  const sandbox = new Sandbox(undefined, [...typescript, join(root, 'test/bench/throttle/traced-cli.ts')]);
  const traceFile = join(sandbox.home, 'trace.json');
  const trace = new Trace();
  const untrace = traceEmitter(trace);
  try {
    mkdirSync(join(sandbox.data, 'rules'), { recursive: true, mode: 0o700 });
    writeFileSync(join(sandbox.data, 'rules', 'loop.yaml'), rules);
    const tracing = { TRACE_FILE: traceFile, TRACE_THRESHOLD: String(threshold) };
    if (onKafka) {
      const made = await sandbox.run(['topics', 'create'], { environment: { ...kafka, ...tracing } });
      if (made.code !== 0) throw new Error(made.stderr);
    }
    const daemon = await sandbox.up([], {
      ...kafka,
      ...tracing,
      MCP_AUDITD_RULES__PACK: 'false',
      // So that no round is left to a person.
      MCP_AUDITD_THROTTLER__MOST_ACTORS: String(rounds + 11),
    });
    const sink = broker === undefined ? {} : { sink: traceSink(trace, kafkaSink({ brokers: broker.brokers })) };
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
        if (call === threshold) {
          crossedAt = begun;
          trace.at('call made', actor);
        }
        try {
          await client.callTool({ name: 'echo' });
          callTimes.push(performance.now() - begun);
        } catch (error) {
          if ((error as { code?: number }).code !== 429) throw error;
          trace.at('call refused', actor);
          latencies.push(performance.now() - crossedAt);
          break;
        }
        if (crossedAt > 0 && performance.now() - crossedAt > 30_000)
          throw new Error(`the caller of round ${round} was not refused within 30 s`);
      }
    }
    await handle.close();
    await daemon.stop();
    const limits = broker === undefined ? undefined : await bareHops(broker.brokers, 100);
    const firstMs = round2(latencies.shift() as number);
    const traced = readTrace(traceFile);
    const table = new Table({ head: ['', 'p50 ms', 'p99 ms', 'samples'] });
    const row = (name: string, values: readonly number[]): void =>
      void table.push([name, at(values, 0.5), at(values, 0.99), values.length]);
    row('crossing call → first refusal', latencies);
    row('a call that passes', callTimes);
    row('fdatasync, by the daemon', traced.syncs);
    row('fdatasync, bare, of 1 KB', bareSyncs(sandbox.home, 200));
    if (limits !== undefined) row('produce → consume, bare', limits);
    row(
      'pause of the garbage collector',
      traced.pauses.map(([, tookMs]) => tookMs),
    );
    console.log(table.toString());
    tellStages(trace, traced, rounds, onKafka);
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
    untrace();
    await sandbox.dispose();
    await broker?.stop();
  }
}

/** Wraps what the emitter does in this process; returns what takes that back. */
function traceEmitter(trace: Trace): () => void {
  const { send } = HttpSink.prototype;
  const { take } = Throttles.prototype;
  HttpSink.prototype.send = function (lines, signal) {
    traceSend(trace, lines);
    return send.call(this, lines, signal);
  };
  Throttles.prototype.take = function (signal, nowMicros) {
    if (signal.scope.actor_id !== undefined) trace.at('emitter has signal', signal.scope.actor_id);
    return take.call(this, signal, nowMicros);
  };
  return () => {
    HttpSink.prototype.send = send;
    Throttles.prototype.take = take;
  };
}

function traceSend(trace: Trace, lines: Parameters<Sink['send']>[0]): void {
  const actors = lines.map((line) => actorOf(line.toString()));
  for (const actor of trace.crossing('send', actors, threshold)) trace.at('emitter sends', actor);
}

function traceSink(trace: Trace, sink: Sink): Sink {
  return {
    send: (lines, signal) => {
      traceSend(trace, lines);
      return sink.send(lines, signal);
    },
    close: () => sink.close(),
  };
}

const at = (values: readonly number[], share: number): number =>
  round2(
    [...values].sort((x, y) => x - y)[Math.min(values.length - 1, Math.floor(values.length * share))] ?? Number.NaN,
  );

/** What is durable on Kafka is told to its writer and to its readers at the same time: the way goes on with readers. */
const acknowledged: readonly Place[] = ['gateway appends', 'call durable', 'alert durable', 'signal durable'];

/** A row for each stage, with the slowest rounds beside. */
function tellStages(emitter: Trace, daemon: Traced, rounds: number, onKafka: boolean): void {
  const way = places.filter((place) => !onKafka || !acknowledged.includes(place));
  const all = Array.from({ length: rounds }, (_, at) => {
    const actor = `agent-${at + 1}`;
    const reached = { ...daemon.reached[actor], ...emitter.reached[actor] };
    const missing = way.find((place) => reached[place] === undefined);
    if (missing !== undefined) throw new Error(`round ${at + 1} never came to "${missing}"`);
    return { round: at + 1, times: way.map((place) => reached[place] as number) };
  });
  const whole = ({ times }: (typeof all)[number]): number => (times.at(-1) as number) - (times[0] as number);
  const slowest = [...all].sort((x, y) => whole(y) - whole(x)).slice(0, 5);
  const table = new Table({ head: ['stage, ms', 'p50', 'p99', ...slowest.map(({ round }) => `round ${round}`)] });
  for (const [stage, place] of way.entries()) {
    if (stage === 0) continue;
    const took = ({ times }: (typeof all)[number]): number => round2(times[stage]! - times[stage - 1]!);
    table.push([`→ ${place}`, at(all.map(took), 0.5), at(all.map(took), 0.99), ...slowest.map(took)]);
  }
  const paused = ({ times }: (typeof all)[number]): number =>
    round2(
      daemon.pauses
        .filter(([begun]) => begun > times[0]! && begun < times.at(-1)!)
        .reduce((sum, [, tookMs]) => sum + tookMs, 0),
    );
  table.push(['of it the collector', at(all.map(paused), 0.5), at(all.map(paused), 0.99), ...slowest.map(paused)]);
  console.log(table.toString());
}
