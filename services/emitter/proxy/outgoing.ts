import type { ServerResponse } from 'node:http';

/** Answers up to this size leave as one string with their head: one piece for the kernel instead of two. */
const maxJoinedBytes = 16 * 1024;

/** What stands before an answer that comes in pieces: told to wait while the client is slow. */
export interface Flow {
  pause(): void;
  resume(): void;
}

export interface Head {
  readonly statusCode: number;
  readonly statusMessage: string;
  /** Names and values in turn. */
  readonly headers: string[];
}

/**
 * An answer on its way to the client, piece by piece and with backpressure. What comes in one turn of the loop leaves in
 * one packet; nothing waits longer.
 */
export class Outgoing {
  readonly #response: ServerResponse;
  readonly #head: Head;
  readonly #flow: Flow;
  #waiting: Buffer[] = [];
  #isScheduled = true;
  #hasEnded = false;
  #isFull = false;

  /** The head leaves at the end of this turn. */
  constructor(response: ServerResponse, head: Head, flow: Flow) {
    this.#response = response;
    this.#head = head;
    this.#flow = flow;
    process.nextTick(() => this.#flush());
  }

  get isWritable(): boolean {
    return !this.#hasEnded && this.#response.writable;
  }

  /** The client is slow, and what stands before was told to wait. */
  get isFull(): boolean {
    return this.#isFull;
  }

  write(bytes: Buffer): void {
    if (bytes.length === 0 || !this.isWritable) return;
    this.#waiting.push(bytes);
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    process.nextTick(() => this.#flush());
  }

  /** @param trailers names and values in turn. */
  end(trailers: readonly string[] = []): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    const response = this.#response;
    const bytes = this.#take();
    if (trailers.length === 0 && !response.headersSent) {
      endWhole(response, this.#head, bytes);
      return;
    }
    this.#writeHead();
    if (trailers.length > 0) response.addTrailers(pairs(trailers));
    response.end(bytes);
  }

  /** What is there goes on, and the client sees that it is not all. */
  breakOff(): void {
    if (this.#hasEnded) return;
    this.#flush();
    this.#hasEnded = true;
    this.#response.destroy();
  }

  #flush(): void {
    this.#isScheduled = false;
    if (this.#hasEnded || this.#response.destroyed) return;
    this.#writeHead();
    const bytes = this.#take();
    if (bytes.length === 0) {
      this.#response.flushHeaders();
    } else if (!this.#response.write(bytes) && !this.#isFull) {
      this.#isFull = true;
      this.#flow.pause();
      this.#response.once('drain', () => {
        this.#isFull = false;
        this.#flow.resume();
      });
    }
  }

  #take(): Buffer {
    const bytes = joined(this.#waiting);
    this.#waiting = [];
    return bytes;
  }

  #writeHead(): void {
    if (this.#response.headersSent) return;
    const { statusCode, statusMessage, headers } = this.#head;
    this.#response.writeHead(statusCode, statusMessage, headers);
  }
}

export function joined(chunks: readonly Buffer[]): Buffer {
  return chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks);
}

/** Sends an answer of which all is there. Where its head did not tell the length, now it does. */
export function endWhole(response: ServerResponse, head: Head, body: Buffer): void {
  const { statusCode, statusMessage, headers } = head;
  if (body.length > 0 && !hasLength(headers)) headers.push('Content-Length', String(body.length));
  response.writeHead(statusCode, statusMessage, headers);
  if (body.length === 0 || body.length > maxJoinedBytes) response.end(body);
  else response.end(body.toString('latin1'), 'latin1');
}

function hasLength(headers: readonly string[]): boolean {
  for (let at = 0; at < headers.length; at += 2)
    if (headers[at]!.length === 14 && headers[at]!.toLowerCase() === 'content-length') return true;
  return false;
}

function pairs(raw: readonly string[]): [string, string][] {
  const list: [string, string][] = [];
  for (let at = 0; at < raw.length; at += 2) list.push([raw[at]!, raw[at + 1]!]);
  return list;
}
