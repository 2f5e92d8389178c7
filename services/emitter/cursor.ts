import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import { crc32 } from 'node:zlib';

/** What a spool's reader and writer must remember beside the frames. */
export interface CursorState {
  /** Index of the first frame that the spool's own process had not delivered. */
  nextIndex: number;
  /** The same of those who adopted the spool; it counts on over the events that they add. */
  adoptedIndex: number;
  /** Highest producer_sequence that was delivered. */
  lastSequence: number;
  /** Losses that no event in the spool tells of yet. */
  lostCount: number;
  lostFirst: number;
  lostLast: number;
  lostReason: string;
  lostAtMicros: number;
}

/** Two slots, written in turn: a record torn by a crash leaves the other one. 512 bytes hold the longest state twice. */
const slotBytes = 512;

/**
 * A file of fixed size that is overwritten in place: it can be kept up to date when the disk is full, which is when
 * losses must be counted. One write(2) of 512 bytes, about 3 µs.
 */
export class Cursor {
  readonly state: CursorState = {
    nextIndex: 0,
    adoptedIndex: 0,
    lastSequence: 0,
    lostCount: 0,
    lostFirst: 0,
    lostLast: 0,
    lostReason: '',
    lostAtMicros: 0,
  };
  readonly #descriptor: number;
  #generation = 0;
  #isClosed = false;

  /** Opens or makes the file. A file without a whole record begins anew: delivery then repeats, and ids tell. */
  constructor(path: string, isNew: boolean) {
    this.#descriptor = openSync(path, isNew ? 'wx+' : 'r+', 0o600);
    if (isNew) {
      writeSync(this.#descriptor, Buffer.alloc(2 * slotBytes), 0, 2 * slotBytes, 0);
      return;
    }
    const bytes = Buffer.alloc(2 * slotBytes);
    readSync(this.#descriptor, bytes, 0, bytes.length, 0);
    for (let at = 0; at < bytes.length; at += slotBytes) {
      const slot = bytes.subarray(at, at + slotBytes);
      const length = slot.readUInt32LE(4);
      if (length === 0 || length > slotBytes - 8 || crc32(slot.subarray(4, 8 + length)) !== slot.readUInt32LE(0))
        continue;
      const { generation, ...state } = JSON.parse(slot.toString('utf8', 8, 8 + length)) as CursorState & {
        generation: number;
      };
      if (generation < this.#generation) continue;
      this.#generation = generation;
      Object.assign(this.state, state);
    }
  }

  /** Hands the state to the kernel. Throws the file system's error. */
  write(): void {
    if (this.#isClosed) return;
    this.#generation += 1;
    const bytes = Buffer.alloc(slotBytes);
    const length = bytes.write(JSON.stringify({ generation: this.#generation, ...this.state }), 8, 'utf8');
    bytes.writeUInt32LE(length, 4);
    bytes.writeUInt32LE(crc32(bytes.subarray(4, 8 + length)), 0);
    writeSync(this.#descriptor, bytes, 0, slotBytes, (this.#generation % 2) * slotBytes);
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    closeSync(this.#descriptor);
  }
}
