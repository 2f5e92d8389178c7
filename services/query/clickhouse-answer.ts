/**
 * How rows leave on ClickHouse's HTTP protocol: packed as the client asked, and with a failure after the first row told
 * as ClickHouse tells it, in a block at the end of the body (https://clickhouse.com/docs/interfaces/http).
 */
import { randomBytes } from 'node:crypto';
import { Readable, Writable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { createGzip } from 'node:zlib';
import type { FastifyReply } from 'fastify';
import type { ClickHouseProgress } from './clickhouse-progress.js';
import type { AnswerEncoding } from './clickhouse-request.js';
import { clickHouseBlocks, lz4Frame } from './lz4.js';

/** As ClickHouse: clients look for the block in what they hold of the body. */
const maxMessageBytes = 16 * 1024;

/**
 * From the block to the end of the connection: HTTP libraries throw away what their reader has not taken yet when they see
 * a response broken off. Clients that know the block leave at once.
 */
const lingerMs = 500;

/**
 * Formats whose rows may hold a line break as it is. The client for Node takes each CR LF for the block's beginning once
 * it knows the tag, so a recorded value could break its reading; there the block is written and its tag not announced.
 */
const hasPlainLineBreaks = /^(CSV|TSVRaw|TabSeparatedRaw|LineAsString)/;

/**
 * Sends the rows. A failure on the way is written at the end of the body, and then the connection ends without the end of
 * the response, so that half a result looks whole to nobody.
 * @param failureText `Code: N. DB::Exception: …` for what the chunks throw.
 */
export async function sendRows(
  reply: FastifyReply,
  chunks: AsyncIterable<Uint8Array>,
  { encoding, format }: { readonly encoding: AnswerEncoding; readonly format: string },
  failureText: (error: unknown) => Promise<string>,
  progress?: ClickHouseProgress,
): Promise<FastifyReply> {
  // Nobody can have recorded it beforehand, so no value of a row looks like the block.
  const tag = randomBytes(8)
    .toString('hex')
    .replace(/\d/g, (digit) => 'ghijklmnop'[Number(digit)]!);
  if (!hasPlainLineBreaks.test(format)) void reply.header('x-clickhouse-exception-tag', tag);
  if (encoding !== 'identity' && encoding !== 'blocks') void reply.header('content-encoding', encoding);
  let failed = false;
  async function* withFailure() {
    try {
      yield* chunks;
    } catch (error) {
      failed = true;
      yield exceptionBlock(await failureText(error), tag);
    }
  }
  const { raw } = reply;
  progress?.end();
  if (progress !== undefined) void reply.header('x-clickhouse-summary', progress.figures());
  const out = progress?.isOut ? chunkedTo(reply) : raw;
  if (out === raw) {
    raw.writeHead(reply.statusCode, reply.getHeaders() as Record<string, string>);
    reply.hijack();
  }
  const left = new Promise((resolve) => raw.once('close', resolve));
  let isWhole = false;
  try {
    for await (const bytes of packed(withFailure(), encoding)) {
      if (raw.destroyed) break;
      if (!out.write(bytes)) await Promise.race([left, new Promise((resolve) => out.once('drain', resolve))]);
    }
    isWhole = !failed;
    if (failed) await Promise.race([left, delay(lingerMs, undefined, { ref: false })]);
  } finally {
    // What was written still goes out; the chunk that ends the body does not.
    if (isWhole) out.end();
    else raw.socket?.destroySoon();
  }
  return reply;
}

/** The rest of a head whose status is out already, and the body in chunks. */
function chunkedTo(reply: FastifyReply): Writable {
  const socket = reply.raw.socket!;
  const headers = Object.entries(reply.getHeaders()).map(([name, value]) => `${name}: ${value}\r\n`);
  socket.write(`${headers.join('')}transfer-encoding: chunked\r\n\r\n`);
  return new Writable({
    decodeStrings: true,
    write(bytes: Buffer, _encoding, done) {
      socket.cork();
      socket.write(`${bytes.length.toString(16)}\r\n`);
      socket.write(bytes);
      socket.write('\r\n', () => done());
      socket.uncork();
    },
    final(done) {
      // A client that has left is no failure.
      socket.end('0\r\n\r\n', () => done());
    },
  });
}

function exceptionBlock(text: string, tag: string): Buffer {
  const message = Buffer.from(text).subarray(0, maxMessageBytes);
  const length = message.length + 1;
  return Buffer.concat([
    Buffer.from(`\r\n__exception__\r\n${tag}\r\n`),
    message,
    Buffer.from(`\n${length} ${tag}\r\n__exception__\r\n`),
  ]);
}

function packed(chunks: AsyncIterable<Uint8Array>, encoding: AnswerEncoding): AsyncIterable<Uint8Array> {
  if (encoding === 'identity') return chunks;
  if (encoding === 'blocks') return clickHouseBlocks(chunks);
  if (encoding === 'lz4') return lz4Frame(chunks);
  const rows = Readable.from(chunks, { objectMode: false });
  const gzip = createGzip({ level: 1 });
  rows.once('error', (error) => gzip.destroy(error));
  gzip.once('close', () => rows.destroy());
  return rows.pipe(gzip);
}
