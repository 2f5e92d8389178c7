import type { Transform } from 'node:stream';
import { createBrotliDecompress, createGunzip, createInflate } from 'node:zlib';
import { isObject, type MessageContext } from '../messages.js';
import type { ObservedConnection } from '../observe.js';
import { errorResponse } from '../refusal.js';
import { parseJson } from './body.js';
import { EventReader, type StreamEvent } from './events.js';
import type { Flow, Outgoing } from './outgoing.js';

export interface EventStreamOptions {
  /** Its Content-Encoding. */
  readonly coding: string | undefined;
  readonly flow: Flow;
  readonly to: Outgoing;
  /** Events are held until they are whole, so that one which cannot be recorded can be replaced. */
  readonly failClosed: boolean;
  readonly context: MessageContext;
  connection(): ObservedConnection;
  /** An `endpoint` event of a 2024-11-05 server. Returns what stands in its place, where it must be another. */
  endpoint(data: string): string | undefined;
  /** Once, when nothing more comes: whether the server ended it. */
  over(isWhole: boolean): void;
}

/**
 * Passes server-sent events on, each chunk at once and with backpressure. A copy is read and recorded before its chunk
 * goes on. Only an event that may be replaced is held until it is whole.
 */
export class EventStream {
  readonly #options: EventStreamOptions;
  readonly #reader: EventReader;
  /** Where the stream is compressed. */
  #decoder: Transform | undefined;
  #isDecoding = false;
  #whenDecoded: (() => void) | undefined;
  #hasIds = false;
  /** With `failClosed`: bytes of the event that has not ended, and what goes on in place of whole ones. */
  #held: Buffer[] = [];
  #passed: Buffer[] = [];
  #chunk: Buffer | undefined;
  #chunkStart = 0;
  #injected: string[] = [];
  #hasEnded = false;
  #isFirstChunk = true;

  constructor(options: EventStreamOptions) {
    this.#options = options;
    this.#reader = new EventReader((event, end) => this.#event(event, end));
    let isTold = false;
    this.#decoder = decoderOf(options.coding, () => {
      if (!isTold) this.#cannotBeRead();
      isTold = true;
    });
    this.#decoder?.on('data', (text: Buffer) => this.#observe(text));
  }

  /** Whether its events have ids: what it has not told yet can come on another stream. */
  get isResumable(): boolean {
    return this.#hasIds;
  }

  /** Puts events of our own between two of the server's; false where that is not possible. */
  inject(text: string): boolean {
    const { to } = this.#options;
    if (this.#decoder !== undefined || this.#hasEnded || !to.isWritable) return false;
    if (this.#reader.isBetweenEvents && this.#held.length === 0) to.write(Buffer.from(text));
    else this.#injected.push(text);
    return true;
  }

  take(chunk: Buffer): void {
    const { flow, to } = this.#options;
    if (this.#decoder !== undefined) {
      flow.pause();
      this.#isDecoding = true;
      this.#decoder.write(chunk, () => {
        this.#isDecoding = false;
        to.write(chunk);
        this.#whenDecoded?.();
        // Behind the turn in which the chunk goes on, and it shows whether the client is slow.
        process.nextTick(() => {
          if (!to.isFull) flow.resume();
        });
      });
      return;
    }
    if (!this.#holds) {
      this.#observe(chunk);
      to.write(chunk);
    } else {
      this.#chunk = chunk;
      this.#chunkStart = 0;
      this.#observe(chunk);
      this.#held.push(chunk.subarray(this.#chunkStart));
      this.#chunk = undefined;
      for (const bytes of this.#passed.splice(0)) to.write(bytes);
      this.#isFirstChunk = false;
      if (!this.#holds) for (const bytes of this.#held.splice(0)) to.write(bytes);
    }
    if (this.#injected.length > 0 && this.#reader.isBetweenEvents)
      for (const text of this.#injected.splice(0)) to.write(Buffer.from(text));
  }

  ended(trailers: readonly string[]): void {
    this.#end(true, trailers);
  }

  brokeOff(): void {
    this.#end(false, []);
  }

  /** In the first chunk there may be an endpoint that has to be told otherwise. */
  get #holds(): boolean {
    return this.#options.failClosed || this.#isFirstChunk;
  }

  #observe(bytes: Buffer): void {
    this.#reader.push(bytes);
    this.#options.connection().commit();
  }

  #event(event: StreamEvent, end: number): void {
    if (event.id !== undefined) this.#hasIds = true;
    let instead: string | undefined;
    if (event.type === '' || event.type === 'message') instead = this.#message(event);
    else if (event.type === 'endpoint' && event.data !== undefined) {
      const told = this.#options.endpoint(event.data);
      if (told !== undefined) instead = `event: endpoint\ndata: ${told}\n\n`;
    }
    if (this.#chunk === undefined) return;
    const bytes = this.#chunk.subarray(this.#chunkStart, end);
    this.#chunkStart = end;
    if (instead === undefined) this.#passed.push(...this.#held, bytes);
    else this.#passed.push(Buffer.from(instead));
    this.#held = [];
  }

  /** Records one message; returns what stands in its place when it could not be. */
  #message({ data, id }: StreamEvent): string | undefined {
    const { context, failClosed } = this.#options;
    // An empty event primes the client with an id.
    if (data === '') return undefined;
    const connection = this.#options.connection();
    const message = data === undefined ? undefined : parseJson(data);
    const verdict =
      message === undefined
        ? connection.invalid(
            'server_to_client',
            data === undefined ? 'an event that is too large' : 'an event that is not JSON',
            context,
          )
        : connection.observe('server_to_client', message, context);
    if (!failClosed || verdict === undefined || !('refusal' in verdict)) return undefined;
    const isAnswer = isObject(message) && message.method === undefined && message.id !== undefined;
    if (!isAnswer) return '';
    const idLine = id === undefined ? '' : `id: ${id}\n`;
    return `event: message\n${idLine}data: ${JSON.stringify(errorResponse(message.id, verdict.refusal))}\n\n`;
  }

  #cannotBeRead(): void {
    const { connection, context } = this.#options;
    connection().invalid('server_to_client', 'a stream in a content coding that cannot be read', context);
  }

  #end(isWhole: boolean, trailers: readonly string[]): void {
    if (this.#isDecoding) {
      this.#whenDecoded ??= () => this.#end(isWhole, trailers);
      return;
    }
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    const { to, over, failClosed } = this.#options;
    // An event that has not ended is none: with failClosed it does not go on, else its bytes are the client's to judge.
    if (!failClosed) for (const bytes of this.#held.splice(0)) to.write(bytes);
    over(isWhole);
    if (isWhole) to.end(trailers);
    else to.breakOff();
  }
}

/** @param failed told when the stream is not what it says, or is in a coding that is not read. */
function decoderOf(coding: string | undefined, failed: () => void): Transform | undefined {
  const name = coding?.trim().toLowerCase() ?? '';
  if (name === '' || name === 'identity') return undefined;
  const decoder =
    name === 'gzip' || name === 'x-gzip'
      ? createGunzip()
      : name === 'deflate'
        ? createInflate()
        : name === 'br'
          ? createBrotliDecompress()
          : undefined;
  if (decoder === undefined) failed();
  else decoder.on('error', failed);
  return decoder;
}
