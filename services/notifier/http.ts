/** What HTTP answers and broken connections mean for a delivery. */
import type { Failure } from './retry.js';

/** Longest wait that a far side may ask for: an hour. */
const longestRetryAfterMs = 3_600_000;

/** Milliseconds of a Retry-After header: seconds, or an HTTP date. */
export function retryAfterMs(value: string | null, now: number): number | undefined {
  if (value === null) return undefined;
  const seconds = Number(value);
  const ms = /^\d+$/.test(value.trim()) ? seconds * 1_000 : Date.parse(value) - now;
  return Number.isFinite(ms) ? Math.min(Math.max(ms, 0), longestRetryAfterMs) : undefined;
}

/** An answer other than 2xx. */
export function httpFailure(response: Response, answer: string): Failure {
  const { status } = response;
  const wait = retryAfterMs(response.headers.get('retry-after'), Date.now());
  const after = wait === undefined ? {} : { retryAfterMs: wait };
  if (status === 429) return { kind: 'rate_limited', message: answer, ...after };
  if (status === 401 || status === 403) return { kind: 'unauthorized', message: answer };
  if (status === 400 || status === 413 || status === 422) return { kind: 'content', message: answer };
  // A gateway that gave up on its server cannot know what the server did.
  if (status === 502 || status === 504) return { kind: 'ambiguous', message: answer, ...after };
  if (status >= 500 || status === 408 || status === 425) return { kind: 'unavailable', message: answer, ...after };
  return { kind: 'refused', message: status >= 300 && status < 400 ? `${answer}: redirects are not followed` : answer };
}

/** Errors after which the request certainly did not leave. */
const neverLeft = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'ENETUNREACH',
  'EHOSTUNREACH',
  'UND_ERR_CONNECT_TIMEOUT',
  'CERT_HAS_EXPIRED',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'ERR_TLS_CERT_ALTNAME_INVALID',
]);

/** A request without an answer: what left may have arrived. */
export function networkFailure(error: unknown): Failure {
  const causes: { code?: unknown; message?: string; name?: string }[] = [];
  for (let each: unknown = error; typeof each === 'object' && each !== null && causes.length < 5; ) {
    const cause = each as { code?: unknown; message?: string; name?: string; cause?: unknown; original?: unknown };
    causes.push(cause);
    each = cause.cause ?? cause.original;
  }
  const code = causes.map((cause) => cause.code).find((each) => typeof each === 'string' && neverLeft.has(each));
  const last = causes.at(-1);
  const message = `${causes[0]?.name === 'TimeoutError' ? 'no answer in time' : (last?.message ?? String(error))}${typeof last?.code === 'string' ? ` (${last.code})` : ''}`;
  return { kind: code === undefined ? 'ambiguous' : 'unavailable', message };
}
