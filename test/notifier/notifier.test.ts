import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { Registry } from 'prom-client';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Alert } from '../../schemas/alert.js';
import type { Delivery } from '../../schemas/delivery.js';
import { notifierSection } from '../../schemas/notification.js';
import type { Response } from '../../schemas/response.js';
import { type Notifier, startNotifier } from '../../services/notifier/notifier.js';
import { type LocalStream, openLocalStream } from '../../services/stream/local.js';
import type { RecordBatch, Topic } from '../../services/stream/stream.js';
import { alert, response, timeText } from './alerts.js';
import { SlackStandIn } from './slack-standin.js';

const channelId = 'C0123456789';
const otherId = 'C9876543210';
let directory: string;
let stream: LocalStream;
let slack: SlackStandIn;
const running: Notifier[] = [];
const faults: string[] = [];

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'mcp-auditd-notifier-'));
  stream = openLocalStream({ directory, durability: 'kernel' });
  slack = await SlackStandIn.start({ channels: [channelId, otherId] });
  faults.length = 0;
});
afterEach(async () => {
  await Promise.all(running.splice(0).map((each) => each.close()));
  await stream.close();
  await slack.stop();
  rmSync(directory, { recursive: true, force: true });
});

async function start(over: Record<string, unknown> = {}): Promise<Notifier> {
  const bot = { type: 'slack', token_variable: 'TOKEN', channel: channelId, api_url: slack.apiUrl };
  const section = notifierSection.parse({
    channels: { team: bot, other: { ...bot, channel: otherId } },
    route: { channels: ['team'], group_by: ['rule'], group_wait: '0s', group_interval: '1s' },
    picture_wait_ms: 0,
    ...over,
  });
  const notifier = await startNotifier({
    stream,
    section,
    secrets: { directory, environment: { TOKEN: slack.options.token } },
    metrics: new Registry(),
    shared: false,
    onFault: (error, what) => faults.push(`${what}: ${(error as Error).message}`),
  });
  running.push(notifier);
  return notifier;
}

function now(): string {
  return timeText(Date.now());
}

async function raise(...alerts: Partial<Alert>[]): Promise<void> {
  const records = alerts.map((each) => alert({ at: now(), started_at: now(), last_at: now(), ...each }));
  await stream.append(
    'alerts',
    records.map((each) => ({ key: each.alert_id, value: Buffer.from(JSON.stringify(each)), headers: {} })),
  );
}

async function respond(over: Partial<Response>): Promise<void> {
  const record = response({ at: now(), response_id: `response${Math.random()}`, ...over });
  await stream.append('responses', [
    { key: record.response_id, value: Buffer.from(JSON.stringify(record)), headers: {} },
  ]);
}

/** Reads a topic until a record fits. */
async function until<T>(topic: Topic, fits: (record: T) => boolean): Promise<T> {
  return new Promise((resolve, reject) => {
    const found = (record: T): void => {
      resolve(record);
      void consumer.then((each) => each.close());
    };
    const consumer = stream.consume({
      topic,
      assigned: async (partitions) => new Map(partitions.map((each) => [each, 0])),
      revoked: async () => undefined,
      batch: async (batch: RecordBatch) => {
        for (const { value } of batch.records) {
          const record = JSON.parse(value.toString()) as T;
          if (fits(record)) {
            found(record);
            return;
          }
        }
      },
    });
    consumer.catch(reject);
  });
}

const sent = (reason: string) =>
  until<Delivery>('deliveries', (each) => each.state === 'sent' && each.reason === reason);

describe('from an alert to Slack', () => {
  test('fires, is acknowledged, is resolved: one thread, whose first message shows the present state', async () => {
    await start();
    await raise({});
    await sent('new');
    await respond({ kind: 'acknowledge', target: 'a1', author: 'carol' });
    await sent('acknowledged');
    await raise({ state: 'resolved', revision: 2 });
    await sent('resolved');
    const messages = slack.of();
    expect(messages.map(({ thread_ts }) => thread_ts)).toEqual([undefined, messages[0]!.ts, messages[0]!.ts]);
    expect(messages.map(({ text }) => text.slice(0, 12))).toEqual(['Resolved · M', 'Acknowledged', 'Resolved · M']);
    expect(JSON.stringify(messages[1]!.blocks)).toContain('carol has taken it on');
    expect(faults).toEqual([]);
  });

  test('each step is on record, and the far side’s answer', async () => {
    await start();
    await raise({ alert_id: 'x', tenant: 'acme' });
    const record = await sent('new');
    expect(record).toMatchObject({
      channel: 'team',
      via: 'team',
      tenant: 'acme',
      group: { tenant: 'acme', rule: 'volume' },
      alert_ids: ['x'],
      telling: { x: [1, 0, 0] },
      attempt: 1,
      answer: 'ok',
      reference: slack.of()[0]!.ts,
      root: slack.of()[0]!.ts,
      possible_duplicate: false,
    });
    const states: string[] = [];
    await until<Delivery>('deliveries', (each) => {
      if (each.delivery_id === record.delivery_id) states.push(each.state);
      return each.revision === record.revision && each.delivery_id === record.delivery_id;
    });
    expect(states).toEqual(['pending', 'sending', 'sent']);
  });

  test('a restart says nothing twice, and says what happened meanwhile', async () => {
    const first = await start();
    await raise({});
    await sent('new');
    await first.close();
    await raise({ alert_id: 'a2', group: { actor_id: 'bob' } });
    await start();
    await slack.until(2);
    await respond({ kind: 'acknowledge', target: 'a2' });
    await sent('acknowledged');
    expect(slack.of().map(({ metadata }) => metadata?.event_payload.lane)).toHaveLength(3);
    expect(JSON.stringify(slack.of()[1]!.blocks)).toContain('bob: 301 calls');
    expect(slack.of()[1]!.thread_ts).toBe(slack.of()[0]!.ts);
  });

  test('a new channel is not told of what was over before it was there', async () => {
    await raise({ alert_id: 'old' });
    // Of one millisecond the channel and the alert may be either way round.
    const raisedMs = Date.now();
    while (Date.now() <= raisedMs) await setImmediate();
    await start();
    await raise({ alert_id: 'fresh', rule_id: 'other', group: { actor_id: 'bob' } });
    await sent('new');
    expect(slack.of()).toHaveLength(1);
    expect(JSON.stringify(slack.of()[0]!.blocks)).toContain('bob');
  });

  test('silences hide, by hand or by their end they stop to', async () => {
    await start({ route: { channels: ['team'], group_by: ['actor'], group_wait: '0s' } });
    const until = timeText(Date.now() + 3_600_000);
    await respond({ response_id: 's1', kind: 'silence', matchers: ['actor=alice'], starts_at: now(), ends_at: until });
    await raise({ alert_id: 'hidden' }, { alert_id: 'seen', group: { actor_id: 'bob' } });
    await slack.until(1);
    expect(JSON.stringify(slack.of()[0]!.blocks)).toContain('bob');
    await respond({
      response_id: 's1',
      revision: 2,
      kind: 'silence',
      matchers: ['actor=alice'],
      starts_at: now(),
      ends_at: now(),
    });
    await slack.until(2);
    expect(JSON.stringify(slack.of()[1]!.blocks)).toContain('alice');
  });
});

describe('faults', () => {
  test('an answer that is lost leads to no second message: Slack is asked first', async () => {
    await start();
    slack.fault('chat.postMessage', 'lost');
    await raise({});
    const record = await sent('new');
    expect(slack.of()).toHaveLength(1);
    expect(record).toMatchObject({
      attempt: 1,
      answer: 'found there, after its answer was lost',
      reference: slack.of()[0]!.ts,
    });
    expect(slack.calls).toEqual(['chat.postMessage', 'conversations.history']);
  });

  test('429 is waited out, and nothing else is sent to the channel meanwhile', async () => {
    await start({ route: { channels: ['team'], group_by: ['actor'], group_wait: '0s' } });
    slack.fault('chat.postMessage', { retryAfter: 1 });
    const begun = Date.now();
    await raise({}, { alert_id: 'a2', group: { actor_id: 'bob' } });
    await slack.until(2);
    expect(slack.of()[0]!.atMs - begun).toBeGreaterThanOrEqual(1_000);
    expect(slack.refusedByRate).toBe(0);
  });

  test('one dead channel delays no other, falls back, and raises an alert elsewhere, which resolves when it is back', async () => {
    const bot = { type: 'slack', token_variable: 'TOKEN', channel: channelId, api_url: slack.apiUrl };
    await start({
      channels: {
        team: { ...bot, fallback: 'other' },
        other: { ...bot, channel: otherId },
        dead: { type: 'slack', webhook_variable: 'TOKEN' },
      },
      route: { channels: ['team'], group_by: ['actor'], group_wait: '0s', group_interval: '0s' },
    });
    slack.fault('chat.postMessage', { error: 'token_revoked' });
    await raise({});
    const record = await sent('new');
    expect(record).toMatchObject({ channel: 'team', via: 'other', attempt: 2, root: '' });
    const trouble = await until<Alert>('alerts', (each) => each.rule_id === 'mcp-auditd.channel_failing');
    expect(trouble).toMatchObject({ state: 'firing', group: { channel: 'team' } });
    await slack.until(2, otherId);
    expect(JSON.stringify(slack.of(otherId).at(-1)!.blocks)).toContain(
      'The channel team does not take messages: token_revoked',
    );
    await raise({ alert_id: 'a2', group: { actor_id: 'bob' } });
    await slack.until(1);
    await until<Alert>('alerts', (each) => each.alert_id === trouble.alert_id && each.state === 'resolved');
  });

  test('a record that is no alert is counted and passed over', async () => {
    await start();
    await stream.append('alerts', [{ key: '', value: Buffer.from('{"alert_id": 5}'), headers: {} }]);
    await raise({});
    await sent('new');
    expect(faults).toEqual(['reading alerts: the record at offset 0 of alerts is no alert']);
  });

  test('what was given up is sent again when a person says so', async () => {
    await start();
    slack.fault('chat.postMessage', { error: 'is_archived' });
    await raise({});
    const record = await until<Delivery>('deliveries', (each) => each.state === 'given_up');
    expect(record).toMatchObject({ error_kind: 'refused', error: 'is_archived' });
    await respond({ kind: 'retry', target: record.delivery_id });
    await slack.until(1);
    expect(
      await until<Delivery>('deliveries', (each) => each.state === 'sent' && each.channel === 'team'),
    ).toMatchObject({ reason: 'new', sequence: 2 });
  });

  test('a storm of 10,000 alerts becomes a few messages, and every alert is told', async () => {
    const bot = { type: 'slack', token_variable: 'TOKEN', channel: channelId, api_url: slack.apiUrl };
    await start({
      channels: { team: { ...bot, groups_per_minute: 3 } },
      route: { channels: ['team'], group_by: ['actor'], group_wait: '0s', group_interval: '1s' },
    });
    const alerts = Array.from({ length: 10_000 }, (_, at) => ({
      alert_id: `s${at}`,
      group: { actor_id: `actor${at}` },
    }));
    await raise(...alerts);
    const storm = await until<Delivery>(
      'deliveries',
      (each) => each.state === 'sent' && each.group.storm !== undefined,
    );
    expect(Object.keys(storm.telling)).toHaveLength(10_000 - 3);
    expect(storm.alert_ids).toHaveLength(1_000);
    expect(slack.refusedByRate).toBe(0);
    expect(slack.of().length).toBeLessThanOrEqual(4);
  });
});

test('a notifier without channels reads nothing', async () => {
  const notifier = await start({ channels: {}, route: {} });
  expect(notifier.status()).toEqual({ channels: [], alerts: 0, silences: 0 });
});
