import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Webhook } from 'standardwebhooks';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { notifierSection } from '../../schemas/notification.js';
import type { Channel } from '../../services/notifier/channel.js';
import { makeChannel } from '../../services/notifier/channels.js';
import { hostileTexts } from './hostile.js';
import { message } from './messages.js';
import { closedPort } from './ports.js';

const secret = `whsec_${Buffer.from('0123456789abcdef0123456789abcdef').toString('base64')}`;
let server: Server;
let answer: (response: ServerResponse) => void;
let received: { headers: IncomingHttpHeaders; body: string }[];

beforeEach(async () => {
  received = [];
  answer = (response) => void response.writeHead(200).end('thanks');
  server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    received.push({ headers: request.headers, body: Buffer.concat(chunks).toString('utf8') });
    answer(response);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
});
afterEach(async () => {
  server.closeAllConnections();
  server.close();
  await once(server, 'close');
});

function make(over: Record<string, unknown> = {}, key = secret): Channel {
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/in`;
  const section = notifierSection.parse({
    channels: { hook: { type: 'webhook', url, secret_variable: 'KEY', ...over } },
  });
  return makeChannel('hook', section, { directory: '/', environment: { KEY: key } });
}

test('is signed so that the reference library takes it, and keeps its id in every attempt', async () => {
  const sent = await message([{ group: { actor_id: 'alice' } }], { reason: 'new', channel: 'hook', via: 'hook' });
  expect(await make().send(sent)).toEqual({ kind: 'sent', reference: sent.delivery.delivery_id, answer: '200 thanks' });
  await make().send(sent);
  const [first, second] = received;
  const payload = new Webhook(secret).verify(first!.body, first!.headers as Record<string, string>) as {
    type: string;
    data: Record<string, unknown>;
  };
  expect(payload).toMatchObject({
    type: 'alerts.new',
    data: {
      delivery_id: sent.delivery.delivery_id,
      state: 'High',
      sentence: 'alice: 301 calls in 5 minutes, more than 300',
      alerts: [{ alert_id: 'alert0', rule_id: 'volume', group: { actor_id: 'alice' }, acknowledged_by: '' }],
      more_alerts: 0,
    },
  });
  expect(second!.headers['webhook-id']).toBe(first!.headers['webhook-id']);
  expect(() => new Webhook(secret).verify(`${first!.body} `, first!.headers as Record<string, string>)).toThrow();
});

test.each([
  [429, { 'retry-after': '12' }, { kind: 'rate_limited', retryAfterMs: 12_000 }],
  [503, { 'retry-after': '5' }, { kind: 'unavailable', retryAfterMs: 5_000 }],
  [500, {}, { kind: 'unavailable' }],
  [504, {}, { kind: 'ambiguous' }],
  [401, {}, { kind: 'unauthorized' }],
  [404, {}, { kind: 'refused' }],
  [410, {}, { kind: 'refused' }],
  [413, {}, { kind: 'content' }],
  [302, { location: 'http://127.0.0.1:1/' }, { kind: 'refused', message: '302: redirects are not followed' }],
] as const)('%i is data', async (status, headers, expected) => {
  answer = (response) => void response.writeHead(status, headers).end();
  expect(await make().send(await message())).toMatchObject(expected);
  expect(received).toHaveLength(1);
});

test('a connection that breaks, an answer that does not come, and nobody there', async () => {
  answer = (response) => response.socket?.destroy();
  expect(await make().send(await message())).toMatchObject({ kind: 'ambiguous' });
  answer = () => undefined;
  expect(await make({ timeout: '200ms' }).send(await message())).toMatchObject({
    kind: 'ambiguous',
    message: 'no answer in time',
  });
  expect(await make({ url: `http://127.0.0.1:${await closedPort()}/` }).send(await message())).toMatchObject({
    kind: 'unavailable',
  });
});

test('a secret that is none is refused at the start, without showing it', () => {
  expect(() => make({}, 'whsec_c2hvcnQ=')).toThrow(
    'notifier.channels.hook: secret: expected whsec_ and base64 of 24 to 64 bytes',
  );
  expect(() => make({}, '')).toThrow('notifier.channels.hook: secret_variable: the variable KEY is not set');
});

test.each(hostileTexts.map((text) => [text.slice(0, 40), text] as const))('%j stays data', async (_name, text) => {
  const sent = await message([{ group: { actor_id: text }, reason: text }]);
  expect(await make().send(sent)).toMatchObject({ kind: 'sent' });
  const { data } = new Webhook(secret).verify(received[0]!.body, received[0]!.headers as Record<string, string>) as {
    data: { sentence: string };
  };
  expect(data.sentence.length).toBeLessThan(1_000);
});
