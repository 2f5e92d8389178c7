import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { notifierSection } from '../../schemas/notification.js';
import type { Channel } from '../../services/notifier/channel.js';
import { makeChannel } from '../../services/notifier/channels.js';
import { makeCertificates } from '../kafka/certificates.js';
import { startMs, timeText } from './alerts.js';
import { hostileTexts } from './hostile.js';
import { MailServer, type MailServerOptions } from './mail-server.js';
import { message } from './messages.js';
import { closedPort } from './ports.js';

let directory: string;
let certificates: Awaited<ReturnType<typeof makeCertificates>>;
let server: MailServer | undefined;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'mcp-auditd-mail-'));
  certificates = await makeCertificates();
  writeFileSync(join(directory, 'ca.pem'), certificates.authorityPem);
  writeFileSync(join(directory, 'password'), 'correct horse\n');
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));
afterEach(async () => {
  await server?.stop();
  server = undefined;
});

async function start(options: MailServerOptions = {}): Promise<MailServer> {
  server = await MailServer.start({ certificate: certificates.valid, ...options });
  return server;
}

function make(over: Record<string, unknown> = {}, environment: Record<string, string> = {}): Channel {
  const section = notifierSection.parse({
    zone: 'Europe/Amsterdam',
    channels: {
      'ops-mail': {
        type: 'email',
        url: `smtp://127.0.0.1:${server?.port}`,
        tls: 'when_offered',
        from: 'Audit <audit@example.com>',
        to: ['Ops <ops@example.com>', 'second@example.com'],
        timeout: '3s',
        ...over,
      },
    },
  });
  return makeChannel('ops-mail', section, { directory, environment });
}

describe('a mail', () => {
  test('is HTML and text, threaded, and known as automatic', async () => {
    await start();
    const channel = make();
    const first = await message(
      [{ group: { actor_id: 'alice' } }],
      {},
      { context: { series: { counts: [1, 0, 40], spanMs: 60_000, endMs: startMs }, actorVerified: true } },
    );
    const sent = await channel.send(first);
    const root = `<${first.delivery.delivery_id}@example.com>`;
    expect(sent).toMatchObject({ kind: 'sent', reference: root, root, answer: '250 Ok: queued as 4711' });
    const over = await message([{ state: 'resolved', revision: 2, last_at: timeText(startMs + 90_000) }], {
      reason: 'resolved',
      root,
    });
    expect(await channel.send(over)).toMatchObject({ kind: 'sent' });
    const [opening, reply] = server!.mails;
    expect(opening!.recipients).toEqual(['ops@example.com', 'second@example.com']);
    const { mail } = opening!;
    expect(mail.messageId).toBe(root);
    expect(mail.subject).toBe('Many calls of one actor');
    expect(mail.headers.get('auto-submitted')).toBe('auto-generated');
    expect(mail.headers.get('list')).toMatchObject({
      id: { name: 'mcp-auditd alerts', id: 'ops-mail.mcp-auditd.example.com' },
    });
    expect(mail.headers.get('priority')).toBe('high');
    expect(mail.text).toContain('HIGH: Many calls of one actor');
    expect(mail.text).toContain('Who:            alice (verified)');
    expect(mail.text).toContain('Since:          24 Nov 2026, 10:00:00 CET (09:00:00 UTC)');
    expect(mail.text).toContain('▂▁█');
    expect(mail.html).toContain('alice: 301 calls in 5 minutes, more than 300');
    expect(mail.html).toContain('aria-label="up to 40 calls in a minute, the last 3 minutes"');
    expect(reply!.mail.subject).toBe('Re: Many calls of one actor');
    expect(reply!.mail.inReplyTo).toBe(root);
    expect(reply!.mail.references).toBe(root);
    expect(reply!.mail.text).toContain(
      '24 Nov 2026, 10:00:00 CET (09:00:00 UTC) – 24 Nov 2026, 10:01:30 CET (09:01:30 UTC)',
    );
  });

  test('keeps its Message-ID when it is sent again', async () => {
    await start();
    server!.faults.push('closes_after_data');
    const channel = make();
    const first = await message();
    expect(await channel.send(first)).toMatchObject({ kind: 'ambiguous' });
    expect(await channel.send(first)).toMatchObject({ kind: 'sent' });
    const ids = server!.mails.map(({ mail }) => mail.messageId);
    expect(ids).toEqual([ids[0], ids[0]]);
  });
});

describe('what a server answers is data', () => {
  test.each([
    [
      '450 for the mailbox',
      { at: 'recipient', code: 450, text: '4.2.1 mailbox busy' },
      { kind: 'unavailable', message: '450 4.2.1 mailbox busy' },
    ],
    ['550 for the mailbox', { at: 'recipient', code: 550, text: '5.1.1 no such user' }, { kind: 'refused' }],
    ['421 at the greeting', { at: 'greeting', code: 421, text: '4.3.2 shutting down' }, { kind: 'unavailable' }],
    ['553 for the sender', { at: 'sender', code: 553, text: '5.7.1 not yours' }, { kind: 'refused' }],
    ['451 after the mail', { at: 'data', code: 451, text: '4.3.0 try again' }, { kind: 'unavailable' }],
    ['554 after the mail', { at: 'data', code: 554, text: '5.6.0 content refused' }, { kind: 'content' }],
    ['a connection that is closed after the mail', 'closes_after_data', { kind: 'ambiguous' }],
  ] as const)('%s', async (_name, fault, expected) => {
    await start();
    server!.faults.push(fault);
    expect(await make().send(await message())).toMatchObject(expected);
  });

  test('a server that says nothing is given up in time: before the mail surely, after it perhaps', async () => {
    await start();
    server!.faults.push('slow_greeting', 'never_answers_data');
    const channel = make({ timeout: '600ms' });
    expect(await channel.send(await message())).toMatchObject({ kind: 'unavailable' });
    expect(await channel.send(await message())).toMatchObject({ kind: 'ambiguous' });
  });

  test('a server that is not there', async () => {
    const channel = make({ url: `smtp://127.0.0.1:${await closedPort()}` });
    expect(await channel.send(await message())).toMatchObject({ kind: 'unavailable' });
  });
});

describe('TLS and login', () => {
  const user = { name: 'auditd', password: 'correct horse' };

  test.each(['always', 'starttls'] as const)('%s, with a password from a file', async (tls) => {
    await start({ tls, user });
    const url = `${tls === 'always' ? 'smtps' : 'smtp'}://127.0.0.1:${server!.port}`;
    const channel = make({ url, tls: 'required', ca_file: 'ca.pem', username: 'auditd', password_file: 'password' });
    expect(await channel.send(await message())).toMatchObject({ kind: 'sent' });
    expect(server!.mails[0]!.secure).toBe(true);
    expect(server!.leaked).toEqual([]);
  });

  test('a server without TLS gets no mail where it is required', async () => {
    await start({ tls: 'none' });
    expect(await make({ tls: 'required' }).send(await message())).toMatchObject({ kind: 'unavailable' });
    expect(server!.mails).toEqual([]);
  });

  test('a certificate that ran out, or of an authority that nobody named, is refused', async () => {
    await start({ tls: 'starttls', certificate: certificates.expired });
    const expired = await make({ tls: 'required', ca_file: 'ca.pem' }).send(await message());
    expect(expired).toMatchObject({ kind: 'unavailable', message: 'certificate has expired' });
    await server!.stop();
    await start({ tls: 'starttls' });
    expect(await make({ tls: 'required' }).send(await message())).toMatchObject({ kind: 'unavailable' });
    expect(server!.mails).toEqual([]);
  });

  test('a wrong password is told without it', async () => {
    await start({ tls: 'starttls', user });
    const url = `smtp://auditd:hunter2secret@127.0.0.1:${server!.port}`;
    const channel = make({ url: undefined, url_variable: 'SMTP', tls: 'required', ca_file: 'ca.pem' }, { SMTP: url });
    const outcome = await channel.send(await message());
    expect(outcome).toMatchObject({ kind: 'unauthorized', message: '535 5.7.8 authentication failed' });
    expect(JSON.stringify(outcome)).not.toContain('hunter2');
  });
});

describe('hostile texts', () => {
  test.each(hostileTexts.map((text) => [text.slice(0, 40), text] as const))(
    '%j adds no header and no markup',
    async (_name, text) => {
      await start();
      const hostile = {
        title: text,
        reason: text,
        rule_id: text.slice(0, 100),
        tenant: text.slice(0, 100),
        group: { actor_id: text, tool_name: text, 'attributes.x': text },
        runbook: text,
        evidence_sql: text,
        values: { count: text, threshold: text },
        flags: [text],
      };
      const sent = await message(
        [hostile],
        { group: { tenant: text, rule: text } },
        { templates: { details: '{{{title}}} {{sentence}}' } },
      );
      expect(await make().send(sent)).toMatchObject({ kind: 'sent' });
      const { mail, raw, recipients } = server!.mails[0]!;
      expect(recipients).toHaveLength(2);
      expect(mail.headers.has('bcc') || mail.headers.has('x-injected')).toBe(false);
      expect(raw.slice(0, raw.indexOf('\r\n\r\n')).length).toBeLessThan(4_000);
      expect(mail.subject!.length).toBeLessThanOrEqual(150);
      expect(`${mail.subject}${mail.text}`).not.toMatch(/[\u202e\u200b\ufeff]|(?!\n)\p{Cc}/u);
      // Only the elements of our own page, and links only to what the runbook says.
      const elements = new Set(
        [...String(mail.html).matchAll(/<([a-z0-9]+)/gi)].map((match) => match[1]!.toLowerCase()),
      );
      expect([...elements].filter((name) => !ours.has(name))).toEqual([]);
      expect(String(mail.html)).not.toMatch(/javascript:[^&]*"|onerror=[^&]*>/);
      for (const link of String(mail.html).matchAll(/href="([^"]*)"/g))
        expect(link[1]).toMatch(/^https:\/\/evil\.example\/\?a=1&amp;b=/);
    },
  );
});

const ours = new Set('html head meta title body div table tr td th p h1 h2 ul li span code pre br a'.split(' '));

test.skipIf(process.env.SMTP_URL === undefined || process.env.SMTP_TO === undefined)(
  'through a real server (SMTP_URL, SMTP_FROM and SMTP_TO name it)',
  { timeout: 60_000 },
  async () => {
    const { SMTP_URL = '', SMTP_TO = '', SMTP_FROM = SMTP_TO } = process.env;
    const channel = make(
      { url: undefined, url_variable: 'SMTP_URL', tls: 'required', from: SMTP_FROM, to: [SMTP_TO], timeout: '30s' },
      { SMTP_URL },
    );
    expect(await channel.send(await message())).toMatchObject({ kind: 'sent' });
  },
);
