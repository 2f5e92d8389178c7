import { once } from 'node:events';
import { createServer } from 'node:tls';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { kafkaClient, openKafkaStream } from '../../services/stream/kafka.js';
import { checkTopics, createTopics } from '../../services/stream/kafka-topics.js';
import { topics } from '../../services/stream/stream.js';
import { type Broker, namedBrokers, startBroker } from '../kafka/broker.js';
import { makeCertificates } from '../kafka/certificates.js';
import { makeTopics } from '../kafka/topics.js';

const username = 'ingestor';
const password = 'not a secret of anyone';
const base64 = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');

describe.skipIf(namedBrokers() !== undefined)(
  'login (skipped with KAFKA_BROKERS: it needs certificates of its own)',
  () => {
    let broker: Broker;
    let certificates: Awaited<ReturnType<typeof makeCertificates>>;
    let topicPrefix: string;

    beforeAll(async () => {
      certificates = await makeCertificates();
      broker = await startBroker({ secure: { ...certificates.valid, users: { [username]: password } } });
      topicPrefix = await makeTopics(broker.brokers, 2);
    });
    afterAll(async () => {
      await broker.stop();
    });

    const common = () => ({
      brokers: broker.secureBrokers,
      clientId: 'login',
      topicPrefix,
      ssl: { ca: certificates.authorityPem },
    });

    test.each(['plain', 'scram-sha-256', 'scram-sha-512'] as const)(
      '%s: the right password works',
      async (mechanism) => {
        const stream = await openKafkaStream({ ...common(), sasl: { mechanism, username, password } as never });
        const [position] = await stream.append('calls', [{ key: 'a', value: Buffer.from('x'), headers: {} }]);
        expect(position?.offset).toBeGreaterThanOrEqual(0);
        await stream.close();
      },
    );

    test('oauthbearer: the provider is asked for a token', async () => {
      const nowSeconds = Math.floor(Date.now() / 1000);
      const claims = { sub: 'ingestor', iat: nowSeconds, exp: nowSeconds + 600 };
      const value = `${base64({ alg: 'none' })}.${base64(claims)}.`;
      const stream = await openKafkaStream({
        ...common(),
        sasl: { mechanism: 'oauthbearer', oauthBearerProvider: async () => ({ value }) },
      });
      expect((await stream.partitions('calls')).length).toBe(2);
      await stream.close();
    });

    test.each(['plain', 'scram-sha-512'] as const)('%s: a wrong password is one clear error', async (mechanism) => {
      const opening = openKafkaStream({ ...common(), sasl: { mechanism, username, password: 'wrong' } as never });
      await expect(opening).rejects.toMatchObject({ code: 'kafka_login_refused', retriable: false });
    });

    test('an authority that is not trusted is one clear error', async () => {
      const opening = openKafkaStream({ ...common(), ssl: true });
      await expect(opening).rejects.toMatchObject({ code: 'kafka_certificate_invalid', retriable: false });
    });

    test('a certificate that has run out is one clear error', async () => {
      const { keyPem, certificatePem } = certificates.expired;
      const server = createServer({ key: keyPem, cert: certificatePem }).on('tlsClientError', () => undefined);
      await once(server.listen(0, '127.0.0.1'), 'listening');
      const { port } = server.address() as { port: number };
      const opening = openKafkaStream({ ...common(), brokers: [`127.0.0.1:${port}`] });
      await expect(opening).rejects.toMatchObject({
        code: 'kafka_certificate_invalid',
        message: expect.stringContaining('expired'),
      });
      server.close();
    });

    test('no broker there is one clear error that names the address', async () => {
      const server = createServer();
      await once(server.listen(0, '127.0.0.1'), 'listening');
      const { port } = server.address() as { port: number };
      await new Promise((resolve) => server.close(resolve));
      const opening = openKafkaStream({ brokers: [`127.0.0.1:${port}`], clientId: 'nobody' });
      await expect(opening).rejects.toMatchObject({
        code: 'kafka_unreachable',
        retriable: true,
        message: expect.stringContaining(`127.0.0.1:${port}`),
      });
    });

    test('an unknown topic is one clear error, for appending and for consuming', async () => {
      const stream = await openKafkaStream({
        brokers: broker.brokers,
        clientId: 'unknown',
        topicPrefix: 'nobody-made-',
      });
      const options = { assigned: async () => new Map(), revoked: async () => undefined, batch: async () => undefined };
      const record = { key: '', value: Buffer.from('x'), headers: {} };
      const missing = { code: 'kafka_topic_missing', message: expect.stringContaining('nobody-made-calls') };
      await expect(stream.append('calls', [record])).rejects.toMatchObject(missing);
      await expect(stream.consume({ topic: 'calls', group: 'g', ...options })).rejects.toMatchObject(missing);
      await stream.close();
    });

    test('a record that the broker does not take is refused by name, and its neighbours arrive', async () => {
      const stream = await openKafkaStream({
        brokers: broker.brokers,
        clientId: 'large',
        topicPrefix,
        compression: 'none',
      });
      const record = (bytes: number) => ({ key: 'k', value: Buffer.alloc(bytes, 'x'), headers: {} });
      const [small, large] = await Promise.allSettled([
        stream.append('calls', [record(10)]),
        stream.append('calls', [record(9 * 1024 * 1024)]),
      ]);
      expect(small).toMatchObject({ status: 'fulfilled' });
      expect(large).toMatchObject({ status: 'rejected', reason: { code: 'record_too_large' } });
      await stream.close();
    });

    test('topics are created once and compared with the plan', async () => {
      const admin = kafkaClient({ brokers: broker.brokers, clientId: 'topics' }).admin();
      await admin.connect();
      const plan = { partitions: 3, replicationFactor: 1, retentionMs: 3_600_000, topicPrefix: `${topicPrefix}plan.` };
      expect((await checkTopics(admin, plan)).map(({ problem }) => problem)).toEqual(topics.map(() => 'missing'));
      expect(await createTopics(admin, plan)).toEqual(topics.map((topic) => `${plan.topicPrefix}${topic}`));
      expect(await createTopics(admin, plan)).toEqual([]);
      expect(await checkTopics(admin, plan)).toEqual([]);
      const more = { ...plan, partitions: 4, retentionMs: 7_200_000 };
      const findings = await checkTopics(admin, more);
      expect(findings.filter(({ problem }) => problem === 'partitions')).toHaveLength(1);
      expect(findings.filter(({ problem }) => problem === 'configuration')).toHaveLength(topics.length);
      await admin.disconnect();
    });
  },
);
