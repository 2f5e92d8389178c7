import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { notifierSection } from '../../schemas/notification.js';
import type { Channel } from '../../services/notifier/channel.js';
import { makeChannel } from '../../services/notifier/channels.js';
import { startMs, timeText } from './alerts.js';
import { hostileTexts } from './hostile.js';
import { message } from './messages.js';
import { closedPort } from './ports.js';
import { SlackStandIn, wrongBlocks } from './slack-standin.js';

/** SLACK_BOT_TOKEN and SLACK_CHANNEL run what needs no fault against Slack itself. */
const real = process.env.SLACK_BOT_TOKEN !== undefined && process.env.SLACK_CHANNEL !== undefined;

let slack: SlackStandIn;
let channel: Channel;

function make(over: Record<string, unknown> = {}, environment: Record<string, string> = {}): Channel {
  const section = notifierSection.parse({
    channels: {
      team: { type: 'slack', token_variable: 'TOKEN', channel: 'C0123456789', api_url: slack.apiUrl, ...over },
    },
  });
  return makeChannel('team', section, {
    directory: '/',
    environment: { TOKEN: slack.options.token, HOOK: slack.webhookUrl, ...environment },
  });
}

beforeEach(async () => {
  slack = await SlackStandIn.start();
  channel = make();
});
afterEach(async () => {
  await slack.stop();
});

describe('a bot', () => {
  test('posts, replies in the thread, and shows the present state in the first message', async () => {
    const first = await channel.send(await message([{}], { reason: 'new' }));
    expect(first).toMatchObject({ kind: 'sent', answer: 'ok' });
    const root = (first as { root: string }).root;
    const over = await message([{ state: 'resolved', revision: 2, last_at: timeText(startMs + 60_000) }], {
      reason: 'resolved',
      root,
    });
    expect(await channel.send(over)).toMatchObject({ kind: 'sent' });
    const [opening, reply] = slack.of();
    expect(opening).toMatchObject({ ts: root, edited: 1 });
    expect(JSON.stringify(opening!.blocks)).toContain('✅ Resolved · Many calls of one actor');
    expect(reply).toMatchObject({ thread_ts: root });
    expect(JSON.stringify(reply!.blocks)).toContain('✅ Resolved: Over: alice: 301 calls');
  });

  test('says what happened, who, how far over the limit, when in the reader’s zone, the rate, evidence and runbook', async () => {
    const sent = await message(
      [
        {
          group: { actor_id: 'agent-7', tool_name: 'read_file' },
          runbook: 'https://runbooks.example/volume',
          evidence: ['019ab3f0-8c1b-7001-9f3e-5d2c8a417be6'],
          evidence_sql: "SELECT * FROM calls WHERE actor_id = 'agent-7'",
          reason: '301 calls of agent-7 in 5 minutes, more than 300',
        },
      ],
      {},
      {
        context: {
          series: { counts: [0, 3, 60, 241], spanMs: 60_000, endMs: startMs },
          actorVerified: false,
          servers: ['files'],
        },
        publicUrl: 'https://audit.example/',
      },
    );
    await channel.send(sent);
    const text = JSON.stringify(slack.of()[0]!.blocks, null, 1);
    for (const words of [
      '🟠 High · Many calls of one actor',
      '301 calls of agent-7 in 5 minutes, more than 300',
      '*Who*\\n`agent-7` (claimed, not verified)',
      '*Server*\\n`files`',
      '*Tool*\\n`read_file`',
      '*Over the limit*\\n301, limit 300, 1.0 times as much',
      `<!date^${startMs / 1_000}^{date_short_pretty} {time_secs}|2026-11-24 09:00:00 UTC>`,
      '`▁▂▃█`\\nup to 241 calls in a minute, the last 4 minutes',
      '<https://runbooks.example/volume|Runbook>',
      "```SELECT * FROM calls WHERE actor_id = 'agent-7'```",
      '<https://audit.example/alerts/alert0|Open the alert>',
      'mcp-auditd alerts ack alert0',
    ])
      expect(text).toContain(words);
  });

  test('ten thousand alerts are one message within the limits', async () => {
    const alerts = Array.from({ length: 10_000 }, (_, at) => ({
      alert_id: `a${at}`,
      group: { actor_id: `actor${at}` },
      rule_id: `r${at % 30}`,
    }));
    const sent = await message(alerts, { group: { tenant: 'default', storm: 'yes' } });
    expect(await channel.send(sent)).toMatchObject({ kind: 'sent' });
    const text = JSON.stringify(slack.of()[0]!.blocks);
    expect(text).toContain('10000 alerts, 10000 firing');
    expect(text).toContain('and 9990 more');
  });

  test('finds a message whose answer was lost, in the channel and in a thread, and none that never arrived', async () => {
    slack.fault('chat.postMessage', 'lost');
    const first = await message();
    expect(await channel.send(first)).toMatchObject({ kind: 'ambiguous' });
    const found = await channel.find!(first);
    expect(found).toEqual({ kind: 'found', reference: slack.of()[0]!.ts, root: slack.of()[0]!.ts });
    const reply = await message([{}], { root: slack.of()[0]!.ts });
    expect(await channel.find!(reply)).toEqual({ kind: 'absent' });
    slack.fault('chat.postMessage', 'lost');
    expect(await channel.send(reply)).toMatchObject({ kind: 'ambiguous' });
    expect(await channel.find!(reply)).toEqual({ kind: 'found', reference: slack.of()[1]!.ts });
    expect(await channel.find!(await message())).toEqual({ kind: 'absent' });
  });

  test('looks through several pages of history', async () => {
    await slack.stop();
    slack = await SlackStandIn.start({ limitsRate: false });
    channel = make();
    const wanted = await message();
    await channel.send(wanted);
    const others = await message();
    for (let each = 0; each < 130; each++)
      await channel.send({ ...others, delivery: { ...others.delivery, delivery_id: `x${each}` } });
    expect(await channel.find!(wanted)).toMatchObject({ kind: 'found' });
  });

  test('without the right to read the history it says that it cannot tell', async () => {
    await slack.stop();
    slack = await SlackStandIn.start({ scopes: ['chat:write'] });
    channel = make();
    expect(await channel.find!(await message())).toEqual({ kind: 'unknown' });
  });

  test.each([
    ['429 with Retry-After', { retryAfter: 30 }, { kind: 'rate_limited', retryAfterMs: 30_000 }],
    ['an internal error', { error: 'internal_error' }, { kind: 'ambiguous', message: 'internal_error' }],
    ['HTTP 500', 'http_500', { kind: 'ambiguous' }],
    ['a connection that breaks', 'refused', { kind: 'ambiguous' }],
    ['a revoked token', { error: 'token_revoked' }, { kind: 'unauthorized' }],
    ['an archived channel', { error: 'is_archived' }, { kind: 'refused', message: 'is_archived' }],
    ['refused blocks', { error: 'invalid_blocks' }, { kind: 'content' }],
  ] as const)('%s is data', async (_name, fault, expected) => {
    slack.fault('chat.postMessage', fault);
    expect(await channel.send(await message())).toMatchObject(expected);
    expect(slack.of()).toHaveLength(0);
    // The library's own retries are off: one call, one answer.
    expect(slack.calls).toEqual(['chat.postMessage']);
  });

  test('names the scope that is missing and never the token', async () => {
    await slack.stop();
    slack = await SlackStandIn.start({ scopes: [] });
    const outcome = await make().send(await message());
    expect(outcome).toMatchObject({ kind: 'unauthorized', message: 'missing_scope, needed is the scope chat:write' });
    const wrong = await make({}, { TOKEN: 'xoxb-wrong-token-value' }).send(await message());
    expect(wrong).toMatchObject({ kind: 'unauthorized', message: 'invalid_auth' });
    const away = await make({ api_url: `http://127.0.0.1:${await closedPort()}/` }).send(await message());
    expect(away).toMatchObject({ kind: 'unavailable' });
    expect(JSON.stringify([outcome, wrong, away])).not.toMatch(/xoxb/);
  });

  test('a first message that was deleted does not fail what is told in its thread', async () => {
    const first = await channel.send(await message());
    const root = (first as { root: string }).root;
    slack.fault('chat.update', { error: 'cant_update_message' });
    expect(await channel.send(await message([{}], { root }))).toMatchObject({
      kind: 'sent',
      answer: 'ok, but the first message was not changed: cant_update_message',
    });
  });

  test('the simplest form has no blocks', async () => {
    await channel.send({ ...(await message()), simple: true });
    expect(slack.of()[0]).toMatchObject({
      blocks: [],
      text: 'High · Many calls of one actor: alice: 301 calls in 5 minutes, more than 300',
    });
  });
});

describe('hostile texts', () => {
  test.each(hostileTexts.map((text) => [text.slice(0, 40), text] as const))(
    '%j is shown harmlessly',
    async (_name, text) => {
      const sent = await message(
        [
          {
            title: text,
            reason: text,
            rule_id: text.slice(0, 100),
            tenant: text.slice(0, 100),
            group: { actor_id: text, tool_name: text, server_name: text, 'attributes.x': text },
            runbook: text,
            evidence_sql: text,
            values: { count: text, threshold: text },
            flags: [text],
          },
        ],
        { group: { tenant: text, rule: text } },
        { templates: { details: '{{{title}}} {{sentence}} {{#alerts}}{{{actor_id}}}{{/alerts}}' } },
      );
      const outcome = await channel.send(sent);
      expect(outcome).toMatchObject({ kind: 'sent' });
      const { text: fallback, blocks } = slack.of()[0]!;
      expect(wrongBlocks(blocks)).toEqual([]);
      // In text that Slack interprets, `<` opens only what we wrote ourselves: dates and the runbook's link.
      const interpreted = [fallback, ...markdowns(blocks)];
      for (const each of interpreted)
        for (const opened of each.matchAll(/<[^>]*/g))
          expect(opened[0]).toMatch(
            /^<(!date\^\d+\^\{date_short_pretty\} \{time_secs\}\||https:\/\/evil\.example\/\?a=1&amp;b=)/,
          );
      expect(JSON.stringify(blocks)).not.toMatch(/[\u202e\u200b\ufeff]/);
    },
  );
});

function markdowns(blocks: readonly Record<string, unknown>[]): string[] {
  const found: string[] = [];
  const visit = (value: unknown): void => {
    if (typeof value !== 'object' || value === null) return;
    const { type, text, verbatim } = value as { type?: unknown; text?: unknown; verbatim?: unknown };
    if (type === 'mrkdwn') {
      expect(verbatim).toBe(true);
      found.push(String(text));
    }
    for (const each of Object.values(value)) visit(each);
  };
  visit(blocks);
  return found;
}

describe('an incoming webhook', () => {
  const hook = { token_variable: undefined, channel: undefined, webhook_variable: 'HOOK' };

  test('posts and reads the plain answers', async () => {
    expect(await make(hook).send(await message())).toEqual({ kind: 'sent', reference: '', answer: '200 ok' });
    expect(slack.webhookMessages).toHaveLength(1);
    const wrong = await make(hook, { HOOK: `${slack.url}/services/T0/B0/secretpart` }).send(await message());
    expect(wrong).toEqual({ kind: 'refused', message: '403 invalid_token' });
    slack.fault('webhook', { retryAfter: 7 });
    expect(await make(hook).send(await message())).toMatchObject({ kind: 'rate_limited', retryAfterMs: 7_000 });
    slack.fault('webhook', 'lost');
    expect(await make(hook).send(await message())).toMatchObject({ kind: 'ambiguous' });
    const away = await make(hook, { HOOK: `http://127.0.0.1:${await closedPort()}/services/T0/B0/secretpart` }).send(
      await message(),
    );
    expect(away).toMatchObject({ kind: 'unavailable' });
    expect(JSON.stringify(away)).not.toContain('secretpart');
  });

  test('cannot look for a message', () => {
    expect(make(hook).find).toBeUndefined();
  });
});

test.skipIf(!real)(
  'against Slack itself (SLACK_BOT_TOKEN and SLACK_CHANNEL name it)',
  { timeout: 30_000 },
  async () => {
    const bot = make(
      { channel: process.env.SLACK_CHANNEL, api_url: 'https://slack.com/api/' },
      { TOKEN: process.env.SLACK_BOT_TOKEN! },
    );
    const first = await message();
    const sent = await bot.send(first);
    expect(sent).toMatchObject({ kind: 'sent', answer: 'ok' });
    expect(await bot.find!(first)).toMatchObject({ kind: 'found' });
    const root = (sent as { root: string }).root;
    expect(await bot.send(await message([{ state: 'resolved', revision: 2 }], { root }))).toMatchObject({
      answer: 'ok',
    });
  },
);

test('a template that fails falls back to the built-in words and says so', async () => {
  const failed: string[] = [];
  const options = { failed: (name: string) => void failed.push(name) };
  const good = await message(
    [{}],
    {},
    {
      ...options,
      templates: { title: '{{level}}: {{group.rule}}', details: 'Call {{#alerts}}{{actor_id}}{{/alerts}}.' },
    },
  );
  expect(good.news).toMatchObject({ title: 'high: volume', details: 'Call alice.' });
  const bad = await message([{}], {}, { ...options, templates: { title: '{{#level}}', details: 'x'.repeat(3_000) } });
  expect(bad.news.title).toBe('Many calls of one actor');
  expect(bad.news.facts).toContainEqual({
    name: 'Note',
    text: 'the template title of this channel failed, so these are the built-in words',
  });
  expect(new Set(failed)).toEqual(new Set(['title', 'details']));
});
