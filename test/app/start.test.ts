/** What keeps a role from starting is one clear error, at once; nothing is left running. */
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseConfiguration } from '../../schemas/configuration-sources.js';
import { chooseRoles } from '../../services/app/roles.js';
import { startApp } from '../../services/app.js';
import { type ClickHouseServer, startClickHouse } from '../contract/clickhouse-server.js';
import { type Broker, namedBrokers, startBroker } from '../kafka/broker.js';
import { makeCertificates } from '../kafka/certificates.js';
import { makeTopics } from '../kafka/topics.js';

const base64 = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');

/** A token as the test's broker takes it: it asks nobody for a signature. */
function token(): string {
  const now = Math.floor(Date.now() / 1000);
  return `${base64({ alg: 'none' })}.${base64({ sub: 'gateway', iat: now, exp: now + 600 })}.`;
}

async function listen(server: Server): Promise<string> {
  await once(server.listen(0, '127.0.0.1'), 'listening');
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

describe.skipIf(namedBrokers() !== undefined)(
  'on a cluster (skipped with KAFKA_BROKERS: it needs users of its own)',
  () => {
    const home = mkdtempSync(join(tmpdir(), 'mcp-auditd-start-'));
    const kafka = 'MCP_AUDITD_STREAM__KAFKA__';
    const clickhouse = 'MCP_AUDITD_STORE__CLICKHOUSE__';
    let broker: Broker;
    let server: ClickHouseServer;
    /** Answers as a server of ClickHouse 23.8 does where the version is asked for. */
    let old: Server;
    let login: Server;
    let right: Record<string, string>;
    let counter = 0;

    beforeAll(async () => {
      const { valid, authorityPem } = await makeCertificates();
      [broker, server] = await Promise.all([
        startBroker({ secure: { ...valid, users: { gateway: 'right' } } }),
        startClickHouse(),
      ]);
      const topicPrefix = await makeTopics(broker.brokers, 4);
      old = createServer((_request, response) => void response.end('23.8.1.1\n'));
      login = createServer((request, response) => {
        const credentials = Buffer.from(
          request.headers.authorization?.slice('Basic '.length) ?? '',
          'base64',
        ).toString();
        const known = credentials === 'audit:client%20secret';
        response.writeHead(known ? 200 : 401, { 'content-type': 'application/json' });
        response.end(
          JSON.stringify(known ? { access_token: token(), token_type: 'Bearer' } : { error: 'invalid_client' }),
        );
      });
      right = {
        [`${kafka}BROKERS`]: broker.secureBrokers[0]!,
        [`${kafka}TOPIC_PREFIX`]: topicPrefix,
        [`${kafka}SSL__CA`]: authorityPem,
        [`${kafka}SASL__MECHANISM`]: 'scram-sha-256',
        [`${kafka}SASL__USERNAME`]: 'gateway',
        [`${kafka}SASL__PASSWORD`]: 'right',
        [`${clickhouse}URL`]: server.connection.url,
        [`${clickhouse}USERNAME`]: server.connection.username,
        [`${clickhouse}PASSWORD`]: server.connection.password,
        [`${clickhouse}DATABASE`]: 'default',
        MCP_AUDITD_LISTEN: '127.0.0.1:0',
        MCP_AUDITD_START_TIMEOUT_MS: '1',
      };
    });
    afterAll(async () => {
      old.close();
      login.close();
      await Promise.all([broker.stop(), server.stop()]);
      rmSync(home, { recursive: true, force: true });
    });

    const start = async (role: string, change: Record<string, string | undefined>) => {
      const environment = { ...right, ...change };
      const data = join(home, String(++counter));
      const starting = startApp(
        parseConfiguration({ environment }),
        data,
        pino({ level: 'silent' }),
        chooseRoles([role]),
      );
      return { starting, data };
    };

    test.each<[string, string, () => Promise<Record<string, string | undefined>>]>([
      ['gateway', 'kafka_login_refused', async () => ({ [`${kafka}SASL__PASSWORD`]: 'wrong' })],
      [
        'gateway',
        'kafka_certificate_invalid',
        async () => ({ [`${kafka}SSL__CA`]: undefined, [`${kafka}SSL__ENABLED`]: 'true' }),
      ],
      ['gateway', 'kafka_topic_missing', async () => ({ [`${kafka}TOPIC_PREFIX`]: 'nobody-made.' })],
      ['gateway', 'kafka_partitions_too_few', async () => ({ [`${kafka}PARTITIONS`]: '9' })],
      ['gateway', 'kafka_unreachable', async () => ({ [`${kafka}BROKERS`]: '127.0.0.1:1' })],
      ['ingestor', 'clickhouse_login_refused', async () => ({ [`${clickhouse}PASSWORD`]: 'wrong' })],
      ['ingestor', 'clickhouse_unreachable', async () => ({ [`${clickhouse}URL`]: 'http://127.0.0.1:1' })],
      ['ingestor', 'clickhouse_too_old', async () => ({ [`${clickhouse}URL`]: await listen(old) })],
    ])('%s: %s', async (role, code, change) => {
      const { starting, data } = await start(role, await change());
      await expect(starting).rejects.toMatchObject({ code, mend: expect.stringMatching(/\w/) });
      expect(existsSync(join(data, 'daemon.json'))).toBe(false);
    });

    test('a token comes from a file, read for each login, or from an endpoint', async () => {
      const file = join(home, 'token');
      writeFileSync(file, `${token()}\n`);
      const none = { [`${kafka}SASL__USERNAME`]: undefined, [`${kafka}SASL__PASSWORD`]: undefined };
      const oauth = { ...none, [`${kafka}SASL__MECHANISM`]: 'oauthbearer' };
      const fromFile = await start('gateway', { ...oauth, [`${kafka}SASL__TOKEN_FILE`]: file });
      await (await fromFile.starting).stop();
      const endpoint = {
        ...oauth,
        [`${kafka}SASL__TOKEN_ENDPOINT`]: await listen(login),
        [`${kafka}SASL__TOKEN_CLIENT_ID`]: 'audit',
        [`${kafka}SASL__TOKEN_CLIENT_SECRET`]: 'client secret',
      };
      const fromEndpoint = await start('gateway', endpoint);
      await (await fromEndpoint.starting).stop();
      const refused = await start('gateway', { ...endpoint, [`${kafka}SASL__TOKEN_CLIENT_SECRET`]: 'another one' });
      const error = (await refused.starting.catch((reason: unknown) => reason)) as Error & { code: string };
      expect([error.code, error.message]).toEqual([
        'kafka_login_refused',
        expect.stringContaining('401 invalid_client'),
      ]);
      expect(error.message).not.toContain('another one');
    });
  },
);
