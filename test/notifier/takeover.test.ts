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

const told = (): (string | undefined)[] =>
  slack.of().map(({ blocks }) => /rule (\w+) /.exec(JSON.stringify(blocks))?.[1]);

/** Two notifiers on topics of their own, and which of them owns the channel: it has told of the alert `first`. */
async function startTwo(): Promise<{ owner: Child; other: Child }> {
  const kafka = { brokers, clientId: 'test', topicPrefix: await makeTopics(brokers, 1), sessionTimeoutMs: 3_000 };
  const section = {
    channels: { team: { type: 'slack', token_variable: 'TOKEN', channel: channelId, api_url: slack.apiUrl } },
    route: { channels: ['team'], group_by: ['rule'], group_wait: '0s', group_interval: '0s' },
    picture_wait_ms: 0,
  };
  const argument = JSON.stringify({
    directory: '',
    section,
    environment: { TOKEN: slack.options.token },
    kafka,
    attemptMs: 5_000,
  });
  const pair = [new Child(argument), new Child(argument)] as const;
  children.push(...pair);
  await Promise.all(pair.map((child) => child.line('ready')));
  pair[0].raise('first', 'team', '');
  const owner = await Promise.race(pair.map((child) => child.line('sent first team').then(() => child)));
  return { owner, other: owner === pair[0] ? pair[1] : pair[0] };
}

// Ten seconds of it are the takeover, which waits out what the dead owner may still have had under way.
test('the owner is killed when its message had arrived and was not answered: the other takes over and repeats nothing', async () => {
  const { owner, other } = await startTwo();
  slack.fault('chat.postMessage', { arrived: () => owner.kill() });
  owner.raise('second', 'team', '');
  await owner.died;
  await other.line('sent second team');
  other.raise('third', 'team', '');
  await other.line('sent third team');
  expect(told()).toEqual(['first', 'second', 'third']);
  await other.end();
}, 240_000);
