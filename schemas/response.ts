/**
 * The record of what a person decided about alerts, on the topic `responses`: a silence, an acknowledgement, a
 * resolution by hand, a delivery to be tried again. Of one `response_id` the highest revision counts.
 */
export const responseKinds = ['silence', 'acknowledge', 'resolve', 'retry'] as const;
export type ResponseKind = (typeof responseKinds)[number];

export interface Response {
  readonly response_id: string;
  /** Counts the records of one response from 1. */
  readonly revision: number;
  readonly kind: ResponseKind;
  /** The alert, or for `retry` the delivery, that it is about; empty for a silence. */
  readonly target: string;
  /** Of a silence: which alerts it hides, all of them together. */
  readonly matchers: readonly string[];
  /** Of a silence. RFC 3339, microseconds. Expired by hand: the time of that. */
  readonly starts_at?: string | undefined;
  readonly ends_at?: string | undefined;
  readonly reason: string;
  /** The name that the person gave; a claim. */
  readonly author: string;
  /** Name of the API key that vouched for it. */
  readonly author_key: string;
  readonly tenant: string;
  readonly at: string;
}
