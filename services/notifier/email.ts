/**
 * E-mail by SMTP. The Message-ID follows from the delivery, so a mail that is sent again after an answer was lost is
 * the same mail to whoever receives it; the thread is held by References to the conversation's first one.
 */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import nodemailer from 'nodemailer';
import { AuditdError } from '../../schemas/errors.js';
import { durationMs } from '../../schemas/notification.js';
import type { EmailSection } from '../../schemas/notification-email.js';
import type { Channel, Message } from './channel.js';
import { mailBody } from './render/mail.js';
import type { Failure, Outcome } from './retry.js';
import { readSecret, type SecretSources, withoutSecrets } from './secrets.js';

/** Servers refuse bursts sooner than rates: four mails a second, two connections. */
const pace = { intervalMs: 250, burst: 5, concurrency: 2 } as const;
const answerLength = 200;

/** Throws `configuration_invalid` when a secret or a file is missing, or the URL is none. */
export function makeEmail(name: string, section: EmailSection, zone: string, sources: SecretSources): Channel {
  const place = `notifier.channels.${name}`;
  const server = serverOf(section, place, sources);
  const timeoutMs = durationMs(section.timeout);
  const { hostname, port, secure, username, password } = server;
  const secrets = [password, server.url].filter((each) => each !== undefined);
  const isLoopback = /^(localhost|127\.\d+\.\d+\.\d+|\[?::1\]?)$/.test(hostname);
  // A password leaves this machine in the clear under no configuration.
  const requireTLS = !secure && (section.tls === 'required' || (password !== undefined && !isLoopback));
  const options = {
    host: hostname,
    port,
    secure,
    requireTLS,
    ...(username === undefined ? {} : { auth: { user: username, pass: password ?? '' } }),
    ...(section.ca_file === undefined
      ? {}
      : { tls: { ca: readAuthorities(resolve(sources.directory, section.ca_file), place) } }),
    // A third each, so that the whole attempt is over in time.
    connectionTimeout: Math.ceil(timeoutMs / 3),
    greetingTimeout: Math.ceil(timeoutMs / 3),
    socketTimeout: timeoutMs,
    dnsTimeout: Math.ceil(timeoutMs / 3),
    disableFileAccess: true,
    disableUrlAccess: true,
    transactionLog: true,
  };
  const domain = /@([^\s<>@]+?)>?$/.exec(section.from)?.[1] ?? 'localhost';
  return {
    name,
    type: 'email',
    pace,
    attemptMs: timeoutMs + 1_000,
    async send(message): Promise<Outcome> {
      const mail = mailOf(name, message, { section, zone, domain });
      // A transport of its own for each mail: its log tells whether the server had begun to take the mail.
      let handedOver = false;
      const transport = nodemailer.createTransport({
        ...options,
        logger: logThat((line) => {
          handedOver ||= line.startsWith('354');
        }),
      } as never);
      let timer: NodeJS.Timeout | undefined;
      const timeout = new Promise<'late'>((done) => {
        timer = setTimeout(() => done('late'), timeoutMs);
      });
      const sending = transport.sendMail(mail as never).then(
        (info): Outcome => {
          const { response = '', rejected = [] } = info as { response?: string; rejected?: unknown[] };
          const refused = rejected.length === 0 ? '' : `, not for ${rejected.map(String).join(', ')}`;
          const answer = withoutSecrets(`${response}${refused}`, secrets).slice(0, answerLength);
          return {
            kind: 'sent',
            reference: mail.messageId,
            ...(message.root === '' ? { root: mail.messageId } : {}),
            answer,
          };
        },
        (error: unknown): Outcome => failureOf(error, handedOver, secrets),
      );
      const outcome = await Promise.race([sending, timeout]);
      clearTimeout(timer);
      transport.close();
      if (outcome !== 'late') return outcome;
      return { kind: handedOver ? 'ambiguous' : 'unavailable', message: `no answer in ${timeoutMs} ms` };
    },
    async close() {},
  };
}

function mailOf(name: string, message: Message, options: { section: EmailSection; zone: string; domain: string }) {
  const { delivery, news, state, root, simple } = message;
  const { section, zone, domain } = options;
  // What is new in short; the facts of the whole conversation where several alerts are in it.
  const { html, text } = mailBody(news, zone);
  const subject = root === '' ? state.title : `Re: ${state.title}`;
  const severe = news.tone === 'critical' || news.tone === 'high';
  return {
    from: section.from,
    to: section.to,
    subject,
    text,
    ...(simple ? {} : { html }),
    messageId: `<${delivery.delivery_id}@${domain}>`,
    ...(root === '' ? {} : { inReplyTo: root, references: [root] }),
    ...(severe ? { priority: 'high' as const } : {}),
    headers: {
      // RFC 2919, RFC 3834, and the word that Outlook's servers know.
      'List-Id': `mcp-auditd alerts <${name}.mcp-auditd.${domain}>`,
      'Auto-Submitted': 'auto-generated',
      'X-Auto-Response-Suppress': 'All',
      'X-Mcp-Auditd-Delivery': delivery.delivery_id,
      'X-Mcp-Auditd-Reason': delivery.reason,
    },
  };
}

interface Server {
  readonly url: string | undefined;
  readonly hostname: string;
  readonly port: number;
  readonly secure: boolean;
  readonly username: string | undefined;
  readonly password: string | undefined;
}

function serverOf(section: EmailSection, place: string, sources: SecretSources): Server {
  const secretUrl = readSecret(section, 'url', place, sources);
  const given = secretUrl ?? section.url!;
  // The text of an URL with a password must be in no message.
  if (!URL.canParse(given) || !/^smtps?:/.test(given))
    throw new AuditdError('configuration_invalid', `${place}: url: expected smtp://HOST:PORT or smtps://HOST:PORT`);
  const url = new URL(given);
  const secure = url.protocol === 'smtps:';
  const decoded = (text: string): string | undefined => (text === '' ? undefined : decodeURIComponent(text));
  return {
    url: secretUrl,
    hostname: url.hostname.replace(/^\[|\]$/g, ''),
    port: url.port === '' ? (secure ? 465 : 587) : Number(url.port),
    secure,
    username: section.username ?? decoded(url.username),
    password: readSecret(section, 'password', place, sources) ?? decoded(url.password),
  };
}

function readAuthorities(path: string, place: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw new AuditdError(
      'configuration_invalid',
      `${place}: ca_file: cannot read ${path}: ${(error as NodeJS.ErrnoException).code ?? 'failed'}`,
    );
  }
}

/** A logger of nodemailer that hands over what the server said and writes nothing. */
function logThat(serverSaid: (line: string) => void): object {
  const log = (data: { tnx?: string } | undefined, line?: unknown): void => {
    if (data?.tnx === 'server') serverSaid(String(line));
  };
  return { trace: log, debug: log, info: log, warn: log, error: log, fatal: log };
}

/** `handedOver`: the server had asked for the mail (354), so it may have taken it. */
function failureOf(error: unknown, handedOver: boolean, secrets: readonly string[]): Failure {
  const { code, responseCode, response, message } = error as {
    code?: string;
    responseCode?: number;
    response?: string;
    message?: string;
  };
  const text = withoutSecrets(response ?? message ?? String(error), secrets).slice(0, 300);
  const isTemporary = responseCode !== undefined && responseCode < 500;
  if (code === 'EAUTH' || code === 'ENOAUTH' || responseCode === 530 || responseCode === 535)
    return { kind: isTemporary ? 'unavailable' : 'unauthorized', message: text };
  if (responseCode !== undefined) {
    // RFC 5321: 552 and 554 after DATA refuse the mail's content.
    if (handedOver && (responseCode === 552 || responseCode === 554)) return { kind: 'content', message: text };
    return { kind: isTemporary ? 'unavailable' : 'refused', message: text };
  }
  if (handedOver) return { kind: 'ambiguous', message: text };
  return { kind: 'unavailable', message: text };
}
