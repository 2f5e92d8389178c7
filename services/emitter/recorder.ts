import { dataPaths, resolveDataDirectory } from '../../schemas/data-directory.js';
import { Adopting } from './adopt.js';
import { argumentsKey } from './arguments-hash.js';
import { type BegunText, type CallBeginning, type CallEnd, CallText, type CommonFields } from './call-text.js';
import { drawEventId, formatMicros, nowMicros } from './clock.js';
import { complainOnce } from './complaints.js';
import { Delivery } from './delivery.js';
import type { PlainFields } from './event-text.js';
import { HttpSink } from './http-sink.js';
import { Journal, type JournalCall } from './journal.js';
import type { RecorderOptions } from './options.js';
import type { Sink } from './sink.js';

export type { CallBeginning, CallEnd, CommonFields } from './call-text.js';
export type { RecorderOptions } from './options.js';

/** A call that has begun. */
export interface RecordedCall {
  readonly eventId: string;
}

interface OpenCall extends RecordedCall {
  readonly startedMs: number;
  readonly journal: JournalCall;
  /** Undefined when the call could not be written as text. */
  readonly begun: BegunText | undefined;
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
/** 8,000 events of the usual size: the calls of 400 ms at 20,000 a second. */
const memoryLength = 8 * 1024 * 1024;
/** Heartbeat for processes that can't see our pid; they take a spool for left behind after 15 missed ones. */
const heartbeatMs = 20_000;
/** How long the end of a process may be held up to tell of what it lost. */
const lastWordTimeoutMs = 1_000;
export const emitterVersion = '0.1.0';

/**
 * Writes calls to this process's spool and has them delivered. States: open → closed; calls of a closed recorder count
 * as dropped. Nothing here throws into a call.
 */
export class Recorder {
  readonly #options: RecorderOptions;
  readonly #text: CallText;
  readonly #journal: Journal;
  readonly #sink: Sink;
  readonly #delivery: Delivery;
  readonly #adopting: Adopting;
  readonly #heartbeat: NodeJS.Timeout;
  #closing: Promise<void> | undefined;
  readonly #commitQueued = (): void => void this.commit();

  private constructor(options: RecorderOptions) {
    this.#options = options;
    const data = dataDirectory(options.data);
    this.#text = new CallText(options, () => argumentsKey(dataPaths.argumentsKey(data)));
    this.#sink = options.sink ?? new HttpSink(data, options);
    const { maxBytes = defaultSpoolBytes, segmentBytes = defaultSegmentBytes } = options.spool ?? {};
    this.#journal = new Journal({
      spools: dataPaths.spool(data),
      name: producerName(options.name),
      version: emitterVersion,
      limits: {
        maxBytes,
        segmentBytes: Math.min(segmentBytes, Math.max(64 * 1024, Math.floor(maxBytes / 4))),
        memoryLength,
      },
    });
    this.#delivery = new Delivery(this.#journal, this.#sink, {
      lingerMs: options.delivery?.lingerMs ?? 25,
      rejectedPath: dataPaths.rejected(data),
    });
    this.#adopting = new Adopting(data, this.#sink);
    this.#heartbeat = setInterval(() => this.beat(), heartbeatMs);
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

  get counters(): Readonly<RecorderCounters> {
    const { delivered, rejected } = this.#delivery;
    const { recorded, dropped } = this.#journal;
    return { recorded, dropped, rejected, delivered, pending: Math.max(0, recorded - delivered - rejected) };
  }

  /** Prepares fields that many calls have in common: they are redacted and written as text once. */
  common(fields: Partial<PlainFields>): CommonFields {
    return this.#text.common(fields);
  }

  /** Begins a call. It is on record after `commit`, or in the next microtask: before the SDKs call a handler. */
  begin(call: CallBeginning): RecordedCall {
    const micros = nowMicros();
    const startedMs = performance.now();
    const eventId = drawEventId(micros);
    const isFirst = this.#journal.isEmpty;
    const journal = this.#journal.newCall();
    let begun: BegunText | undefined;
    try {
      begun = this.#text.beginning(call);
      const head = `{"event_id":"${eventId}${this.#journal.prefix}${formatMicros(micros)}"`;
      this.#journal.begin(journal, begun.alone, head + begun.text);
      // A promise's turn is the same microtask as queueMicrotask's, without its bookkeeping.
      if (isFirst) void resolved.then(this.#commitQueued);
    } catch (error) {
      this.#journal.lose(error);
    }
    const open: OpenCall = { eventId, startedMs, journal, begun, hasEnded: false };
    return open;
  }

  /** Ends a call; a second end is ignored. It is on record after `commit`. */
  end(recorded: RecordedCall, end: CallEnd): void {
    const call = recorded as OpenCall;
    if (call.hasEnded || call.begun === undefined) return;
    call.hasEnded = true;
    const durationMs = Math.round((performance.now() - call.startedMs) * 1000) / 1000;
    const { outcome } = end;
    const rest = this.#text.end(call.begun, end);
    this.#journal.end(call.journal, { durationMs, outcome, rest, shortestRest: this.#text.shortestEnd(call.begun) });
  }

  /**
   * Hands what was begun and ended to the kernel.
   * @returns false when something of it could not be kept. It is then counted, and told as soon as there is room.
   */
  commit(): boolean {
    const hasNew = !this.#journal.isEmpty;
    const isAllKept = this.#journal.commit();
    if (hasNew) this.#delivery.notify(this.#journal.readyLength);
    return isAllKept;
  }

  /** Tells processes elsewhere that this one lives, and finds out when the spool was taken away. */
  beat(): void {
    this.#journal.beat();
  }

  /**
   * Resolves when everything recorded so far was delivered, when the gateway can't take it for now, or after
   * `timeoutMs` (default 10,000). What is left stays in the spool.
   */
  async flush(timeoutMs = 10_000): Promise<void> {
    this.commit();
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
    const lastWord = this.#journal.lastWord();
    if (lastWord !== undefined) await this.#sendAlone(lastWord);
    await this.flush(this.#options.delivery?.closeTimeoutMs ?? 1000);
    await this.#delivery.close();
    this.#sink.close();
    this.#journal.close();
  }

  /** Past the spool, which has no room. Once: the process is about to end. */
  async #sendAlone(event: string): Promise<void> {
    const late = new AbortController();
    // Also keeps the process from ending meanwhile, which the sink does not.
    const timer = setTimeout(() => late.abort(), lastWordTimeoutMs);
    await this.#sink.send([event], late.signal);
    clearTimeout(timer);
  }
}

const resolved = Promise.resolve();
const openRecorders = new Set<Recorder>();

/** The process ends by itself: nothing else is left to do, so a short delivery delays nobody. */
function closeRecorders(): void {
  for (const recorder of openRecorders) void recorder.close();
}

/** A name that can be a directory's. */
function producerName(name: string | undefined): string {
  const kept = (name ?? '').replace(/[^A-Za-z0-9._-]+/g, '-').replace(/^[.-]+/, '');
  return kept.slice(0, 64) || 'mcp-server';
}

/** A container's user may have no home. That is no reason to harm a server: its calls go on, counted as lost. */
function dataDirectory(given: string | undefined): string {
  try {
    return resolveDataDirectory(given);
  } catch (error) {
    complainOnce('data directory', `${(error as Error).message} Set MCP_AUDITD_DATA.`);
    // No file can be made below it.
    return '/dev/null';
  }
}
