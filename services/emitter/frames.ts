/**
 * The records of a spool. An event is the text of `beginning` and `end` joined; nothing is parsed to deliver it.
 *
 *   B<call>\n<alone>\n<text up to a point>          the request arrived
 *   E<call> <sequence>\n<the rest of the text>      the answer leaves
 *   W<sequence>\n<a whole event>                    a report of the emitter itself
 *
 * `alone` is what must stand in an event without an end: fields which the end writes anew when there is one.
 */
export interface OpenCall {
  /** Where the beginning stands. */
  index: number;
  /** The frame; undefined when it is to be read from the spool again. */
  frame: Buffer | undefined;
}

export interface Line {
  readonly bytes: Buffer;
  readonly sequence: number;
}

const newline = 10;

export function beginningFrame(call: number, alone: string, text: string): string {
  return `B${call}\n${alone}\n${text}`;
}

export function endFrame(call: number, sequence: number, text: string): string {
  return `E${call} ${sequence}\n${text}`;
}

export function wholeFrame(sequence: number, text: string): string {
  return `W${sequence}\n${text}`;
}

/** Bytes of beginnings kept in memory; those of calls that run long are read from the spool again. */
const maxKeptBytes = 4 * 1024 * 1024;

/** Joins beginnings and ends, in the order of the spool. */
export class Assembler {
  /** Calls that have begun, by number. */
  readonly open = new Map<number, OpenCall>();
  /** Calls whose end could not be written; their beginnings wait for nothing. */
  readonly #abandoned = new Set<number>();
  #keptBytes = 0;
  #lastIndex = -1;
  /** Highest sequence seen. */
  lastSequence = 0;
  /** Ends without a beginning: the beginning was in a damaged place. */
  unmatched = 0;

  constructor(readonly readFrame: (index: number) => Buffer | undefined) {}

  /** Takes the next frame and returns the event that it completes. */
  feed(index: number, frame: Buffer): Line | undefined {
    const headEnd = frame.indexOf(newline);
    const kind = frame[0];
    this.#lastIndex = index;
    if (kind === 66) {
      const call = digits(frame, 1);
      if (!this.#abandoned.delete(call)) {
        this.#forget(call);
        this.open.set(call, { index, frame });
        this.#keptBytes += frame.length;
      }
      return undefined;
    }
    if (kind === 69) {
      const call = digits(frame, 1);
      const sequence = digits(frame, frame.indexOf(32, 2) + 1);
      this.lastSequence = Math.max(this.lastSequence, sequence);
      const opened = this.open.get(call);
      const beginning = opened === undefined ? undefined : (opened.frame ?? this.readFrame(opened.index));
      this.#forget(call);
      if (beginning === undefined) {
        this.unmatched += 1;
        return undefined;
      }
      return { bytes: Buffer.concat([textOf(beginning), frame.subarray(headEnd + 1)]), sequence };
    }
    const sequence = digits(frame, 1);
    this.lastSequence = Math.max(this.lastSequence, sequence);
    return { bytes: frame.subarray(headEnd + 1), sequence };
  }

  /** Copies what is kept out of the chunk it was read in, and keeps only positions beyond the limit. */
  settle(): void {
    for (const opened of this.open.values()) {
      if (opened.frame === undefined) continue;
      if (this.#keptBytes > maxKeptBytes) {
        this.#keptBytes -= opened.frame.length;
        opened.frame = undefined;
      } else if (opened.frame.buffer.byteLength > opened.frame.length * 2) {
        opened.frame = Buffer.from(opened.frame);
      }
    }
  }

  /** The end of this call will never come. */
  abandon(call: number): void {
    const opened = this.open.get(call);
    this.#forget(call);
    // Its beginning, or a second copy of it, was not read yet.
    if (opened === undefined || opened.index > this.#lastIndex) this.#abandoned.add(call);
  }

  /** Forgets everything, for a log that begins anew. */
  reset(): void {
    this.open.clear();
    this.#abandoned.clear();
    this.#keptBytes = 0;
    this.#lastIndex = -1;
  }

  /** Index of the oldest beginning that still waits. */
  get oldestOpen(): number {
    let oldest = Number.POSITIVE_INFINITY;
    for (const { index } of this.open.values()) oldest = Math.min(oldest, index);
    return oldest;
  }

  #forget(call: number): void {
    const opened = this.open.get(call);
    if (opened === undefined) return;
    if (opened.frame !== undefined) this.#keptBytes -= opened.frame.length;
    this.open.delete(call);
  }
}

/** The event's text of a beginning. */
function textOf(frame: Buffer): Buffer {
  const first = frame.indexOf(newline);
  return frame.subarray(frame.indexOf(newline, first + 1) + 1);
}

/** The event of a beginning that has no end. */
export function eventWithoutEnd(frame: Buffer, sequence: number): Line {
  const first = frame.indexOf(newline);
  const second = frame.indexOf(newline, first + 1);
  const rest = `"outcome":"no_response","producer_sequence":${sequence}}`;
  return {
    sequence,
    bytes: Buffer.concat([
      frame.subarray(second + 1),
      Buffer.from(','),
      frame.subarray(first + 1, second),
      Buffer.from(rest),
    ]),
  };
}

function digits(bytes: Buffer, from: number): number {
  let value = 0;
  for (let at = from; at < bytes.length; at++) {
    const digit = bytes[at]! - 48;
    if (digit < 0 || digit > 9) break;
    value = value * 10 + digit;
  }
  return value;
}
