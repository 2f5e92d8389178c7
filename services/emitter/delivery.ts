import { appendFileSync, statSync } from 'node:fs';
import { complainOnce } from './complaints.js';
import type { EventText, Sink } from './sink.js';
import type { Batch, Source } from './spool.js';

/** 4,000 events of the usual size; the gateway takes eight times as much. A request costs a few turns of the loop. */
const maxBatchLines = 4000;
const maxBatchBytes = 4 * 1024 * 1024;
/** With so much waiting nothing is won by waiting for more: 1,000 events. */
const readyLength = 768 * 1024;
/** First wait after a failure; it doubles up to the longest, so a gateway that comes back is found within 5 s. */
const firstRetryMs = 250;
const longestRetryMs = 5000;
/** Events that the gateway refused are evidence, but not without end: 100,000 of them. Beyond that they are counted. */
const maxRejectedFileBytes = 64 * 1024 * 1024;

export interface DeliveryOptions {
  /** Least time from one batch to the next: an event that follows no other one goes at once. */
  readonly lingerMs: number;
  /** File to which events go that the gateway refused as such. */
  readonly rejectedPath: string;
}

/** A batch under way: the parts of it that were not answered yet, next one last. */
interface Work {
  readonly batch: Batch;
  readonly parts: (readonly EventText[])[];
}

/**
 * Takes events from a source to a sink, one batch at a time and in order.
 *
 * States: idle → lingering (`notify`; only while the last batch is younger than `lingerMs`) → sending → idle; sending →
 * waiting (the sink said `retry`) → sending; any → closed. The source hears of a batch when every line of it is durable in the sink or written to the file of refused
 * events. Nothing here keeps the process alive.
 */
export class Delivery {
  /** Events that are durable in the sink. */
  delivered = 0;
  /** Events that the sink refused as such. */
  rejected = 0;
  readonly #source: Source;
  readonly #sink: Sink;
  readonly #options: DeliveryOptions;
  readonly #abort = new AbortController();
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> | undefined;
  #notified = false;
  #work: Work | undefined;
  #failures = 0;
  #isHurrying = false;
  /** When the last batch began to leave. */
  #sentMs = Number.NEGATIVE_INFINITY;

  constructor(source: Source, sink: Sink, options: DeliveryOptions) {
    this.#source = source;
    this.#sink = sink;
    this.#options = options;
  }

  /** There is a new event, and so much waits in memory. */
  notify(waitingLength = 0): void {
    const isBatchFull = waitingLength >= readyLength;
    if (this.#running !== undefined) this.#notified = true;
    else if (this.#timer === undefined) this.#wakeAfter(isBatchFull ? 0 : this.#restMs());
    else if (isBatchFull && this.#failures === 0 && !this.#isHurrying) {
      clearTimeout(this.#timer);
      this.#wakeAfter(0);
    }
  }

  /**
   * Resolves when everything that is in the source now was delivered, when the sink can't take it for now, or after
   * `timeoutMs`. Never rejects.
   */
  async drain(timeoutMs: number): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const timeout = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, timeoutMs);
    });
    await Promise.race([this.deliverNow(), timeout]);
    clearTimeout(timer);
  }

  /** As `drain`, for as long as it takes. */
  async deliverNow(): Promise<void> {
    // A pass that runs already may have taken its last batch before the newest event came.
    await this.#running;
    await this.#pass();
  }

  /** Stops. What was not answered stays in the source. */
  async close(): Promise<void> {
    this.#abort.abort();
    clearTimeout(this.#timer);
    this.#timer = undefined;
    await this.#running;
  }

  /** What is left of the time between two batches. */
  #restMs(): number {
    return Math.max(0, this.#sentMs + this.#options.lingerMs - performance.now());
  }

  #wakeAfter(ms: number): void {
    if (this.#abort.signal.aborted) return;
    this.#isHurrying = ms === 0;
    this.#timer = setTimeout(() => void this.#pass(), ms);
    this.#timer.unref();
  }

  /** Sends batches until the source has no full one more, or the sink can't take one. */
  #pass(): Promise<void> {
    if (this.#running !== undefined) return this.#running;
    if (this.#abort.signal.aborted) return Promise.resolve();
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#notified = false;
    const running = this.#sendAll().then((waitMs) => {
      this.#running = undefined;
      if (waitMs > 0) this.#wakeAfter(waitMs);
      else if (this.#notified) this.#wakeAfter(this.#restMs());
    });
    this.#running = running;
    return running;
  }

  /** Returns how long to wait before the next try; 0 when there is nothing to try again. */
  async #sendAll(): Promise<number> {
    try {
      for (;;) {
        // Much may have come behind a batch that had to be sent again.
        const isRepeated = this.#work !== undefined;
        if (this.#work === undefined) {
          const batch = this.#source.next(maxBatchBytes, maxBatchLines);
          if (batch.lines.length === 0) {
            if (this.#source.delivered(batch)) continue;
            return 0;
          }
          this.#sentMs = performance.now();
          this.#work = { batch, parts: [batch.lines] };
        }
        const { batch, parts } = this.#work;
        const waitMs = await this.#sendParts(parts);
        if (waitMs > 0) return waitMs;
        this.#work = undefined;
        const hasMore = this.#source.delivered(batch) || batch.isFull || isRepeated;
        if (!hasMore) return 0;
      }
    } catch (error) {
      complainOnce('delivery', `events wait in the spool: ${messageOf(error)}`);
      return this.#backOff(0);
    }
  }

  async #sendParts(parts: (readonly EventText[])[]): Promise<number> {
    for (let lines = parts.at(-1); lines !== undefined; lines = parts.at(-1)) {
      const answer = await this.#sink.send(lines, this.#abort.signal);
      if (answer.kind === 'retry') {
        if (this.#abort.signal.aborted) return longestRetryMs;
        complainOnce('retry', `events wait in the spool: ${answer.reason}`);
        return this.#backOff(answer.afterMs ?? 0);
      }
      this.#failures = 0;
      parts.pop();
      if (answer.kind === 'accepted') {
        for (const { index, code, message } of answer.rejected) this.#reject(lines[index], code, message);
        this.delivered += lines.length - answer.rejected.length;
      } else if (lines.length === 1) {
        this.#reject(lines[0], answer.code, answer.message);
      } else {
        const middle = lines.length >> 1;
        parts.push(lines.slice(middle), lines.slice(0, middle));
      }
    }
    return 0;
  }

  #backOff(atLeastMs: number): number {
    const ms = Math.min(longestRetryMs, firstRetryMs * 2 ** Math.min(this.#failures, 10));
    this.#failures += 1;
    // Emitters that lost one gateway together must not come back together.
    return Math.max(atLeastMs, ms * (0.5 + Math.random() / 2));
  }

  #reject(line: EventText | undefined, code: string, message: string): void {
    if (line === undefined) return;
    this.rejected += 1;
    const { rejectedPath } = this.#options;
    complainOnce(`rejected:${code}`, `the gateway refused an event (${code}: ${message}); it is in ${rejectedPath}`);
    try {
      const bytes = statSync(rejectedPath, { throwIfNoEntry: false })?.size ?? 0;
      if (bytes + line.length > maxRejectedFileBytes) {
        complainOnce('rejected:full', `${rejectedPath} is full; further refused events are only counted`);
        return;
      }
      const entry = { rejected_at: new Date().toISOString(), code, message, event: line.toString() };
      appendFileSync(rejectedPath, `${JSON.stringify(entry)}\n`, { mode: 0o600 });
    } catch (error) {
      complainOnce('rejected:unwritable', `a refused event could not be kept: ${messageOf(error)}`);
    }
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
