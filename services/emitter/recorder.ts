import { randomBytes } from 'node:crypto';
import { dataPaths, resolveDataDirectory } from '../../schemas/data-directory.js';
import { AuditdError } from '../../schemas/errors.js';
import { Adopting } from './adopt.js';
import { argumentsKey } from './arguments-hash.js';
import { type BegunText, type CallBeginning, type CallEnd, CallText, type CommonFields } from './call-text.js';
import { drawEventId, formatMicros, nowMicros } from './clock.js';
import { complainOnce } from './complaints.js';
import { Delivery, maxBatchBytes } from './delivery.js';
import type { PlainFields } from './event-text.js';
import { HttpSink } from './http-sink.js';
import { lossEvent } from './loss.js';
import type { RecorderOptions } from './options.js';
import type { Sink } from './sink.js';
import { type Source, Spool } from './spool.js';

export type { CallBeginning, CallEnd, CommonFields } from './call-text.js';
export type { RecorderOptions } from './options.js';

/** A call that has begun. */
export interface RecordedCall {
  readonly eventId: string;
}

interface OpenCall extends RecordedCall {
  /** Number of the call in the spool; 0 when its beginning could not be kept. */
  readonly number: number;
  readonly startedMs: number;
  readonly begun: BegunText | undefined;
  /** The spool that holds the beginning: a recorder begins a new one when the old one is gone. */
  readonly spool: Spool | undefined;
  hasEnded: boolean;
}

export interface RecorderCounters {
  /** Calls whose event is in the spool. */
  recorded: number;
  /** Calls that could not be kept; an `audit/loss` event tells of them as soon as there is room. */
  dropped: number;
  /** Events the gateway refused; they are in `rejected.jsonl`. */
  rejected: number;
  /** Events that are durable at the gateway. */
  delivered: number;
  /** Events in the spool that are not delivered yet. */
  pending: number;
}

const defaultSpoolBytes = 256 * 1024 * 1024;
const defaultSegmentBytes = 8 * 1024 * 1024;
/** A spool that could not be made is tried again after this time. */
const reopenMs = 1000;
/** Heartbeat for processes that can't see our pid; they take a spool for left behind after 15 missed ones. */
const heartbeatMs = 20_000;
export const emitterVersion = '0.1.0';

/**
 * Writes calls to this process's spool and has them delivered. States: open → closed; `begin` and `end` of a closed
 * recorder count as dropped. Nothing is thrown into a call, except when failClosed is set.
 */
export class Recorder {
  readonly #options: RecorderOptions;
  readonly #data: string;
  readonly #text: CallText;
  readonly #sink: Sink;
  readonly #delivery: Delivery;
  readonly #adopting: Adopting;
  readonly #heartbeat: NodeJS.Timeout;
  readonly #name: string;
  #producerId = '';
  /** Text of an event between its id and its time. */
  #prefix = '';
  #spool: Spool | undefined;
  #openFailure: Error | undefined;
  #lastOpenMs = Number.NEGATIVE_INFINITY;
  #nextCall = 1;
  #sequence = 0;
  /** Sequences lost while there was no spool to count them in. */
  #lostWithoutSpool = { count: 0, first: 0, last: 0, reason: '' };
  #recorded = 0;
  #dropped = 0;
  #closing: Promise<void> | undefined;

  private constructor(options: RecorderOptions) {
    this.#options = options;
    this.#data = resolveDataDirectory(options.data);
    const name = (options.name ?? '')
      .replace(/[^A-Za-z0-9._-]+/g, '-')
      .replace(/^[.-]+/, '')
      .slice(0, 64);
    this.#name = name || 'mcp-server';
    this.#becomeProducer();
    this.#text = new CallText(options, () => argumentsKey(dataPaths.argumentsKey(this.#data)));
    this.#sink = options.sink ?? new HttpSink(this.#data, options);
    this.#openSpool();
    let read: Spool | undefined;
    const source: Source = {
      next: (maxBytes, maxLines) => {
        read = this.#spool;
        return read?.next(maxBytes, maxLines) ?? { lines: [], nextIndex: 0, lastSequence: 0, isFull: false };
      },
      delivered: (batch) => {
        if (read === this.#spool) read?.delivered(batch);
        // Room may have come back, and nobody may call again.
        this.#reportLosses();
      },
    };
    this.#delivery = new Delivery(source, this.#sink, {
      lingerMs: options.delivery?.lingerMs ?? 200,
      rejectedPath: dataPaths.rejected(this.#data),
    });
    this.#adopting = new Adopting(this.#data, this.#sink);
    this.#heartbeat = setInterval(() => this.#beat(), heartbeatMs);
    this.#heartbeat.unref();
    if (openRecorders.size === 0) process.on('beforeExit', closeRecorders);
    openRecorders.add(this);
  }

  /**
   * Opens a recorder: its spool is made, orphans are looked for, nothing waits for the network.
   * @throws TypeError for options that can't be right (an operator's pattern that is no pattern).
   */
  static open(options: RecorderOptions = {}): Recorder {
    return new Recorder(options);
  }

  /** `<name>-<8 hex digits>`; another one after the spool was lost, because a sequence belongs to one spool. */
  get producerId(): string {
    return this.#producerId;
  }

  get counters(): Readonly<RecorderCounters> {
    const { delivered, rejected } = this.#delivery;
    return {
      recorded: this.#recorded,
      dropped: this.#dropped,
      rejected,
      delivered,
      pending: Math.max(0, this.#recorded - delivered - rejected),
    };
  }

  /** Prepares fields that many calls have in common: they are redacted and written as text once. */
  common(fields: Partial<PlainFields>): CommonFields {
    return this.#text.common(fields);
  }

  /**
   * Writes the beginning of a call to the spool.
   * @throws AuditdError `call_not_recorded` when failClosed is set and it could not be kept; never otherwise.
   */
  begin(call: CallBeginning): RecordedCall {
    const micros = nowMicros();
    const startedMs = performance.now();
    const eventId = drawEventId(micros);
    let failure: unknown;
    try {
      const spool = this.#usableSpool();
      const begun = this.#text.beginning(call);
      const number = this.#nextCall++;
      this.#reportLosses();
      const head = `{"event_id":"${eventId}${this.#prefix}${formatMicros(micros)}"`;
      spool.appendBeginning(number, begun.alone, head + begun.text);
      const open: OpenCall = { eventId, number, startedMs, begun, spool, hasEnded: false };
      return open;
    } catch (error) {
      failure = error;
    }
    this.#lose(failure);
    if (this.#options.failClosed === true) throw notRecorded(failure);
    const lost: OpenCall = { eventId, number: 0, startedMs, begun: undefined, spool: undefined, hasEnded: false };
    return lost;
  }

  /**
   * Writes the end of a call to the spool. A second end of one call is ignored.
   * @throws AuditdError `call_not_recorded` when failClosed is set and it could not be kept; never otherwise.
   */
  end(recorded: RecordedCall, end: CallEnd): void {
    const call = recorded as OpenCall;
    if (call.hasEnded || call.begun === undefined) return;
    call.hasEnded = true;
    let sequence = 0;
    try {
      const spool = this.#usableSpool();
      sequence = ++this.#sequence;
      if (spool !== call.spool) throw new Error('the spool that held the beginning is gone');
      const durationMs = Math.round((performance.now() - call.startedMs) * 1000) / 1000;
      const head = `,"duration_ms":${durationMs},"outcome":"${end.outcome}","producer_sequence":${sequence}`;
      this.#reportLosses();
      try {
        spool.appendEnd(call.number, sequence, this.#text.end(call.begun, end, head));
      } catch {
        // That the call ended, and how, is worth more than its result.
        spool.appendEnd(call.number, sequence, this.#text.shortestEnd(call.begun, head));
      }
      this.#recorded += 1;
      this.#delivery.notify(spool.readyBytes >= maxBatchBytes);
    } catch (error) {
      call.spool?.abandon(call.number);
      this.#lose(error, sequence || ++this.#sequence);
      if (this.#options.failClosed === true) throw notRecorded(error);
    }
  }

  /**
   * Resolves when everything recorded so far was delivered, when the gateway can't take it for now, or after
   * `timeoutMs` (default 10,000). What is left stays in the spool.
   */
  async flush(timeoutMs = 10_000): Promise<void> {
    await this.#delivery.drain(timeoutMs);
  }

  /** Flushes for a short time, and leaves the rest to whoever adopts the spool. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    openRecorders.delete(this);
    if (openRecorders.size === 0) process.off('beforeExit', closeRecorders);
    clearInterval(this.#heartbeat);
    await this.#adopting.close();
    await this.flush(this.#options.delivery?.closeTimeoutMs ?? 1000);
    await this.#delivery.close();
    this.#sink.close();
    this.#spool?.close();
    this.#spool = undefined;
  }

  #becomeProducer(): void {
    this.#producerId = `${this.#name}-${randomBytes(4).toString('hex')}`;
    this.#prefix = `","schema_version":1,"producer_id":"${this.#producerId}","occurred_at":"`;
    this.#sequence = 0;
  }

  #openSpool(): void {
    this.#lastOpenMs = performance.now();
    try {
      const { maxBytes = defaultSpoolBytes, segmentBytes = defaultSegmentBytes } = this.#options.spool ?? {};
      const limits = { maxBytes, segmentBytes: Math.min(segmentBytes, Math.max(64 * 1024, Math.floor(maxBytes / 4))) };
      this.#spool = Spool.create(
        dataPaths.spool(this.#data),
        this.#producerId,
        this.#options.name ?? this.#name,
        emitterVersion,
        limits,
      );
      const { count, first, last, reason } = this.#lostWithoutSpool;
      if (count > 0) this.#spool.noteLoss(count, first, last, reason, nowMicros());
      this.#lostWithoutSpool = { count: 0, first: 0, last: 0, reason: '' };
      this.#openFailure = undefined;
    } catch (error) {
      this.#openFailure = error as Error;
      complainOnce('spool', `calls are not recorded: ${messageOf(error)}`);
    }
  }

  #usableSpool(): Spool {
    if (this.#closing !== undefined && this.#spool === undefined) throw new Error('the recorder is closed');
    if (this.#spool?.isLost === true) {
      this.#spool.close();
      this.#spool = undefined;
      this.#becomeProducer();
    }
    if (this.#spool === undefined && performance.now() - this.#lastOpenMs > reopenMs) this.#openSpool();
    if (this.#spool === undefined) throw this.#openFailure ?? new Error('there is no spool');
    return this.#spool;
  }

  /** Counts a loss where it survives. The sequence was used, so that the gap shows. */
  #lose(error: unknown, sequence = ++this.#sequence): void {
    this.#dropped += 1;
    const reason = (error as { code?: unknown } | undefined)?.code;
    const text = typeof reason === 'string' ? reason : 'no_room';
    complainOnce(`loss:${text}`, `a call could not be recorded (it is counted): ${messageOf(error)}`);
    if (this.#spool !== undefined) {
      this.#spool.noteLoss(1, sequence, sequence, text, nowMicros());
      this.#delivery.notify();
    } else {
      const lost = this.#lostWithoutSpool;
      if (lost.count === 0) lost.first = sequence;
      lost.count += 1;
      lost.last = sequence;
      lost.reason = text;
    }
  }

  /** Writes the event that tells of losses, when there are any and there is room for it. */
  #reportLosses(): void {
    const spool = this.#spool;
    if (spool === undefined || spool.cursor.state.lostCount === 0) return;
    const sequence = this.#sequence + 1;
    try {
      const { state } = spool.cursor;
      if (spool.isNearlyFull) return;
      spool.appendWhole(sequence, lossEvent(this.#producerId, sequence, state));
      this.#sequence = sequence;
      this.#recorded += 1;
      spool.clearLoss();
      this.#delivery.notify();
    } catch {
      // There is no room for it yet.
    }
  }

  #beat(): void {
    try {
      this.#spool?.beat();
    } catch (error) {
      complainOnce('heartbeat', `the spool cannot be touched: ${messageOf(error)}`);
    }
  }
}

const openRecorders = new Set<Recorder>();

/** The process ends by itself: nothing else is left to do, so a short delivery delays nobody. */
function closeRecorders(): void {
  for (const recorder of openRecorders) void recorder.close();
}

function notRecorded(cause: unknown): AuditdError {
  return new AuditdError('call_not_recorded', `the call could not be recorded: ${messageOf(cause)}`, { cause });
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
