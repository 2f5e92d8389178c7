import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { request } from '../../services/commands/context.js';
import { event } from '../commands/run.js';
import { type RoleProcess, Services } from './services.js';

describe('docker-compose.yml, started as it says', () => {
  const services = new Services();
  const running = new Map<string, RoleProcess>();

  beforeAll(async () => {
    expect(await services.makeSecrets()).toContain('is complete');
    await Promise.all([services.startKafka(), services.startClickHouse()]);
  });
  afterAll(() => services.stop());

  const send = async (count: number): Promise<number> => {
    const response = await fetch(`${running.get('gateway')!.url}/v1/events`, {
      method: 'POST',
      headers: { authorization: `Bearer ${services.secret('emitter.key')}`, 'content-type': 'application/x-ndjson' },
      body: Array.from({ length: count }, (_, index) => JSON.stringify(event({ actor_id: `actor-${index}` }))).join(
        '\n',
      ),
    });
    return ((await response.json()) as { accepted: number }).accepted;
  };
  const ask = async (sql: string): Promise<string> => {
    const query = { url: running.get('query')!.url, key: services.secret('reader.key') };
    const body = JSON.stringify({ sql, format: 'TSV' });
    const headers = { 'content-type': 'application/json' };
    return (await (await request(query, '/v1/query', { method: 'POST', body, headers })).text()).trim();
  };
  const until = async (sql: string, expected: string): Promise<void> => {
    while ((await ask(sql)) !== expected) await new Promise((resolve) => setTimeout(resolve, 100));
  };

  test('secrets are made once, and each is another', async () => {
    const before = services.secret('kafka_admin');
    await services.makeSecrets();
    expect(services.secret('kafka_admin')).toBe(before);
    const names = ['kafka_admin', 'kafka_gateway', 'kafka_ingestor', 'clickhouse_ingestor', 'clickhouse_query'];
    expect(new Set(names.map((name) => services.secret(name))).size).toBe(names.length);
    for (const name of names) expect(services.secret(name)).toMatch(/^[0-9a-f]{64}$/);
  });

  test('topics are made, users are allowed what their roles need, and again changes nothing', async () => {
    const first = await services.runOnce('topics');
    expect(first).toMatchObject({ code: 0, stderr: '' });
    expect(first.stdout).toContain('made calls\n');
    expect(first.stdout).toContain('ingestor may work as ingestor\n');
    expect(await services.runOnce('topics')).toMatchObject({ code: 0, stderr: '' });
  });

  test('each role starts and its health check passes', { timeout: 120_000 }, async () => {
    // In the order of depends_on.
    for (const names of [
      ['gateway', 'ingestor'],
      ['detector', 'throttler', 'notifier', 'query'],
    ])
      await Promise.all(names.map(async (name) => running.set(name, await services.start(name))));
    for (const [name, role] of running) expect(await role.health(), `${name}: ${role.log()}`).toBe(0);
  });

  test('a call goes the whole way', async () => {
    expect(await send(100)).toBe(100);
    await until('SELECT count() FROM calls', '100');
    // Counted once they are verified, which is after they can be seen.
    const metrics = async () => (await fetch(`${running.get('ingestor')!.url}/metrics`)).text();
    while (!(await metrics()).includes('mcp_auditd_ingestor_rows_total{topic="calls"} 100'))
      await new Promise((resolve) => setTimeout(resolve, 50));
  });

  test('while ingestors are replaced one after the other, nothing is lost and nothing doubled', async () => {
    let sent = 100;
    for (let round = 0; round < 2; round++) {
      const next = await services.start('ingestor');
      sent += await send(200);
      const before = running.get('ingestor')!;
      running.set('ingestor', next);
      const stopping = before.stop();
      sent += await send(200);
      expect(await stopping, before.log()).toBe(0);
      sent += await send(200);
    }
    await until('SELECT count() FROM calls', String(sent));
    expect(await ask('SELECT count() = uniqExact(event_id) FROM calls')).toBe('1');
  });

  test('ClickHouse away: ingestors wait and say so, end in time, and what was taken is stored once', async () => {
    const before = Number(await ask('SELECT count() FROM calls'));
    const waiting = await services.start('ingestor', { MCP_AUDITD_STOP_TIMEOUT_MS: '4000' });
    expect(await running.get('ingestor')!.stop()).toBe(0);
    running.delete('ingestor');
    await services.stopClickHouse();
    expect(await send(50)).toBe(50);
    const get = (path: string) => fetch(`${waiting.url}${path}`);
    while ((await get('/readyz')).status !== 503) await new Promise((resolve) => setTimeout(resolve, 100));
    expect(await (await get('/readyz')).text()).toMatch(
      /"state":"waiting","reason":"\w+ \(clickhouse_unreachable\) fails/,
    );
    expect((await get('/healthz')).status).toBe(200);
    const lag = async () =>
      [...(await (await get('/metrics')).text()).matchAll(/ingestor_lag_records\{topic="calls".*\} (\d+)/g)]
        .map((match) => Number(match[1]))
        .reduce((sum, each) => sum + each, 0);
    while ((await lag()) !== 50) await new Promise((resolve) => setTimeout(resolve, 200));
    const startedAt = Date.now();
    expect(await waiting.stop(), waiting.log()).toBe(0);
    // Its deadline is 4 s; a busy machine takes its time to end a process.
    expect(Date.now() - startedAt).toBeLessThan(15_000);
    await services.startClickHouse();
    running.set('ingestor', await services.start('ingestor'));
    await until('SELECT count() FROM calls', String(before + 50));
    expect(await ask('SELECT count() = uniqExact(event_id) FROM calls')).toBe('1');
  });

  test('every role stops by SIGTERM with exit code 0', async () => {
    for (const [name, role] of running) expect(await role.stop(), `${name}: ${role.log()}`).toBe(0);
  });
});
