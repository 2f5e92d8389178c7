/**
 * Reads a request's body as lines while it arrives. Nothing is held but the lines themselves, and a gzip bomb is cut
 * while it inflates: what was inflated is counted before it is kept.
 */
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { createGunzip } from 'node:zlib';
import { AuditdError } from '../../schemas/errors.js';

export interface BodyLimits {
  /** Bytes of the body as sent, when it is compressed. */
  readonly compressedBytes: number;
  /** Bytes of the body after decompression. */
  readonly bodyBytes: number;
  /** Bytes of one line without its end. */
  readonly lineBytes: number;
  /** Lines of one body, empty ones included. */
  readonly lines: number;
  /** Milliseconds for the whole body to arrive. */
  readonly bodyTimeMs: number;
}

/** What is told of the body, in order. A line is never given in part. */
export interface LineReceiver {
  /** A complete line without its end, never empty; `number` counts from 1. The bytes may be kept: nobody writes them. */
  line(bytes: Buffer, number: number): void;
  /** A line beyond the limit; its bytes are gone. */
  tooLong(number: number): void;
  /** Bytes that were read; throws when no more may be held. */
  held(bytes: number): void;
}

const newline = 10;

/** Splits chunks into lines. A `\r` before the end is white space to JSON, so a line of nothing else is empty too. */
export class LineSplitter {
  private parts: Buffer[] = [];
  private partBytes = 0;
  private skipping = false;
  lines = 0;

  constructor(
    private readonly limits: Pick<BodyLimits, 'lineBytes' | 'lines'>,
    private readonly receiver: Pick<LineReceiver, 'line' | 'tooLong'>,
  ) {}

  push(chunk: Buffer): void {
    let start = 0;
    for (;;) {
      const end = chunk.indexOf(newline, start);
      if (end < 0) break;
      this.add(chunk.subarray(start, end));
      this.endLine();
      start = end + 1;
    }
    if (start < chunk.length) this.add(chunk.subarray(start));
  }

  /** The last line needs no `\n`. */
  finish(): void {
    if (this.partBytes > 0 || this.skipping) this.endLine();
  }

  private add(part: Buffer): void {
    if (this.skipping || part.length === 0) return;
    this.partBytes += part.length;
    if (this.partBytes > this.limits.lineBytes) {
      this.skipping = true;
      this.parts = [];
      return;
    }
    this.parts.push(part);
  }

  private endLine(): void {
    this.lines++;
    if (this.lines > this.limits.lines)
      throw new AuditdError('body_too_large', `The body has more than ${this.limits.lines} lines.`);
    const { parts, skipping } = this;
    this.parts = [];
    this.partBytes = 0;
    this.skipping = false;
    if (skipping) {
      this.receiver.tooLong(this.lines);
      return;
    }
    if (parts.length === 0) return;
    const line = parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts);
    if (line.length === 1 && line[0] === 13) return;
    this.receiver.line(line, this.lines);
  }
}

/** The client went away before its request was complete; there is nobody to answer. */
export class ClientGone extends Error {}

/**
 * Reads the whole body and gives its lines to `receiver`; resolves to the number of lines.
 *
 * @throws AuditdError `body_too_large`, `body_invalid` (gzip), `body_too_slow`, or what `receiver.held` throws.
 * @throws ClientGone when the connection ended before the body did.
 */
export async function readLines(
  request: IncomingMessage,
  encoding: 'gzip' | 'identity',
  limits: BodyLimits,
  receiver: LineReceiver,
): Promise<number> {
  const sentLimit = encoding === 'gzip' ? limits.compressedBytes : limits.bodyBytes;
  const declared = Number(request.headers['content-length'] ?? 0);
  if (declared > sentLimit)
    throw new AuditdError('body_too_large', `The body has ${declared} bytes, the limit is ${sentLimit}.`);
  const splitter = new LineSplitter(limits, receiver);
  let sentBytes = 0;
  let bodyBytes = 0;
  const take = (chunk: Buffer): void => {
    bodyBytes += chunk.length;
    if (bodyBytes > limits.bodyBytes)
      throw new AuditdError('body_too_large', `The body has more than ${limits.bodyBytes} bytes after decompression.`);
    receiver.held(chunk.length);
    splitter.push(chunk);
  };

  await new Promise<void>((resolve, reject) => {
    const gunzip = encoding === 'gzip' ? createGunzip() : undefined;
    let ended = false;
    const timer = setTimeout(
      () => settle(new AuditdError('body_too_slow', `The body took longer than ${limits.bodyTimeMs} ms.`)),
      limits.bodyTimeMs,
    );
    const settle = (error?: Error): void => {
      if (ended) return;
      ended = true;
      clearTimeout(timer);
      request.off('data', onData);
      gunzip?.destroy();
      if (error === undefined) resolve();
      else reject(error);
    };
    const attempt = (action: () => void): void => {
      if (ended) return;
      try {
        action();
      } catch (error) {
        settle(error as Error);
      }
    };
    const onData = (chunk: Buffer): void =>
      attempt(() => {
        sentBytes += chunk.length;
        if (sentBytes > sentLimit)
          throw new AuditdError('body_too_large', `The body has more than ${sentLimit} bytes as sent.`);
        if (gunzip === undefined) {
          take(chunk);
          return;
        }
        if (!gunzip.write(chunk)) {
          request.pause();
          void once(gunzip, 'drain').then(
            () => request.resume(),
            // The error that ended gunzip settles the reading; there is nothing to resume.
            () => undefined,
          );
        }
      });
    request.on('data', onData);
    request.once('end', () =>
      attempt(() => {
        if (gunzip === undefined) settle();
        else gunzip.end();
      }),
    );
    request.once('error', () => settle(new ClientGone()));
    request.once('close', () => {
      if (!request.complete) settle(new ClientGone());
    });
    gunzip?.on('data', (chunk: Buffer) => attempt(() => take(chunk)));
    gunzip?.once('end', () => settle());
    gunzip?.once('error', (error) =>
      settle(new AuditdError('body_invalid', `The body is no complete gzip stream: ${error.message}.`)),
    );
  });
  splitter.finish();
  return splitter.lines;
}
