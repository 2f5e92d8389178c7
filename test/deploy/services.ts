/**
 * The services of docker-compose.yml without containers: the broker by deploy/kafka/start.sh, ClickHouse as the engine
 * behind its HTTP protocol, and each role by the command and the environment that the file gives it. Only names of
 * places are replaced: hosts, ports and the directory of the secrets.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import fastify from 'fastify';
import { clickHouseEndpoint } from '../../services/query/clickhouse-endpoint.js';
import { openChdbStore } from '../../services/store/chdb.js';
import { accepts, freePorts, javaCommand } from '../kafka/broker.js';
import { askingOf } from '../query/asking.js';
import { readCompose, root, secretsOf } from './compose.js';

const run = promisify(execFile);
const cli = [join(root, 'dist/services/cli.js')];

export interface RoleProcess {
  readonly url: string;
  /** Standard error, which is the log. */
  log(): string;
  /** Runs the service's health check as the container would, and gives its exit code. */
  health(): Promise<number | null>;
  signal(name: NodeJS.Signals): void;
  /** Ends it with SIGTERM and gives the exit code. */
  stop(): Promise<number | null>;
}

export class Services {
  readonly home = mkdtempSync(join(tmpdir(), 'mcp-auditd-deploy-'));
  readonly compose = readCompose();
  private readonly secrets = join(this.home, 'deploy', 'secrets');
  private readonly children = new Set<ChildProcess>();
  private brokers = '';
  private clickhouse = '';
  private count = 0;

  secret(name: string): string {
    return readFileSync(join(this.secrets, name), 'utf8').trim();
  }

  /** Makes the secrets, as the first line of the documentation does. */
  async makeSecrets(): Promise<string> {
    cpSync(join(root, 'deploy', 'secrets.sh'), join(this.home, 'deploy', 'secrets.sh'));
    return (await run('sh', [join(this.home, 'deploy', 'secrets.sh')])).stdout;
  }

  async startKafka(): Promise<void> {
    const [client, broker, controller] = (await freePorts(3)) as [number, number, number];
    this.brokers = `127.0.0.1:${client}`;
    const kafkaHome = join(this.home, 'kafka');
    const temporary = join(this.home, 'tmp');
    for (const directory of [join(kafkaHome, 'bin'), join(kafkaHome, 'data'), temporary])
      mkdirSync(directory, { recursive: true });
    // The image's own tools, which are classes of the same jars.
    const java = `exec ${await javaCommand()}`;
    for (const [name, main] of [
      ['kafka-storage.sh', 'kafka.tools.StorageTool'],
      ['kafka-server-start.sh', 'kafka.Kafka'],
    ]) {
      writeFileSync(join(kafkaHome, 'bin', name!), `#!/bin/sh\n${java} ${main} "$@"\n`);
      chmodSync(join(kafkaHome, 'bin', name!), 0o755);
    }
    const child = spawn('/bin/sh', [join(root, 'deploy', 'kafka', 'start.sh')], {
      env: {
        PATH: process.env.PATH,
        KAFKA_HOME: kafkaHome,
        SECRETS: this.secrets,
        KAFKA_DATA: join(kafkaHome, 'data'),
        KAFKA_TEMPORARY: temporary,
        KAFKA_CLIENT_PORT: String(client),
        KAFKA_BROKER_PORT: String(broker),
        KAFKA_CONTROLLER_PORT: String(controller),
        KAFKA_ADVERTISED: this.brokers,
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.children.add(child);
    let output = '';
    for (const pipe of [child.stdout, child.stderr])
      pipe.on('data', (chunk: Buffer) => {
        output = (output + chunk.toString()).slice(-10_000);
      });
    while (!(await accepts(client))) {
      if (child.exitCode !== null) throw new Error(`start.sh ended with ${child.exitCode}:\n${output}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  /** The engine behind ClickHouse's protocol. Its passwords are those of the two users that the secrets name. */
  async startClickHouse(): Promise<void> {
    const store = await openChdbStore({ directory: join(this.home, 'clickhouse') });
    const server = fastify({ forceCloseConnections: true });
    const reader = this.secret('clickhouse_query');
    const entry = { name: 'query', role: 'read' as const, tenant: '*', hash: '', created_at: '' };
    await server.register(clickHouseEndpoint, {
      asking: askingOf(store),
      keys: { find: (key) => (key === reader ? entry : undefined) },
      writer: { key: this.secret('clickhouse_ingestor'), engine: store },
    });
    // After an outage it is back at the same address.
    const port = this.clickhouse === '' ? 0 : Number(new URL(this.clickhouse).port);
    this.clickhouse = await server.listen({ host: '127.0.0.1', port });
    this.stopClickHouse = async () => {
      this.stopClickHouse = async () => undefined;
      await server.close();
      await store.close();
    };
  }

  stopClickHouse = async (): Promise<void> => undefined;

  /** The environment of a service, with the places of this machine. */
  private environment(name: string, data: string): NodeJS.ProcessEnv {
    const files = secretsOf(this.compose, name, this.secrets);
    const given = Object.entries(this.compose.services[name]!.environment ?? {}).map(([variable, value]) => [
      variable,
      files.get(value) ??
        value
          .replace('kafka:9092', this.brokers)
          .replace('http://clickhouse:8123', this.clickhouse)
          .replace('0.0.0.0:7467', '127.0.0.1:0')
          .replace(/^\/rules$/, join(root, 'deploy', 'rules'))
          .replace(/^\/etc\/mcp-auditd\//, join(root, 'deploy', 'notifier/')),
    ]);
    return { PATH: process.env.PATH, MCP_AUDITD_DATA: data, ...Object.fromEntries(given) };
  }

  private spawn(name: string, more: NodeJS.ProcessEnv = {}): ChildProcess {
    const data = join(this.home, `data-${name}-${++this.count}`);
    const child = spawn(process.execPath, [...cli, ...this.compose.services[name]!.command!], {
      env: { ...this.environment(name, data), ...more },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.children.add(child);
    child.once('exit', () => this.children.delete(child));
    return child;
  }

  /** Runs a service that ends by itself. */
  async runOnce(name: string): Promise<{ code: number | null; stdout: string; stderr: string }> {
    const child = this.spawn(name);
    const texts = { stdout: '', stderr: '' };
    child.stdout!.on('data', (chunk: Buffer) => {
      texts.stdout += chunk.toString();
    });
    child.stderr!.on('data', (chunk: Buffer) => {
      texts.stderr += chunk.toString();
    });
    const [code] = (await once(child, 'close')) as [number | null];
    return { code, ...texts };
  }

  /** Starts a role and resolves when it listens. `more` is added to the environment of the file. */
  async start(name: string, more: NodeJS.ProcessEnv = {}): Promise<RoleProcess> {
    const child = this.spawn(name, more);
    const exited = once(child, 'exit') as Promise<[number | null]>;
    let log = '';
    child.stderr!.on('data', (chunk: Buffer) => {
      log = (log + chunk.toString()).slice(-50_000);
    });
    const url = await new Promise<string>((resolve, reject) => {
      createInterface({ input: child.stdout! }).on('line', (line) => {
        const match = /^mcp-auditd listens on (\S+)$/.exec(line);
        if (match !== null) resolve(match[1]!);
      });
      void exited.then(([code]) => reject(new Error(`${name} ended with ${code}: ${log}`)));
    });
    const [, command, ...words] = this.compose.services[name]!.healthcheck!.test;
    const health = async (): Promise<number | null> => {
      const [code] = (await once(
        spawn(
          command!,
          words.map((word) => word.replace('http://127.0.0.1:7467', url)),
          { stdio: 'ignore' },
        ),
        'exit',
      )) as [number | null];
      return code;
    };
    return {
      url,
      log: () => log,
      health,
      signal: (signal) => void child.kill(signal),
      stop: async () => {
        child.kill('SIGTERM');
        return (await exited)[0];
      },
    };
  }

  async stop(): Promise<void> {
    const ended = [...this.children].map((child) => once(child, 'exit'));
    for (const child of this.children) child.kill('SIGKILL');
    await Promise.all(ended);
    await this.stopClickHouse();
    rmSync(this.home, { recursive: true, force: true });
  }
}
