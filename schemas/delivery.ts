/**
 * The record of a delivery on the topic `deliveries`, one for each change of its state. The key is the channel, so a
 * channel's records have one order and one owner. See ARCHITECTURE.md, "The notifier".
 */
import { type Field, type Fields, positionFields } from './field.js';
import { jsonTopic } from './record-topic.js';

/**
 * - `pending`: planned, and nothing has left. `sending`: written before the request leaves.
 * - `sent`: the far side took it. `failed`: tried again at `next_attempt_at`.
 * - `given_up`: not tried again by itself. `withdrawn`: nothing was left to tell before it left.
 * - `noted`: no delivery, but what the notifier must remember (when a channel was opened, what a lane has told).
 */
export const deliveryStates = ['pending', 'sending', 'sent', 'failed', 'given_up', 'withdrawn', 'noted'] as const;
export type DeliveryState = (typeof deliveryStates)[number];

/** Why it is said: something new, a change, all over, still so, somebody took it on, a digest; the last two are notes. */
export const deliveryReasons = [
  'new',
  'changed',
  'resolved',
  'repeat',
  'acknowledged',
  'digest',
  'channel_opened',
  'lane_kept',
] as const;
export type DeliveryReason = (typeof deliveryReasons)[number];

/** Kinds of failure, as data: what is done about each stands in services/notifier/retry.ts. */
export const errorKinds = [
  'rate_limited',
  'unavailable',
  'ambiguous',
  'refused',
  'unauthorized',
  'content',
  'interrupted',
] as const;
export type ErrorKind = (typeof errorKinds)[number];

/** Of each alert: the revision that is told, whether as resolved, whether as acknowledged. */
export type Told = readonly [revision: number, resolved: 0 | 1, acknowledged: 0 | 1];

export interface Delivery {
  /** SHA-256 of channel, lane, opening and sequence, first 32 hex digits. */
  readonly delivery_id: string;
  /** Counts the records of one delivery from 1. */
  readonly revision: number;
  readonly state: DeliveryState;
  readonly reason: DeliveryReason;
  readonly channel: string;
  /** The channel that it goes through: another one when it fell back. */
  readonly via: string;
  /** Of all its alerts; empty when they are of several tenants. */
  readonly tenant: string;
  /** The conversation: SHA-256 of channel and group, first 32 hex digits; and when this one opened. */
  readonly lane: string;
  readonly opened_at: string;
  /** Counts the deliveries of one conversation from 1. */
  readonly sequence: number;
  readonly group: Readonly<Record<string, string>>;
  readonly level: string;
  readonly alert_ids: readonly string[];
  /** What this delivery tells, by alert. */
  readonly telling: Readonly<Record<string, Told>>;
  /** Of a `lane_kept` note: everything that the lane has told. */
  readonly told?: Readonly<Record<string, Told>> | undefined;
  readonly attempt: number;
  readonly planned_at: string;
  readonly at: string;
  readonly next_attempt_at?: string | undefined;
  readonly error_kind: ErrorKind | '';
  readonly error: string;
  /** What the far side answered, in a few words. */
  readonly answer: string;
  /** Its name on the far side (Slack's ts, the Message-ID), and that of the conversation's first message. */
  readonly reference: string;
  readonly root: string;
  /** An earlier attempt may have arrived, and nobody could tell. */
  readonly possible_duplicate: boolean;
  /** Duration of the attempt. */
  readonly duration_ms?: number | undefined;
  /** The notifier process that wrote it. */
  readonly owner: string;
}

/** 20,000 alerts of 50 bytes in `telling`, escaped, and as many in `told`. */
const toldBytes = 4 * 1024 * 1024;

export const deliveryFields = {
  delivery_id: { kind: 'text', required: true, maxBytes: 64, description: 'Hash of channel, lane and sequence.' },
  revision: { kind: 'size', required: true, description: 'Counts the records of one delivery from 1.' },
  state: { kind: 'choice', required: true, values: deliveryStates, description: 'How far it is.' },
  reason: { kind: 'choice', required: true, values: deliveryReasons, description: 'Why it is said.' },
  channel: { kind: 'name', required: true, description: 'Channel it is meant for.' },
  via: { kind: 'name', description: 'Channel it goes through: another one when it fell back.' },
  tenant: { kind: 'name', description: 'Tenant of all its alerts; empty when there are several.' },
  lane: { kind: 'text', maxBytes: 64, description: 'The conversation: hash of channel and group.' },
  opened_at: { kind: 'time_micros', required: true, description: 'When this conversation opened.' },
  sequence: { kind: 'size', description: 'Counts the deliveries of one conversation from 1.' },
  group: { kind: 'map', description: 'What the conversation is about: label and value.' },
  level: { kind: 'name', description: 'Highest level of its alerts.' },
  alert_ids: { kind: 'list', description: 'Alerts it tells of, at most 1,000.' },
  telling: { kind: 'body', maxBytes: toldBytes, description: 'JSON: alert, and the revision told of it.' },
  told: { kind: 'body', maxBytes: toldBytes, description: 'JSON, of a note: everything told so far.' },
  attempt: { kind: 'size', description: 'Attempts so far.' },
  planned_at: { kind: 'time_micros', required: true, description: 'When it was planned.' },
  at: { kind: 'time_micros', required: true, description: 'When this record was made.' },
  next_attempt_at: { kind: 'time_micros', description: 'When it is tried again.' },
  error_kind: { kind: 'choice', values: ['', ...errorKinds], description: 'Kind of the last failure.' },
  error: { kind: 'text', maxBytes: 4_096, description: 'The last failure in words.' },
  answer: { kind: 'text', description: 'What the far side answered.' },
  reference: { kind: 'text', description: "Its name on the far side: Slack's ts, the Message-ID." },
  root: { kind: 'text', description: "Name of the conversation's first message." },
  possible_duplicate: { kind: 'flag', description: 'An earlier attempt may have arrived, and nobody could tell.' },
  duration_ms: { kind: 'duration', description: 'Duration of the attempt.' },
  owner: { kind: 'name', description: 'Notifier process that wrote it.' },
  attributes: { kind: 'map', description: 'Fields of a record that this program does not know.' },
  ...positionFields,
} as const satisfies Fields & Record<keyof Delivery, Field>;

/** A record that was appended twice because the answer was lost is the same revision of the same owner. */
export const deliveriesTopic = jsonTopic(deliveryFields, ['delivery_id', 'revision', 'owner']);
