import type { CallEnd } from './call-text.js';
import { objectOf, textOf } from './messages.js';

/** Why a message may not go on: the JSON-RPC error that is sent in its place. */
export interface Refusal {
  readonly code: number;
  readonly message: string;
  readonly data?: unknown;
  /** Answer a tool call with a result that is an error, instead. */
  readonly asResult?: boolean;
}

/** What is said of a message before it goes on: nothing, that it may not, or that it must wait. */
export type Verdict = { readonly refusal: Refusal } | { readonly delayMs: number };

/** JSON-RPC's internal error: no code of MCP names an audit that fails. */
export const unrecorded: Verdict = {
  refusal: {
    code: -32603,
    message: 'This call could not be recorded for audit, and the server is set to refuse such calls (failClosed).',
  },
};

/** A refusal outweighs a delay, and a longer delay a shorter one. */
export function outweighs(verdict: Verdict, other: Verdict): boolean {
  if ('refusal' in verdict) return !('refusal' in other);
  return 'delayMs' in other && verdict.delayMs > other.delayMs;
}

/** How a refused call is on record. */
export function refusedEnd({ code, message, data }: Refusal): CallEnd {
  const signalId = textOf(objectOf(data).signalId);
  return {
    outcome: code === 429 ? 'throttled' : 'denied',
    errorType: code === 429 ? 'rate_limited' : 'not_recorded',
    errorCode: code,
    errorMessage: message,
    ...(signalId === '' ? {} : { attributes: { throttle_signal_id: signalId } }),
  };
}

/** The JSON-RPC answer that a refused call gets. */
export function errorResponse(id: unknown, { code, message, data, asResult }: Refusal): object {
  if (asResult === true) {
    const result = { content: [{ type: 'text', text: message }], isError: true, structuredContent: data };
    return { jsonrpc: '2.0', id, result };
  }
  return { jsonrpc: '2.0', id, error: data === undefined ? { code, message } : { code, message, data } };
}
