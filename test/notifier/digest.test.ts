/** Digests: what they say, asked of the real engine, how they look, and when they are due. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Registry } from 'prom-client';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { notifierSection } from '../../schemas/notification.js';
import { type DigestSchedule, scheduleDigests } from '../../services/notifier/digest.js';
import { digestView } from '../../services/notifier/digest-view.js';
import { startNotifier } from '../../services/notifier/notifier.js';
import { mailBody } from '../../services/notifier/render/mail.js';
import { slackBlocks } from '../../services/notifier/render/slack-blocks.js';
import type { View } from '../../services/notifier/render/view.js';
import type { Store } from '../../services/store/store.js';
import { openLocalStream } from '../../services/stream/local.js';
import { timeText } from './alerts.js';
import { hostileTexts } from './hostile.js';
import { MailServer } from './mail-server.js';
import { delivery } from './messages.js';
import { SlackStandIn } from './slack-standin.js';
import { History } from './stored.js';

const minuteMs = 60_000;
const hourMs = 60 * minuteMs;
const dayMs = 24 * hourMs;
/** Recent, because the table's own retention drops what is old: yesterday at 8:00. */
const dueMs = Math.floor(Date.now() / dayMs) * dayMs - dayMs + 8 * hourMs;

/** Characters that steer a reader's program, line ends apart. */
const steering = /(?!\n)[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u;

let store: Store;
let remove: () => Promise<void>;
const faults: string[] = [];

beforeAll(async () => {
  const history = new History();
  const read = { actor_id: 'alice', server_name: 'files', tool_name: 'read_file' };
  const write = { actor_id: 'bob', server_name: 'files', tool_name: 'write_file' };
  const numbered = (producer_sequence: number) => ({ producer_id: 'gateway-1', producer_sequence });
  history.call(dueMs - 20 * dayMs, read);
  history.call(dueMs - 5 * dayMs, { ...read, tool_name: 'list_files' });
  for (let at = 0; at < 4; at++) history.call(dueMs - 30 * hourMs + at * 1_000, { ...read, ...numbered(at + 1) });
  // 5 is missing at the begin of the day, 8 and 9 within it; the last call is of the next digest.
  for (const [at, sequence] of [6, 7, 10, 11, 12, 13].entries())
    history.call(dueMs - 20 * hourMs + at * minuteMs, {
      ...read,
      ...numbered(sequence),
      outcome: at < 2 ? 'tool_error' : 'success',
    });
  for (let at = 0; at < 3; at++) history.call(dueMs - 10 * hourMs + at * minuteMs, write);
  history.call(dueMs - 1, { actor_id: 'carol', server_name: 'web', tool_name: 'search' }, 'acme');
  history.call(dueMs, { ...write, tool_name: 'too_late' });
  for (const text of hostileTexts)
    history.call(
      dueMs - hourMs,
      { actor_id: text.slice(0, 200), server_name: text.slice(0, 200), tool_name: text.slice(0, 200) },
      'evil',
    );
  for (let at = 0; at < 12; at++)
    history.call(
      dueMs - 2 * hourMs,
      { actor_id: `${'<'.repeat(60)}${at}`, server_name: '<'.repeat(60), tool_name: `${at}${'&'.repeat(60)}` },
      'angle',
    );

  const fire = (alert_id: string, atMs: number, over = {}) => history.alert(atMs, { alert_id, ...over });
  fire('taken', dueMs - 6 * hourMs);
  history.respond(dueMs - 6 * hourMs + 5 * minuteMs, { kind: 'acknowledge', target: 'taken' });
  history.respond(dueMs - 3 * hourMs, { kind: 'acknowledge', target: 'taken' });
  fire('over', dueMs - 5 * hourMs);
  fire('over', dueMs - 4 * hourMs, { revision: 2, state: 'resolved' });
  fire('closed', dueMs - 5 * hourMs);
  history.respond(dueMs - 5 * hourMs + 15 * minuteMs, { kind: 'resolve', target: 'closed' });
  fire('tried', dueMs - 5 * hourMs, { dry_run: true });
  // It fired the day before, and only went on in this one.
  fire('earlier', dueMs - 30 * hourMs, { rule_id: 'slow' });
  fire('earlier', dueMs - 20 * hourMs, { rule_id: 'slow', revision: 2 });
  history.respond(dueMs - 29 * hourMs, { kind: 'acknowledge', target: 'earlier' });
  fire('theirs', dueMs - 2 * hourMs, { rule_id: 'scan', tenant: 'acme' });
  history.respond(dueMs - hourMs, { kind: 'acknowledge', target: 'theirs', tenant: 'other' });
  for (let at = 0; at < 12; at++) fire(`noise${at}`, dueMs - 8 * hourMs + at * minuteMs, { rule_id: 'noise' });
  ({ store, remove } = await history.store());
});
afterAll(() => remove());

async function digest(over: Record<string, unknown> = {}, openStore = async () => store): Promise<View> {
  const mail = { type: 'email', url: 'smtp://127.0.0.1', from: 'a@example.com', to: ['b@example.com'] };
  const section = notifierSection.parse({
    channels: { team: mail },
    digests: { daily: { cron: '0 9 * * *', zone: 'Europe/Amsterdam', channels: ['team'], ...over } },
  });
  faults.length = 0;
  const record = delivery({ reason: 'digest', group: { digest: 'daily' }, opened_at: timeText(dueMs) });
  return digestView(record, section, openStore, (error) => faults.push((error as Error).message));
}

function table(view: View, heading: string): readonly (readonly string[])[] {
  return view.tables.find((each) => each.heading === heading)!.rows;
}

describe('what a day’s digest says', () => {
  let view: View;
  beforeAll(async () => {
    view = await digest({ tenant: 'default' });
    expect(faults).toEqual([]);
  });

  test('volume, beside that of the day before', () => {
    expect(view.sentence).toBe('9 calls (+125 % on the time before) of 2 actors on 1 server, 22.2 % failed');
    expect(view.facts).toEqual([{ name: 'From, to', fromMs: dueMs - dayMs, toMs: dueMs }]);
    expect(view.title).toMatch(/^daily · \d+ \w+ \d{4}$/);
  });

  test('who called most, and what', () => {
    expect(table(view, 'Who called most')).toEqual([
      ['alice', '6', '2'],
      ['bob', '3', '0'],
    ]);
    expect(table(view, 'What was called most')).toEqual([
      ['read_file', 'files', '6', '2'],
      ['write_file', 'files', '3', '0'],
    ]);
  });

  test('a tool is new that nobody called in the 30 days before', () => {
    expect(table(view, 'Tools that are new')).toEqual([['write_file', 'files', '3']]);
  });

  test('alerts by rule that fired in it, with the time until somebody took one on', () => {
    expect(table(view, 'Alerts by rule')).toEqual([
      ['noise', '12', '12', '0', '–'],
      ['volume', '3', '1', '2', '10 min'],
    ]);
  });

  test('a rule that nobody answers is named, with what to do', () => {
    expect(table(view, 'Rules to tune')).toEqual([
      ['noise', '12', 'nobody acknowledged one: raise the threshold, add an exception, or send it to a digest only'],
    ]);
  });

  test('gaps in a producer’s numbers, that at the begin of the day among them', () => {
    expect(table(view, 'Gaps in the record')).toEqual([['gateway-1', '3']]);
  });
});

test('a week looks back seven days', async () => {
  const view = await digest({ period: '7d', tenant: 'default' });
  expect(view.sentence).toBe('14 calls of 2 actors on 1 server, 14.3 % failed');
  expect(table(view, 'Tools that are new').map(([tool]) => tool)).toEqual(['list_files', 'write_file']);
  expect(table(view, 'Alerts by rule')).toContainEqual(['slow', '1', '1', '1', '60 min']);
});

test('without a tenant it tells of all; another tenant’s acknowledgement does not count', async () => {
  const view = await digest();
  expect(table(view, 'Tools that are new')).toHaveLength(10);
  expect(table(view, 'Alerts by rule')).toContainEqual(['scan', '1', '1', '0', '–']);
  expect(faults).toEqual([]);
});

test('a tenant without anything reads as such', async () => {
  const view = await digest({ tenant: 'nobody' });
  expect(view.sentence).toBe('0 calls of 0 actors on 0 servers, 0.0 % failed');
  expect(view.tables.map(({ empty, rows }) => [empty, rows.length])).toEqual([
    ['nobody', 0],
    ['nothing', 0],
    ['none in the 30 days before', 0],
    ['none', 0],
    ['none is noisy', 0],
    ['none: every producer’s events are there', 0],
  ]);
});

test('a store that is away is said to be so, and never reads as a quiet day', async () => {
  const view = await digest({}, async () => {
    throw new Error('no answer');
  });
  expect(view.sentence).toBe('The volume of calls could not be read');
  expect(view.tables.map(({ empty }) => empty)).toEqual(Array(6).fill('could not be read'));
  expect(new Set(faults)).toEqual(new Set(['no answer']));
});

describe('how it looks', () => {
  test('in Slack: a table for each part, within the limits', async () => {
    const blocks = slackBlocks(await digest({ tenant: 'default' }));
    const texts = blocks.map((block) => ('text' in block ? block.text.text : ''));
    expect(texts[0]).toMatch(/Digest · daily · /);
    expect(texts).toContain('*Who called most*\n```actor  calls  failed\nalice  6      2\nbob    3      0```');
    expect(texts.filter((text) => text.startsWith('*'))).toHaveLength(6);
  });

  test('in a mail: HTML and the same as text', async () => {
    const { subject, html, text } = mailBody(await digest({ tenant: 'default' }), 'Europe/Amsterdam');
    expect(subject).toMatch(/^daily · /);
    expect(html).toContain('>Who called most</h2>');
    expect(html).toMatch(/>alice<\/td><td[^>]*>6<\/td><td[^>]*>2<\/td>/);
    expect(text).toContain('Who called most\n---------------\nactor: alice, calls: 6, failed: 2\n');
    expect(text).toContain('rule: volume, alerts: 3, still firing: 1, acknowledged: 2, median time to that: 10 min');
  });

  test.each(['evil', 'angle'])('names of the tenant %s are text, whole, and nothing else', async (tenant) => {
    const view = await digest({ tenant });
    expect(faults).toEqual([]);
    expect(table(view, 'Tools that are new')).toHaveLength(10);
    for (const block of slackBlocks(view)) {
      if (!('text' in block)) continue;
      const { type, text } = block.text;
      expect(text.length).toBeLessThanOrEqual(3_000);
      if (type === 'plain_text') continue;
      // Whatever a name holds stays between the two fences.
      expect([0, 2]).toContain(text.split('```').length - 1);
      if (text.includes('```')) expect(text.endsWith('```')).toBe(true);
      expect(text).not.toMatch(/[<>]/);
      expect(text).not.toMatch(steering);
      expect(text.replaceAll(/&(amp|lt|gt);/g, '')).not.toContain('&');
    }
    const { html, text } = mailBody(view, 'UTC');
    expect(html).not.toMatch(/<script|<img|javascript:alert\(1\)"|<h1>Security/);
    expect(html).not.toMatch(steering);
    expect(text).not.toMatch(steering);
  });
});

describe('when it is due', () => {
  const due: string[] = [];
  let schedule: DigestSchedule | undefined;
  const section = (digests: Record<string, unknown>) =>
    notifierSection.parse({
      channels: Object.fromEntries(
        ['team', 'other'].map((name) => [
          name,
          { type: 'email', url: 'smtp://127.0.0.1', from: 'a@example.com', to: ['b@example.com'] },
        ]),
      ),
      digests,
    });
  const begin = (digests: Record<string, unknown>, at: string): void => {
    vi.setSystemTime(new Date(at));
    schedule = scheduleDigests(section(digests), (name, channel, ms) =>
      due.push(`${name} ${channel} ${new Date(ms).toISOString().slice(0, 16)}`),
    );
  };
  beforeEach(() => {
    vi.useFakeTimers();
    due.length = 0;
  });
  afterEach(async () => {
    await schedule?.stop();
    vi.useRealTimers();
  });

  test('at the time of its own zone, before and after clocks change, once for each channel', async () => {
    const zone = 'Europe/Amsterdam';
    begin({ daily: { cron: '0 9 * * *', zone, channels: ['team', 'other'] } }, '2026-10-24T05:00:00Z');
    await vi.advanceTimersByTimeAsync(2 * dayMs);
    expect(due).toEqual([
      'daily team 2026-10-24T07:00',
      'daily other 2026-10-24T07:00',
      'daily team 2026-10-25T08:00',
      'daily other 2026-10-25T08:00',
    ]);
  });

  test('a weekly one on its day alone', async () => {
    begin({ weekly: { cron: '30 8 * * 1', zone: 'Asia/Tokyo', channels: ['team'] } }, '2026-11-21T00:00:00Z');
    await vi.advanceTimersByTimeAsync(9 * dayMs);
    // Monday morning in Tokyo is Sunday evening in UTC.
    expect(due).toEqual(['weekly team 2026-11-22T23:30', 'weekly team 2026-11-29T23:30']);
  });

  test('what was missed is made up for within six hours, for the channels that were taken over', () => {
    const zone = 'Europe/Amsterdam';
    begin({ daily: { cron: '0 9 * * *', zone, channels: ['team', 'other'] } }, '2026-11-24T13:59:00Z');
    schedule!.catchUp(['other', 'third'], Date.now());
    expect(due).toEqual(['daily other 2026-11-24T08:00']);
    schedule!.catchUp(['other'], Date.parse('2026-11-24T14:00:00Z'));
    expect(due).toHaveLength(1);
  });
});

describe('through a whole notifier', () => {
  beforeEach(() => void vi.useRealTimers());

  test('a digest that was due at eight is posted and mailed at five past, and once, whatever is started anew', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'digest-'));
    const slack = await SlackStandIn.start({ channels: ['C0123456789'] });
    const mail = await MailServer.start();
    const stream = openLocalStream({ directory, durability: 'kernel' });
    const wrong: unknown[] = [];
    const start = (atMs: number) => {
      const offset = atMs - Date.now();
      return startNotifier({
        stream,
        store: async () => store,
        section: notifierSection.parse({
          channels: {
            team: { type: 'slack', token_variable: 'TOKEN', channel: 'C0123456789', api_url: slack.apiUrl },
            post: {
              type: 'email',
              url: `smtp://127.0.0.1:${mail.port}`,
              tls: 'when_offered',
              from: 'a@example.com',
              to: ['b@example.com'],
            },
          },
          digests: { daily: { cron: '0 8 * * *', zone: 'UTC', channels: ['team', 'post'], tenant: 'default' } },
        }),
        secrets: { directory, environment: { TOKEN: slack.options.token } },
        metrics: new Registry(),
        shared: false,
        clock: () => Date.now() + offset,
        onFault: (error) => wrong.push(error),
      });
    };
    try {
      // A channel has no digests of before it was there.
      const before = await start(dueMs - 5 * minuteMs);
      await expect.poll(async () => (await stream.partitions('deliveries'))[0]?.endOffset).toBe(2);
      await before.close();
      expect(slack.of()).toHaveLength(0);
      const first = await start(dueMs + 5 * minuteMs);
      await slack.until(1);
      await expect.poll(() => mail.mails.length, { timeout: 20_000 }).toBe(1);
      await first.close();
      const sentence = '9 calls (+125 % on the time before) of 2 actors on 1 server, 22.2 % failed';
      expect(JSON.stringify(slack.of()[0]?.blocks)).toContain('9 calls');
      expect(mail.mails[0]?.mail.text).toContain(sentence);
      const second = await start(dueMs + 6 * minuteMs);
      await expect.poll(() => second.status().channels.length).toBe(2);
      await second.close();
      expect([slack.of().length, mail.mails.length, wrong]).toEqual([1, 1, []]);
    } finally {
      await stream.close();
      await slack.stop();
      await mail.stop();
      rmSync(directory, { recursive: true, force: true });
    }
  }, 60_000);
});
