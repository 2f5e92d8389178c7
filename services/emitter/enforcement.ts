/** Throttle signals on a call's path: which requests are asked about, and what a caller is told who is refused. */

import { resolveDataDirectory } from '../../schemas/data-directory.js';
import type { ScopedCall } from '../../schemas/scope-index.js';
import { throttledMethods } from '../../schemas/throttle.js';
import { nowMicros } from './clock.js';
import type { RecorderOptions } from './options.js';
import { ThrottleSource, type ThrottleSourceOptions } from './throttle-source.js';
import { type Decision, type SignalRefusal, Throttles } from './throttles.js';

export interface ThrottleOptions {
  /**
   * How a refused call is answered. `error` (default): a JSON-RPC error with the code 429 and `data.retryAfterSeconds`.
   * `result`: a tool result with `isError`, which a model reads; other requests get the error all the same.
   */
  readonly answer?: 'error' | 'result';
  /** Milliseconds without a gateway after which every call is refused. Default: never, calls pass (fail open). */
  readonly closedAfterMs?: number;
  /** Public keys (SPKI, PEM) whose signals are followed. Default: MCP_AUDITD_THROTTLE_KEYS_FILE, else keys/throttle.pub. */
  readonly publicKeys?: string;
}

export interface EnforcementCounters {
  /** Whether the present signals are known. */
  readonly connected: boolean;
  readonly signals: number;
  readonly refusedCalls: number;
  readonly delayedCalls: number;
  /** Calls that a dry run would have refused or delayed. */
  readonly wouldHaveHeld: number;
  readonly refusedSignals: Readonly<Record<SignalRefusal, number>>;
}

export class Enforcement {
  readonly answer: 'error' | 'result';
  readonly #throttles: Throttles;
  readonly #source: ThrottleSource | undefined;
  #refusedCalls = 0;
  #delayedCalls = 0;

  /** @param source where signals come from; undefined in tests that hand them over. */
  constructor(options: ThrottleOptions, source: ThrottleSourceOptions | undefined, throttles?: Throttles) {
    const { closedAfterMs } = options;
    this.answer = options.answer ?? 'error';
    this.#throttles = throttles ?? new Throttles(closedAfterMs === undefined ? undefined : closedAfterMs * 1000);
    this.#source = source === undefined ? undefined : new ThrottleSource(this.#throttles, source);
  }

  /** Decides about a request and counts it; undefined when it is none that is ever held back, or it passes. */
  decide(method: string, call: ScopedCall): Exclude<Decision, { kind: 'pass' }> | undefined {
    if (!throttledMethods.has(method)) return undefined;
    const decision = this.#throttles.decide(call, nowMicros());
    if (decision.kind === 'pass') return undefined;
    if (decision.kind === 'refuse') this.#refusedCalls += 1;
    else this.#delayedCalls += 1;
    return decision;
  }

  get counters(): EnforcementCounters {
    return {
      connected: this.#source?.isConnected ?? false,
      signals: this.#throttles.size,
      refusedCalls: this.#refusedCalls,
      delayedCalls: this.#delayedCalls,
      wouldHaveHeld: this.#throttles.wouldHaveHeld,
      refusedSignals: { ...this.#throttles.refusals },
    };
  }

  close(): void {
    this.#source?.close();
  }
}

/**
 * Follows the signals of the gateway that the options name. None where a sink of its own takes the events and no gateway
 * is named, and none when `options` is false.
 */
export function openEnforcement(
  options: ThrottleOptions | false | undefined,
  recorder: RecorderOptions,
): Enforcement | undefined {
  if (options === false) return undefined;
  if (recorder.sink !== undefined && !recorder.url && !process.env.MCP_AUDITD_URL) return undefined;
  const { url, key, keyFile } = recorder;
  return new Enforcement(options ?? {}, {
    data: resolveDataDirectory(recorder.data),
    ...(url === undefined ? {} : { url }),
    ...(key === undefined ? {} : { key }),
    ...(keyFile === undefined ? {} : { keyFile }),
    ...(options?.publicKeys === undefined ? {} : { publicKeys: options.publicKeys }),
  });
}

/** The code that ToolHive uses as well; MCP reserves none. */
const rateLimitedCode = 429;

/** What a refused caller gets: when to come back, and a sentence that a model understands. */
export function throttledAnswer(decision: Extract<Decision, { kind: 'refuse' }>): {
  readonly code: number;
  readonly message: string;
  readonly data: { readonly kind: 'rate_limited'; readonly retryAfterSeconds: number; readonly signalId: string };
} {
  const retryAfterSeconds = Math.max(1, Math.ceil(decision.retryAfterMs / 1000));
  return {
    code: rateLimitedCode,
    message: `Rate limited${sentence(decision.reason)} Wait ${retryAfterSeconds} s before the next call; do not repeat it sooner.`,
    data: { kind: 'rate_limited', retryAfterSeconds, signalId: decision.signalId },
  };
}

/** What a rule's author or a person wrote, ended as a sentence. */
function sentence(text: string): string {
  const trimmed = text.trim();
  if (trimmed === '') return '.';
  return /[.!?]$/.test(trimmed) ? `: ${trimmed}` : `: ${trimmed}.`;
}
