/**
 * Stands in for Slack's servers, which a test cannot reach: the methods that the notifier uses, with the limits and
 * errors that Slack documents, no kinder than Slack. What it holds, and where that is written:
 *
 * - one message a second and channel, a short burst aside; then 429 with Retry-After:
 *   https://docs.slack.dev/apis/web-api/rate-limits ("chat.postMessage … 1 per second per channel")
 * - errors of each method and the scopes they need: https://docs.slack.dev/reference/methods/chat.postMessage,
 *   …/chat.update, …/conversations.history, …/conversations.replies
 * - blocks: https://docs.slack.dev/reference/block-kit/blocks and the page of each block and composition object
 * - text of at most 40,000 characters: chat.postMessage, "Truncating content"
 * - metadata: https://docs.slack.dev/messaging/message-metadata (event_type, event_payload; at most 8 KB, as msg text)
 * - incoming webhooks answer in plain text: https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks
 * - there is no key by which a repetition would be refused: the same call twice is two messages.
 */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface SlackMessage {
  ts: string;
  thread_ts?: string;
  text: string;
  blocks: Record<string, unknown>[];
  metadata?: { event_type: string; event_payload: Record<string, unknown> };
  edited: number;
  atMs: number;
}

/** What happens to the next call of a method instead of its answer; `lost`: it is done, and the answer is lost. */
export type Fault =
  | 'lost'
  | 'refused'
  | 'http_500'
  | 'silent'
  | { readonly retryAfter: number }
  | { readonly error: string }
  /** It is done, then this is called, and there is no answer. */
  | { readonly arrived: () => void };

export interface SlackOptions {
  readonly token?: string;
  readonly scopes?: readonly string[];
  /** Ids of channels that the bot is a member of. */
  readonly channels?: readonly string[];
  readonly archived?: readonly string[];
  /** Whether the rate limit is held. */
  readonly limitsRate?: boolean;
}

const methodScopes: Readonly<Record<string, string>> = {
  'chat.postMessage': 'chat:write',
  'chat.update': 'chat:write',
  'conversations.history': 'channels:history',
  'conversations.replies': 'channels:history',
  'auth.test': '',
};

export class SlackStandIn {
  readonly messages = new Map<string, SlackMessage[]>();
  readonly webhookMessages: { text?: string; blocks?: unknown[] }[] = [];
  readonly calls: string[] = [];
  refusedByRate = 0;
  private readonly faults = new Map<string, Fault[]>();
  private readonly waiting: (() => void)[] = [];
  private readonly sent = new Map<string, number[]>();
  private counter = 0;

  private constructor(
    private readonly server: Server,
    readonly options: Required<SlackOptions>,
  ) {}

  static async start(options: SlackOptions = {}): Promise<SlackStandIn> {
    const server = createServer();
    const slack = new SlackStandIn(server, {
      token: 'xoxb-1111-2222-secret',
      scopes: ['chat:write', 'channels:history'],
      channels: ['C0123456789'],
      archived: [],
      limitsRate: true,
      ...options,
    });
    server.on('request', (request, response) => void slack.handle(request, response));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return slack;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  get apiUrl(): string {
    return `${this.url}/api/`;
  }

  get webhookUrl(): string {
    return `${this.url}/services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX`;
  }

  fault(method: string, ...faults: Fault[]): void {
    this.faults.set(method, [...(this.faults.get(method) ?? []), ...faults]);
  }

  /** Messages of a channel, oldest first. */
  of(channel = 'C0123456789'): SlackMessage[] {
    return this.messages.get(channel) ?? [];
  }

  /** Resolves when the channel has so many messages. */
  async until(count: number, channel = 'C0123456789'): Promise<SlackMessage[]> {
    while (this.of(channel).length < count) await new Promise<void>((resolve) => this.waiting.push(resolve));
    return this.of(channel);
  }

  /** Resolves when the condition holds after some call. */
  async untilCalls(condition: () => boolean): Promise<void> {
    while (!condition()) await new Promise<void>((resolve) => this.waiting.push(resolve));
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    this.server.close();
    await once(this.server, 'close');
  }

  private wake(): void {
    for (const resolve of this.waiting.splice(0)) resolve();
  }

  private async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const body = Buffer.concat(chunks).toString('utf8');
    const path = request.url ?? '';
    const method = path.startsWith('/services/') ? 'webhook' : path.replace(/^\/api\//, '');
    this.calls.push(method);
    const fault = this.faults.get(method)?.shift();
    try {
      if (fault === 'silent') return;
      if (fault === 'refused') {
        request.socket.destroy();
        return;
      }
      if (fault === 'http_500') {
        response.writeHead(500).end('');
        return;
      }
      if (typeof fault === 'object' && 'retryAfter' in fault) {
        tooFast(response, fault.retryAfter);
        return;
      }
      if (typeof fault === 'object' && 'error' in fault) {
        json(response, { ok: false, error: fault.error });
        return;
      }
      const answer = method === 'webhook' ? this.webhook(path, body) : this.api(method, request, body);
      if (fault === 'lost') request.socket.destroy();
      else if (typeof fault === 'object') fault.arrived();
      else if (answer === 'too fast') tooFast(response, 1);
      else if (Array.isArray(answer)) response.writeHead(answer[0], { 'content-type': 'text/html' }).end(answer[1]);
      else json(response, answer);
    } finally {
      this.wake();
    }
  }

  private api(method: string, request: IncomingMessage, body: string): object | 'too fast' {
    const fail = (error: string, more: object = {}): object => ({ ok: false, error, ...more });
    const token = /^Bearer (.+)$/.exec(request.headers.authorization ?? '')?.[1];
    if (token === undefined) return fail('not_authed');
    if (token !== this.options.token) return fail('invalid_auth');
    const scope = methodScopes[method];
    if (scope === undefined) return fail('unknown_method', { req_method: method });
    if (scope !== '' && !this.options.scopes.includes(scope))
      return fail('missing_scope', { needed: scope, provided: this.options.scopes.join(',') });
    const fields = readFields(request.headers['content-type'] ?? '', body);
    if (fields === undefined) return fail('invalid_post_type');
    if (method === 'auth.test') return { ok: true, url: 'https://example.slack.com/', team: 'Example', user: 'auditd' };
    const channel = String(fields.channel ?? '');
    if (!this.options.channels.includes(channel)) return fail('channel_not_found');
    if (method === 'conversations.history') return this.history(channel, fields);
    if (method === 'conversations.replies') return this.replies(channel, fields);
    if (this.options.archived.includes(channel)) return fail('is_archived');
    const wrong = wrongMessage(fields);
    if (wrong !== undefined) {
      const { error, messages } = wrong;
      return fail(error, messages === undefined ? {} : { errors: messages, response_metadata: { messages } });
    }
    const list = this.messages.get(channel) ?? [];
    this.messages.set(channel, list);
    if (method === 'chat.update') {
      const message = list.find(({ ts }) => ts === fields.ts);
      if (message === undefined) return fail('message_not_found');
      message.text = String(fields.text ?? '');
      message.blocks = (fields.blocks as Record<string, unknown>[]) ?? [];
      message.edited++;
      return { ok: true, channel, ts: message.ts, text: message.text };
    }
    if (this.options.limitsRate && this.isTooFast(channel)) {
      this.refusedByRate++;
      return 'too fast';
    }
    const threadTs = fields.thread_ts === undefined ? undefined : String(fields.thread_ts);
    if (threadTs !== undefined && !list.some(({ ts }) => ts === threadTs)) return fail('thread_not_found');
    const atMs = Date.now();
    const message: SlackMessage = {
      ts: `${Math.floor(atMs / 1_000)}.${String(++this.counter).padStart(6, '0')}`,
      ...(threadTs === undefined ? {} : { thread_ts: threadTs }),
      text: String(fields.text ?? ''),
      blocks: (fields.blocks as Record<string, unknown>[]) ?? [],
      ...(fields.metadata === undefined ? {} : { metadata: fields.metadata as NonNullable<SlackMessage['metadata']> }),
      edited: 0,
      atMs,
    };
    list.push(message);
    return { ok: true, channel, ts: message.ts, message: { text: message.text, ts: message.ts } };
  }

  /** Newest first; replies in threads are no part of a channel's history. */
  private history(channel: string, fields: Record<string, unknown>): object {
    const oldest = Number(fields.oldest ?? 0);
    const found = this.of(channel)
      .filter(({ ts, thread_ts }) => thread_ts === undefined && Number(ts) > oldest)
      .reverse();
    return page(found, fields);
  }

  private replies(channel: string, fields: Record<string, unknown>): object {
    const root = String(fields.ts ?? '');
    const all = this.of(channel).filter(({ ts, thread_ts }) => ts === root || thread_ts === root);
    if (all.length === 0) return { ok: false, error: 'thread_not_found' };
    const oldest = Number(fields.oldest ?? 0);
    return page(
      all.filter(({ ts }) => ts === root || Number(ts) > oldest),
      fields,
    );
  }

  private isTooFast(channel: string): boolean {
    const now = Date.now();
    const recent = (this.sent.get(channel) ?? []).filter((each) => each > now - 5_000);
    // "Slack generally allows short bursts": a sixth message within five seconds is beyond one.
    if (recent.length >= 6) return true;
    this.sent.set(channel, [...recent, now]);
    return false;
  }

  private webhook(path: string, body: string): [status: number, text: string] {
    if (!this.webhookUrl.endsWith(path)) return [403, 'invalid_token'];
    let value: { text?: string; blocks?: unknown[] };
    try {
      value = JSON.parse(body) as typeof value;
    } catch {
      return [400, 'invalid_payload'];
    }
    if (value.text === undefined && value.blocks === undefined) return [400, 'no_text'];
    if (wrongBlocks(value.blocks ?? []).length > 0) return [400, 'invalid_blocks'];
    this.webhookMessages.push(value);
    return [200, 'ok'];
  }
}

function json(response: ServerResponse, value: object): void {
  response.writeHead(200, { 'content-type': 'application/json; charset=utf-8' }).end(JSON.stringify(value));
}

function tooFast(response: ServerResponse, seconds: number): void {
  response
    .writeHead(429, { 'retry-after': String(seconds), 'content-type': 'application/json' })
    .end(JSON.stringify({ ok: false, error: 'ratelimited' }));
}

function readFields(contentType: string, body: string): Record<string, unknown> | undefined {
  if (contentType.startsWith('application/json')) return JSON.parse(body) as Record<string, unknown>;
  if (!contentType.startsWith('application/x-www-form-urlencoded')) return undefined;
  const fields: Record<string, unknown> = {};
  for (const [name, value] of new URLSearchParams(body))
    fields[name] = name === 'blocks' || name === 'metadata' ? (JSON.parse(value) as unknown) : value;
  return fields;
}

function page(found: SlackMessage[], fields: Record<string, unknown>): object {
  const limit = Math.min(999, Number(fields.limit ?? 100));
  const from = fields.cursor === undefined ? 0 : Number(Buffer.from(String(fields.cursor), 'base64').toString());
  const withMetadata = String(fields.include_all_metadata) === 'true';
  const messages = found.slice(from, from + limit).map(({ metadata, edited: _, atMs: __, ...message }) => ({
    type: 'message',
    ...message,
    ...(withMetadata && metadata !== undefined ? { metadata } : {}),
  }));
  const more = from + limit < found.length;
  const next = more ? Buffer.from(String(from + limit)).toString('base64') : '';
  return { ok: true, messages, has_more: more, response_metadata: { next_cursor: next } };
}

function wrongMessage(fields: Record<string, unknown>): { error: string; messages?: string[] } | undefined {
  const { text, blocks, metadata } = fields;
  if ((text === undefined || text === '') && (blocks === undefined || (blocks as unknown[]).length === 0))
    return { error: 'no_text' };
  if (typeof text === 'string' && text.length > 40_000) return { error: 'msg_too_long' };
  if (blocks !== undefined) {
    if (!Array.isArray(blocks)) return { error: 'invalid_blocks_format' };
    const messages = wrongBlocks(blocks);
    if (messages.length > 0) return { error: 'invalid_blocks', messages };
  }
  if (metadata !== undefined) {
    const { event_type, event_payload } = metadata as Record<string, unknown>;
    if (typeof event_type !== 'string' || typeof event_payload !== 'object')
      return { error: 'invalid_metadata_format' };
    if (JSON.stringify(event_payload).length > 8_000) return { error: 'metadata_too_large' };
  }
  return undefined;
}

/** Block Kit's limits; each message names the place, as Slack's `[ERROR] … [json-pointer:/blocks/0]` does. */
export function wrongBlocks(blocks: readonly unknown[]): string[] {
  const wrong: string[] = [];
  const say = (what: string, at: string): void => void wrong.push(`[ERROR] ${what} [json-pointer:${at}]`);
  if (blocks.length > 50) say('no more than 50 items allowed', '/blocks');
  const text = (value: unknown, at: string, most: number, types: readonly string[]): void => {
    const { type, text: words, emoji, verbatim, ...rest } = (value ?? {}) as Record<string, unknown>;
    if (typeof type !== 'string' || !types.includes(type)) say(`must be one of ${types.join(', ')}`, `${at}/type`);
    if (typeof words !== 'string') {
      say('missing required field: text', at);
      return;
    }
    if (words.length < 1) say('must be more than 0 characters', `${at}/text`);
    if (words.length > most) say(`must be less than ${most + 1} characters`, `${at}/text`);
    if (type === 'mrkdwn' && emoji !== undefined) say('emoji is no field of mrkdwn', at);
    if (type === 'plain_text' && verbatim !== undefined) say('verbatim is no field of plain_text', at);
    if (Object.keys(rest).length > 0) say(`unknown fields ${Object.keys(rest).join(', ')}`, at);
  };
  for (const [index, each] of blocks.entries()) {
    const at = `/blocks/${index}`;
    const block = (each ?? {}) as Record<string, unknown>;
    if (block.type === 'header') text(block.text, `${at}/text`, 150, ['plain_text']);
    else if (block.type === 'section') {
      if (block.text === undefined && block.fields === undefined) say('missing required field: text or fields', at);
      if (block.text !== undefined) text(block.text, `${at}/text`, 3_000, ['plain_text', 'mrkdwn']);
      const fields = (block.fields ?? []) as unknown[];
      if (block.fields !== undefined && (fields.length < 1 || fields.length > 10)) say('1 to 10 items', `${at}/fields`);
      for (const [number, field] of fields.entries())
        text(field, `${at}/fields/${number}`, 2_000, ['plain_text', 'mrkdwn']);
    } else if (block.type === 'context') {
      const elements = (block.elements ?? []) as unknown[];
      if (elements.length < 1 || elements.length > 10) say('1 to 10 items', `${at}/elements`);
      for (const [number, element] of elements.entries())
        text(element, `${at}/elements/${number}`, 3_000, ['plain_text', 'mrkdwn']);
    } else if (block.type !== 'divider') say(`unsupported type: ${String(block.type)}`, at);
  }
  return wrong;
}
