import type { ObservedConnection } from '../observe.js';

/** What the requests of one session have in common. */
export interface Session {
  readonly connection: ObservedConnection;
  /** Whose it is, where callers are authenticated: nobody else may use it. */
  readonly actorId: string | undefined;
  /** Exchanges that are still under way then end what they began themselves. */
  isEnded: boolean;
  usedMs: number;
  /** Streams that are open now: such a session is not idle. */
  streams: number;
  /** 2024-11-05: whether the client of the stream has hung up. */
  signal?: { readonly aborted: boolean };
  /** 2024-11-05: puts an event of ours into the stream; false when that is not possible. */
  inject?: (text: string) => boolean;
}

/** A session costs about 2 KB here: 20 MB. Of more, the one that was made first is forgotten. */
const mostSessions = 10_000;
/** A session nobody used for so long has ended, whatever the server thinks of it. */
const idleMs = 3_600_000;

/**
 * Sessions by what a request names them with: the value of Mcp-Session-Id, or the path that a server of 2024-11-05 told
 * as its endpoint. Sessions that were there before the proxy are made when the server first takes a request of them.
 *
 * States: open → ended (DELETE, 404, its stream of 2024-11-05 closed, idle, displaced, the proxy stopped); then what has
 * no answer is recorded as such.
 */
export class Sessions {
  readonly #sessions = new Map<string, Session>();

  get(key: string, nowMs: number): Session | undefined {
    const session = this.#sessions.get(key);
    if (session !== undefined) session.usedMs = nowMs;
    return session;
  }

  add(key: string, connection: ObservedConnection, actorId: string | undefined, nowMs: number): Session {
    if (this.#sessions.size >= mostSessions)
      for (const oldest of this.#sessions.keys()) {
        this.end(oldest);
        break;
      }
    const session: Session = { connection, actorId, isEnded: false, usedMs: nowMs, streams: 0 };
    this.#sessions.set(key, session);
    return session;
  }

  end(key: string): void {
    const session = this.#sessions.get(key);
    this.#sessions.delete(key);
    if (session === undefined) return;
    session.isEnded = true;
    session.connection.closed();
  }

  endIdle(nowMs: number): void {
    for (const [key, session] of this.#sessions)
      if (session.streams === 0 && nowMs - session.usedMs > idleMs) this.end(key);
  }

  endAll(): void {
    for (const key of [...this.#sessions.keys()]) this.end(key);
  }
}
