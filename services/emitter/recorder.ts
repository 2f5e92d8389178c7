import { randomBytes } from 'node:crypto';
import { dataPaths, resolveDataDirectory } from '../../schemas/data-directory.js';
import { AuditdError } from '../../schemas/errors.js';
import type { Outcome } from '../../schemas/event.js';
import { Adopting } from './adopt.js';
import { ArgumentsHash, argumentsKey, sortedJson } from './arguments-hash.js';
import { type BodyLimits, boundBody, serialise } from './body.js';
import { drawEventId, formatMicros, nowMicros } from './clock.js';
import { complainOnce } from './complaints.js';
import { Delivery } from './delivery.js';
import { attributesText, jsonText, type PlainFields, plainFieldsText } from './event-text.js';
import { beginningFrame, endFrame, wholeFrame } from './frames.js';
import { HttpSink } from './http-sink.js';
import { lossEvent } from './loss.js';
import { defaultPayloads, type PayloadPolicy, type RecorderOptions } from './options.js';
import { Notes, Redactor } from './redaction.js';
import type { Sink } from './sink.js';
import { type Source, Spool } from './spool.js';

export type { RecorderOptions } from './options.js';

/** What is known when a request arrives. Empty text is the same as nothing. */
export interface CallBeginning extends Partial<Omit<PlainFields, 'method'>> {
  method: string;
  /** The params that matter, as a JSON value; serialised here, once. */
  arguments?: unknown;
  attributes?: Readonly<Record<string, string>>;
}

/** What is known when the answer leaves, and fields that were learnt late; what the beginning told stays. */
export interface CallEnd extends Partial<Omit<PlainFields, 'method'>> {
  outcome: Outcome;
  result?: unknown;
  attributes?: Readonly<Record<string, string>>;
}

/** A call that has begun. */
export interface RecordedCall {
  readonly eventId: string;
}

interface OpenCall extends RecordedCall {
  /** Number of the call in the spool; 0 when its beginning could not be kept. */
  readonly number: number;
  readonly startedMs: number;
  readonly told: number;
  readonly method: string;
  readonly attributes: Readonly<Record<string, string>> | undefined;
  readonly redactions: readonly string[];
  readonly truncated: boolean;
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

const defaultBodyBytes = 64 * 1024;
/** The contract's longest body. */
const maxBodyBytes = 1024 * 1024;
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
  readonly #redactor: Redactor;
  readonly #argumentLimits: BodyLimits;
  readonly #resultLimits: BodyLimits;
  readonly #sink: Sink;
  readonly #delivery: Delivery;
  readonly #adopting: Adopting;
  readonly #heartbeat: NodeJS.Timeout;
  readonly #name: string;
  #producerId = '';
  /** Text of an event between its id and its time. */
  #prefix = '';
  #hash: ArgumentsHash | undefined;
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
    this.#redactor = new Redactor(options.redaction);
    const { limits = {} } = options;
    const shared = {
      maxStringLength: Math.max(64, limits.stringBytes ?? 32 * 1024),
      maxDepth: Math.min(512, Math.max(1, limits.depth ?? 64)),
    };
    this.#argumentLimits = { ...shared, maxBytes: bodyBytes(limits.argumentsBytes) };
    this.#resultLimits = { ...shared, maxBytes: bodyBytes(limits.resultBytes) };
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
    process.on('beforeExit', this.#beforeExit);
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
      const notes = new Notes();
      const { text, told } = plainFieldsText(this.#redactedFields(call, notes), 0);
      let frameText = `{"event_id":"${eventId}${this.#prefix}${formatMicros(micros)}"${text}`;
      let truncated = false;
      if (call.arguments !== undefined) {
        const json = serialise(call.arguments);
        frameText += `,"arguments_bytes":${sizeOf(json)},"arguments_hash":"${this.#argumentsHash().of(sortedJson(json))}"`;
        if (this.#keeps(call.method, 'arguments')) {
          const body = boundBody(json, 'arguments', this.#redactor, this.#argumentLimits, notes);
          truncated = body.truncated;
          frameText += `,"arguments":${JSON.stringify(body.text)}`;
        }
      }
      const attributes = attributesText(call.attributes, (value, path, name) =>
        this.#redacted(value, path, notes, name),
      );
      const number = this.#nextCall++;
      this.#reportLosses();
      spool.appendBeginning(
        number,
        beginningFrame(number, `${attributes}${notesText(notes.list, truncated)}`, frameText),
      );
      const open: OpenCall = {
        eventId,
        number,
        startedMs,
        told,
        method: call.method,
        attributes: call.attributes,
        redactions: notes.list,
        truncated,
        spool,
        hasEnded: false,
      };
      return open;
    } catch (error) {
      failure = error;
    }
    this.#lose(failure);
    if (this.#options.failClosed === true) throw notRecorded(failure);
    return notKept(eventId);
  }

  /**
   * Writes the end of a call to the spool. A second end of one call is ignored.
   * @throws AuditdError `call_not_recorded` when failClosed is set and it could not be kept; never otherwise.
   */
  end(recorded: RecordedCall, end: CallEnd): void {
    const call = recorded as OpenCall;
    if (call.hasEnded || call.number === 0) return;
    call.hasEnded = true;
    let sequence = 0;
    try {
      const spool = this.#usableSpool();
      sequence = ++this.#sequence;
      if (spool !== call.spool) throw new Error('the spool that held the beginning is gone');
      const head = `,"duration_ms":${Math.round((performance.now() - call.startedMs) * 1000) / 1000},"outcome":"${end.outcome}","producer_sequence":${sequence}`;
      this.#reportLosses();
      try {
        spool.appendEnd(call.number, endFrame(call.number, sequence, this.#endText(call, end, head)));
      } catch {
        // That the call ended, and how, is worth more than its result.
        const shortest = `${head}${notesText(call.redactions, true)
          .slice(0, -1)
          .replace(/^(?=.)/, ',')}}`;
        spool.appendEnd(call.number, endFrame(call.number, sequence, shortest));
      }
      this.#recorded += 1;
      this.#delivery.notify();
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
    process.off('beforeExit', this.#beforeExit);
    clearInterval(this.#heartbeat);
    await this.#adopting.close();
    await this.flush(this.#options.delivery?.closeTimeoutMs ?? 1000);
    await this.#delivery.close();
    this.#sink.close();
    this.#spool?.close();
    this.#spool = undefined;
  }

  /** The process ends by itself: nothing else is left to do, so a short delivery delays nobody. */
  readonly #beforeExit = (): void => {
    void this.close();
  };

  #endText(call: OpenCall, end: CallEnd, head: string): string {
    const notes = new Notes();
    notes.list.push(...call.redactions);
    let text = head + plainFieldsText(this.#redactedFields(end, notes), call.told).text;
    let truncated = call.truncated;
    if (end.result !== undefined) {
      const json = serialise(end.result);
      text += `,"result_bytes":${sizeOf(json)}`;
      if (this.#keeps(call.method, 'result')) {
        const body = boundBody(json, 'result', this.#redactor, this.#resultLimits, notes);
        truncated ||= body.truncated;
        text += `,"result":${JSON.stringify(body.text)}`;
      }
    }
    const all =
      end.attributes === undefined || call.attributes === undefined
        ? (end.attributes ?? call.attributes)
        : { ...end.attributes, ...call.attributes };
    const attributes = attributesText(all, (value, path, name) => this.#redacted(value, path, notes, name));
    const rest = attributes + notesText(notes.list, truncated);
    return rest === '' ? `${text}}` : `${text},${rest.slice(0, -1)}}`;
  }

  /** Everything a client can put text of its own into, without secrets. */
  #redactedFields<F extends Partial<PlainFields>>(fields: F, notes: Notes): F {
    let copy: F | undefined;
    for (const name of scannedFields) {
      const value: unknown = fields[name];
      if (typeof value !== 'string' || value === '' || !this.#redactor.suspects(value)) continue;
      copy ??= { ...fields };
      (copy as Partial<PlainFields>)[name] = this.#redactor.text(value, name, notes, 4096).text;
    }
    return copy ?? fields;
  }

  #redacted(value: string, path: string, notes: Notes, name: string): string {
    if (value !== '' && this.#redactor.names.has(name)) {
      notes.add(path, 'key');
      return '[redacted]';
    }
    return this.#redactor.suspects(value) ? this.#redactor.text(value, path, notes, 4096).text : value;
  }

  #keeps(method: string, part: 'arguments' | 'result'): boolean {
    const { payloads } = this.#options;
    const policy: PayloadPolicy = own(payloads, method) ?? own(defaultPayloads, method) ?? own(payloads, '*') ?? 'both';
    return policy === 'both' || policy === part;
  }

  #argumentsHash(): ArgumentsHash {
    this.#hash ??= new ArgumentsHash(argumentsKey(dataPaths.argumentsKey(this.#data)));
    return this.#hash;
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
      spool.append(wholeFrame(sequence, lossEvent(this.#producerId, sequence, state)));
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

const scannedFields = [
  'method',
  'tool_name',
  'resource_uri',
  'prompt_name',
  'request_id',
  'error_message',
  'client_name',
  'client_version',
] as const satisfies readonly (keyof PlainFields)[];

function notKept(eventId: string): OpenCall {
  const spool = undefined;
  const attributes = undefined;
  return {
    eventId,
    number: 0,
    startedMs: 0,
    told: 0,
    method: '',
    attributes,
    redactions: [],
    truncated: false,
    spool,
    hasEnded: false,
  };
}

function notesText(redactions: readonly string[], truncated: boolean): string {
  let text = truncated ? '"truncated":true,' : '';
  if (redactions.length > 0) text += `"redactions":[${redactions.map((note) => jsonText(note, 1024)).join(',')}],`;
  return text;
}

function own<T>(record: Readonly<Record<string, T>> | undefined, name: string): T | undefined {
  return record !== undefined && Object.hasOwn(record, name) ? record[name] : undefined;
}

function bodyBytes(given: number | undefined): number {
  return Math.min(maxBodyBytes, Math.max(1024, given ?? defaultBodyBytes));
}

/** Bytes of UTF-8, as far as the field counts. */
function sizeOf(json: string): number {
  return Math.min(Buffer.byteLength(json), 2 ** 32 - 1);
}

function notRecorded(cause: unknown): AuditdError {
  return new AuditdError('call_not_recorded', `the call could not be recorded: ${messageOf(cause)}`, { cause });
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
