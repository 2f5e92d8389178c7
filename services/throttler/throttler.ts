/**
 * From alerts and people's decisions to throttle signals, from records to records.
 *
 * Invariants:
 * - One throttler writes: whoever owns partition 0 of the topic in the group. Every other one reads along and is ready.
 * - It writes nothing before it has read what was there when it took over: alerts, responses and signals.
 * - What it writes follows from what it has read (wishes.ts), so a restart changes nothing: it arrives at the same
 *   signals and finds them written. Of two records with one revision the first in the stream counts; a throttler that
 *   was frozen and writes late is overruled by the next decision.
 */
import { setImmediate } from 'node:timers/promises';
import type { Alert } from '../../schemas/alert.js';
import type { Response } from '../../schemas/response.js';
import { parseSignal, type ThrottleSignal, type UnsignedSignal } from '../../schemas/throttle.js';
import { parseTimeMicros } from '../../schemas/time.js';
import type { Health } from '../stream/progress.js';
import type { Consumer, RecordBatch, Stream, StreamRecord, Topic } from '../stream/stream.js';
import { liftOf, wishOfResponse } from './by-hand.js';
import { type FixedLimit, limitWishes } from './fixed.js';
import type { ThrottlerMetrics } from './metrics.js';
import { ProducerCounts, rememberedMs } from './producers.js';
import { changes, type Lift, type Policy, type Wanted, type Wish, wanted, wishesOf } from './wishes.js';

export interface ThrottlerOptions {
  readonly stream: Stream;
  readonly policy: Policy;
  readonly limits: readonly FixedLimit[];
  readonly sign: (signal: UnsignedSignal) => ThrottleSignal;
  readonly isOwn: (signal: ThrottleSignal) => boolean;
  /** The key that `sign` uses now: what another one signed and still holds is written anew. */
  readonly signingKeyId: () => string;
  readonly metrics: ThrottlerMetrics;
  /** Microseconds since the epoch. */
  readonly clock: () => number;
  readonly onFault: (error: unknown, what: string) => void;
}

export interface ThrottlerStatus {
  readonly owner: boolean;
  readonly active: number;
  readonly dry_run: number;
  readonly wishes: number;
  readonly foreign_signals: number;
}

const retryMs = 1_000;
/** About 2 ms: signals are waited for in the same process. */
const recordsInATurn = 256;
/** A timer cannot wait longer; limits of the configuration are renewed more often. */
const longestWaitMs = 3_600_000;

/** Starts reading; writes once it owns the topic. */
export async function startThrottler(options: ThrottlerOptions): Promise<Throttler> {
  const throttler = new Throttler(options);
  await throttler.start();
  return throttler;
}

export class Throttler {
  readonly #options: ThrottlerOptions;
  readonly #consumers: Consumer[] = [];
  /** Of each alert the wishes of its newest record, and that record's revision. */
  readonly #alerts = new Map<string, { revision: number; wishes: Wish[] }>();
  readonly #responses = new Map<string, { revision: number; wish: Wish | undefined; lift: Lift | undefined }>();
  readonly #current = new Map<string, ThrottleSignal>();
  readonly #producers = new ProducerCounts();
  /** Where each partition that is read had its end when we took over, until that is read. */
  readonly #behind = new Map<string, number>();
  readonly #reached = new Map<string, number>();
  #isOwner = false;
  #ownerSinceMicros = 0;
  #deciding: Promise<void> | undefined;
  #isDirty = false;
  #timer: NodeJS.Timeout | undefined;
  #foreign = 0;
  #failure: unknown;
  #isClosed = false;

  constructor(options: ThrottlerOptions) {
    this.#options = options;
  }

  async start(): Promise<void> {
    await this.#read('throttle', (record) => this.#takeSignal(record));
    await this.#read('alerts', (record) => this.#takeAlert(record));
    await this.#read('responses', (record) => this.#takeResponse(record));
    await this.#read('calls', (record) => this.#takeCall(record), 'latest');
    const { stream } = this.#options;
    const consumer = await stream.consume({
      topic: 'throttle',
      group: 'throttler',
      assigned: async (partitions) => {
        if (partitions.includes(0)) await this.#takeOver();
        return new Map(partitions.map((partition) => [partition, 'latest' as const]));
      },
      revoked: async (partitions) => {
        if (partitions.includes(0)) this.#isOwner = false;
      },
      batch: async () => undefined,
    });
    this.#watch(consumer);
  }

  status(): ThrottlerStatus {
    const now = this.#options.clock();
    const active = [...this.#current.values()].filter(
      (signal) => signal.state === 'active' && parseTimeMicros(signal.expires_at) > now,
    );
    return {
      owner: this.#isOwner,
      active: active.filter(({ dry_run }) => !dry_run).length,
      dry_run: active.filter(({ dry_run }) => dry_run).length,
      wishes: [...this.#wishes()].length,
      foreign_signals: this.#foreign,
    };
  }

  /** Decides anew, because something outside the stream has changed. */
  review(): void {
    this.#decide();
  }

  health(): Health {
    if (this.#failure !== undefined) return { state: 'stuck', reason: String((this.#failure as Error).message) };
    return { state: 'ready' };
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#isOwner = false;
    if (this.#timer !== undefined) clearTimeout(this.#timer);
    await this.#deciding;
    await Promise.all(this.#consumers.map((consumer) => consumer.close()));
  }

  /** Reads every partition of a topic from its start, or from now. */
  async #read(topic: Topic, take: (record: StreamRecord) => boolean, from: 0 | 'latest' = 0): Promise<void> {
    const consumer = await this.#options.stream.consume({
      topic,
      assigned: async (partitions) => new Map(partitions.map((partition) => [partition, from])),
      revoked: async () => undefined,
      batch: async (batch) => {
        let isNews = false;
        for (const [at, record] of batch.records.entries()) {
          if (at % recordsInATurn === recordsInATurn - 1) await setImmediate();
          isNews = take(record) || isNews;
        }
        this.#reachedEnd(batch);
        if (isNews) this.#decide();
      },
    });
    this.#watch(consumer);
  }

  #watch(consumer: Consumer): void {
    this.#consumers.push(consumer);
    consumer.closed.catch((error: unknown) => {
      this.#failure = error;
      this.#options.onFault(error, 'reading ended');
    });
  }

  async #takeOver(): Promise<void> {
    for (const topic of ['throttle', 'alerts', 'responses'] as const) {
      for (const { partition, earliestOffset, endOffset } of await this.#options.stream.partitions(topic)) {
        const place = `${topic}/${partition}`;
        if (endOffset > earliestOffset && (this.#reached.get(place) ?? 0) < endOffset)
          this.#behind.set(place, endOffset);
      }
    }
    this.#isOwner = true;
    this.#ownerSinceMicros = this.#options.clock();
    this.#decide();
  }

  #reachedEnd({ topic, partition, nextOffset }: RecordBatch): void {
    const place = `${topic}/${partition}`;
    this.#reached.set(place, nextOffset);
    const end = this.#behind.get(place);
    if (end === undefined || nextOffset < end) return;
    this.#behind.delete(place);
    if (this.#behind.size === 0) this.#decide();
  }

  #takeSignal({ value }: StreamRecord): boolean {
    const signal = parseSignal(value);
    if (signal === undefined || !this.#options.isOwn(signal)) {
      // Whoever can write to the topic can't stop a server: such a record is counted, and never followed.
      this.#foreign += 1;
      this.#options.metrics.foreign.inc();
      return false;
    }
    const known = this.#current.get(signal.signal_id);
    if (known !== undefined && known.revision >= signal.revision) return false;
    this.#current.set(signal.signal_id, signal);
    return true;
  }

  #takeAlert({ value }: StreamRecord): boolean {
    const alert = parse<Alert>(value);
    if (typeof alert?.alert_id !== 'string' || !Array.isArray(alert.actions)) return false;
    const known = this.#alerts.get(alert.alert_id);
    if (known !== undefined && known.revision >= alert.revision) return false;
    let wishes: Wish[] = [];
    try {
      wishes = wishesOf(alert);
    } catch (error) {
      this.#options.onFault(error, `alert ${alert.alert_id} was passed over`);
    }
    if (known === undefined && wishes.length === 0) return false;
    this.#alerts.set(alert.alert_id, { revision: alert.revision, wishes });
    return true;
  }

  #takeResponse({ value }: StreamRecord): boolean {
    const response = parse<Response>(value);
    if (response === undefined || (response.kind !== 'throttle' && response.kind !== 'lift')) return false;
    const known = this.#responses.get(response.response_id);
    if (known !== undefined && known.revision >= response.revision) return false;
    try {
      const wish = response.kind === 'throttle' ? wishOfResponse(response) : undefined;
      const lift = response.kind === 'lift' ? liftOf(response) : undefined;
      this.#responses.set(response.response_id, { revision: response.revision, wish, lift });
    } catch (error) {
      this.#options.onFault(error, `response ${response.response_id} was passed over`);
      return false;
    }
    return true;
  }

  #takeCall(record: StreamRecord): boolean {
    if (!this.#producers.mayConcern(record.key)) return false;
    const call = parse<Record<string, string>>(record.value);
    return call !== undefined && this.#producers.call(call, record.timestamp);
  }

  *#wishes(): Generator<Wish> {
    for (const { wishes } of this.#alerts.values()) yield* wishes;
    for (const { wish } of this.#responses.values()) if (wish !== undefined) yield wish;
    yield* limitWishes(this.#options.limits, this.#options.clock());
  }

  #lifts(): Map<string, Lift> {
    const lifts = new Map<string, Lift>();
    for (const { lift } of this.#responses.values()) {
      if (lift !== undefined && lift.atMicros > (lifts.get(lift.signalId)?.atMicros ?? 0))
        lifts.set(lift.signalId, lift);
    }
    return lifts;
  }

  /** Decides soon, once for everything that has come in. */
  #decide(): void {
    this.#isDirty = true;
    if (this.#deciding !== undefined || !this.#mayDecide) return;
    this.#deciding = this.#decideUntilDone().finally(() => {
      this.#deciding = undefined;
      // It came between the last look and now.
      if (this.#isDirty) this.#decide();
    });
  }

  get #mayDecide(): boolean {
    return this.#isOwner && this.#behind.size === 0 && !this.#isClosed;
  }

  async #decideUntilDone(): Promise<void> {
    while (this.#isDirty && this.#mayDecide) {
      this.#isDirty = false;
      const nowMicros = this.#options.clock();
      const lifts = this.#lifts();
      const want = wanted(this.#wishes(), lifts, this.#options.policy, nowMicros);
      this.#producers.watch([...want.values()].filter(({ interval_micros }) => interval_micros > 0));
      // Who took over has not heard of the producers yet: as many as were known share for as long as one is remembered.
      const isNew = nowMicros < this.#ownerSinceMicros + rememberedMs * 1000;
      const count = ({ signal_id }: Wanted): number =>
        Math.max(this.#producers.count(signal_id), isNew ? (this.#current.get(signal_id)?.producers ?? 1) : 1);
      try {
        const signingKeyId = this.#options.signingKeyId();
        const isStale = ({ key_id }: ThrottleSignal): boolean => key_id !== signingKeyId;
        const signals = changes(this.#current, want, lifts, count, nowMicros, isStale).map(this.#options.sign);
        if (signals.length > 0) await this.#write(signals);
        const knownMicros = isNew ? this.#ownerSinceMicros + rememberedMs * 1000 : Number.POSITIVE_INFINITY;
        this.#wakeAt(Math.min(knownMicros, nextEnd(this.#wishes(), nowMicros)));
      } catch (error) {
        this.#options.onFault(error, 'signals were not written and are tried again');
        this.#wakeAt(nowMicros + retryMs * 1000);
        return;
      }
    }
  }

  async #write(signals: readonly ThrottleSignal[]): Promise<void> {
    const { stream, metrics } = this.#options;
    const records = signals.map((signal) => ({
      key: signal.signal_id,
      value: Buffer.from(JSON.stringify(signal)),
      headers: { tenant: signal.tenant },
    }));
    await stream.append('throttle', records);
    for (const signal of signals) {
      metrics.written.inc({ state: signal.state, origin: signal.origin });
      const known = this.#current.get(signal.signal_id);
      if (known === undefined || known.revision < signal.revision) this.#current.set(signal.signal_id, signal);
    }
  }

  #wakeAt(micros: number): void {
    if (this.#timer !== undefined) clearTimeout(this.#timer);
    const wait = Math.min(longestWaitMs, Math.max(1, Math.ceil((micros - this.#options.clock()) / 1000)));
    this.#timer = setTimeout(() => {
      this.#forget();
      this.#decide();
    }, wait);
    this.#timer.unref();
  }

  /** What has ended says no more; the newest revision of an alert is kept as long as a repeated record may come. */
  #forget(): void {
    const now = this.#options.clock();
    const dayMicros = 24 * 3_600e6;
    for (const [id, signal] of this.#current)
      if (parseTimeMicros(signal.expires_at) + dayMicros < now) this.#current.delete(id);
    for (const [id, { wishes }] of this.#alerts)
      if (wishes.length > 0 && wishes.every(({ untilMicros }) => untilMicros + dayMicros < now))
        this.#alerts.delete(id);
  }
}

function nextEnd(wishes: Iterable<Wish>, nowMicros: number): number {
  let next = Number.POSITIVE_INFINITY;
  for (const { untilMicros } of wishes) if (untilMicros > nowMicros && untilMicros < next) next = untilMicros;
  return next;
}

function parse<T>(value: Buffer): T | undefined {
  try {
    const record: unknown = JSON.parse(value.toString());
    return typeof record === 'object' && record !== null ? (record as T) : undefined;
  } catch {
    return undefined;
  }
}
