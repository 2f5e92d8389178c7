/**
 * The record of what a person decided about alerts, on the topic `responses`: a silence, an acknowledgement, a
 * resolution by hand, a delivery to be tried again, a throttle added or lifted. Of one `response_id` the highest revision counts.
 */
import type { ScopeField } from './throttle.js';

export const responseKinds = ['silence', 'acknowledge', 'resolve', 'retry', 'throttle', 'lift'] as const;
export type ResponseKind = (typeof responseKinds)[number];

export interface ThrottleByHand {
  readonly scope: Readonly<Partial<Record<ScopeField, string>>>;
  readonly each: readonly ScopeField[];
  readonly rate?: string | undefined;
  readonly burst?: number | undefined;
  readonly delay?: string | undefined;
  readonly block?: boolean | undefined;
  readonly dry_run?: boolean | undefined;
  /** Nothing is throttled while it holds; scope and limit say nothing then. */
  readonly override?: boolean | undefined;
}

export interface Response {
  readonly response_id: string;
  /** Counts the records of one response from 1. */
  readonly revision: number;
  readonly kind: ResponseKind;
  /** The alert, or for `retry` the delivery and for `lift` the signal, that it is about; empty for a silence. */
  readonly target: string;
  /** Of a silence: which alerts it hides, all of them together. */
  readonly matchers: readonly string[];
  /** Of a silence. RFC 3339, microseconds. Expired by hand: the time of that. */
  readonly starts_at?: string | undefined;
  readonly ends_at?: string | undefined;
  /** Of a throttle: who is held back and how, until `ends_at`. */
  readonly throttle?: ThrottleByHand | undefined;
  readonly reason: string;
  /** The name that the person gave; a claim. */
  readonly author: string;
  /** Name of the API key that vouched for it. */
  readonly author_key: string;
  readonly tenant: string;
  readonly at: string;
}
