/**
 * Slack, as a bot or by an incoming webhook.
 *
 * As a bot: the first message of a conversation is posted and later changed, so that it always shows the present state;
 * what happens is told in its thread. Each message carries the delivery's id in its metadata, because Slack has no key
 * by which it would refuse a repetition: after an attempt without an answer the channel's history is searched for it.
 * Retries are the outbox's, so those of the library are off (its default is ten over half an hour).
 */
import { ErrorCode, LogLevel, WebClient } from '@slack/web-api';
import type { SlackSection } from '../../schemas/notification-slack.js';
import type { Channel, Found, Message } from './channel.js';
import { httpFailure, networkFailure, retryAfterMs } from './http.js';
import { type Block, slackBlocks, slackFallback, slackReply } from './render/slack-blocks.js';
import type { Failure, Outcome } from './retry.js';
import { readSecret, type SecretSources, withoutSecrets } from './secrets.js';
import { milliseconds } from './world.js';

const timeoutMs = 10_000;
/** A reply and the change of the first message, one after the other. */
const attemptMs = 2 * timeoutMs + 1_000;
/** About one message a second and channel (https://docs.slack.dev/apis/web-api/rate-limits); a short burst is let through. */
const pace = { intervalMs: 1_050, burst: 1, concurrency: 1 } as const;
const eventType = 'mcp_auditd_delivery';
/** The search begins this long before the attempt: clocks differ. */
const clockSkewMs = 60_000;
const searchPages = 5;
const searchPageSize = 100;

/** Slack's error codes by what is done about them (the errors of each method in its reference). Others are `refused`. */
const kinds: Readonly<Record<string, Failure['kind']>> = {
  ratelimited: 'rate_limited',
  rate_limited: 'rate_limited',
  message_limit_exceeded: 'rate_limited',
  internal_error: 'ambiguous',
  fatal_error: 'ambiguous',
  service_unavailable: 'unavailable',
  team_added_to_org: 'unavailable',
  invalid_auth: 'unauthorized',
  not_authed: 'unauthorized',
  account_inactive: 'unauthorized',
  token_revoked: 'unauthorized',
  token_expired: 'unauthorized',
  missing_scope: 'unauthorized',
  no_permission: 'unauthorized',
  not_in_channel: 'unauthorized',
  invalid_blocks: 'content',
  invalid_blocks_format: 'content',
  msg_too_long: 'content',
  msg_blocks_too_long: 'content',
  no_text: 'content',
  invalid_metadata_format: 'content',
  invalid_metadata_schema: 'content',
  metadata_too_large: 'content',
};

/** Throws `configuration_invalid` when the secret is missing. */
export function makeSlack(name: string, section: SlackSection, sources: SecretSources): Channel {
  const place = `notifier.channels.${name}`;
  const webhook = readSecret(section, 'webhook', place, sources);
  if (webhook !== undefined) return makeIncomingWebhook(name, webhook);
  return new SlackBot(name, section, readSecret(section, 'token', place, sources)!);
}

class SlackBot implements Channel {
  readonly type = 'slack';
  readonly pace = pace;
  readonly attemptMs = attemptMs;
  private readonly client: WebClient;
  private readonly channel: string;

  constructor(
    readonly name: string,
    section: SlackSection,
    private readonly token: string,
  ) {
    this.channel = section.channel!;
    this.client = new WebClient(token, {
      slackApiUrl: section.api_url.replace(/\/?$/, '/'),
      timeout: timeoutMs,
      retryConfig: { retries: 0 },
      rejectRateLimitedCalls: true,
      allowAbsoluteUrls: false,
      logLevel: LogLevel.ERROR,
      logger: silent,
    });
  }

  async send(message: Message): Promise<Outcome> {
    const { delivery, root, news, state } = message;
    try {
      // What is new and critical in a thread is shown in the channel as well.
      const posted = await this.client.apiCall('chat.postMessage', {
        channel: this.channel,
        text: slackFallback(news),
        ...blocksOf(message, root === '' ? slackBlocks(news) : slackReply(news)),
        ...(root === ''
          ? {}
          : { thread_ts: root, reply_broadcast: delivery.reason === 'new' && news.tone === 'critical' }),
        metadata: { event_type: eventType, event_payload: { delivery_id: delivery.delivery_id, lane: delivery.lane } },
        unfurl_links: false,
        unfurl_media: false,
        link_names: false,
        parse: 'none',
        mrkdwn: false,
      });
      const ts = String((posted as { ts?: string }).ts ?? '');
      if (root === '') return { kind: 'sent', reference: ts, root: ts, answer: 'ok' };
      const update = await this.showState(root, message, state);
      return { kind: 'sent', reference: ts, answer: update };
    } catch (error) {
      return this.failure(error);
    }
  }

  /** Changes the first message. It may have been deleted, or be too old to change: what was told is told all the same. */
  private async showState(root: string, message: Message, state: Message['state']): Promise<string> {
    try {
      await this.client.chat.update({
        channel: this.channel,
        ts: root,
        text: slackFallback(state),
        ...blocksOf(message, slackBlocks(state)),
        link_names: false,
        parse: 'none',
      });
      return 'ok';
    } catch (error) {
      return `ok, but the first message was not changed: ${this.failure(error).message}`;
    }
  }

  async find({ delivery, root }: Pick<Message, 'delivery' | 'root'>): Promise<Found> {
    const oldest = String((milliseconds(delivery.planned_at) - clockSkewMs) / 1_000);
    try {
      let cursor: string | undefined;
      for (let page = 0; page < searchPages; page++) {
        const options = {
          channel: this.channel,
          oldest,
          limit: searchPageSize,
          include_all_metadata: true,
          ...(cursor === undefined ? {} : { cursor }),
        };
        const answer =
          root === ''
            ? await this.client.conversations.history(options)
            : await this.client.conversations.replies({ ...options, ts: root });
        for (const { ts, metadata } of (answer.messages ?? []) as { ts?: string; metadata?: SlackMetadata }[]) {
          if (metadata?.event_type !== eventType || metadata.event_payload?.delivery_id !== delivery.delivery_id)
            continue;
          return { kind: 'found', reference: ts ?? '', ...(root === '' ? { root: ts ?? '' } : {}) };
        }
        cursor = answer.response_metadata?.next_cursor;
        if (!cursor) return { kind: 'absent' };
      }
      return { kind: 'unknown' };
    } catch (error) {
      const failure = this.failure(error);
      // Without the right to read the history nobody can tell: at least once is promised, so it is sent again.
      return failure.kind === 'unauthorized' || failure.kind === 'refused' ? { kind: 'unknown' } : failure;
    }
  }

  async close(): Promise<void> {}

  private failure(error: unknown): Failure {
    const failure = failureOf(error);
    return { ...failure, message: withoutSecrets(failure.message, [this.token]) };
  }
}

interface SlackMetadata {
  readonly event_type?: string;
  readonly event_payload?: { readonly delivery_id?: string };
}

/** The simplest form is the text alone. */
function blocksOf({ simple }: Message, blocks: Block[]): { blocks?: never[] } {
  return simple ? {} : { blocks: blocks as never[] };
}

function failureOf(error: unknown): Failure {
  const { code, data, retryAfter, statusCode, headers, statusMessage } = error as {
    code?: string;
    data?: { error?: string; needed?: string; response_metadata?: { messages?: string[] } };
    retryAfter?: number;
    statusCode?: number;
    statusMessage?: string;
    headers?: Record<string, string>;
  };
  if (code === ErrorCode.RateLimitedError)
    return { kind: 'rate_limited', message: 'Slack asks to wait (429)', retryAfterMs: (retryAfter ?? 1) * 1_000 };
  if (code === ErrorCode.PlatformError) {
    const name = data?.error ?? 'unknown';
    const needed = data?.needed === undefined ? '' : `, needed is the scope ${data.needed}`;
    const why = (data?.response_metadata?.messages ?? []).slice(0, 2).join('; ');
    return { kind: kinds[name] ?? 'refused', message: `${name}${needed}${why === '' ? '' : `: ${why}`}` };
  }
  if (code === ErrorCode.HTTPError) {
    const wait = retryAfterMs(headers?.['retry-after'] ?? null, Date.now());
    const kind = statusCode === 503 ? 'unavailable' : (statusCode ?? 0) >= 500 ? 'ambiguous' : 'refused';
    return {
      kind,
      message: `HTTP ${statusCode} ${statusMessage ?? ''}`.trim(),
      ...(wait === undefined ? {} : { retryAfterMs: wait }),
    };
  }
  return networkFailure(error);
}

/** Errors are returned as data; nothing of a request is written anywhere. */
const silent = {
  debug() {},
  info() {},
  warn() {},
  error() {},
  setLevel() {},
  getLevel: () => LogLevel.ERROR,
  setName() {},
};

/** Posts to the webhook's own channel: no threads, no changes, and nothing can be looked up. */
function makeIncomingWebhook(name: string, url: string): Channel {
  const hidden = [url, url.replace(/^https?:\/\/[^/]+/, '')];
  return {
    name,
    type: 'slack',
    pace,
    attemptMs: timeoutMs + 1_000,
    async send(message): Promise<Outcome> {
      const { news, simple } = message;
      try {
        const response = await fetch(url, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify({
            text: slackFallback(news),
            ...(simple ? {} : { blocks: slackBlocks(news) }),
            unfurl_links: false,
            unfurl_media: false,
          }),
          redirect: 'manual',
          signal: AbortSignal.timeout(timeoutMs),
        });
        const text = (await response.text().catch(() => '')).slice(0, 200);
        const answer = withoutSecrets(`${response.status} ${text}`.trim(), hidden);
        if (response.ok) return { kind: 'sent', reference: '', answer };
        // https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks#handling_errors
        if (text === 'rollup_error') return { kind: 'ambiguous', message: answer };
        if (response.status === 403 || response.status === 404 || response.status === 410)
          return { kind: 'refused', message: answer };
        return httpFailure(response, answer);
      } catch (error) {
        const failure = networkFailure(error);
        return { ...failure, message: withoutSecrets(failure.message, hidden) };
      }
    },
    async close() {},
  };
}
