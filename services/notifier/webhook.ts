/**
 * JSON by POST, signed as Standard Webhooks describes (https://github.com/standard-webhooks/standard-webhooks, spec
 * 1.0): `webhook-id` is the delivery's id and stays the same in every attempt, so a receiver can know a repetition.
 */
import { Webhook } from 'standardwebhooks';
import { AuditdError } from '../../schemas/errors.js';
import { durationMs } from '../../schemas/notification.js';
import type { WebhookSection } from '../../schemas/notification-webhook.js';
import type { Channel, Message } from './channel.js';
import { httpFailure, networkFailure } from './http.js';
import type { Outcome } from './retry.js';
import { readSecret, type SecretSources, withoutSecrets } from './secrets.js';

/** A body that receivers take: the specification asks for small ones, 10 alerts of about 3 kB. */
const answerLength = 200;
const pace = { intervalMs: 20, burst: 20, concurrency: 8 } as const;

/** Throws `configuration_invalid` when the secret is missing or no Standard Webhooks secret. */
export function makeWebhook(name: string, section: WebhookSection, sources: SecretSources): Channel {
  const place = `notifier.channels.${name}`;
  const secret = readSecret(section, 'secret', place, sources)!;
  const key = Buffer.from(secret.replace(/^whsec_/, ''), 'base64');
  if (key.length < 24 || key.length > 64)
    throw new AuditdError('configuration_invalid', `${place}: secret: expected whsec_ and base64 of 24 to 64 bytes`);
  const signer = new Webhook(secret);
  const timeoutMs = durationMs(section.timeout);
  return {
    name,
    type: 'webhook',
    pace,
    attemptMs: timeoutMs + 1_000,
    async send(message): Promise<Outcome> {
      const { delivery_id } = message.delivery;
      const at = new Date();
      const body = JSON.stringify(payload(message, at));
      let response: Response;
      try {
        response = await fetch(section.url, {
          method: 'POST',
          headers: {
            'content-type': 'application/json',
            'user-agent': 'mcp-auditd',
            'webhook-id': delivery_id,
            'webhook-timestamp': String(Math.floor(at.getTime() / 1_000)),
            'webhook-signature': signer.sign(delivery_id, at, body),
          },
          body,
          redirect: 'manual',
          signal: AbortSignal.timeout(timeoutMs),
        });
      } catch (error) {
        const failure = networkFailure(error);
        return { ...failure, message: withoutSecrets(failure.message, [secret]) };
      }
      const text = (await response.text().catch(() => '')).slice(0, answerLength);
      const answer = withoutSecrets(`${response.status} ${text}`.trim(), [secret]);
      if (response.ok) return { kind: 'sent', reference: delivery_id, answer };
      return httpFailure(response, answer);
    },
    async close() {},
  };
}

/** `type` in Standard Webhooks' dotted form; `data` is what docs/alerts.md describes. */
function payload({ delivery, news, data }: Message, at: Date): object {
  return {
    type: delivery.reason === 'digest' ? 'digest.sent' : `alerts.${delivery.reason}`,
    timestamp: at.toISOString(),
    data: {
      delivery_id: delivery.delivery_id,
      conversation: delivery.lane,
      sequence: delivery.sequence,
      group: delivery.group,
      state: news.state,
      title: news.title,
      sentence: news.sentence,
      possible_duplicate: delivery.possible_duplicate,
      ...data,
    },
  };
}
