/**
 * The bytes of a segment file. All numbers are little-endian.
 *
 *   file    two equal copies of the header, then frames
 *   header  magic 8 bytes | version u32 | salt u32 | first index u64 | crc32 u32 of the 24 bytes before | 4 zero bytes
 *   frame   crc32 u32 | length u32 | first index u64 | count u32 | count × (length u32, bytes)
 *
 * A frame's `length` counts the bytes after `count`; its checksum covers everything behind the checksum itself. The
 * checksum starts from the segment's random salt: bytes inside a record that imitate a frame, and old blocks of
 * another file that a crash left behind, do not pass. The header is there twice so that one flipped bit in it does
 * not cost the whole segment.
 */
import { randomInt } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { AuditdError } from '../../schemas/errors.js';

const headerCopyBytes = 32;
export const segmentHeaderBytes = 2 * headerCopyBytes;
export const frameHeaderBytes = 20;
/** Before each record stands its length. */
export const recordHeaderBytes = 4;

/** Largest record: an event's two bodies of 1 MiB, escaped in JSON to at most twice that, and room to spare. */
export const maxRecordBytes = 8 * 1024 * 1024;
/** Records of one append share a frame up to this size, so that a reader never checks much more than it wants. */
export const targetFrameBytes = 1024 * 1024;

const magic = Buffer.from('MCPAUDSG', 'latin1');
const formatVersion = 1;

/** A header for a new segment, with a salt of its own. */
export function makeSegmentHeader(firstIndex: number): { header: Buffer; salt: number } {
  const salt = randomInt(0, 2 ** 32);
  const copy = Buffer.alloc(headerCopyBytes);
  magic.copy(copy, 0);
  copy.writeUInt32LE(formatVersion, 8);
  copy.writeUInt32LE(salt, 12);
  copy.writeBigUInt64LE(BigInt(firstIndex), 16);
  copy.writeUInt32LE(crc32(copy.subarray(0, 24)), 24);
  return { header: Buffer.concat([copy, copy]), salt };
}

/**
 * The salt of a segment, or undefined when neither copy of the header is whole.
 * @throws AuditdError `data_directory_newer` when a newer program wrote the file.
 */
export function readSegmentHeader(header: Buffer, firstIndex: number, path: string): number | undefined {
  for (let at = 0; at + headerCopyBytes <= header.length && at < segmentHeaderBytes; at += headerCopyBytes) {
    const copy = header.subarray(at, at + headerCopyBytes);
    if (copy.compare(magic, 0, 8, 0, 8) !== 0) continue;
    if (crc32(copy.subarray(0, 24)) !== copy.readUInt32LE(24)) continue;
    const version = copy.readUInt32LE(8);
    if (version > formatVersion) {
      throw new AuditdError(
        'data_directory_newer',
        `${path} has segment format ${version}; this program reads formats up to ${formatVersion}`,
      );
    }
    if (Number(copy.readBigUInt64LE(16)) !== firstIndex) continue;
    return copy.readUInt32LE(12);
  }
  return undefined;
}

/** Reads a u32; faster than Buffer's own, which checks its arguments. The caller keeps `at` within the buffer. */
export function readU32(bytes: Uint8Array, at: number): number {
  return (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0;
}

/** Writes a u32, as `readU32` reads it. */
export function writeU32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value;
  bytes[at + 1] = value >>> 8;
  bytes[at + 2] = value >>> 16;
  bytes[at + 3] = value >>> 24;
}

/** Fills a frame's header whose records already stand behind it, and seals it with the checksum. */
export function sealFrame(
  bytes: Buffer,
  at: number,
  frameBytes: number,
  firstIndex: number,
  count: number,
  salt: number,
): void {
  writeU32(bytes, at + 4, frameBytes - frameHeaderBytes);
  writeU32(bytes, at + 8, firstIndex % 2 ** 32);
  writeU32(bytes, at + 12, Math.floor(firstIndex / 2 ** 32));
  writeU32(bytes, at + 16, count);
  writeU32(bytes, at, crc32(bytes.subarray(at + 4, at + frameBytes), salt));
}

/** Index of the first record of the frame at `at`. */
export function frameFirstIndex(bytes: Uint8Array, at: number): number {
  return readU32(bytes, at + 8) + readU32(bytes, at + 12) * 2 ** 32;
}

/** Number of records of the frame at `at`. */
export function frameCount(bytes: Uint8Array, at: number): number {
  return readU32(bytes, at + 16);
}

/**
 * Bytes of the whole frame whose header stands at `at`, by its own claim; 0 when the claim is impossible. `expected`
 * is the index its first record must have, and `atLeast` allows a greater one (after a damaged frame).
 */
export function claimedFrameBytes(bytes: Uint8Array, at: number, expected: number, atLeast = false): number {
  const length = readU32(bytes, at + 4);
  const count = readU32(bytes, at + 16);
  if (count === 0 || length < count * recordHeaderBytes) return 0;
  if (length > targetFrameBytes && (count > 1 || length > maxRecordBytes + recordHeaderBytes)) return 0;
  const firstIndex = frameFirstIndex(bytes, at);
  if (atLeast ? firstIndex < expected : firstIndex !== expected) return 0;
  return frameHeaderBytes + length;
}

/** Whether the frame of `frameBytes` at `at`, all of it in `bytes`, is what was written. */
export function isFrameWhole(bytes: Buffer, at: number, frameBytes: number, salt: number): boolean {
  return crc32(bytes.subarray(at + 4, at + frameBytes), salt) === readU32(bytes, at);
}

const fileNamePattern = /^\d{20}\.segment$/;

/** The name of the segment that begins with this index. */
export function segmentFileName(firstIndex: number): string {
  return `${String(firstIndex).padStart(20, '0')}.segment`;
}

/** The first index a segment's name tells, or undefined when it is no segment's name. */
export function firstIndexOfFileName(name: string): number | undefined {
  return fileNamePattern.test(name) ? Number(name.slice(0, 20)) : undefined;
}
