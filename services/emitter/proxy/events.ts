import { maxLineBytes } from '../lines.js';

/** One server-sent event (WHATWG HTML §9.2.6), as far as the proxy cares. */
export interface StreamEvent {
  /** '' where the stream names none, which means `message`. */
  readonly type: string;
  /** Undefined when it had more bytes than are kept. */
  readonly data: string | undefined;
  /** Undefined where the event has none: a stream with ids can be resumed. */
  readonly id: string | undefined;
}

const lineFeed = 0x0a;
const carriageReturn = 0x0d;

/**
 * Reads server-sent events from a copy of the bytes: lines end with LF, CR or CR LF wherever a chunk is cut, an empty
 * line ends the event. Of one event no more than 16 MiB are kept.
 */
export class EventReader {
  readonly #event: (event: StreamEvent, end: number) => void;
  readonly #limitBytes: number;
  #parts: Buffer[] = [];
  #lineBytes = 0;
  #eventBytes = 0;
  #isOverlong = false;
  /** The last chunk ended with a CR: a LF at the start of the next one belongs to it. */
  #skipsLineFeed = false;
  #isFirstLine = true;
  #type = '';
  #data: string[] = [];
  #id: string | undefined;
  #hasFields = false;

  /** @param event is given each event, and where in the chunk in hand it ended. */
  constructor(event: (event: StreamEvent, end: number) => void, limitBytes: number = maxLineBytes) {
    this.#event = event;
    this.#limitBytes = limitBytes;
  }

  /** Whether nothing stands between the last event and the next: here another event may be put in. */
  get isBetweenEvents(): boolean {
    return this.#lineBytes === 0 && !this.#hasFields && !this.#isOverlong;
  }

  push(chunk: Buffer): void {
    let start = 0;
    if (this.#skipsLineFeed && chunk.length > 0) {
      if (chunk[0] === lineFeed) start = 1;
      this.#skipsLineFeed = false;
    }
    let nextReturn = chunk.indexOf(carriageReturn, start);
    for (;;) {
      let end = chunk.indexOf(lineFeed, start);
      let next = end + 1;
      if (nextReturn >= 0 && (end < 0 || nextReturn < end)) {
        end = nextReturn;
        next = end + 1;
        if (next === chunk.length) this.#skipsLineFeed = true;
        else if (chunk[next] === lineFeed) next += 1;
        nextReturn = chunk.indexOf(carriageReturn, next);
      }
      if (end < 0) break;
      this.#keep(chunk.subarray(start, end));
      this.#endLine(next);
      start = next;
    }
    if (start < chunk.length) this.#keep(chunk.subarray(start));
  }

  #keep(piece: Buffer): void {
    this.#lineBytes += piece.length;
    this.#eventBytes += piece.length;
    if (this.#eventBytes > this.#limitBytes) {
      this.#isOverlong = true;
      this.#parts = [];
      this.#data = [];
    } else if (piece.length > 0) this.#parts.push(piece);
  }

  #endLine(end: number): void {
    const isEmpty = this.#lineBytes === 0;
    if (!isEmpty && !this.#isOverlong) {
      const [first] = this.#parts;
      let line = this.#parts.length === 1 ? first!.toString() : Buffer.concat(this.#parts).toString();
      if (this.#isFirstLine && line.charCodeAt(0) === 0xfeff) line = line.slice(1);
      this.#field(line);
    }
    this.#isFirstLine = false;
    this.#parts = [];
    this.#lineBytes = 0;
    if (isEmpty) this.#endEvent(end);
  }

  #field(line: string): void {
    this.#hasFields = true;
    const colon = line.indexOf(':');
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(line[colon + 1] === ' ' ? colon + 2 : colon + 1);
    if (name === 'data') this.#data.push(value);
    else if (name === 'event') this.#type = value;
    else if (name === 'id' && !value.includes('\0')) this.#id = value;
  }

  #endEvent(end: number): void {
    const isOverlong = this.#isOverlong;
    if (this.#hasFields || isOverlong) {
      const data = isOverlong ? undefined : this.#data.length === 1 ? this.#data[0]! : this.#data.join('\n');
      this.#event({ type: this.#type, data, id: this.#id }, end);
    }
    this.#type = '';
    this.#data = [];
    this.#id = undefined;
    this.#hasFields = false;
    this.#isOverlong = false;
    this.#eventBytes = 0;
  }
}
