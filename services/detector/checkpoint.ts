/**
 * The engine's state and the offsets it stands for, in one file: both or none. Written beside the old one, synced, and
 * put in its place, so that a kill at any moment leaves a whole one. Frames of a length, a CRC-32 and a value in V8's
 * serialization; the last frame says that it is complete.
 */
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { deserialize, serialize } from 'node:v8';
import { crc32 } from 'node:zlib';
import type { SavedPiece } from './saved-piece.js';

/** Changes when what the pieces hold changes its meaning: an older file is not taken then. */
const format = 2;
/** A piece is about 100 KB; one group with a million events in it is 10 MB. */
const longestFrameBytes = 1024 ** 3;

export interface CheckpointHead {
  /** Next offset of each partition. */
  readonly offsets: ReadonlyMap<number, number>;
  readonly writtenAtMs: number;
}

interface Head extends CheckpointHead {
  readonly of: 'head';
  readonly format: number;
}

type Frame = Head | SavedPiece | { readonly of: 'end'; readonly frames: number };

/** Writes piece by piece; `pause` is awaited between pieces, so that the rest of the process gets its turn. */
export async function writeCheckpoint(
  file: string,
  head: CheckpointHead,
  pieces: Iterable<SavedPiece>,
  pause: () => Promise<void>,
): Promise<{ bytes: number }> {
  const directory = dirname(file);
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const beside = `${file}.new`;
  const descriptor = openSync(beside, 'w', 0o600);
  let bytes = 0;
  try {
    const write = (frame: Frame): void => {
      const body = serialize(frame);
      const prefix = Buffer.alloc(8);
      prefix.writeUInt32LE(body.length, 0);
      prefix.writeUInt32LE(crc32(body), 4);
      for (const part of [prefix, body]) {
        let written = 0;
        while (written < part.length) written += writeSync(descriptor, part, written);
        bytes += part.length;
      }
    };
    let frames = 1;
    write({ of: 'head', format, ...head });
    for (const piece of pieces) {
      write(piece);
      frames++;
      await pause();
    }
    write({ of: 'end', frames });
    fsyncSync(descriptor);
  } catch (error) {
    closeSync(descriptor);
    rmSync(beside, { force: true });
    throw error;
  }
  closeSync(descriptor);
  renameSync(beside, file);
  syncDirectory(directory);
  return { bytes };
}

/** Without this a loss of power could bring the old file back. */
function syncDirectory(directory: string): void {
  const descriptor = openSync(directory, 'r');
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

export class CheckpointUnusable extends Error {}

/**
 * Reads a checkpoint; undefined when there is none.
 * @throws CheckpointUnusable when it is damaged or of another format. `pieces` may throw it too, before its end.
 */
export function readCheckpoint(file: string): { head: CheckpointHead; pieces: Iterable<SavedPiece> } | undefined {
  if (!existsSync(file)) return undefined;
  // Looked through once before any of it is taken: half a state is none.
  let head: Head | undefined;
  let frames = 0;
  let complete = false;
  for (const frame of framesOf(file)) {
    if (frames === 0) {
      if (frame.of !== 'head' || frame.format !== format)
        throw new CheckpointUnusable(`${file} is not of format ${format}`);
      head = frame;
    } else if (frame.of === 'end') complete = frame.frames === frames;
    frames++;
  }
  if (head === undefined || !complete) throw new CheckpointUnusable(`${file} is not complete`);
  const pieces = function* (): Generator<SavedPiece> {
    for (const frame of framesOf(file)) if (frame.of !== 'head' && frame.of !== 'end') yield frame;
  };
  return { head, pieces: { [Symbol.iterator]: pieces } };
}

function* framesOf(file: string): Generator<Frame> {
  const descriptor = openSync(file, 'r');
  try {
    const prefix = Buffer.alloc(8);
    for (;;) {
      const read = readSync(descriptor, prefix);
      if (read === 0) return;
      const length = prefix.readUInt32LE(0);
      if (read < 8 || length > longestFrameBytes) throw new CheckpointUnusable(`${file} is damaged`);
      const body = Buffer.alloc(length);
      let have = 0;
      while (have < length) {
        const more = readSync(descriptor, body, have, length - have, null);
        if (more === 0) throw new CheckpointUnusable(`${file} ends too early`);
        have += more;
      }
      if (crc32(body) !== prefix.readUInt32LE(4)) throw new CheckpointUnusable(`${file} is damaged`);
      yield deserialize(body) as Frame;
    }
  } finally {
    closeSync(descriptor);
  }
}
