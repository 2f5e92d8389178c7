/** Decisions of people that are older than what the stream retains. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Registry } from 'prom-client';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Alert } from '../../schemas/alert.js';
import { notifierSection } from '../../schemas/notification.js';
import type { Response } from '../../schemas/response.js';
import { type Notifier, startNotifier } from '../../services/notifier/notifier.js';
import { type LocalStream, openLocalStream } from '../../services/stream/local.js';
import type { Topic } from '../../services/stream/stream.js';
import { alert, response, timeText } from './alerts.js';
import { SlackStandIn } from './slack-standin.js';

const dayMs = 86_400_000;
let directory: string;
let stream: LocalStream;
let slack: SlackStandIn;
let notifier: Notifier | undefined;
let aheadMs = 0;
const clock = (): number => Date.now() + aheadMs;
const faults: string[] = [];

beforeEach(async () => {
  aheadMs = 0;
  faults.length = 0;
  directory = mkdtempSync(join(tmpdir(), 'mcp-auditd-decisions-'));
  stream = openLocalStream({
    directory,
    durability: 'kernel',
    maxSegmentBytes: 2_048,
    retention: { maxAgeMs: 7 * dayMs },
    now: clock,
  });
  slack = await SlackStandIn.start({ channels: ['C0123456789'], limitsRate: false });
});
afterEach(async () => {
  await notifier?.close();
  await stream.close();
  await slack.stop();
  rmSync(directory, { recursive: true, force: true });
});

async function restart(): Promise<void> {
  await notifier?.close();
  notifier = await startNotifier({
    stream,
    section: notifierSection.parse({
      channels: {
        team: { type: 'slack', token_variable: 'TOKEN', channel: 'C0123456789', api_url: slack.apiUrl },
      },
      route: { channels: ['team'], group_by: ['actor'], group_wait: '0s', group_interval: '0s', repeat: 'never' },
      picture_wait_ms: 0,
    }),
    secrets: { directory, environment: { TOKEN: slack.options.token } },
    metrics: new Registry(),
    shared: false,
    clock,
    onFault: (error, what) => faults.push(`${what}: ${(error as Error).message}`),
  });
}

async function append(topic: Topic, key: string, record: unknown): Promise<void> {
  await stream.append(topic, [{ key, value: Buffer.from(JSON.stringify(record)), headers: { tenant: '' } }]);
}

function raise(actor: string, revision = 1): Promise<void> {
  const at = timeText(clock());
  const over: Partial<Alert> = {
    alert_id: actor,
    revision,
    group: { actor_id: actor },
    at,
    started_at: at,
    last_at: at,
  };
  return append('alerts', actor, alert(over));
}

function respond(over: Partial<Response>): Promise<void> {
  const record = response({ at: timeText(clock()), ...over });
  return append('responses', record.response_id, record);
}

async function responses(): Promise<{ earliestOffset: number; endOffset: number }> {
  return (await stream.partitions('responses'))[0]!;
}

test('a silence and an acknowledgement hold beyond the stream’s retention, over restarts; what is over is let go', async () => {
  const silence = { kind: 'silence', matchers: ['actor=bob'], starts_at: timeText(clock()) } as const;
  const long = timeText(clock() + 30 * dayMs);
  await restart();
  await raise('alice');
  await slack.until(1);
  await respond({ response_id: 'taken', kind: 'acknowledge', target: 'alice' });
  await slack.until(2);
  await respond({ response_id: 'long', ...silence, ends_at: long });
  await respond({ response_id: 'short', ...silence, ends_at: timeText(clock() + dayMs / 2) });
  for (let day = 1; day <= 9; day++) {
    aheadMs += dayMs;
    // The alert goes on; its detector says so.
    await raise('alice', day + 1);
    const { endOffset } = await responses();
    await restart();
    while ((await responses()).endOffset < endOffset + 2) await new Promise(setImmediate);
    stream.enforceRetention();
  }
  const { earliestOffset, endOffset } = await responses();
  // The three that people wrote are gone; two were written again each day, the silence that ended never.
  expect(earliestOffset).toBeGreaterThanOrEqual(3);
  expect(endOffset).toBe(3 + 9 * 2);

  await restart();
  await raise('alice', 20);
  await raise('bob');
  await raise('carol');
  const messages = await slack.until(3);
  expect(messages.map(({ blocks }) => /alice|bob|carol/.exec(JSON.stringify(blocks))?.[0])).toEqual([
    'alice',
    'alice',
    'carol',
  ]);
  await respond({ response_id: 'long', revision: 2, ...silence, ends_at: timeText(clock()) });
  expect(JSON.stringify((await slack.until(4))[3]!.blocks)).toContain('bob');
  expect(faults).toEqual([]);
});
