/** The port to a way of reaching people. Adapters: slack.ts, email.ts, webhook.ts. */
import type { Delivery } from '../../schemas/delivery.js';
import type { View } from './render/view.js';
import type { Outcome } from './retry.js';

/** A message as the stages hand it to a channel. */
export interface Message {
  readonly delivery: Delivery;
  /** What this delivery tells. */
  readonly news: View;
  /** The whole conversation as it stands. */
  readonly state: View;
  /** For machines: the alerts that are told. */
  readonly data: Readonly<Record<string, unknown>>;
  /** Name of the conversation's first message on this channel; empty for the first. */
  readonly root: string;
  /** The simplest form: the far side refused the usual one. */
  readonly simple: boolean;
}

export interface Pace {
  /** Least milliseconds between two messages, and how many may go at once after a quiet time. */
  readonly intervalMs: number;
  readonly burst: number;
  /** Messages under way at once. */
  readonly concurrency: number;
}

/** What came of looking for a message that may have arrived. */
export type Found =
  | { readonly kind: 'found'; readonly reference: string; readonly root?: string }
  | { readonly kind: 'absent' }
  /** This channel, or this set-up of it, cannot look. */
  | { readonly kind: 'unknown' }
  | Exclude<Outcome, { kind: 'sent' }>;

export interface Channel {
  readonly name: string;
  readonly type: string;
  readonly pace: Pace;
  /** Milliseconds after which an attempt is certainly over. */
  readonly attemptMs: number;
  /** One attempt. Never throws; resolves within `attemptMs`. */
  send(message: Message): Promise<Outcome>;
  /** Looks for a message whose attempt ended without an answer. */
  find?(message: Pick<Message, 'delivery' | 'root'>): Promise<Found>;
  close(): Promise<void>;
}
