import { randomBytes } from 'node:crypto';
import type { Outcome } from '../../schemas/event.js';
import { nowMicros } from './clock.js';
import { complainOnce } from './complaints.js';
import { lossEvent } from './loss.js';
import { type Batch, type EndEntry, type Source, Spool, type SpoolEntry, type SpoolLimits } from './spool.js';

/** A call in the journal. States: begun → ended; lost when its beginning could not be kept. */
export interface JournalCall {
  readonly number: number;
  /** The spool that holds the beginning: a new one is begun when the old one is gone. */
  readonly spool: Spool | undefined;
  isLost: boolean;
}

/** The end of a call, as text: what stands behind outcome and sequence, and the least of it that is worth writing. */
export interface EndText {
  readonly durationMs: number;
  readonly outcome: Outcome;
  readonly rest: string;
  readonly shortestRest: string;
}

type Queued =
  | { readonly call: JournalCall; readonly alone: string; readonly text: string }
  | { readonly call: JournalCall; readonly end: EndText };

export interface JournalOptions {
  /** Directory of all spools. */
  readonly spools: string;
  /** First part of the producer's id. */
  readonly name: string;
  readonly version: string;
  readonly limits: SpoolLimits;
}

/** A spool that could not be made is tried again after this time. */
const reopenMs = 1000;

/**
 * What this process has to say, on its way into a spool: draws sequences, writes beginnings and ends that came together
 * with one write, counts what could not be kept and reports it as soon as there is room.
 *
 * A sequence is drawn when it is written, or lost: those that are delivered rise without gaps, and a gap is a loss.
 */
export class Journal implements Source {
  readonly #options: JournalOptions;
  #producerId = '';
  #prefix = '';
  #spool: Spool | undefined;
  /** The spool that the last batch was read from. */
  #readFrom: Spool | undefined;
  #openFailure: unknown;
  #lastOpenMs = Number.NEGATIVE_INFINITY;
  #isClosed = false;
  #nextCall = 1;
  #sequence = 0;
  #queue: Queued[] = [];
  #isAllKept = true;
  /** Losses while there was no spool to count them in. */
  #lostWithoutSpool = { count: 0, first: 0, last: 0, reason: '' };
  /** Events in the spool. */
  recorded = 0;
  /** Calls that could not be kept. */
  dropped = 0;

  constructor(options: JournalOptions) {
    this.#options = options;
    this.#becomeProducer();
    this.#openSpool();
  }

  /** `<name>-<8 hex digits>`; another one after the spool was lost, because a sequence belongs to one spool. */
  get producerId(): string {
    return this.#producerId;
  }

  /** Text of an event between its id and its time, up to the quote. */
  get prefix(): string {
    return this.#prefix;
  }

  get isEmpty(): boolean {
    return this.#queue.length === 0;
  }

  /** Characters of events that wait for delivery in memory. */
  get readyLength(): number {
    return this.#spool?.readyLength ?? 0;
  }

  /** Begins a call; its text follows by `begin`. Opens a new spool when the old one is gone. */
  newCall(): JournalCall {
    // Texts that wait to be written bear the old producer's name.
    if (this.#queue.length === 0) this.#reopen();
    const call: JournalCall = { number: this.#nextCall, spool: this.#spool, isLost: false };
    this.#nextCall += 1;
    return call;
  }

  begin(call: JournalCall, alone: string, text: string): void {
    this.#queue.push({ call, alone, text });
  }

  end(call: JournalCall, end: EndText): void {
    if (!call.isLost) this.#queue.push({ call, end });
  }

  /** Writes what was begun and ended since the last time. False when something of it, or before it, was lost. */
  commit(): boolean {
    const queue = this.#queue;
    if (queue.length > 0) {
      this.#queue = [];
      this.#reportLosses();
      if (!this.#writeTogether(queue)) for (const each of queue) this.#writeOne(each);
    }
    const isAllKept = this.#isAllKept;
    this.#isAllKept = true;
    return isAllKept;
  }

  /** Counts a call that could not be kept, where the count survives. Its sequence was used, so that the gap shows. */
  lose(error: unknown): void {
    this.#sequence += 1;
    this.dropped += 1;
    this.#isAllKept = false;
    const code = (error as { code?: unknown } | undefined)?.code;
    const reason = typeof code === 'string' ? code : 'no_room';
    complainOnce(`loss:${reason}`, `a call could not be recorded (it is counted): ${messageOf(error)}`);
    if (this.#spool !== undefined) {
      this.#spool.noteLoss(1, this.#sequence, this.#sequence, reason, nowMicros());
      return;
    }
    const lost = this.#lostWithoutSpool;
    if (lost.count === 0) lost.first = this.#sequence;
    lost.count += 1;
    lost.last = this.#sequence;
    lost.reason = reason;
  }

  next(maxBytes: number, maxLines: number): Batch {
    this.#readFrom = this.#spool;
    return this.#spool?.next(maxBytes, maxLines) ?? { lines: [], nextIndex: 0, lastSequence: 0, isFull: false };
  }

  delivered(batch: Batch): boolean {
    if (this.#readFrom === this.#spool) this.#spool?.delivered(batch);
    // Room may have come back, and nobody may call again.
    return this.#reportLosses();
  }

  /**
   * The event that tells of losses for which there was never a spool, when this process ends and there is still none;
   * standard error is told as well. Undefined: nothing was lost, or the spool tells of it.
   */
  lastWord(): string | undefined {
    this.commit();
    if (this.#lostWithoutSpool.count === 0) return undefined;
    if (this.#spool === undefined) this.#openSpool();
    if (this.#spool !== undefined) {
      this.#reportLosses();
      return undefined;
    }
    const { count, first, last, reason } = this.#lostWithoutSpool;
    complainOnce('losses', `${count} calls of ${this.#producerId} were not recorded`);
    const loss = { lostCount: count, lostFirst: first, lostLast: last, lostReason: reason, lostAtMicros: nowMicros() };
    return lossEvent(this.#producerId, this.#sequence + 1, loss);
  }

  /** Tells processes elsewhere that this one lives. Never throws. */
  beat(): void {
    try {
      this.#spool?.beat();
    } catch (error) {
      complainOnce('heartbeat', `the spool cannot be touched: ${messageOf(error)}`);
    }
  }

  /** Leaves what was not delivered to whoever adopts the spool. What comes later is lost. */
  close(): void {
    this.commit();
    this.#isClosed = true;
    this.#spool?.close();
    this.#spool = undefined;
  }

  #becomeProducer(): void {
    this.#producerId = `${this.#options.name}-${randomBytes(4).toString('hex')}`;
    this.#prefix = `","schema_version":1,"producer_id":"${this.#producerId}","occurred_at":"`;
    this.#sequence = 0;
  }

  #reopen(): void {
    if (this.#spool?.isLost === true) {
      this.#spool.close();
      this.#spool = undefined;
      this.#lastOpenMs = Number.NEGATIVE_INFINITY;
      this.#becomeProducer();
    }
    if (this.#spool === undefined && !this.#isClosed && performance.now() - this.#lastOpenMs > reopenMs) {
      this.#openSpool();
    }
  }

  #openSpool(): void {
    this.#lastOpenMs = performance.now();
    const { spools, name, version, limits } = this.#options;
    try {
      this.#spool = Spool.create(spools, this.#producerId, name, version, limits);
      const { count, first, last, reason } = this.#lostWithoutSpool;
      if (count > 0) this.#spool.noteLoss(count, first, last, reason, nowMicros());
      this.#lostWithoutSpool = { count: 0, first: 0, last: 0, reason: '' };
      this.#openFailure = undefined;
    } catch (error) {
      this.#openFailure = error;
      complainOnce('spool', `calls are not recorded: ${messageOf(error)}`);
    }
  }

  #spoolOf(call: JournalCall): Spool {
    if (this.#isClosed) throw new Error('the recorder is closed');
    if (this.#spool === undefined) throw this.#openFailure ?? new Error('there is no spool');
    if (call.spool !== this.#spool) throw new Error('the spool that held the beginning is gone');
    return this.#spool;
  }

  /** One write for all; false, and nothing has changed, when they can't be kept all. */
  #writeTogether(queue: readonly Queued[]): boolean {
    const sequence = this.#sequence;
    try {
      const entries = queue.map((each) => this.#entryOf(each));
      this.#spoolOf(queue[0]!.call).append(entries);
      for (const entry of entries) if (entry.kind === 'end') this.recorded += 1;
      return true;
    } catch {
      this.#sequence = sequence;
      return false;
    }
  }

  #entryOf(queued: Queued): SpoolEntry {
    const { call } = queued;
    if (call.isLost) throw new Error('the call is lost');
    this.#spoolOf(call);
    if ('text' in queued) return { kind: 'beginning', call: call.number, alone: queued.alone, text: queued.text };
    this.#sequence += 1;
    return endEntry(call.number, this.#sequence, queued.end, queued.end.rest);
  }

  #writeOne(queued: Queued): void {
    const { call } = queued;
    if (call.isLost) return;
    const sequence = this.#sequence;
    try {
      const entry = this.#entryOf(queued);
      const spool = this.#spoolOf(call);
      try {
        spool.append([entry]);
      } catch (error) {
        if (entry.kind !== 'end' || !('end' in queued)) throw error;
        // That the call ended, and how, is worth more than its result.
        spool.append([endEntry(call.number, this.#sequence, queued.end, queued.end.shortestRest)]);
      }
      if (entry.kind === 'end') this.recorded += 1;
    } catch (error) {
      this.#sequence = sequence;
      call.isLost = true;
      call.spool?.abandon(call.number);
      this.lose(error);
    }
  }

  /** Writes the event that tells of losses, when there are any and there is room for it. True when it did. */
  #reportLosses(): boolean {
    const spool = this.#spool;
    if (spool === undefined || spool.lostCount === 0 || spool.isNearlyFull) return false;
    const sequence = this.#sequence + 1;
    try {
      const text = lossEvent(this.#producerId, sequence, spool.cursor.state);
      spool.append([{ kind: 'whole', sequence, text }]);
      this.#sequence = sequence;
      this.recorded += 1;
      spool.clearLoss();
      return true;
    } catch {
      // There is no room for it yet.
      return false;
    }
  }
}

function endEntry(call: number, sequence: number, { durationMs, outcome }: EndText, rest: string): EndEntry {
  const text = `,"duration_ms":${durationMs},"outcome":"${outcome}","producer_sequence":${sequence}${rest}`;
  return { kind: 'end', call, sequence, text };
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
