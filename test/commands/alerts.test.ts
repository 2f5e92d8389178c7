/** The whole way: calls over HTTP, a rule, an alert, Slack, and what people do about it from the command line. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { SlackStandIn } from '../notifier/slack-standin.js';
import { event, type Running, Sandbox } from './run.js';

const sandbox = new Sandbox();
let slack: SlackStandIn;
let daemon: Running;

beforeAll(async () => {
  slack = await SlackStandIn.start();
  mkdirSync(join(sandbox.data, 'rules'), { recursive: true });
  writeFileSync(join(sandbox.home, 'token'), `${slack.options.token}\n`);
  writeFileSync(
    join(sandbox.data, 'rules', 'exports.yaml'),
    `rules:
  - id: many-exports
    title: Many exports by one actor
    level: high
    type: event_count
    detection: {sel: {tool: export}, condition: sel}
    group-by: [actor]
    window: {size: 10m}
    condition: {gte: 3}
    runbook: Ask the person.
`,
  );
  writeFileSync(
    join(sandbox.data, 'config.yaml'),
    `rules: {pack: false}
notifier:
  channels:
    team: {type: slack, token_file: ../token, channel: C0123456789, api_url: "${slack.apiUrl}"}
  route:
    channels: [team]
    group_by: [actor]
    group_wait: 0s
    group_interval: 1s
`,
  );
  daemon = await sandbox.up();
});
afterAll(async () => {
  await sandbox.dispose();
  await slack.stop();
});

function exports(actor: string, count: number): object[] {
  return Array.from({ length: count }, () =>
    event({ actor_id: actor, tool_name: 'export', occurred_at: new Date().toISOString() }),
  );
}

test('an alert reaches Slack, is listed, shown and acknowledged', async () => {
  await sandbox.send(daemon.url, exports('ann', 3));
  const [first] = await slack.until(1);
  expect(JSON.stringify(first!.blocks)).toContain('🟠 High · Many exports by one actor · ann');
  await sandbox.until(daemon.url, 'SELECT count() FROM alert_states', '1');
  const listed = await sandbox.run(['alerts', 'list', '--match', 'level>=high', 'actor=ann']);
  expect(listed.stdout).toMatch(
    /^alert +level +state +rule +who +at \(UTC\) +what\n[0-9a-f]{8} +high +firing +many-exports +ann /,
  );
  expect((await sandbox.run(['alerts', 'list', '--match', 'level=low'])).stdout).toBe('Nothing fires.\n');
  const id = listed.stdout.split('\n')[1]!.slice(0, 8);
  const taken = await sandbox.run(['alerts', 'ack', id, '--author', 'eve', '--reason', 'asking ann']);
  expect(taken).toMatchObject({ code: 0, stdout: expect.stringMatching(/^acknowledged [0-9a-f]{32}\n$/) as string });
  const [, reply] = await slack.until(2);
  expect(reply!.thread_ts).toBe(first!.ts);
  expect(JSON.stringify(reply!.blocks)).toContain('eve has taken it on (asking ann)');
  await sandbox.until(
    daemon.url,
    "SELECT count() FROM deliveries_latest WHERE reason = 'acknowledged' AND state = 'sent'",
    '1',
  );
  const shown = await sandbox.run(['alerts', 'show', id]);
  expect(shown.stdout).toContain('state:       acknowledged, acknowledged by eve');
  expect(shown.stdout).toContain('Runbook:\nAsk the person.');
  expect(shown.stdout).toMatch(/acknowledge +eve \(key responder\) +asking ann/);
  expect(shown.stdout).toMatch(/team +new +sent +ok\n[^\n]*team +acknowledged +sent +ok/);
  const route = await sandbox.run(['notify', 'route', id]);
  expect(route.stdout).toMatch(/team +route +tenant=default actor=ann +0 s +1 s +no/);
  expect((await sandbox.run(['alerts', 'resolve', id])).code).toBe(0);
  await slack.until(3);
  await sandbox.until(daemon.url, 'SELECT standing FROM alert_states', 'resolved');
  expect((await sandbox.run(['alerts', 'list'])).stdout).toBe('Nothing fires.\n');
});

test('a silence hides, is listed, and ends by hand', async () => {
  const words = ['silence', 'add', 'actor=bob', '--for', '1h', '--reason', 'load test', '--author', 'eve'];
  const added = await sandbox.run(words);
  expect(added.stdout).toMatch(/^silenced until \S+: [0-9a-f-]{36}\n$/);
  const id = added.stdout.trim().split(': ')[1]!;
  await sandbox.until(daemon.url, "SELECT count() FROM responses WHERE kind = 'silence'", '1');
  expect((await sandbox.run(['silence', 'list'])).stdout).toMatch(/actor=bob +until \S+ \S+ +eve +load test/);
  await sandbox.send(daemon.url, exports('bob', 3));
  await sandbox.until(daemon.url, "SELECT count() FROM alert_states WHERE has(mapValues(group), 'bob')", '1');
  expect(slack.of()).toHaveLength(3);
  expect((await sandbox.run(['silence', 'expire', id.slice(0, 8)])).stdout).toBe(`ended ${id}\n`);
  await slack.until(4);
  expect(JSON.stringify(slack.of()[3]!.blocks)).toContain('bob');
  await sandbox.until(daemon.url, "SELECT ends_at < now64(6, 'UTC') FROM responses_latest WHERE kind = 'silence'", '1');
  expect((await sandbox.run(['silence', 'list'])).stdout).toBe('Nothing is silenced.\n');
});

test('what failed is listed and sent again', async () => {
  slack.fault('chat.postMessage', { error: 'is_archived' });
  await sandbox.send(daemon.url, exports('cid', 3));
  await sandbox.until(daemon.url, "SELECT count() FROM deliveries_latest WHERE state = 'given_up'", '1');
  const failed = await sandbox.run(['deliveries', 'list', '--failed']);
  expect(failed.stdout).toMatch(
    /team +given_up +new +actor=cid tenant=default|team +given_up +new +tenant=default actor=cid/,
  );
  expect(failed.stdout).toContain('is_archived');
  const retried = await sandbox.run(['deliveries', 'retry', '--failed', '--reason', 'channel is back']);
  expect(retried).toMatchObject({ code: 0, stdout: '1 delivery is sent again\n' });
  await slack.until(5);
});

test('notify test tells what the far side answered, and never the secret', async () => {
  const sent = await sandbox.run(['notify', 'test', 'team']);
  expect(sent).toMatchObject({
    code: 0,
    stdout: expect.stringMatching(/^team \(slack\) arrived, answer: ok \(\d+ ms\)\n$/) as string,
  });
  expect(JSON.stringify(slack.of().at(-1)!.blocks)).toContain('this is a test: nothing happened');
  writeFileSync(join(sandbox.home, 'token'), 'xoxb-not-the-token\n');
  const refused = await sandbox.run(['notify', 'test', 'team', '--json']);
  expect(refused.code).toBe(1);
  expect(JSON.parse(refused.stdout)).toMatchObject({ channel: 'team', kind: 'unauthorized', message: 'invalid_auth' });
  const config = await sandbox.run(['config', 'show']);
  expect(`${refused.stdout}${refused.stderr}${config.stdout}`).not.toMatch(/xoxb/);
});

test.each([
  [['alerts', 'ack', 'ffffffff'], 2, 'There is no such alert'],
  [['silence', 'add', 'actor', '--for', '1h', '--reason', 'x'], 2, '"actor" is no matcher'],
  [['silence', 'add', 'actor=a', '--reason', 'x'], 2, 'Say how long'],
  [['silence', 'expire', 'ffff'], 2, 'There is no such silence'],
  [['deliveries', 'retry'], 2, 'Name a delivery'],
  [['notify', 'test', 'tem'], 2, 'did you mean team?'],
])('%j is refused with %i and the reason', async (words, code, message) => {
  const result = await sandbox.run(words);
  expect(result.stderr).toContain(message);
  expect(result.code).toBe(code);
});
