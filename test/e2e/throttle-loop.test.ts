/**
 * The whole loop in real processes, behind each emitter at once: a client in a loop, the daemon whose volume rule fires,
 * refusals, the message, the signal's end, calls that pass again, and all of it in SQL.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { Client as ClientV2 } from '@modelcontextprotocol/client';
import { StdioClientTransport as StdioClientTransportV2 } from '@modelcontextprotocol/client/stdio';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { cli, type Running, root, Sandbox, typescript } from '../commands/run.js';
import { SlackStandIn } from '../notifier/slack-standin.js';

const threshold = 30;
const ttlSeconds = 6;
const dashboard = 'https://audit.example.com/';
// The window is over before the signal is, so the first calls that pass again do not fire the rule anew.
const rules = `
rules:
- id: loop
  title: An actor calls in a loop
  type: event_count
  level: high
  detection: {sel: {method: tools/call}, condition: sel}
  group-by: [actor]
  window: {size: 3s}
  condition: {gte: ${threshold}}
  actions: [{throttle: {scope: actor, block: true, ttl: ${ttlSeconds}s, until: expiry}}]
`;

const everything = join(root, 'node_modules', '@modelcontextprotocol', 'server-everything', 'dist', 'index.js');
const audited = join(root, 'test', 'e2e', 'audited-child.ts');
const sandbox = new Sandbox();
const open: (() => unknown)[] = [];
let slack: SlackStandIn;
let daemon: Running;

beforeAll(async () => {
  slack = await SlackStandIn.start();
  mkdirSync(join(sandbox.data, 'rules'), { recursive: true, mode: 0o700 });
  writeFileSync(join(sandbox.data, 'rules', 'loop.yaml'), rules);
  const team = { type: 'slack', token_variable: 'SLACK_BOT_TOKEN', channel: 'C0123456789', api_url: slack.apiUrl };
  const route = { channels: ['team'], group_by: ['actor'], group_wait: '0s' };
  const configuration = { rules: { pack: false }, notifier: { public_url: dashboard, channels: { team }, route } };
  writeFileSync(join(sandbox.data, 'config.yaml'), JSON.stringify(configuration), { mode: 0o600 });
  daemon = await sandbox.up([], { SLACK_BOT_TOKEN: slack.options.token });
});
afterAll(async () => {
  for (const step of open.reverse()) await step();
  await sandbox.dispose();
  await slack.stop();
});

/** What both majors' clients have in common here. */
interface Calling {
  callTool(call: { name: string; arguments: Record<string, unknown> }): Promise<unknown>;
}

function stdio(actor: string, args: readonly string[]) {
  const env = { PATH: process.env.PATH!, HOME: sandbox.home, MCP_AUDITD_DATA: sandbox.data, MCP_AUDITD_ACTOR: actor };
  return { command: process.execPath, args: [...args], env, stderr: 'ignore' as const };
}

async function connected(client: Client, transport: object): Promise<Calling> {
  await client.connect(transport as never);
  open.push(() => client.close());
  return client;
}

async function startEverythingOnHttp(): Promise<string> {
  const free = createServer().listen(0, '127.0.0.1');
  await once(free, 'listening');
  const port = String((free.address() as AddressInfo).port);
  free.close();
  await once(free, 'close');
  const child: ChildProcess = spawn(process.execPath, [everything, 'streamableHttp'], {
    env: { ...process.env, PORT: port },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  open.push(() => child.kill('SIGKILL'));
  let errors = '';
  await new Promise<void>((resolve, reject) => {
    child.stderr!.on('data', (chunk: Buffer) => {
      errors += chunk.toString();
      if (errors.includes('listening on port')) resolve();
    });
    child.once('exit', () => reject(new Error(errors)));
  });
  return `http://127.0.0.1:${port}/mcp`;
}

const identity = { name: 'loop', version: '1.0.0' };
const emitters: Record<string, (actor: string) => Promise<Calling>> = {
  'audit() in SDK 1': (actor) =>
    connected(new Client(identity), new StdioClientTransport(stdio(actor, [...typescript, audited, '1']))),
  'audit() in SDK 2': async (actor) => {
    const client = new ClientV2(identity);
    await client.connect(new StdioClientTransportV2(stdio(actor, [...typescript, audited, '2'])));
    open.push(() => client.close());
    return client;
  },
  wrap: (actor) =>
    connected(
      new Client(identity),
      new StdioClientTransport(stdio(actor, [...cli, 'wrap', '--', process.execPath, everything])),
    ),
  proxy: async (actor) => {
    const upstream = await startEverythingOnHttp();
    const { lines, ended } = sandbox.follow([
      'proxy',
      '--upstream',
      upstream,
      '--listen',
      '127.0.0.1:0',
      '--actor',
      actor,
    ]);
    const { value } = await lines.next();
    const url = /^mcp-auditd proxy listens on (\S+), before /.exec(String(value))?.[1];
    if (url === undefined) throw new Error(`${value} ${(await ended).stderr}`);
    return connected(new Client(identity), new StreamableHTTPClientTransport(new URL(url)));
  },
};

interface Refusal {
  readonly kind: string;
  readonly retryAfterSeconds: number;
  readonly signalId: string;
}

/** Undefined when the call passed. Over HTTP the client's error has the status as its code, and the body in its words. */
async function refusalOf(client: Calling): Promise<Refusal | undefined> {
  try {
    expect(await client.callTool({ name: 'echo', arguments: { message: 'here' } })).toMatchObject({
      content: [{ text: 'Echo: here' }],
    });
    return undefined;
  } catch (caught) {
    const error = caught as Error & { code?: number; data?: Refusal };
    if (error.code !== 429) throw error;
    return error.data ?? JSON.parse(error.message.slice(error.message.indexOf('{'))).error.data;
  }
}

it.concurrent.each(Object.entries(emitters))(
  'a caller behind %s is held back and let through again',
  async (name, connect) => {
    const actor = `caller of ${name}`;
    const client = await connect(actor);
    const counts = { passed: 0, refused: 0 };
    const call = async (): Promise<Refusal | undefined> => {
      const refusal = await refusalOf(client);
      counts[refusal === undefined ? 'passed' : 'refused']++;
      return refusal;
    };
    let first: Refusal | undefined;
    while (first === undefined) first = await call();
    expect(counts.passed).toBeGreaterThanOrEqual(threshold);
    expect(first.kind).toBe('rate_limited');
    expect(first.retryAfterSeconds).toBeGreaterThanOrEqual(1);
    expect(first.retryAfterSeconds).toBeLessThanOrEqual(ttlSeconds);
    await expect.poll(call, { interval: 100, timeout: 30_000 }).toBeUndefined();
    for (let again = 0; again < 5; again++) expect(await call()).toBeUndefined();

    const whose = `actor_id = '${actor}' AND method = 'tools/call'`;
    await sandbox.until(
      daemon.url,
      `SELECT countIf(outcome = 'success'), countIf(outcome = 'throttled' AND attributes['throttle_signal_id'] = '${first.signalId}'), count() FROM calls WHERE ${whose}`,
      [counts.passed, counts.refused, counts.passed + counts.refused].join('\t'),
    );
    const signals = await sandbox.ask(
      daemon.url,
      `SELECT signal_id, alert_ids, holds, expires_at FROM throttles WHERE scope['actor_id'] = '${actor}'`,
    );
    const [alert] = await sandbox.ask(
      daemon.url,
      `SELECT alert_id FROM alerts_latest WHERE \`group\`['actor_id'] = '${actor}'`,
    );
    expect(signals).toMatchObject([{ signal_id: first.signalId, alert_ids: [alert?.alert_id], holds: 0 }]);
    // A call's time is taken just before the emitter looks at the signals, hence the last moments are left out.
    await sandbox.until(
      daemon.url,
      `SELECT count() FROM calls WHERE ${whose} AND outcome = 'success'
       AND occurred_at > (SELECT min(occurred_at) FROM calls WHERE ${whose} AND outcome = 'throttled')
       AND occurred_at < toDateTime64('${signals[0]!.expires_at}', 6, 'UTC') - INTERVAL 50 MILLISECOND`,
      '0',
    );
    const told = (): string | undefined =>
      slack
        .of()
        .filter(({ thread_ts }) => thread_ts === undefined)
        .map(({ blocks }) => JSON.stringify(blocks))
        .find((blocks) => blocks.includes(`${dashboard}alerts/${alert!.alert_id}`));
    await slack.untilCalls(() => told() !== undefined);
    expect(told()).toContain(actor);
  },
);
