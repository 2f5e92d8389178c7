/**
 * The records of a spool. An event is the text of `beginning` and `end` joined; nothing is parsed to deliver it.
 *
 *   B<call>\n<alone>\n<text up to a point>          the request arrived
 *   E<call> <sequence>\n<the rest of the text>      the answer leaves
 *   W<sequence>\n<a whole event>                    a report of the emitter itself
 *
 * `alone` is what must stand in an event without an end: fields which the end writes anew when there is one.
 */
interface BeginningEntry {
  readonly kind: 'beginning';
  readonly call: number;
  readonly alone: string;
  readonly text: string;
}

export interface EndEntry {
  readonly kind: 'end';
  readonly call: number;
  readonly sequence: number;
  readonly text: string;
}

interface WholeEntry {
  readonly kind: 'whole';
  readonly sequence: number;
  readonly text: string;
}

/** What is written to a spool. */
export type SpoolEntry = BeginningEntry | EndEntry | WholeEntry;

export function frameOf(entry: SpoolEntry): string {
  if (entry.kind === 'beginning') return `B${entry.call}\n${entry.alone}\n${entry.text}`;
  if (entry.kind === 'end') return `E${entry.call} ${entry.sequence}\n${entry.text}`;
  return `W${entry.sequence}\n${entry.text}`;
}

interface OpenCall {
  /** Where the beginning stands. */
  readonly index: number;
  /** The frame; undefined when it is to be read from the spool again. */
  frame: Buffer | undefined;
}

export interface Line {
  readonly bytes: Buffer;
  readonly sequence: number;
}

const newline = 10;
/** Bytes of beginnings kept in memory; those of calls that run long are read from the spool again. */
const maxKeptBytes = 4 * 1024 * 1024;

/** Joins beginnings and ends, in the order of the spool. Of two equal beginnings the second one counts. */
export class Assembler {
  readonly #readFrame: (index: number) => Buffer | undefined;
  readonly #neededFrom: number;
  /** Calls that have begun, by number. */
  readonly #open = new Map<number, OpenCall>();
  #keptBytes = 0;
  /** Highest sequence seen. */
  lastSequence = 0;
  /** Ends without a beginning: the beginning was in a damaged place. */
  unmatched = 0;

  /** Of ends before `neededFrom`, which were delivered, the beginnings may have been deleted. */
  constructor(readFrame: (index: number) => Buffer | undefined, neededFrom = 0) {
    this.#readFrame = readFrame;
    this.#neededFrom = neededFrom;
  }

  /** Takes the next frame and returns the event that it completes. */
  feed(index: number, frame: Buffer): Line | undefined {
    const headEnd = frame.indexOf(newline);
    const kind = frame[0];
    if (kind === 66) {
      const call = digits(frame, 1);
      this.#forget(call);
      this.#open.set(call, { index, frame });
      this.#keptBytes += frame.length;
      return undefined;
    }
    if (kind === 69) {
      const call = digits(frame, 1);
      const sequence = digits(frame, frame.indexOf(32, 2) + 1);
      this.lastSequence = Math.max(this.lastSequence, sequence);
      const opened = this.#open.get(call);
      const beginning = opened === undefined ? undefined : (opened.frame ?? this.#readFrame(opened.index));
      this.#forget(call);
      if (beginning === undefined) {
        if (index >= this.#neededFrom) this.unmatched += 1;
        return undefined;
      }
      return { bytes: Buffer.concat([textOf(beginning), frame.subarray(headEnd + 1)]), sequence };
    }
    const sequence = digits(frame, 1);
    this.lastSequence = Math.max(this.lastSequence, sequence);
    return { bytes: frame.subarray(headEnd + 1), sequence };
  }

  /** A call whose beginning stands before the first frame that will be fed. */
  expect(call: number, index: number): void {
    this.#open.set(call, { index, frame: undefined });
  }

  /** Copies what is kept out of the chunk it was read in, and keeps only positions beyond the limit. */
  settle(): void {
    for (const opened of this.#open.values()) {
      if (opened.frame === undefined) continue;
      if (this.#keptBytes > maxKeptBytes) {
        this.#keptBytes -= opened.frame.length;
        opened.frame = undefined;
      } else if (opened.frame.buffer.byteLength > opened.frame.length * 2) {
        opened.frame = Buffer.from(opened.frame);
      }
    }
  }

  /** Forgets the calls that are open. */
  clear(): void {
    this.#open.clear();
    this.#keptBytes = 0;
  }

  /** Index of the oldest beginning that still waits. */
  get oldestOpen(): number {
    let oldest = Number.POSITIVE_INFINITY;
    for (const { index } of this.#open.values()) oldest = Math.min(oldest, index);
    return oldest;
  }

  /** Indexes of the beginnings that have no end, ascending. */
  openIndexes(): number[] {
    return [...this.#open.values()].map(({ index }) => index).sort((a, b) => a - b);
  }

  #forget(call: number): void {
    const opened = this.#open.get(call);
    if (opened === undefined) return;
    if (opened.frame !== undefined) this.#keptBytes -= opened.frame.length;
    this.#open.delete(call);
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
