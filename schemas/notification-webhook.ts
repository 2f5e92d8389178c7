/** The section of a webhook channel. */
import { z } from 'zod';
import { channelKeys, checkSecret, durationText, secretKeys } from './notification-channel.js';

export const webhookSection = z
  .strictObject({
    type: z.literal('webhook'),
    ...channelKeys,
    url: z.url({ protocol: /^https?$/ }).describe('Where to POST. Redirects are not followed.'),
    ...secretKeys('secret', 'the signing secret (whsec_…, base64 of 24 to 64 bytes)'),
    timeout: durationText().default('10s').describe('How long one attempt may take.'),
  })
  .check((context) => checkSecret(context, 'secret', true))
  .describe('JSON by POST, signed as Standard Webhooks describes (https://www.standardwebhooks.com).');

export type WebhookSection = z.infer<typeof webhookSection>;
