/**
 * Most bytes of one line that are kept to be parsed. 16 MiB is four times the largest message the SDKs' own stdio
 * reader takes by default, and bounds what one direction of a wrapped server can make us hold.
 */
export const maxLineBytes = 16 * 1024 * 1024;

const newline = 0x0a;

/**
 * Cuts a stream of bytes at newlines only. Bytes of a line beyond the bound are not kept: the line is then handed on
 * as undefined, once, when it ends.
 */
export class LineSplitter {
  readonly #limitBytes: number;
  readonly #line: (line: Buffer | undefined) => void;
  #parts: Buffer[] = [];
  #bytes = 0;
  #overlong = false;

  constructor(line: (line: Buffer | undefined) => void, limitBytes: number = maxLineBytes) {
    this.#line = line;
    this.#limitBytes = limitBytes;
  }

  push(chunk: Buffer): void {
    let start = 0;
    for (let end = chunk.indexOf(newline); end !== -1; end = chunk.indexOf(newline, start)) {
      this.#keep(chunk.subarray(start, end));
      this.#emit();
      start = end + 1;
    }
    if (start < chunk.length) this.#keep(chunk.subarray(start));
  }

  /** The stream has ended: what stands after the last newline is a line too. */
  end(): void {
    if (this.#bytes > 0 || this.#overlong) this.#emit();
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

  #emit(): void {
    const parts = this.#parts;
    const line = this.#overlong ? undefined : parts.length === 1 ? parts[0]! : Buffer.concat(parts, this.#bytes);
    this.#parts = [];
    this.#bytes = 0;
    this.#overlong = false;
    this.#line(line);
  }
}
