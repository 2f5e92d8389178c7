/**
 * The workloads of deploy/kubernetes without Kubernetes: each container's words and environment as its manifest gives
 * them, its volumes laid out as files, against a real broker with TLS, SCRAM and ACLs and the engine behind HTTPS. Only
 * names of places are replaced: hosts, ports, and the root of the absolute paths.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import fastify from 'fastify';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createKey } from '../../services/access/keys.js';
import { request } from '../../services/commands/context.js';
import { clickHouseEndpoint } from '../../services/query/clickhouse-endpoint.js';
import { openChdbStore } from '../../services/store/chdb.js';
import { event } from '../commands/run.js';
import { type Broker, startBroker } from '../kafka/broker.js';
import { makeCertificates } from '../kafka/certificates.js';
import { askingOf } from '../query/asking.js';
import { root } from './compose.js';
import { objects, type PodSpec, roleOf, workloads } from './manifests.js';

const home = mkdtempSync(join(tmpdir(), 'mcp-auditd-kubernetes-'));
const cli = [join(root, 'dist/services/cli.js')];
const usernames = workloads.map(({ metadata }) => `mcp-auditd-${metadata.name}`);
const passwordOf = (username: string) => `of-${username}`;
const pods = new Map(workloads.map(({ metadata, spec }) => [metadata.name, spec.template.spec]));

/** Files of the ConfigMaps and Secrets that docs/cluster.md makes, by the object's name. */
const contents = new Map<string, Record<string, string>>();
let broker: Broker;
let stopClickHouse = async () => {};
const children = new Set<ChildProcess>();
const keys = { emit: '', read: '' };

beforeAll(async () => {
  const { authorityPem, valid } = await makeCertificates();
  broker = await startBroker({
    secure: {
      ...valid,
      users: Object.fromEntries(usernames.map((name) => [name, passwordOf(name)])),
      authorize: true,
      administrators: ['mcp-auditd-topics'],
    },
  });

  const keyHome = join(home, 'keys');
  keys.emit = (await createKey(keyHome, { name: 'web', role: 'emit', tenant: 'default' })).key;
  keys.read = (await createKey(keyHome, { name: 'auditor', role: 'read', tenant: 'default' })).key;
  const store = await openChdbStore({ directory: join(home, 'clickhouse') });
  const server = fastify({
    forceCloseConnections: true,
    https: { key: valid.keyPem, cert: valid.certificatePem },
  });
  await server.register(clickHouseEndpoint, {
    asking: askingOf(store),
    keys: {
      find: (key) =>
        key === 'of-query' ? { name: 'query', role: 'read', tenant: '*', hash: '', created_at: '' } : undefined,
    },
    writer: { key: 'of-ingestor', engine: store },
  });
  const clickHouseUrl = await server.listen({ host: '127.0.0.1', port: 0 });
  stopClickHouse = async () => {
    await server.close();
    await store.close();
  };

  const configuration = objects.find(({ kind, metadata }) => kind === 'ConfigMap' && metadata.name === 'mcp-auditd')!;
  const configText = configuration.data['config.yaml']!.replace('0.0.0.0:7467', '127.0.0.1:0')
    .replace('kafka-bootstrap.kafka.svc:9093', broker.secureBrokers[0]!)
    .replace('https://clickhouse.clickhouse.svc:8443', clickHouseUrl);
  contents.set('mcp-auditd', { 'config.yaml': configText });
  contents.set('mcp-auditd-notifier-config', { 'config.yaml': configText });
  contents.set('mcp-auditd-authorities', { 'kafka.pem': authorityPem, 'clickhouse.pem': authorityPem });
  contents.set('mcp-auditd-keys', { 'keys.json': readFileSync(join(keyHome, 'keys.json'), 'utf8') });
  const pair = generateKeyPairSync('ed25519');
  contents.set('mcp-auditd-throttle', {
    'throttle.pub': pair.publicKey.export({ type: 'spki', format: 'pem' }) as string,
  });
  for (const name of pods.keys())
    contents.set(`mcp-auditd-${name}`, {
      kafka_password: passwordOf(`mcp-auditd-${name}`),
      clickhouse_password: name === 'ingestor' ? 'of-ingestor' : 'of-query',
      ...(name === 'throttler' && {
        'throttle.key': pair.privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
      }),
    });
});

afterAll(async () => {
  const ended = [...children].map((child) => once(child, 'exit'));
  for (const child of children) child.kill('SIGKILL');
  await Promise.all(ended);
  await broker?.stop();
  await stopClickHouse();
  rmSync(home, { recursive: true, force: true });
});

/** The pod's directory, with its volumes at their paths. */
function layOut(name: string, pod: PodSpec, pods: number): string {
  const place = join(home, `${name}-${pods}`);
  for (const { name: volumeName, mountPath } of pod.containers[0].volumeMounts) {
    const directory = join(place, mountPath);
    mkdirSync(directory, { recursive: true });
    const volume = pod.volumes.find((each) => each.name === volumeName);
    const source = volume?.secret?.secretName ?? volume?.configMap?.name;
    if (source === undefined) continue;
    const found = contents.get(source);
    if (found === undefined && volume?.configMap?.optional !== true) throw new Error(`nothing makes ${source}`);
    for (const [file, text] of Object.entries(found ?? {}))
      writeFileSync(join(directory, file), text.replaceAll('/etc/mcp-auditd', join(place, 'etc/mcp-auditd')));
  }
  return place;
}

let count = 0;
interface Running {
  readonly url: string;
  readonly log: () => string;
  readonly exited: Promise<number | null>;
  readonly stop: () => Promise<number | null>;
}

function run(name: string): { child: ChildProcess; log: () => string; exited: Promise<number | null> } {
  const pod = pods.get(name)!;
  const place = layOut(name, pod, ++count);
  const [container] = pod.containers;
  const env = Object.fromEntries(
    container.env.map(({ name: variable, value }) => [variable, value.startsWith('/') ? join(place, value) : value]),
  );
  const child = spawn(process.execPath, [...cli, ...container.args], {
    // The image's own variable, deploy/Dockerfile.
    env: { PATH: process.env.PATH, MCP_AUDITD_DATA: join(place, 'var/lib/mcp-auditd'), ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  children.add(child);
  child.once('exit', () => children.delete(child));
  let log = '';
  child.stderr.on('data', (chunk: Buffer) => {
    log = (log + chunk.toString()).slice(-50_000);
  });
  return { child, log: () => log, exited: once(child, 'exit').then(([code]) => code as number | null) };
}

async function start(name: string): Promise<Running> {
  const { child, log, exited } = run(name);
  const url = await new Promise<string>((resolve, reject) => {
    createInterface({ input: child.stdout! }).on('line', (line) => {
      const match = /^mcp-auditd listens on (\S+)$/.exec(line);
      if (match !== null) resolve(match[1]!);
    });
    void exited.then((code) => reject(new Error(`${name} ended with ${code}: ${log()}`)));
  });
  const stop = async () => {
    child.kill('SIGTERM');
    return exited;
  };
  return { url, log, exited, stop };
}

test('the job makes topics and grants, every role starts and is ready, a call goes the whole way, all stop', async () => {
  const job = run('topics');
  expect(await job.exited, job.log()).toBe(0);

  const running = new Map<string, Running>();
  const roles = [...pods].filter(([, pod]) => roleOf(pod.containers[0].args) !== undefined).map(([name]) => name);
  expect(roles.length).toBeGreaterThanOrEqual(6);
  for (const names of [['ingestor'], roles.filter((name) => name !== 'ingestor')])
    await Promise.all(names.map(async (name) => running.set(name, await start(name))));
  for (const [name, { url, log }] of running) {
    const [container] = pods.get(name)!.containers;
    for (const probe of [container.livenessProbe, container.readinessProbe]) {
      const ask = async () => (await fetch(`${url}${probe!.httpGet.path}`)).status;
      await expect.poll(ask, { timeout: 30_000, message: `${name}: ${log()}` }).toBe(200);
    }
    // The configuration says that the network policies guard it.
    expect((await fetch(`${url}/metrics`)).status).toBe(200);
  }

  const response = await fetch(`${running.get('gateway')!.url}/v1/events`, {
    method: 'POST',
    headers: { authorization: `Bearer ${keys.emit}`, 'content-type': 'application/x-ndjson' },
    body: Array.from({ length: 50 }, (_, index) => JSON.stringify(event({ actor_id: `actor-${index}` }))).join('\n'),
  });
  expect(await response.json()).toMatchObject({ accepted: 50 });
  const reader = { url: running.get('query')!.url, key: keys.read };
  const body = JSON.stringify({ sql: 'SELECT count() FROM calls', format: 'TSV' });
  const headers = { 'content-type': 'application/json' };
  const stored = async () =>
    (await (await request(reader, '/v1/query', { method: 'POST', body, headers })).text()).trim();
  await expect.poll(stored, { timeout: 30_000 }).toBe('50');

  await Promise.all(
    [...running].map(async ([name, { stop, log }]) => expect(await stop(), `${name}: ${log()}`).toBe(0)),
  );
}, 120_000);
