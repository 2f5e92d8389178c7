/**
 * The throttle signals as they are now, for emitters: a fold of the topic, and the changes since a place that a reader
 * names. Only signals of a key that this process trusts are handed out, so that whoever can write to the topic can
 * neither hold callers back nor hide a signal; emitters check the signature again, against the key that they pin.
 */
import { parseSignal, type ThrottleSignal } from '../../schemas/throttle.js';
import { parseTimeMicros } from '../../schemas/time.js';
import type { Health } from '../stream/progress.js';
import type { Consumer, Stream } from '../stream/stream.js';

/** What a reader gets. With `reset` it begins anew: `signals` is then all that holds, else what changed since. */
export interface Changes {
  readonly id: string;
  readonly reset: boolean;
  readonly signals: readonly ThrottleSignal[];
}

/** Changes that are kept for readers who come back: about 1 KB each. One who comes later begins anew. */
const mostChanges = 10_000;
/** Signals that are kept at once: what runs out goes first, and the throttler's own budget is far below. */
const mostSignals = 50_000;

export interface ThrottleBoardOptions {
  readonly stream: Stream;
  readonly isTrusted: (signal: ThrottleSignal) => boolean;
  /** Tells two runs of a gateway apart: places of the one say nothing to the other. */
  readonly run: string;
  /** Microseconds since the epoch. */
  readonly clock: () => number;
}

export class ThrottleBoard {
  readonly #options: ThrottleBoardOptions;
  readonly #current = new Map<string, ThrottleSignal>();
  /** The newest changes; the last one has the number `#sequence`. */
  #changes: ThrottleSignal[] = [];
  #sequence = 0;
  readonly #waiting = new Set<(signal: ThrottleSignal) => void>();
  #consumer: Consumer | undefined;
  #failure: Error | undefined;
  #untrusted = 0;

  constructor(options: ThrottleBoardOptions) {
    this.#options = options;
  }

  /** Reads the topic from its start; resolves when everything that is there now is known. */
  async start(): Promise<void> {
    const { stream } = this.#options;
    const behind = new Map(
      (await stream.partitions('throttle'))
        .filter(({ earliestOffset, endOffset }) => endOffset > earliestOffset)
        .map(({ partition, endOffset }) => [partition, endOffset]),
    );
    let caughtUp!: () => void;
    const ready = new Promise<void>((resolve) => {
      caughtUp = resolve;
    });
    this.#consumer = await stream.consume({
      topic: 'throttle',
      assigned: async (partitions) => new Map(partitions.map((partition) => [partition, 0])),
      revoked: async () => undefined,
      batch: async ({ partition, records, nextOffset }) => {
        for (const { value } of records) this.#take(parseSignal(value));
        if (nextOffset >= (behind.get(partition) ?? 0)) behind.delete(partition);
        if (behind.size === 0) caughtUp();
      },
    });
    this.#consumer.closed.catch((error: unknown) => {
      this.#failure = error as Error;
      caughtUp();
    });
    if (behind.size > 0) await ready;
  }

  health(): Health {
    if (this.#failure !== undefined) return { state: 'stuck', reason: `signals: ${this.#failure.message}` };
    return { state: 'ready' };
  }

  /** For `status`. */
  get counts(): { readonly signals: number; readonly untrusted_signals: number; readonly listeners: number } {
    return { signals: this.#current.size, untrusted_signals: this.#untrusted, listeners: this.#waiting.size };
  }

  /** What a reader of a tenant must learn that knows everything up to `after`. */
  since(tenant: string, after: string | undefined): Changes {
    const [run, place] = (after ?? '').split('.');
    const sequence = Number(place);
    const id = `${this.#options.run}.${this.#sequence}`;
    const oldest = this.#sequence + 1 - this.#changes.length;
    const isKnown = run === this.#options.run && Number.isSafeInteger(sequence) && sequence <= this.#sequence;
    if (isKnown && sequence + 1 >= oldest) {
      const signals = this.#changes.slice(sequence + 1 - oldest).filter((signal) => signal.tenant === tenant);
      return { id, reset: false, signals };
    }
    const now = this.#options.clock();
    const signals = [...this.#current.values()].filter(
      (signal) => signal.tenant === tenant && signal.state === 'active' && parseTimeMicros(signal.expires_at) > now,
    );
    return { id, reset: true, signals };
  }

  /** Calls back at each change, of every tenant, until the returned function is called. */
  onChange(listener: (signal: ThrottleSignal) => void): () => void {
    this.#waiting.add(listener);
    return () => this.#waiting.delete(listener);
  }

  async close(): Promise<void> {
    await this.#consumer?.close();
  }

  #take(signal: ThrottleSignal | undefined): void {
    if (signal === undefined) return;
    const known = this.#current.get(signal.signal_id);
    if (known !== undefined && known.revision >= signal.revision) return;
    if (!this.#options.isTrusted(signal)) {
      this.#untrusted += 1;
      return;
    }
    if (this.#current.size >= mostSignals) this.#forget();
    this.#current.set(signal.signal_id, signal);
    this.#sequence += 1;
    this.#changes.push(signal);
    if (this.#changes.length > mostChanges) this.#changes = this.#changes.slice(-Math.floor(mostChanges / 2));
    for (const listener of this.#waiting) listener(signal);
  }

  #forget(): void {
    const now = this.#options.clock();
    for (const [id, signal] of this.#current) if (parseTimeMicros(signal.expires_at) <= now) this.#current.delete(id);
    for (const id of this.#current.keys()) {
      if (this.#current.size < mostSignals) break;
      this.#current.delete(id);
    }
  }
}
