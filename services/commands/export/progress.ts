/** How far an export is, on standard error: a line that changes on a terminal, and one at the end. */
import { bytesText } from '../terminal.js';

const everyMs = 200;

export class Progress {
  private readonly started = performance.now();
  private shownMs = 0;
  private rows = 0;
  private bytes = 0;
  private marked = 0;
  private readonly isShown = process.stderr.isTTY === true;

  /** `total` in rows. */
  constructor(private readonly total: number) {}

  mark(): void {
    this.marked = this.bytes;
  }

  rewind(): void {
    this.bytes = this.marked;
  }

  add(bytes: number): void {
    this.bytes += bytes;
    this.show();
  }

  /** A slice of so many rows is written. */
  done(rows: number): void {
    this.rows += rows;
    this.show();
  }

  end(name: string): void {
    const seconds = ((performance.now() - this.started) / 1000).toFixed(1);
    const what = `${count(this.total)} ${this.total === 1 ? 'row' : 'rows'}, ${bytesText(this.bytes)} in ${seconds} s`;
    process.stderr.write(`${this.isShown ? '\r\x1b[K' : ''}${name === '-' ? '' : `${name}: `}${what}\n`);
  }

  private show(): void {
    const now = performance.now();
    if (!this.isShown || now - this.shownMs < everyMs) return;
    this.shownMs = now;
    const seconds = (now - this.started) / 1000;
    const share = this.total === 0 ? 1 : this.rows / this.total;
    const left = share === 0 ? '' : `, ${Math.ceil((seconds * (1 - share)) / share)} s left`;
    process.stderr.write(
      `\r\x1b[K${Math.floor(share * 100)} %, ${count(this.rows)} of ${count(this.total)} rows, ${bytesText(this.bytes)}, ${count(this.rows / seconds)} rows/s${left}`,
    );
  }
}

function count(rows: number): string {
  return Math.round(rows).toLocaleString('en');
}
