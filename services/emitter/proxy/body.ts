/** Bodies: collected up to a bound, and read from a copy. */
import type { IncomingMessage } from 'node:http';
import { promisify } from 'node:util';
import { brotliDecompress, gunzip, inflate } from 'node:zlib';
import { maxLineBytes } from '../lines.js';

/** The largest body that is parsed; a larger one goes on unread, and that is on record. */
export const maxParsedBytes = maxLineBytes;

/**
 * Bytes that wait in memory in all exchanges together: 16 of the largest bodies, or 30,000 of the usual ones. Beyond it
 * requests are answered 503.
 */
const mostWaitingBytes = 256 * 1024 * 1024;

/** Counts what waits, for all exchanges of one proxy. */
export class WaitingBytes {
  #bytes = 0;

  get isFull(): boolean {
    return this.#bytes >= mostWaitingBytes;
  }

  add(bytes: number): void {
    this.#bytes += bytes;
  }
}

/** What was collected; the stream is paused where more is to come. */
export type Collected = { readonly kind: 'whole' | 'too_large'; readonly chunks: Buffer[]; readonly bytes: number };

/** Collects a body until it ends or is too large to be parsed. Undefined: its sender went away. */
export function collect(message: IncomingMessage, waiting: WaitingBytes): Promise<Collected | undefined> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    let bytes = 0;
    const finish = (kind: Collected['kind'] | undefined): void => {
      message.off('data', take).off('end', ended).off('close', closed).off('error', closed);
      waiting.add(-bytes);
      resolve(kind === undefined ? undefined : { kind, chunks, bytes });
    };
    const take = (chunk: Buffer): void => {
      chunks.push(chunk);
      bytes += chunk.length;
      waiting.add(chunk.length);
      if (bytes <= maxParsedBytes) return;
      message.pause();
      finish('too_large');
    };
    const ended = (): void => finish('whole');
    const closed = (): void => finish(undefined);
    message.on('data', take).on('end', ended).on('close', closed).on('error', closed);
  });
}

/** A body that is there already, whole; undefined where it is still to come. */
export function takeWhole(message: IncomingMessage): Collected | undefined {
  if (!message.complete) return undefined;
  const body = (message.read() as Buffer | null) ?? Buffer.alloc(0);
  return body.length > maxParsedBytes ? undefined : { kind: 'whole', chunks: [body], bytes: body.length };
}

/** Says that a body went beyond what may go on. */
export class BodyTooLarge extends Error {}

/** Whether a request tells of a body (RFC 9112 §6.3). */
export function hasBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
}

/** `first` was read of a body; then the rest of it as it comes. Throws BodyTooLarge. */
export async function* readRest(
  message: IncomingMessage,
  first: readonly Buffer[],
  maxBytes: number,
): AsyncGenerator<Buffer> {
  let bytes = 0;
  const checked = (chunk: Buffer): Buffer => {
    bytes += chunk.length;
    if (bytes > maxBytes) throw new BodyTooLarge();
    return chunk;
  };
  for (const chunk of first) yield checked(chunk);
  // Without its end the client could not be told.
  for await (const chunk of message.iterator({ destroyOnReturn: false })) yield checked(chunk as Buffer);
}

/** What a body says; `text` is undefined where it cannot be read, and then why. */
export type Decoded = { readonly text: string } | { readonly unreadable: string };

const decoders: Readonly<Record<string, (body: Buffer, options: { maxOutputLength: number }) => Promise<Buffer>>> = {
  gzip: promisify(gunzip),
  'x-gzip': promisify(gunzip),
  deflate: promisify(inflate),
  br: promisify(brotliDecompress),
};

/** Reads a body. Without a coding nothing is awaited: a call's path has no turn that it does not need. */
export function decode(body: Buffer): Decoded;
/** Reads a body through its content coding; a server that inflates a request must not see more than we do. */
export function decode(body: Buffer, coding: string): Promise<Decoded>;
export function decode(body: Buffer, coding?: string): Decoded | Promise<Decoded> {
  return coding === undefined ? { text: textOf(body) } : decodeCoded(body, coding.trim().toLowerCase());
}

async function decodeCoded(body: Buffer, name: string): Promise<Decoded> {
  if (name === 'identity') return { text: textOf(body) };
  const decoder = Object.hasOwn(decoders, name) ? decoders[name] : undefined;
  if (decoder === undefined) return { unreadable: `a body in a content coding that is not read: ${name.slice(0, 40)}` };
  try {
    return { text: textOf(await decoder(body, { maxOutputLength: maxParsedBytes })) };
  } catch {
    return { unreadable: `a body that is no ${name}, or holds more than ${maxParsedBytes} bytes` };
  }
}

/** UTF-8 without the byte order mark that some readers skip. */
function textOf(body: Buffer): string {
  const text = body.toString();
  return text.charCodeAt(0) === 0xfeff ? text.slice(1) : text;
}

/** Undefined when the text is not JSON. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
