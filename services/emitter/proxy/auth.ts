import type { IncomingHttpHeaders } from 'node:http';
import type { Actor } from '../actor.js';

/** Who calls, once that is verified. */
export interface Caller {
  readonly actor: Actor;
  /** OAuth client that acts for the actor. */
  readonly clientId?: string;
}

/** Why a request is not let in. */
export interface Denial {
  /** 401: who are you; 403: you may not; 503: it cannot be found out now. */
  readonly status: 401 | 403 | 503;
  /** RFC 6750 §3.1: invalid_token, insufficient_scope; '' where no credential came at all. */
  readonly error: string;
  readonly description: string;
}

/** Finds out who calls, before a body is read. */
export interface Authenticator {
  authenticate(headers: IncomingHttpHeaders): Caller | Denial | Promise<Caller | Denial>;
  /** The value of WWW-Authenticate that tells how to come back. */
  challenge(denial: Denial): string;
  /** Answers a GET of one of our own documents (RFC 9728): its JSON text; undefined: no path of ours. */
  document?(path: string): string | undefined;
}

/** Headers in which credentials come; they stay behind unless they are asked for. */
export const credentialHeaders: ReadonlySet<string> = new Set(['authorization', 'x-api-key']);

/** Was the request let in? */
export function isCaller(result: Caller | Denial): result is Caller {
  return 'actor' in result;
}

/** The token of `Authorization: Bearer …` (RFC 6750 §2.1); undefined where there is none. */
export function bearerToken(headers: IncomingHttpHeaders): string | undefined {
  return /^bearer +([A-Za-z0-9\-._~+/]+=*) *$/i.exec(headers.authorization ?? '')?.[1];
}

/** An `auth-param` as a quoted string (RFC 9110 §5.6.4); what cannot stand in one is left out. */
export function quoted(value: string): string {
  return `"${value.replace(/[^\x20-\x7e]/g, '').replace(/["\\]/g, '\\$&')}"`;
}

/**
 * Keys of an operator's own: `Authorization: Bearer KEY` or `X-API-Key: KEY`.
 * @param find the name that a key was given to, undefined when nobody has it; takes equally long for every wrong key.
 */
export function apiKeyAuthenticator(find: (key: string) => string | undefined): Authenticator {
  return {
    authenticate(headers) {
      const apiKey = headers['x-api-key'];
      const key = bearerToken(headers) ?? (typeof apiKey === 'string' ? apiKey : undefined);
      if (key === undefined) return { status: 401, error: '', description: 'An API key is needed.' };
      const name = find(key);
      if (name === undefined) return { status: 401, error: 'invalid_token', description: 'This API key is unknown.' };
      return { actor: { id: name, type: 'service', verified: true }, clientId: name };
    },
    challenge: ({ error, description }) =>
      `Bearer realm="mcp"${error === '' ? '' : `, error=${quoted(error)}, error_description=${quoted(description)}`}`,
  };
}
