/** What is done about a failure, by its kind. */
import type { Delivery, ErrorKind } from '../../schemas/delivery.js';
import type { ChannelSettings } from './settings.js';
import { milliseconds } from './world.js';

/** What came of an attempt. A failure says as data what kind it is; its text is for people only. */
export type Outcome =
  | {
      readonly kind: 'sent';
      /** Name of the message on the far side; of the conversation's first one. */
      readonly reference: string;
      readonly root?: string;
      readonly answer: string;
    }
  | {
      readonly kind: ErrorKind;
      readonly message: string;
      /** What the far side asked for. */
      readonly retryAfterMs?: number;
    };

export type Failure = Exclude<Outcome, { kind: 'sent' }>;

interface Policy {
  /** Whether the same channel is tried again. */
  readonly again: boolean;
  readonly firstPauseMs: number;
  readonly longestPauseMs: number;
  /** Whether the fallback channel is taken at once, or after `fallback_after`. */
  readonly fallsBackAtOnce: boolean;
}

export const policies: Readonly<Record<ErrorKind, Policy>> = {
  // The far side says when; its word goes before ours.
  rate_limited: { again: true, firstPauseMs: 1_000, longestPauseMs: 60_000, fallsBackAtOnce: false },
  unavailable: { again: true, firstPauseMs: 1_000, longestPauseMs: 60_000, fallsBackAtOnce: false },
  // It may have arrived: the far side is asked first where it can be asked.
  ambiguous: { again: true, firstPauseMs: 1_000, longestPauseMs: 60_000, fallsBackAtOnce: false },
  interrupted: { again: true, firstPauseMs: 0, longestPauseMs: 0, fallsBackAtOnce: false },
  // A token or password that is wrong is mended by a person within hours.
  unauthorized: { again: true, firstPauseMs: 60_000, longestPauseMs: 900_000, fallsBackAtOnce: true },
  refused: { again: false, firstPauseMs: 0, longestPauseMs: 0, fallsBackAtOnce: true },
  // The next attempt carries the plainest form of the message; when that is refused as well, it is `refused`.
  content: { again: true, firstPauseMs: 0, longestPauseMs: 0, fallsBackAtOnce: false },
};

/** Milliseconds before the next attempt: exponential, the upper half by `random` in [0, 1). */
export function pauseMs(failure: Failure, attempt: number, random: number): number {
  const { firstPauseMs, longestPauseMs } = policies[failure.kind];
  const pause = Math.min(longestPauseMs, firstPauseMs * 2 ** Math.min(attempt - 1, 30));
  return Math.max(failure.retryAfterMs ?? 0, pause / 2 + (random * pause) / 2);
}

export type Decision =
  | { readonly state: 'failed'; readonly atMs: number; readonly via: string }
  | { readonly state: 'given_up' };

/**
 * What follows a failed attempt: another one, through the same or the fallback channel, or nothing. `now` in
 * milliseconds since the epoch, `random` in [0, 1).
 */
export function decide(
  delivery: Pick<Delivery, 'channel' | 'via' | 'attempt' | 'planned_at'>,
  failure: Failure,
  settings: ChannelSettings | undefined,
  now: number,
  random: number,
): Decision {
  const policy = policies[failure.kind];
  const sinceMs = now - milliseconds(delivery.planned_at);
  const { fallback, fallbackAfterMs = 0, giveUpAfterMs = 0 } = settings ?? {};
  if (fallback !== undefined && delivery.via === delivery.channel) {
    if (policy.fallsBackAtOnce || sinceMs >= fallbackAfterMs) return { state: 'failed', atMs: now, via: fallback };
  }
  const atMs = now + pauseMs(failure, delivery.attempt, random);
  if (!policy.again || atMs - milliseconds(delivery.planned_at) > giveUpAfterMs) return { state: 'given_up' };
  return { state: 'failed', atMs, via: delivery.via };
}
