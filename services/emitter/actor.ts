import { userInfo } from 'node:os';
import { isObject, type MessageContext, textOf } from './messages.js';

/** Who called, as the record names it. */
export interface Actor {
  readonly id: string;
  /** user, agent, service or unknown. Default unknown. */
  readonly type?: string;
  /** True only when the caller was authenticated. Default false: a claim. */
  readonly verified?: boolean;
}

/** What an actor function is given. `headers` have lower-case names; `authInfo` is what the server's own check left. */
export interface ActorRequest {
  readonly authInfo: Readonly<Record<string, unknown>> | undefined;
  readonly headers: Readonly<Record<string, string>>;
  readonly message: unknown;
  readonly sessionId: string;
  readonly env: NodeJS.ProcessEnv;
}

/**
 * Where the actor comes from: a function of the request, the name of an environment variable, or, when left out, the
 * verified `authInfo`, else the variable MCP_AUDITD_ACTOR, else the user of the operating system when the server
 * speaks stdio. An id from a function given as text, and all but `authInfo`, count as claimed.
 */
export type ActorSource = ((request: ActorRequest) => Actor | string | undefined) | { readonly env: string };

export const nobody: Actor = Object.freeze({ id: '', type: 'unknown', verified: false });

/** Finds the actors of one connection's requests. */
export class Actors {
  readonly #source: ActorSource | undefined;
  /** Who it is when a request does not say: read once, as an environment does not change. */
  readonly #otherwise: Actor;

  constructor(source: ActorSource | undefined, stdio: boolean) {
    this.#source = source;
    const fromEnvironment = process.env[typeof source === 'object' ? source.env : 'MCP_AUDITD_ACTOR'];
    if (fromEnvironment) this.#otherwise = claimed(fromEnvironment, 'unknown');
    else this.#otherwise = stdio && source === undefined ? operatingUser() : nobody;
  }

  /**
   * The actor of one request.
   * @throws whatever the operator's function throws, and TypeError when it returns another shape; the caller counts it.
   */
  of(context: MessageContext, message: unknown, sessionId: string): Actor {
    const source = this.#source;
    if (source === undefined) return authenticated(context.authInfo) ?? this.#otherwise;
    if (typeof source !== 'function') return this.#otherwise;
    const { headers } = context;
    const authInfo = isObject(context.authInfo) ? context.authInfo : undefined;
    const actor = source({ authInfo, headers, message, sessionId, env: process.env });
    if (actor === undefined) return nobody;
    if (typeof actor === 'string') return claimed(actor, 'unknown');
    if (isObject(actor) && typeof actor.id === 'string') return actor as unknown as Actor;
    throw new TypeError('actor must return {id, type?, verified?}, text or undefined (and no promise)');
  }
}

/** The OAuth client id of `authInfo`, or ''. */
export function clientIdOf(authInfo: unknown): string {
  return isObject(authInfo) ? textOf(authInfo.clientId) : '';
}

/** Claims by which token verifiers name the user, most specific first (RFC 7519 `sub`, OpenID Connect `email`). */
const userClaims = ['sub', 'email', 'userId', 'username'] as const;

function authenticated(authInfo: unknown): Actor | undefined {
  if (!isObject(authInfo)) return undefined;
  const extra = isObject(authInfo.extra) ? authInfo.extra : {};
  for (const claim of userClaims) {
    const id = textOf(extra[claim]);
    if (id !== '') return { id, type: 'user', verified: true };
  }
  const clientId = textOf(authInfo.clientId);
  return clientId === '' ? undefined : { id: clientId, type: 'service', verified: true };
}

function claimed(id: string, type: string): Actor {
  return { id, type: id === '' ? 'unknown' : type, verified: false };
}

let operatingUserOnce: Actor | undefined;

function operatingUser(): Actor {
  if (operatingUserOnce === undefined) {
    try {
      operatingUserOnce = claimed(userInfo().username, 'user');
    } catch {
      // A container may run under a user id that has no name.
      operatingUserOnce = nobody;
    }
  }
  return operatingUserOnce;
}
