/**
 * Random faults on the form that runs on several machines: an emitter, the roles gateway and ingestor (twice) as
 * processes of their own, a real broker, and the store behind its HTTP protocol with a proxy before it. In each round
 * calls are recorded while one or two faults happen; then everything runs again, and the table is held against what
 * was acknowledged:
 *
 * - lost: calls whose recording was acknowledged and that have no row,
 * - duplicated: rows beyond one for an event id, or for a partition and offset,
 * - gaps: records of the topic without a row, and numbers missing from a producer's sequence.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { ClickHouseConnection } from '../../services/store/clickhouse-connection.js';
import { openKafkaStream } from '../../services/stream/kafka.js';
import { program } from '../build.js';
import { writeKey } from '../contract/clickhouse-server.js';
import { proxyFaults, startFaultProxy } from '../contract/fault-proxy.js';
import { startBroker } from '../kafka/broker.js';
import { makeTopics } from '../kafka/topics.js';
import { seededRandom } from '../traffic.js';

export interface ClusterReport {
  rounds: number;
  acknowledged: number;
  stored: number;
  /** Records of the topic that were repeated deliveries and are stored once. */
  repeated: number;
  lost: number;
  duplicated: number;
  gaps: number;
  /** How often each fault happened. */
  faults: Record<string, number>;
}

export interface ClusterOptions {
  readonly seed: number;
  readonly rounds: number;
  /** No further round begins after so many milliseconds. */
  readonly timeMs?: number;
  /** Only these faults, by name. */
  readonly only?: readonly ClusterFault[];
  readonly progress?: (line: string) => void;
}

export const clusterFaults = [
  'ingestor_killed',
  'ingestor_frozen',
  'ingestor_stopped',
  'ingestors_killed',
  'gateway_killed',
  'gateway_frozen',
  'emitter_killed',
  'emitter_and_gateway_killed',
  'broker_killed',
  'store_killed',
  'store_away',
  'store_slow',
  'store_fails',
  'spool_full',
] as const;
export type ClusterFault = (typeof clusterFaults)[number];

const root = resolve(import.meta.dirname, '..', '..');
/** Longest wait until all is stored after a round; the usual time is one to three seconds. */
const settleTimeoutMs = 90_000;
const partitions = 4;
/** A frozen ingestor loses its partitions after this time; much less, and a busy machine takes them from the living. */
const sessionTimeoutMs = 3_000;
/** Room for about 300 calls, so that a burst against a dead gateway fills it. */
const smallSpoolBytes = 256 * 1024;
/** Many small inserts: the more of them, the more a fault can meet. */
const manyInserts = { MCP_AUDITD_INGESTOR__MAX_ROWS: '200', MCP_AUDITD_INGESTOR__MAX_DELAY_MS: '50' };

export interface ClusterShape {
  readonly ingestors?: number;
  /** Variables of the configuration, for the roles. */
  readonly settings?: Readonly<Record<string, string>>;
  readonly spoolBytes?: number;
}

/** A process that is started again under the same name. */
export class Process {
  child: ChildProcess | undefined;
  /** Where it listens, once it has said so. */
  url = '';
  private output = '';
  private ready: Promise<void> = Promise.resolve();

  constructor(
    readonly name: string,
    private readonly script: string,
    private readonly words: readonly string[],
    private readonly environment: Readonly<Record<string, string>>,
    private readonly isReady: (line: string) => boolean,
    private readonly onLine: (line: string) => void = () => undefined,
  ) {}

  async start(): Promise<void> {
    const sources = this.script.endsWith('.ts') ? ['--import', 'tsx'] : [];
    const child = spawn(process.execPath, [...sources, resolve(root, this.script), ...this.words], {
      cwd: root,
      env: { ...process.env, ...this.environment },
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    this.child = child;
    // A run that is ended from outside leaves nothing behind.
    const killAtExit = () => child.kill('SIGKILL');
    process.on('exit', killAtExit);
    child.once('exit', () => process.off('exit', killAtExit));
    child.stdin!.on('error', () => undefined);
    this.ready = new Promise((resolve, reject) => {
      const hear = (line: string): void => {
        if (!line.startsWith('id ')) this.output = `${this.output}${line}\n`.slice(-20_000);
        this.url = /listens on (http:\S+)/.exec(line)?.[1] ?? this.url;
        if (this.isReady(line)) resolve();
        this.onLine(line);
      };
      createInterface({ input: child.stdout! }).on('line', hear);
      createInterface({ input: child.stderr! }).on('line', hear);
      child.once('exit', (code, signal) => {
        if (signal === null && code !== 0) reject(new Error(`${this.name} ended with ${code}:\n${this.output}`));
        // Killed by a fault: whoever waits for it starts it again.
        else resolve();
      });
    });
    await this.ready;
  }

  signal(name: NodeJS.Signals): void {
    this.child?.kill(name);
  }

  async end(name: NodeJS.Signals): Promise<void> {
    const { child } = this;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, 'exit');
    child.kill(name);
    // A process that was frozen takes SIGTERM only when it runs.
    child.kill('SIGCONT');
    await exited;
  }

  async restart(): Promise<void> {
    await this.end('SIGKILL');
    await this.start();
  }

  log(): string {
    return `--- ${this.name}\n${this.output.slice(-3000)}`;
  }
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  await new Promise((done) => server.close(done));
  return port;
}

/** The whole cluster of one run, and what was acknowledged in it. */
export class Cluster {
  /** Ids of the present round. */
  readonly acknowledged = new Set<string>();
  private emitted: () => void = () => undefined;
  private constructor(
    readonly directory: string,
    readonly broker: Awaited<ReturnType<typeof startBroker>>,
    readonly proxy: Awaited<ReturnType<typeof startFaultProxy>>,
    readonly topicPrefix: string,
    readonly storeUrl: string,
    readonly gatewayUrl: string,
  ) {}

  store!: Process;
  gateway!: Process;
  emitter!: Process;
  ingestors: Process[] = [];
  sql!: ClickHouseConnection;

  static async start(options: ClusterShape = {}): Promise<Cluster> {
    const directory = mkdtempSync(join(tmpdir(), 'mcp-auditd-cluster-'));
    const [storePort, gatewayPort] = [await freePort(), await freePort()];
    const storeUrl = `http://127.0.0.1:${storePort}`;
    const proxy = await startFaultProxy(() => storeUrl);
    const broker = await startBroker();
    const topicPrefix = await makeTopics(broker.brokers, partitions);
    const cluster = new Cluster(directory, broker, proxy, topicPrefix, storeUrl, `http://127.0.0.1:${gatewayPort}`);
    try {
      await cluster.startProcesses(storePort, gatewayPort, options);
      return cluster;
    } catch (error) {
      await cluster.stop();
      throw error;
    }
  }

  private async startProcesses(storePort: number, gatewayPort: number, options: ClusterShape): Promise<void> {
    const { ingestors = 2, settings = manyInserts, spoolBytes = smallSpoolBytes } = options;
    const { directory, broker, topicPrefix, proxy } = this;
    const script = (name: string) => join('test', 'fault', name);
    const storeWords = [join(directory, 'store'), String(storePort)];
    this.store = new Process('store', script('cluster-store.ts'), storeWords, {}, (line) => line === 'ready');
    const environment = {
      MCP_AUDITD_STREAM__KAFKA__BROKERS: broker.brokers.join(','),
      MCP_AUDITD_STREAM__KAFKA__TOPIC_PREFIX: topicPrefix,
      MCP_AUDITD_STREAM__KAFKA__PARTITIONS: String(partitions),
      MCP_AUDITD_STORE__CLICKHOUSE__URL: proxy.url,
      MCP_AUDITD_STORE__CLICKHOUSE__USERNAME: 'ingestor',
      MCP_AUDITD_STORE__CLICKHOUSE__PASSWORD: writeKey,
      MCP_AUDITD_STORE__CLICKHOUSE__DATABASE: 'default',
      MCP_AUDITD_STREAM__KAFKA__SESSION_TIMEOUT_MS: String(sessionTimeoutMs),
      ...settings,
    };
    const role = (name: string, words: readonly string[]) =>
      new Process(name, program, words, { ...environment, MCP_AUDITD_DATA: join(directory, name) }, (line) =>
        line.includes('http://127.0.0.1:'),
      );
    this.gateway = role('gateway', ['gateway', '--listen', `127.0.0.1:${gatewayPort}`]);
    this.ingestors = [...'abcdefgh']
      .slice(0, ingestors)
      .map((name) => role(`ingestor-${name}`, ['ingest', '--listen', '127.0.0.1:0']));
    await this.store.start();
    this.sql = new ClickHouseConnection({ url: this.storeUrl, username: 'checker', password: writeKey });
    await Promise.all([...this.ingestors.map((each) => each.start()), this.gateway.start()]);
    const key = readFileSync(join(directory, 'gateway', 'keys', 'emitter.key'), 'utf8').trim();
    this.emitter = new Process(
      'emitter',
      script('cluster-emitter.ts'),
      [join(directory, 'emitter'), String(spoolBytes)],
      { MCP_AUDITD_URL: this.gatewayUrl, MCP_AUDITD_KEY: key },
      (line) => line === 'ready',
      (line) => {
        if (line.startsWith('id ')) this.acknowledged.add(line.slice(3));
        else if (line === 'emitted') this.emitted();
      },
    );
    await this.emitter.start();
  }

  /** Has calls recorded; resolves when all were, or when the emitter is gone. */
  record(count: number, perSecond = 4_000): Promise<void> {
    const { child } = this.emitter;
    return new Promise((done) => {
      const gone = () => done();
      child?.once('exit', gone);
      this.emitted = () => {
        child?.off('exit', gone);
        done();
      };
      child?.stdin?.write(`${count} ${perSecond}\n`);
    });
  }

  async fault(fault: ClusterFault, random: () => number): Promise<void> {
    const { broker, proxy, store, gateway, emitter } = this;
    const ingestor = this.ingestors[random() < 0.5 ? 0 : 1]!;
    const pause = (fromMs: number, toMs: number) => delay(fromMs + random() * (toMs - fromMs));
    switch (fault) {
      case 'ingestor_killed':
        return ingestor.restart();
      case 'ingestor_frozen':
        ingestor.signal('SIGSTOP');
        await pause(sessionTimeoutMs * 0.3, sessionTimeoutMs * 1.7);
        return ingestor.signal('SIGCONT');
      case 'ingestor_stopped':
        await ingestor.end('SIGTERM');
        return ingestor.start();
      case 'ingestors_killed':
        await Promise.all(this.ingestors.map((each) => each.end('SIGKILL')));
        await Promise.all(this.ingestors.map((each) => each.start()));
        return;
      case 'gateway_killed':
        return gateway.restart();
      case 'gateway_frozen':
        gateway.signal('SIGSTOP');
        await pause(300, 2000);
        return gateway.signal('SIGCONT');
      case 'emitter_killed':
        return emitter.restart();
      case 'emitter_and_gateway_killed':
        await Promise.all([emitter.end('SIGKILL'), gateway.end('SIGKILL')]);
        await gateway.start();
        return emitter.start();
      case 'broker_killed':
        await broker.kill();
        await pause(0, 500);
        return broker.restart();
      case 'store_killed':
        await store.end('SIGKILL');
        await pause(0, 1000);
        return store.start();
      case 'store_away':
        proxy.away = true;
        await pause(200, 2500);
        proxy.away = false;
        return;
      case 'store_slow':
        proxy.delayMs = 100 + random() * 900;
        await pause(1000, 2500);
        proxy.delayMs = 0;
        return;
      case 'store_fails':
        for (let left = 1 + Math.floor(random() * 4); left > 0; left--)
          proxy.faults.push(proxyFaults[Math.floor(random() * (proxyFaults.length - 1))]!);
        return;
      case 'spool_full':
        await gateway.end('SIGKILL');
        await pause(500, 1500);
        return gateway.start();
    }
  }

  /** Rows in the table, by a query that costs next to nothing. */
  rows(): Promise<number> {
    return this.count('count()');
  }

  private async count(query: string): Promise<number> {
    const [row] = await this.sql.select(`SELECT toUInt32(${query}) AS n FROM calls`);
    return Number(row?.n);
  }

  /** Records that the ingestors say they are behind, over all partitions. */
  async lag(): Promise<number> {
    const texts = await Promise.all(
      this.ingestors.map(async ({ url }) => (await fetch(`${url}/metrics`)).text().catch(() => '')),
    );
    const lines = texts.flatMap((text) => [
      ...text.matchAll(/^mcp_auditd_ingestor_lag_records\{.*topic="calls".*\} (\d+)$/gm),
    ]);
    return lines.reduce((sum, [, value]) => sum + Number(value), 0);
  }

  /** How many of the round's acknowledged calls have no row, once that is none or the time is over. */
  async missing(): Promise<number> {
    const deadline = Date.now() + settleTimeoutMs;
    for (;;) {
      const ids = [...this.acknowledged];
      let found = 0;
      for (let at = 0; at < ids.length; at += 3000) {
        const list = ids.slice(at, at + 3000).map((id) => `'${id}'`);
        found += await this.count(`uniqExactIf(event_id, event_id IN (${list.join(',')}))`);
      }
      if (found === ids.length || Date.now() > deadline) return ids.length - found;
      await delay(50);
    }
  }

  /** Rows beyond one for an id or a place. */
  async doubled(): Promise<number> {
    return (
      (await this.count('count() - uniqExact(event_id)')) +
      (await this.count('count() - uniqExact(stream_partition, stream_offset)'))
    );
  }

  /** Reads the whole topic and compares it with the table. */
  async compare(): Promise<{ records: number; rows: number; unstored: number; sequenceGaps: number }> {
    const stream = await openKafkaStream({
      brokers: this.broker.brokers,
      clientId: 'checker',
      topicPrefix: this.topicPrefix,
    });
    const ids = new Set<string>();
    let records = 0;
    const ends = (await stream.partitions('calls')).reduce((sum, { endOffset }) => sum + endOffset, 0);
    await new Promise<void>((done, failed) => {
      void stream
        .consume({
          topic: 'calls',
          assigned: async (ours) => new Map(ours.map((partition) => [partition, 0])),
          revoked: async () => undefined,
          batch: async (batch) => {
            for (const { value } of batch.records) ids.add(JSON.parse(value.toString()).event_id as string);
            records += batch.records.length;
            if (records >= ends) done();
          },
        })
        .then((consumer) => consumer.closed.catch(failed));
      if (ends === 0) done();
    });
    await stream.close();
    const text = (await this.sql.run('SELECT DISTINCT event_id FROM calls')).toString().trimEnd();
    const stored = new Set(text.split('\n'));
    // A full spool refuses calls, and an audit/loss event tells how many numbers are missing for that.
    const [gaps] = await this.sql.select(
      "SELECT toUInt32(sum(abs(last - held - told))) AS n FROM (SELECT max(producer_sequence) AS last, uniqExact(producer_sequence) AS held, sumIf(toUInt64OrZero(attributes['lost_calls']), error_type = 'calls_lost') AS told FROM calls GROUP BY producer_id)",
    );
    const unstored = [...ids].filter((id) => !stored.has(id)).length;
    return { records, rows: stored.size, unstored, sequenceGaps: Number(gaps?.n) };
  }

  /** Where everything stands, for whoever looks into a failure. */
  async standing(): Promise<string> {
    const stream = await openKafkaStream({
      brokers: this.broker.brokers,
      clientId: 'checker',
      topicPrefix: this.topicPrefix,
    });
    const [ends, committed] = [await stream.partitions('calls'), await stream.committed('calls', 'ingestor')];
    await stream.close();
    const highest = await this.sql.select(
      'SELECT stream_partition AS p, max(stream_offset) AS o FROM calls GROUP BY p',
    );
    const stored = new Map(highest.map(({ p, o }) => [Number(p), Number(o)]));
    return ends
      .map(
        ({ partition: at, endOffset }) =>
          `${at}: end ${endOffset}, committed ${committed.get(at)}, stored to ${stored.get(at)}`,
      )
      .join('; ');
  }

  logs(): string {
    return [this.store, this.gateway, this.emitter, ...this.ingestors].map((one) => one?.log()).join('\n');
  }

  async stop(): Promise<void> {
    const processes = [this.emitter, this.gateway, ...this.ingestors, this.store];
    await Promise.all(processes.map((one) => one?.end('SIGKILL')));
    await this.sql?.close();
    await this.proxy.stop();
    await this.broker.stop();
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** Runs the rounds. Throws where something does not come back at all; what it lost is in the report. */
export async function runClusterFaults(options: ClusterOptions): Promise<ClusterReport> {
  const random = seededRandom(options.seed);
  const kinds = options.only ?? clusterFaults;
  const report: ClusterReport = {
    rounds: 0,
    acknowledged: 0,
    stored: 0,
    repeated: 0,
    lost: 0,
    duplicated: 0,
    gaps: 0,
    faults: {},
  };
  const endsAt = Date.now() + (options.timeMs ?? Number.POSITIVE_INFINITY);
  const cluster = await Cluster.start();
  try {
    for (let round = 1; round <= options.rounds && Date.now() < endsAt; round++) {
      const startedAt = Date.now();
      // A list that is named is gone through in order, so that a short run meets each.
      const first =
        options.only === undefined ? kinds[Math.floor(random() * kinds.length)]! : kinds[(round - 1) % kinds.length]!;
      const faults = [first];
      if (options.only === undefined && random() < 0.3) faults.push(kinds[Math.floor(random() * kinds.length)]!);
      const calls = 200 + Math.floor(random() * 1500);
      cluster.acknowledged.clear();
      const recording = cluster.record(calls);
      await delay(random() * 300);
      // One after the other: two that both restart a process would meet.
      for (const fault of faults) {
        await cluster.fault(fault, random);
        report.faults[fault] = (report.faults[fault] ?? 0) + 1;
      }
      await recording;
      const lost = await cluster.missing();
      const duplicated = await cluster.doubled();
      report.rounds++;
      report.acknowledged += cluster.acknowledged.size;
      report.lost += lost;
      report.duplicated = duplicated;
      const seconds = ((Date.now() - startedAt) / 1000).toFixed(1);
      options.progress?.(
        `round ${round}: ${faults.join(' + ')}, ${cluster.acknowledged.size} acknowledged, ${lost} lost, ${duplicated} duplicated so far, ${seconds} s`,
      );
      if (lost > 0 || duplicated > 0) options.progress?.(`${await cluster.standing()}\n${cluster.logs()}`);
    }
    const compared = await cluster.compare();
    report.stored = compared.rows;
    report.repeated = compared.records - compared.rows;
    report.gaps = compared.unstored + compared.sequenceGaps;
    return report;
  } catch (error) {
    options.progress?.(cluster.logs());
    throw error;
  } finally {
    await cluster.stop();
  }
}
