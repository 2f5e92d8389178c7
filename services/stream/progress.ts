/**
 * How far a group's consumer is, compared with the ends of its partitions: the lag, and whether it is idle, works,
 * waits for something that it cannot mend, or is stuck.
 *
 * The ends are read in the background, so that neither a scrape nor a probe waits for a broker that is away.
 */
import type { PartitionState, Stream, Topic } from './stream.js';

/**
 * ready: works, or there is nothing to do. waiting: something it needs is away, and a restart would not help. stuck:
 * there is work, nothing that it needs is known to be away, and it does not go on: a restart helps.
 */
export interface Health {
  readonly state: 'ready' | 'waiting' | 'stuck';
  readonly reason?: string;
}

/** The worst of several: stuck, else waiting, else ready. */
export function worstHealth(parts: readonly Health[]): Health {
  return (
    parts.find(({ state }) => state === 'stuck') ?? parts.find(({ state }) => state === 'waiting') ?? { state: 'ready' }
  );
}

export interface ProgressOptions {
  readonly stream: Stream;
  readonly topic: Topic;
  /** How long nothing may be done while there is work. Default 120,000 ms: longer than any single step may take. */
  readonly stuckAfterMs?: number;
  /** Milliseconds since the epoch. */
  readonly clock?: () => number;
}

const defaultStuckAfterMs = 120_000;
/** How often the ends are read: one request to the brokers for each topic and process. */
const refreshIntervalMs = 5_000;
/** Ends that are older say that the stream does not answer. Well above the retries of one request. */
const endsAgeMs = 30_000;

interface Reached {
  /** Where the consumer goes on; undefined until it is known: then the earliest record is meant. */
  nextOffset: number | undefined;
  /** Since when there has been work without any progress. */
  behindSinceMs: number | undefined;
}

export class ConsumerProgress {
  private readonly clock: () => number;
  private readonly stuckAfterMs: number;
  private readonly partitions = new Map<number, Reached>();
  private readonly startedAtMs: number;
  private ends: { readonly byPartition: ReadonlyMap<number, PartitionState>; readonly readAtMs: number } | undefined;
  private failing: { readonly what: string; readonly sinceMs: number } | undefined;
  private timer: NodeJS.Timeout | undefined;
  private reading: Promise<void> | undefined;

  constructor(private readonly options: ProgressOptions) {
    this.clock = options.clock ?? Date.now;
    this.stuckAfterMs = options.stuckAfterMs ?? defaultStuckAfterMs;
    this.startedAtMs = this.clock();
  }

  /** Begins to read the ends regularly. */
  start(): void {
    this.timer ??= setInterval(() => void this.refresh(), refreshIntervalMs).unref();
    void this.refresh();
  }

  stop(): void {
    clearInterval(this.timer);
  }

  /** The partition is ours and goes on at the offset, or at its earliest record. */
  assigned(partition: number, nextOffset: number | undefined): void {
    this.failing = undefined;
    this.partitions.set(partition, { nextOffset, behindSinceMs: undefined });
  }

  /** The partition is another one's. What failed may have been its work; what fails on says so again. */
  revoked(partition: number): void {
    this.partitions.delete(partition);
    this.failing = undefined;
  }

  /** Everything below the offset was dealt with. */
  reached(partition: number, nextOffset: number): void {
    this.failing = undefined;
    const known = this.partitions.get(partition);
    if (known === undefined) return;
    known.nextOffset = nextOffset;
    known.behindSinceMs = undefined;
  }

  /** A step failed and is tried again. `what` names it for people and carries nothing secret. */
  failed(what: string): void {
    this.failing = { what, sinceMs: this.failing?.sinceMs ?? this.clock() };
  }

  /** Reads the ends now; what fails leaves the ends of before, which grow old. */
  refresh(): Promise<void> {
    this.reading ??= this.options.stream
      .partitions(this.options.topic)
      .then((states) => {
        this.ends = { byPartition: new Map(states.map((one) => [one.partition, one])), readAtMs: this.clock() };
        for (const partition of this.partitions.keys()) this.compare(partition);
      })
      .catch(() => undefined)
      .finally(() => {
        this.reading = undefined;
      });
    return this.reading;
  }

  /** Records of each partition of ours that were not dealt with, as of the last reading of the ends. */
  lags(): { readonly partition: number; readonly lag: number }[] {
    return [...this.partitions.keys()].map((partition) => ({ partition, lag: this.lagOf(partition) }));
  }

  health(): Health {
    const now = this.clock();
    if (this.failing !== undefined)
      return {
        state: 'waiting',
        reason: `${this.failing.what} fails since ${new Date(this.failing.sinceMs).toISOString()}`,
      };
    const readAtMs = this.ends?.readAtMs ?? this.startedAtMs;
    if (now - readAtMs > endsAgeMs)
      return { state: 'waiting', reason: `the stream does not answer since ${new Date(readAtMs).toISOString()}` };
    for (const partition of this.partitions.keys()) {
      const since = this.partitions.get(partition)!.behindSinceMs;
      if (since !== undefined && now - since > this.stuckAfterMs)
        return {
          state: 'stuck',
          reason: `partition ${partition} of ${this.options.topic} has ${this.lagOf(partition)} records to deal with and does not go on since ${new Date(since).toISOString()}`,
        };
    }
    return { state: 'ready' };
  }

  private lagOf(partition: number): number {
    const end = this.ends?.byPartition.get(partition);
    if (end === undefined) return 0;
    const from = Math.max(end.earliestOffset, this.partitions.get(partition)?.nextOffset ?? end.earliestOffset);
    return Math.max(0, end.endOffset - from);
  }

  private compare(partition: number): void {
    const known = this.partitions.get(partition)!;
    if (this.lagOf(partition) === 0) known.behindSinceMs = undefined;
    else known.behindSinceMs ??= this.clock();
  }
}
