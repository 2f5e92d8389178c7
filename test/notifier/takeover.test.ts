/** Several notifiers on a real broker: one is killed, another goes on where the records end. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Broker, namedBrokers, startBroker } from '../kafka/broker.js';
import { makeTopics } from '../kafka/topics.js';
import { Child } from './kills.js';
import { SlackStandIn } from './slack-standin.js';

const channelId = 'C0123456789';
let broker: Broker | undefined;
let brokers: string[];
let slack: SlackStandIn;
const children: Child[] = [];

beforeAll(async () => {
  broker = namedBrokers() === undefined ? await startBroker() : undefined;
  brokers = namedBrokers() ?? broker!.brokers;
  slack = await SlackStandIn.start({ channels: [channelId] });
}, 60_000);
afterAll(async () => {
  for (const child of children) child.kill();
  await Promise.all(children.map(({ died }) => died));
  await slack.stop();
  await broker?.stop();
});

test('the owner of a channel is killed: the other takes it over, and tells nothing again that was recorded as sent', async () => {
  const kafka = { brokers, clientId: 'test', topicPrefix: await makeTopics(brokers, 1), sessionTimeoutMs: 6_000 };
  const section = {
    channels: { team: { type: 'slack', token_variable: 'TOKEN', channel: channelId, api_url: slack.apiUrl } },
    route: { channels: ['team'], group_by: ['rule'], group_wait: '0s', group_interval: '0s' },
    picture_wait_ms: 0,
  };
  const argument = JSON.stringify({ directory: '', section, environment: { TOKEN: slack.options.token }, kafka });
  for (let at = 0; at < 2; at++) children.push(new Child(argument));
  await Promise.all(children.map((child) => child.line('ready')));
  children[0]!.raise('first', 'team', '');
  const owner = await Promise.race(children.map((child) => child.line('sent first team').then(() => child)));
  const other = children.find((child) => child !== owner)!;
  owner.kill();
  await owner.died;
  other.raise('second', 'team', '');
  await other.line('sent second team');
  const told = slack.of().map(({ blocks }) => /rule (first|second) /.exec(JSON.stringify(blocks))?.[1]);
  expect(told).toEqual(['first', 'second']);
  await other.end();
}, 60_000);
