/**
 * What is wrong for good ends the process of a role at once, with one error that says how to mend it, and an exit code.
 * test/app/start.test.ts holds every code.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { program } from '../build.js';
import { type Broker, namedBrokers, startBroker } from './broker.js';
import { makeCertificates } from './certificates.js';
import { makeTopics } from './topics.js';

const root = resolve(import.meta.dirname, '..', '..');
const user = 'ingestor';
const password = 'not a secret of anyone';

describe.skipIf(namedBrokers() !== undefined)(
  'a role that cannot work (skipped with KAFKA_BROKERS: it needs users)',
  () => {
    let broker: Broker;
    let certificates: Awaited<ReturnType<typeof makeCertificates>>;
    let topicPrefix: string;
    const servers: { close(): unknown; closeAllConnections(): void }[] = [];
    const home = mkdtempSync(join(tmpdir(), 'mcp-auditd-refusals-'));
    /** An old server, which answers every statement with its version, and one whose certificate has run out. */
    let clickhouse: { old: string; expired: string };

    beforeAll(async () => {
      certificates = await makeCertificates();
      broker = await startBroker({ secure: { ...certificates.valid, users: { [user]: password } } });
      topicPrefix = await makeTopics(broker.brokers, 2);
      const { keyPem: key, certificatePem: cert } = certificates.expired;
      const answer = (status: number, text: string) =>
        createServer((_request, response) => void response.writeHead(status).end(text));
      const started = [
        answer(200, '23.8.16.16\n'),
        createSecureServer({ key, cert }).on('tlsClientError', () => undefined),
      ];
      const urls: string[] = [];
      for (const [at, server] of started.entries()) {
        await once(server.listen(0, '127.0.0.1'), 'listening');
        servers.push(server);
        urls.push(`${at === 1 ? 'https' : 'http'}://127.0.0.1:${(server.address() as AddressInfo).port}`);
      }
      const [old = '', expired = ''] = urls;
      clickhouse = { old, expired };
    });
    afterAll(async () => {
      for (const server of servers) {
        server.closeAllConnections();
        server.close();
      }
      await broker.stop();
      rmSync(home, { recursive: true, force: true });
    });

    /** Runs a role with these variables; resolves when it has ended by itself. */
    async function run(role: string, variables: Readonly<Record<string, string>>) {
      const name = `${role}-${Math.random().toString(36).slice(2)}`;
      const child = spawn(process.execPath, [program, role, '--listen', '127.0.0.1:0', '--data', join(home, name)], {
        cwd: root,
        env: { ...process.env, NO_COLOR: '1', ...variables },
        stdio: ['ignore', 'ignore', 'pipe'],
      });
      let text = '';
      child.stderr.on('data', (chunk: Buffer) => {
        text += chunk.toString();
      });
      const [code] = (await once(child, 'exit')) as [number | null];
      return { code, text };
    }

    const kafka = (over: Readonly<Record<string, string>> = {}) => ({
      MCP_AUDITD_STREAM__KAFKA__BROKERS: broker.brokers.join(','),
      MCP_AUDITD_STREAM__KAFKA__TOPIC_PREFIX: topicPrefix,
      MCP_AUDITD_STREAM__KAFKA__PARTITIONS: '2',
      ...over,
    });
    const secure = (over: Readonly<Record<string, string>> = {}) =>
      kafka({
        MCP_AUDITD_STREAM__KAFKA__BROKERS: broker.secureBrokers.join(','),
        MCP_AUDITD_STREAM__KAFKA__SSL__CA: certificates.authorityPem,
        MCP_AUDITD_STREAM__KAFKA__SASL__MECHANISM: 'scram-sha-512',
        MCP_AUDITD_STREAM__KAFKA__SASL__USERNAME: user,
        MCP_AUDITD_STREAM__KAFKA__SASL__PASSWORD: password,
        ...over,
      });
    const store = (url: string) => ({ MCP_AUDITD_STORE__CLICKHOUSE__URL: url });

    const cases: [string, string, () => Readonly<Record<string, string>>, RegExp, RegExp][] = [
      [
        'a wrong password of Kafka',
        'gateway',
        () => secure({ MCP_AUDITD_STREAM__KAFKA__SASL__PASSWORD: 'wrong' }),
        /Authentication failed/i,
        /stream\.kafka\.sasl/,
      ],
      [
        "a broker's certificate that has run out",
        'gateway',
        () => secure({ MCP_AUDITD_STREAM__KAFKA__BROKERS: new URL(clickhouse.expired).host }),
        /certificate has expired/,
        /Renew/,
      ],
      [
        'an old ClickHouse',
        'ingest',
        () => ({ ...kafka(), ...store(clickhouse.old) }),
        /23\.8\.16\.16; expected 25\.3/,
        /Run ClickHouse/,
      ],
      [
        "ClickHouse's certificate that has run out",
        'ingest',
        () => ({
          ...kafka(),
          ...store(clickhouse.expired),
          MCP_AUDITD_STORE__CLICKHOUSE__SSL__CA: certificates.authorityPem,
        }),
        /certificate has expired/,
        /Renew/,
      ],
    ];

    test.each(cases)('%s', async (_what, role, variables, message, mend) => {
      const { code, text } = await run(role, variables());
      expect(text).toMatch(message);
      expect(text).toMatch(mend);
      expect(code, text).toBeGreaterThan(0);
      // One error for people, and no trace of a second attempt.
      expect(text.split('\n').filter((line) => /^mcp-auditd: /.test(line))).toHaveLength(1);
    });
  },
);
