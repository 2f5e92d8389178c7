import { maxRecordBytes } from '../../schemas/check.js';
import { AuditdError } from '../../schemas/errors.js';
import type { BodyLimits } from './body.js';

/** Everything that bounds what producers can make the gateway do. */
export interface GatewayLimits extends BodyLimits {
  /** Requests that are read or appended at once. */
  readonly requestsInFlight: number;
  /** Bytes of bodies (after decompression) that are held at once. */
  readonly bytesInFlight: number;
  /** Lines a second for each key, over time; a key that was idle may send `burstSeconds` of them at once. */
  readonly eventsPerSecond: number;
  readonly burstSeconds: number;
}

/**
 * - A body of 32 MiB is 60,000 events of 564 bytes; gzip packs those about 8:1, hence 8 MiB with room to spare.
 * - 100,000 lines: the least event has about 150 bytes, so 32 MiB of them are 220,000; each costs about 300 bytes of
 *   bookkeeping, so a request holds at most 32 + 30 MiB.
 * - 128 MiB in flight is four bodies of the largest size, or 64 requests of 2 MiB.
 * - 100,000 events a second is more than one process stores, so it only bounds a producer that runs wild.
 */
export const defaultGatewayLimits: GatewayLimits = {
  compressedBytes: 8 * 1024 * 1024,
  bodyBytes: 32 * 1024 * 1024,
  lineBytes: maxRecordBytes,
  lines: 100_000,
  bodyTimeMs: 60_000,
  requestsInFlight: 64,
  bytesInFlight: 128 * 1024 * 1024,
  eventsPerSecond: 100_000,
  burstSeconds: 2,
};

/** A limit on rate or load was met: the answer carries `Retry-After`. */
export class RetryLater extends AuditdError {
  constructor(
    code: 'rate_limited' | 'gateway_busy' | 'stream_unwritable',
    message: string,
    readonly retryAfterSeconds: number,
    options?: { cause?: unknown },
  ) {
    super(code, message, options);
  }
}

interface Bucket {
  tokens: number;
  filledAt: number;
}

/**
 * One token bucket for each key. A request is let in while its key has tokens, and what it turns out to hold is taken
 * afterwards, into debt if need be: the rate over time is exact, a batch larger than the burst is not shut out for ever,
 * and no work is thrown away. There are at most as many buckets as keys (`keysLimit`, 1,000).
 */
export class RateLimiter {
  private readonly buckets = new Map<string, Bucket>();

  constructor(
    private readonly limits: Pick<GatewayLimits, 'eventsPerSecond' | 'burstSeconds'>,
    private readonly clock: () => number,
  ) {}

  private bucketOf(key: string): Bucket {
    const now = this.clock();
    const full = this.limits.eventsPerSecond * this.limits.burstSeconds;
    let bucket = this.buckets.get(key);
    if (bucket === undefined) {
      bucket = { tokens: full, filledAt: now };
      this.buckets.set(key, bucket);
      // A revoked key's bucket goes when the map has outgrown the number of keys there can be: the oldest first.
      if (this.buckets.size > 1_000) this.buckets.delete(this.buckets.keys().next().value as string);
    }
    const elapsedMs = Math.max(0, now - bucket.filledAt);
    bucket.tokens = Math.min(full, bucket.tokens + (elapsedMs / 1000) * this.limits.eventsPerSecond);
    bucket.filledAt = now;
    return bucket;
  }

  /** Throws `rate_limited` while the key is in debt. */
  admit(key: string): void {
    const { tokens } = this.bucketOf(key);
    if (tokens > 0) return;
    const seconds = Math.max(1, Math.ceil((1 - tokens) / this.limits.eventsPerSecond));
    throw new RetryLater(
      'rate_limited',
      `The key "${key}" has sent more than ${this.limits.eventsPerSecond} events a second.`,
      seconds,
    );
  }

  take(key: string, events: number): void {
    this.bucketOf(key).tokens -= events;
  }
}
