import type { Direction, JsonObject, RequestId } from './messages.js';
import type { RecordedCall } from './recorder.js';

/** A request that has no answer yet. */
export interface PendingCall {
  readonly call: RecordedCall;
  readonly method: string;
  /** The request itself: the server holds it too while it works. */
  readonly message: JsonObject;
  readonly actorId: string;
  /** Event id of the first round, where this is a further one. */
  readonly parent: string;
  readonly signal: { readonly aborted: boolean } | undefined;
  /** The next call with the same id: one transport can serve several clients that number alike. */
  next: PendingCall | undefined;
}

/** The requests of one connection that have no answer yet, by direction and id; of one id the oldest first. */
export class PendingCalls {
  readonly #calls: Record<Direction, Map<RequestId, PendingCall>> = {
    client_to_server: new Map(),
    server_to_client: new Map(),
  };
  #size = 0;

  get size(): number {
    return this.#size;
  }

  add(direction: Direction, pending: PendingCall): void {
    const calls = this.#calls[direction];
    const id = pending.message.id as RequestId;
    const first = calls.get(id);
    if (first === undefined) {
      calls.set(id, pending);
    } else {
      let last = first;
      while (last.next !== undefined) last = last.next;
      last.next = pending;
    }
    this.#size += 1;
  }

  /** Takes the oldest with this id. */
  take(direction: Direction, id: RequestId): PendingCall | undefined {
    const calls = this.#calls[direction];
    const pending = calls.get(id);
    if (pending === undefined) return undefined;
    if (pending.next === undefined) calls.delete(id);
    else calls.set(id, pending.next);
    this.#size -= 1;
    return pending;
  }

  /** Takes the one of this very message. */
  takeMessage(direction: Direction, message: JsonObject): PendingCall | undefined {
    const calls = this.#calls[direction];
    const id = message.id as RequestId;
    let before: PendingCall | undefined;
    for (let pending = calls.get(id); pending !== undefined; before = pending, pending = pending.next) {
      if (pending.message !== message) continue;
      if (before !== undefined) before.next = pending.next;
      else if (pending.next !== undefined) calls.set(id, pending.next);
      else calls.delete(id);
      this.#size -= 1;
      return pending;
    }
    return undefined;
  }

  takeOldest(direction: Direction): PendingCall | undefined {
    for (const id of this.#calls[direction].keys()) return this.take(direction, id);
    return undefined;
  }

  has(direction: Direction, message: JsonObject): boolean {
    let pending = this.#calls[direction].get(message.id as RequestId);
    while (pending !== undefined && pending.message !== message) pending = pending.next;
    return pending !== undefined;
  }
}
