/**
 * LZ4 for clients that know nothing else (JDBC asks for it by default), written and not compressed: both formats allow
 * runs of plain bytes. Between processes of one machine compressing costs more than it saves, and the cores are the
 * recording's; over a network gzip is there.
 */
import { writeCityHash128 } from './city-hash.js';

/** Bytes in one block; clients make room for a whole one. */
const maxBlockBytes = 64 * 1024;

function* slices(bytes: Uint8Array): Generator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += maxBlockBytes) yield bytes.subarray(at, at + maxBlockBytes);
}

/**
 * ClickHouse's own framing (`compress=1`): a checksum of 16 bytes over the rest, the method, the size without the
 * checksum, the size of the content, and a block of LZ4. The block is one run of literals.
 */
export async function* clickHouseBlocks(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) for (const slice of slices(chunk)) yield clickHouseBlock(slice);
}

const checksumBytes = 16;
const headerBytes = 9;
const lz4Method = 0x82;

function clickHouseBlock(content: Uint8Array): Uint8Array {
  // A run of 15 literals or more says so in its first byte, and the rest in bytes of 255 and one below.
  const beyond = content.length - 15;
  const runBytes = 1 + (beyond < 0 ? 0 : Math.floor(beyond / 255) + 1);
  const bytes = new Uint8Array(checksumBytes + headerBytes + runBytes + content.length);
  const view = new DataView(bytes.buffer);
  view.setUint8(checksumBytes, lz4Method);
  view.setUint32(checksumBytes + 1, bytes.length - checksumBytes, true);
  view.setUint32(checksumBytes + 5, content.length, true);
  const run = checksumBytes + headerBytes;
  view.setUint8(run, Math.min(content.length, 15) << 4);
  if (beyond >= 0) bytes.fill(255, run + 1, run + runBytes - 1)[run + runBytes - 1] = beyond % 255;
  bytes.set(content, run + runBytes);
  writeCityHash128(bytes.subarray(checksumBytes), view, 0);
  return bytes;
}

/** Magic number, version 1 with blocks of their own and no checksums, blocks up to 64 KiB, and the header's checksum. */
const frameHeader = Uint8Array.of(0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82);
const frameEnd = new Uint8Array(4);
/** The highest bit of a block's size: its bytes are as they are. */
const plainBlock = 0x8000_0000;

/** A frame of LZ4 (`Content-Encoding: lz4`). */
export async function* lz4Frame(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  yield frameHeader;
  for await (const chunk of chunks)
    for (const slice of slices(chunk)) {
      const block = new Uint8Array(4 + slice.length);
      new DataView(block.buffer).setUint32(0, (plainBlock | slice.length) >>> 0, true);
      block.set(slice, 4);
      yield block;
    }
  yield frameEnd;
}
