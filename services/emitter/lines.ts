/**
 * Most bytes of one line that are kept to be parsed. 16 MiB is four times the largest message the SDKs' own stdio
 * reader takes by default, and bounds what one direction of a wrapped server can make us hold.
 */
export const maxLineBytes = 16 * 1024 * 1024;

const newline = 0x0a;

/**
 * Cuts a stream of bytes at newlines only, and hands each line on as text. Bytes of a line beyond the bound are not
 * kept: the line is then handed on as undefined, once, when it ends.
 */
export class LineSplitter {
  readonly #limitBytes: number;
  readonly #line: (line: string | undefined) => void;
  /** The beginning of a line that has not ended. */
  #parts: Buffer[] = [];
  #bytes = 0;
  #overlong = false;

  constructor(line: (line: string | undefined) => void, limitBytes: number = maxLineBytes) {
    this.#line = line;
    this.#limitBytes = limitBytes;
  }

  push(chunk: Buffer): void {
    const firstEnd = chunk.indexOf(newline);
    if (firstEnd < 0) {
      this.#keep(chunk);
      return;
    }
    this.#keep(chunk.subarray(0, firstEnd));
    this.#emitKept();
    const lastEnd = chunk.lastIndexOf(newline);
    if (lastEnd > firstEnd) this.#emitWhole(chunk.toString('utf8', firstEnd + 1, lastEnd));
    if (lastEnd + 1 < chunk.length) this.#keep(chunk.subarray(lastEnd + 1));
  }

  /** The stream has ended: what stands after the last newline is a line too. */
  end(): void {
    if (this.#bytes > 0 || this.#overlong) this.#emitKept();
  }

  /** Lines that lie within one chunk: one text of them all costs less than one of each. */
  #emitWhole(text: string): void {
    let start = 0;
    for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n', start)) {
      this.#emit(text.slice(start, end));
      start = end + 1;
    }
    this.#emit(text.slice(start));
  }

  #emit(line: string): void {
    const isLong = line.length * 3 > this.#limitBytes && Buffer.byteLength(line) > this.#limitBytes;
    this.#line(isLong ? undefined : line);
  }

  #keep(bytes: Buffer): void {
    if (this.#overlong) return;
    if (this.#bytes + bytes.length > this.#limitBytes) {
      this.#overlong = true;
      this.#parts = [];
      this.#bytes = 0;
      return;
    }
    this.#parts.push(bytes);
    this.#bytes += bytes.length;
  }

  #emitKept(): void {
    const parts = this.#parts;
    const line = this.#overlong
      ? undefined
      : (parts.length === 1 ? parts[0]! : Buffer.concat(parts, this.#bytes)).toString();
    this.#parts = [];
    this.#bytes = 0;
    this.#overlong = false;
    this.#line(line);
  }
}
