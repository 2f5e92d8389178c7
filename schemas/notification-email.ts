/** The section of an e-mail channel. */
import { z } from 'zod';
import { channelKeys, checkSecret, durationText, secretKeys } from './notification-channel.js';

/** An address alone or with a name. No line end can be in it, so none of these can add a header. */
const address = z
  .string()
  .max(320)
  .regex(
    /^(?:[^<>\r\n"]+ <[^\s<>@]+@[^\s<>@]+>|[^\s<>@]+@[^\s<>@]+)$/,
    'expected name@example.com or "Name <name@example.com>"',
  );

export const emailSection = z
  .strictObject({
    type: z.literal('email'),
    ...channelKeys,
    url: z
      .string()
      .regex(/^smtps?:\/\/[^\s@/]+$/, 'expected smtp://HOST:PORT or smtps://HOST:PORT, without user and password')
      .optional()
      .describe('The server: smtps:// speaks TLS from the start, smtp:// asks for STARTTLS.'),
    ...secretKeys('url', 'the whole URL with user and password, smtps://USER:PASSWORD@HOST:PORT'),
    username: z.string().min(1).optional().describe('User to log in as.'),
    ...secretKeys('password', "the user's password"),
    tls: z
      .enum(['required', 'when_offered'])
      .default('required')
      .describe(
        'Whether a server without STARTTLS is refused. A password is never sent without TLS, except to loopback.',
      ),
    ca_file: z
      .string()
      .min(1)
      .optional()
      .describe('PEM file of authorities, for a server with a certificate of its own.'),
    from: address.describe('Sender.'),
    to: z.array(address).min(1).max(50).describe('Recipients.'),
    timeout: durationText().default('30s').describe('How long one attempt may take.'),
  })
  .check((context) => {
    const { value } = context;
    const refuse = (message: string): void => {
      context.issues.push({ code: 'custom', message, input: undefined, path: [] });
    };
    const secretUrl = value.url_file ?? value.url_variable;
    if ((value.url === undefined) === (secretUrl === undefined))
      refuse('expected url, or url_file or url_variable where user and password are part of it');
    checkSecret(context, 'url', false);
    checkSecret(context, 'password', value.username !== undefined);
  })
  .describe('E-mail by SMTP, in HTML and plain text, one thread a conversation.');

export type EmailSection = z.infer<typeof emailSection>;
