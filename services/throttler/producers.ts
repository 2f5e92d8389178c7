/** How many producers serve the calls of a signal, from the stream of calls: the rate is shared among them. */
import { type ScopedCall, ScopeIndex } from '../../schemas/scope-index.js';
import type { ThrottleSignal } from '../../schemas/throttle.js';

interface Watched {
  readonly id: string;
  readonly scope: ThrottleSignal['scope'];
  /** When each producer last served such a call; milliseconds of the stream's clock. */
  readonly seen: Map<string, number>;
}

/** A producer that served none for so long no longer has a share. */
export const rememberedMs = 60_000;
/** Producers of one signal: their shares are below a call a minute then. */
const mostProducers = 10_000;

export class ProducerCounts {
  readonly #watched = new Map<string, Watched>();
  readonly #index = new ScopeIndex<Watched>();
  /** The actors that signals name; undefined when a signal names none, so that everybody's calls are looked at. */
  #actors: Set<string> | undefined = new Set();
  #newestMs = 0;

  /** Watches these signals, and no others any more. */
  watch(signals: Iterable<{ readonly signal_id: string; readonly scope: ThrottleSignal['scope'] }>): void {
    const wanted = new Map([...signals].map((signal) => [signal.signal_id, signal.scope]));
    for (const [id, watched] of this.#watched) {
      if (wanted.has(id)) continue;
      this.#watched.delete(id);
      this.#index.delete(watched);
    }
    for (const [id, scope] of wanted) {
      if (this.#watched.has(id)) continue;
      const watched = { id, scope, seen: new Map<string, number>() };
      this.#watched.set(id, watched);
      this.#index.add(watched);
    }
    const actors = [...wanted.values()].map(({ actor_id }) => actor_id);
    this.#actors = actors.includes(undefined) ? undefined : new Set(actors as string[]);
  }

  /**
   * Whether a record may be a call of a watched signal, by its key (tenant, NUL, actor): to parse every call would be a
   * tenth of what one costs on its way to the store.
   */
  mayConcern(key: string): boolean {
    if (this.#actors === undefined) return true;
    const separator = key.indexOf('\0');
    return separator < 0 ? this.#actors.size > 0 : this.#actors.has(key.slice(separator + 1));
  }

  /** Takes a call. True when a signal has a producer that it did not have. */
  call(call: ScopedCall & { readonly producer_id?: string }, recordedMs: number): boolean {
    this.#newestMs = Math.max(this.#newestMs, recordedMs);
    let isNew = false;
    for (const { seen } of this.#index.match(call)) {
      const producer = call.producer_id ?? '';
      if (!seen.has(producer)) {
        if (seen.size >= mostProducers) continue;
        isNew = true;
      }
      seen.set(producer, recordedMs);
    }
    return isNew;
  }

  /** Producers of the last minute; at least 1. */
  count(signalId: string): number {
    const seen = this.#watched.get(signalId)?.seen;
    if (seen === undefined) return 1;
    for (const [producer, at] of seen) if (at + rememberedMs < this.#newestMs) seen.delete(producer);
    return Math.max(1, seen.size);
  }
}
