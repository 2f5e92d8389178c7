import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseConfiguration } from '../../schemas/configuration-sources.js';
import { examine, type Finding } from '../../services/app/doctor.js';
import { chooseRoles } from '../../services/app/roles.js';
import { type ClickHouseServer, startClickHouse } from '../contract/clickhouse-server.js';
import { type Broker, namedBrokers, startBroker } from '../kafka/broker.js';
import { makeCertificates } from '../kafka/certificates.js';
import { Sandbox } from './run.js';

interface Report {
  readonly ok: boolean;
  readonly findings: readonly Finding[];
}

const sandbox = new Sandbox();
afterAll(() => sandbox.dispose());

/** The examination that the command prints, in this process. */
async function doctor(environment: NodeJS.ProcessEnv, roles?: string[], file?: string): Promise<Report> {
  const configuration = parseConfiguration({
    environment,
    ...(file === undefined ? {} : { file: { path: file, text: readFileSync(file, 'utf8') } }),
    readFile: (path) => readFileSync(path, 'utf8'),
  });
  const patient = {
    configuration,
    data: sandbox.data,
    file,
    roles: chooseRoles(roles),
    log: pino({ level: 'silent' }),
  };
  const findings: Finding[] = [];
  for await (const finding of examine(patient)) findings.push(finding);
  return { findings, ok: findings.every(({ status }) => status !== 'failed') };
}
const bad = ({ findings }: Report) => findings.filter(({ status }) => status !== 'ok');

describe('one machine', () => {
  test('an empty home is fine, and the lines say what was looked at', async () => {
    const { code, stdout, stderr } = await sandbox.run(['doctor']);
    expect([code, stderr]).toEqual([0, '']);
    expect(stdout).toMatch(/^ok {7}node {12}Node\.js \d+/m);
    expect(stdout).toMatch(/0 failed, 0 warned, \d ok\n$/);
  });

  test('what others can read is warned of, with the command that mends it', async () => {
    mkdirSync(sandbox.data, { recursive: true });
    chmodSync(sandbox.data, 0o755);
    const file = join(sandbox.home, 'open.yaml');
    const kafka = 'brokers: [127.0.0.1:1], sasl: {mechanism: plain, username: u, password: hush}';
    writeFileSync(file, `stream: {kafka: {${kafka}}}\n`, { mode: 0o644 });
    const report = await doctor({}, undefined, file);
    expect(bad(report)).toContainEqual(
      expect.objectContaining({ name: 'configuration', status: 'warned', message: expect.stringContaining('0644') }),
    );
    expect(bad(report)).toContainEqual(
      expect.objectContaining({ name: 'data directory', status: 'warned', mend: `Run chmod 700 ${sandbox.data}.` }),
    );
    expect(JSON.stringify(report)).not.toContain('hush');
    chmodSync(sandbox.data, 0o700);
  });

  test('a broker and a server that are not there fail, with the address', async () => {
    const server = createServer();
    const port = await new Promise<number>((resolve) => {
      server.listen(0, '127.0.0.1', () => resolve((server.address() as { port: number }).port));
    });
    await new Promise((resolve) => server.close(resolve));
    const environment = {
      MCP_AUDITD_STREAM__KAFKA__BROKERS: `127.0.0.1:${port}`,
      MCP_AUDITD_STORE__CLICKHOUSE__URL: `http://127.0.0.1:${port}`,
    };
    const { code, stdout } = await sandbox.run(['doctor', '--json'], { environment });
    const report = JSON.parse(stdout) as Report;
    expect(code).toBe(1);
    expect(report.ok).toBe(false);
    expect(bad(report)).toContainEqual(
      expect.objectContaining({ name: 'broker', status: 'failed', message: `127.0.0.1:${port}: ECONNREFUSED` }),
    );
    expect(bad(report)).toContainEqual(
      expect.objectContaining({ name: 'clickhouse', status: 'failed', message: expect.stringContaining(String(port)) }),
    );
  });

  test.each([
    [['doctor', '--roles', 'gatway'], 'did you mean gateway?', 2],
    [['doctor', '--roles', 'gateway'], 'The local stream belongs to one process', 1],
    [['topics', 'check'], 'stream.kafka is not configured', 1],
  ])('%j is refused', async (words, expected, expectedCode) => {
    const { code, stderr } = await sandbox.run(words);
    expect([code, stderr]).toEqual([expectedCode, expect.stringContaining(expected)]);
  });
});

describe.skipIf(namedBrokers() !== undefined)(
  'brokers with logins and ACLs (skipped with KAFKA_BROKERS: it needs users of its own)',
  () => {
    let broker: Broker;
    let clickhouse: ClickHouseServer;
    let environment: NodeJS.ProcessEnv;
    let admin: NodeJS.ProcessEnv;

    beforeAll(async () => {
      const certificates = await makeCertificates();
      const users = { audit: 'a password', admin: 'another password' };
      [broker, clickhouse] = await Promise.all([
        startBroker({ secure: { ...certificates.valid, users, authorize: true } }),
        startClickHouse(),
      ]);
      const ca = join(sandbox.home, 'ca.pem');
      const password = join(sandbox.home, 'kafka_password');
      writeFileSync(ca, certificates.authorityPem);
      writeFileSync(password, `${users.audit}\n`, { mode: 0o600 });
      environment = {
        MCP_AUDITD_STREAM__KAFKA__BROKERS: broker.secureBrokers[0],
        MCP_AUDITD_STREAM__KAFKA__TOPIC_PREFIX: 'doctor.',
        MCP_AUDITD_STREAM__KAFKA__SSL__CA_FILE: ca,
        MCP_AUDITD_STREAM__KAFKA__SASL__MECHANISM: 'scram-sha-512',
        MCP_AUDITD_STREAM__KAFKA__SASL__USERNAME: 'audit',
        MCP_AUDITD_STREAM__KAFKA__SASL__PASSWORD_FILE: password,
        MCP_AUDITD_STORE__CLICKHOUSE__URL: clickhouse.connection.url,
        MCP_AUDITD_STORE__CLICKHOUSE__USERNAME: clickhouse.connection.username,
        MCP_AUDITD_STORE__CLICKHOUSE__PASSWORD: clickhouse.connection.password,
      };
      // Whoever comes by the plain listener may do everything.
      admin = {
        MCP_AUDITD_STREAM__KAFKA__BROKERS: broker.brokers[0],
        MCP_AUDITD_STREAM__KAFKA__TOPIC_PREFIX: 'doctor.',
      };
    });
    afterAll(() => Promise.all([broker.stop(), clickhouse.stop()]));

    test('topics are made once, then compared, and what differs comes with its command', async () => {
      const made = await sandbox.run(['topics', 'create'], { environment: admin });
      expect([made.code, made.stderr]).toEqual([0, '']);
      expect(made.stdout).toContain('made doctor.calls\n');
      const again = await sandbox.run(['topics', 'create'], { environment: admin });
      expect(again).toEqual({ code: 0, stdout: 'all topics are as configured\n', stderr: '' });
      const more = {
        ...admin,
        MCP_AUDITD_STREAM__KAFKA__PARTITIONS: '6',
        MCP_AUDITD_STREAM__KAFKA__RETENTION_DAYS: '9',
      };
      const check = await sandbox.run(['topics', 'check', '--json'], { environment: more });
      const { ok, findings } = JSON.parse(check.stdout) as {
        ok: boolean;
        findings: { message: string; mend: string }[];
      };
      expect([check.code, ok]).toEqual([1, false]);
      expect(findings).toContainEqual(
        expect.objectContaining({
          message: 'doctor.calls has 4 partitions; expected at least 6',
          mend: expect.stringContaining('--alter --topic doctor.calls --partitions 6'),
        }),
      );
      expect(findings).toContainEqual(
        expect.objectContaining({
          message: 'doctor.dead: retention.ms is 604800000; expected 777600000',
          mend: expect.stringContaining('--add-config retention.ms=777600000'),
        }),
      );
      const copies = { ...admin, MCP_AUDITD_STREAM__KAFKA__REPLICATION_FACTOR: '3' };
      const { stderr } = await sandbox.run(['topics', 'create'], { environment: copies });
      expect(stderr).toContain('stream.kafka.replication_factor is 3, and the cluster has 1 broker');
    });

    test('a user without permissions is told which, and with what they are given', async () => {
      const before = await doctor(environment, ['ingestor']);
      expect(bad(before)).toContainEqual({
        name: 'role ingestor',
        status: 'failed',
        message: 'audit may not READ group doctor.ingestor.calls',
        mend: 'As a user who may alter ACLs: mcp-auditd topics grant ingestor audit',
      });
      const refused = await sandbox.run(['topics', 'grant', 'ingestor', 'audit'], { environment });
      expect([refused.code, refused.stderr]).toEqual([1, expect.stringContaining('allowing audit what it needs')]);
      const granted = await sandbox.run(['topics', 'grant', 'ingestor', 'audit'], { environment: admin });
      expect([granted.code, granted.stderr]).toEqual([0, '']);
      expect(granted.stdout).toContain('audit may WRITE topic doctor.dead\n');
      const after = await doctor(environment, ['ingestor']);
      expect(bad(after)).toEqual([]);
      expect(after.ok).toBe(true);
      expect(after.findings.map(({ name }) => name)).toEqual(
        expect.arrayContaining(['login', 'broker', 'topics', 'role ingestor', 'clickhouse', 'clock', 'tables']),
      );
      // What the one role may do is not enough for another.
      const gateway = await doctor(environment, ['gateway']);
      expect(bad(gateway).map(({ message }) => message)).toContain('audit may not WRITE topic doctor.calls');
    });

    test("Kafka's own commands are printed for who administers the brokers by them", async () => {
      const { stdout } = await sandbox.run(['topics', 'grant', 'gateway', 'web', '--print'], { environment: admin });
      const allowed = stdout
        .trimEnd()
        .split('\n')
        .map((line) => /^kafka-acls\.sh --bootstrap-server BROKER --command-config ADMIN --add (.*)$/.exec(line)?.[1]);
      const group = '--group doctor.mcp-auditd-alone- --resource-pattern-type prefixed';
      expect(allowed).toEqual([
        '--allow-principal User:web --operation Read --topic doctor.throttle',
        '--allow-principal User:web --operation Write --topic doctor.calls',
        '--allow-principal User:web --operation Write --topic doctor.responses',
        `--allow-principal User:web --operation Read ${group}`,
        `--allow-principal User:web --operation Delete ${group}`,
      ]);
    });

    test.each([
      [
        {
          MCP_AUDITD_STREAM__KAFKA__SASL__PASSWORD_FILE: undefined,
          MCP_AUDITD_STREAM__KAFKA__SASL__PASSWORD: 'wrong-one',
        },
        'kafka',
        'stream.kafka.sasl',
      ],
      [
        { MCP_AUDITD_STREAM__KAFKA__SSL__CA_FILE: undefined, MCP_AUDITD_STREAM__KAFKA__SSL__ENABLED: 'true' },
        'kafka',
        'certificate',
      ],
      [{ MCP_AUDITD_STREAM__KAFKA__TOPIC_PREFIX: 'nobody.' }, 'topic nobody.calls', 'topics grant'],
      [{ MCP_AUDITD_STORE__CLICKHOUSE__PASSWORD: 'wrong-one' }, 'clickhouse', 'store.clickhouse'],
    ])('%j fails with its mend', async (change, name, mend) => {
      const report = await doctor({ ...environment, ...change }, ['ingestor']);
      const found = bad(report).find((each) => each.name === name);
      expect(found?.status).toBe('failed');
      expect(`${found?.message} ${found?.mend}`).toContain(mend);
      expect(JSON.stringify(report)).not.toContain('wrong-one');
    });
  },
);
