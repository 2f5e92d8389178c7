/** The processes of throttle-cluster.ts: the loop's roles, each by itself on a broker, and two servers with the emitter. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { parseSignal, type ThrottleSignal } from '../../schemas/throttle.js';
import { rotateThrottleKey } from '../../services/access/throttle-key.js';
import { openKafkaStream } from '../../services/stream/kafka.js';
import type { Stream } from '../../services/stream/stream.js';
import { program } from '../build.js';
import { writeKey } from '../contract/clickhouse-server.js';
import { makeTopics } from '../kafka/topics.js';
import { freePort, Process } from './cluster.js';
import { Emitter } from './throttle.js';

export const killed = ['throttler', 'gateway', 'detector', 'emitter', 'direct'] as const;
export type Killed = (typeof killed)[number];

/** Calls of one caller that make a rule fire. */
export const threshold = 6;
/** A signal of a rule that ends while we look. */
const shortSeconds = 4;
const sessionTimeoutMs = 3_000;

const rules = `
rules:
- id: long
  type: event_count
  level: high
  detection: {sel: {method: tools/call, 'actor_id|startswith': long-}, condition: sel}
  group-by: [actor]
  window: {size: 10m}
  condition: {gte: ${threshold}}
  actions: [{throttle: {scope: actor, block: true, ttl: 2h, until: expiry}}]
- id: short
  type: event_count
  level: high
  detection: {sel: {method: tools/call, 'actor_id|startswith': short-}, condition: sel}
  group-by: [actor]
  window: {size: 2s}
  condition: {gte: ${threshold}}
  actions: [{throttle: {scope: actor, block: true, ttl: ${shortSeconds}s, until: expiry}}]
`;

export class ThrottleProcesses {
  readonly directory = mkdtempSync(join(tmpdir(), 'mcp-auditd-throttle-cluster-'));
  readonly processes: Process[] = [];
  readonly emitters: Emitter[] = [];
  /** Records of the topic, in its order. */
  readonly records: ThrottleSignal[] = [];
  gateway!: Process;
  detector!: Process;
  throttler!: Process;
  stream!: Stream;

  async start(brokers: string[]): Promise<void> {
    const { directory } = this;
    const topicPrefix = await makeTopics(brokers, 4);
    const keys = join(directory, 'keys');
    rotateThrottleKey(keys, 0);
    const [storePort, gatewayPort] = [await freePort(), await freePort()];
    const environment = {
      MCP_AUDITD_STREAM__KAFKA__BROKERS: brokers.join(','),
      MCP_AUDITD_STREAM__KAFKA__TOPIC_PREFIX: topicPrefix,
      MCP_AUDITD_STREAM__KAFKA__SESSION_TIMEOUT_MS: String(sessionTimeoutMs),
      MCP_AUDITD_STORE__CLICKHOUSE__URL: `http://127.0.0.1:${storePort}`,
      MCP_AUDITD_STORE__CLICKHOUSE__USERNAME: 'ingestor',
      MCP_AUDITD_STORE__CLICKHOUSE__PASSWORD: writeKey,
      MCP_AUDITD_STORE__CLICKHOUSE__DATABASE: 'default',
      MCP_AUDITD_RULES__PACK: 'false',
      MCP_AUDITD_THROTTLER__MOST_ACTORS: '100000',
      MCP_AUDITD_DETECTOR__CHECKPOINT_MS: '500',
      MCP_AUDITD_DETECTOR__RELOAD_MS: '600000',
    };
    const publicKeys = { MCP_AUDITD_THROTTLER__PUBLIC_KEYS_FILE: join(keys, 'keys', 'throttle.pub') };
    const signingKey = { MCP_AUDITD_THROTTLER__SIGNING_KEY_FILE: join(keys, 'keys', 'throttle.key') };
    const role = (name: string, words: readonly string[], own: Record<string, string>, port = 0): Process => {
      const data = { MCP_AUDITD_DATA: join(directory, name) };
      const listen = ['--listen', `127.0.0.1:${port}`];
      const started = new Process(name, program, [...words, ...listen], { ...environment, ...data, ...own }, (line) =>
        line.includes('http://127.0.0.1:'),
      );
      this.processes.push(started);
      return started;
    };
    mkdirSync(join(directory, 'detector', 'rules'), { recursive: true, mode: 0o700 });
    writeFileSync(join(directory, 'detector', 'rules', 'loop.yaml'), rules);
    const storeWords = [join(directory, 'store'), String(storePort)];
    const store = new Process('store', 'test/fault/cluster-store.ts', storeWords, {}, (line) => line === 'ready');
    this.processes.push(store);
    this.gateway = role('gateway', ['gateway'], publicKeys, gatewayPort);
    this.throttler = role('throttler', ['throttle'], signingKey);
    this.detector = role('detector', ['detect'], {});
    // Who takes up a detector's state asks the store, whose tables an ingestor makes.
    const ingestor = role('ingestor', ['ingest'], {});
    await Promise.all([this.gateway.start(), this.throttler.start(), store.start().then(() => ingestor.start())]);
    await this.detector.start();
    const key = readFileSync(join(directory, 'gateway', 'keys', 'emitter.key'), 'utf8').trim();
    for (const [name, words] of [
      ['emitter', []],
      ['direct', [brokers.join(','), topicPrefix]],
    ] as const)
      this.emitters.push(
        new Emitter(
          {
            MCP_AUDITD_DATA: join(directory, name),
            MCP_AUDITD_URL: this.gateway.url,
            MCP_AUDITD_KEY: key,
            MCP_AUDITD_THROTTLE_KEYS_FILE: join(keys, 'keys', 'throttle.pub'),
          },
          words,
        ),
      );
    for (const emitter of this.emitters) emitter.start();
    this.stream = await openKafkaStream({ brokers, clientId: 'checker', topicPrefix });
    await this.stream.consume({
      topic: 'throttle',
      assigned: async (ours) => new Map(ours.map((partition) => [partition, 0])),
      revoked: async () => undefined,
      batch: async ({ records }) => {
        for (const { value } of records) this.records.push(parseSignal(value)!);
      },
    });
  }

  async kill(name: Killed): Promise<void> {
    if (name === 'emitter' || name === 'direct') await this.emitters[killed.indexOf(name) - 3]!.kill();
    else await this[name].end('SIGKILL');
  }

  async restart(name: Killed): Promise<void> {
    if (name === 'emitter' || name === 'direct') this.emitters[killed.indexOf(name) - 3]!.start();
    else await this[name].start();
  }

  /** False when nobody knows whether it is on record. */
  async decide(decision: object): Promise<boolean> {
    const key = readFileSync(join(this.directory, 'gateway', 'keys', 'responder.key'), 'utf8').trim();
    const answer = await fetch(`${this.gateway.url}/v1/responses`, {
      method: 'POST',
      headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
      body: JSON.stringify({ author: 'faults', reason: 'a round', ...decision }),
    }).catch(() => undefined);
    return (await answer?.text().catch(() => undefined)) !== undefined && answer?.ok === true;
  }

  /** Resolves when every record that is in the topic now was read. */
  async readAll(): Promise<void> {
    const ends = (await this.stream.partitions('throttle')).reduce((sum, { endOffset }) => sum + endOffset, 0);
    while (this.records.length < ends) await delay(20);
  }

  async stop(): Promise<void> {
    await Promise.all([
      ...this.emitters.map((each) => each.kill()),
      ...this.processes.map((each) => each.end('SIGKILL')),
    ]);
    await this.stream?.close();
    rmSync(this.directory, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });
  }
}
