/**
 * What ClickHouse's protocol tells of a question beside its rows: `X-ClickHouse-Summary`, and, while the first rows are
 * waited for, `X-ClickHouse-Progress` lines for a client that asks for them (`send_progress_in_http_headers`). Those keep
 * proxies and clients from giving up, and https://clickhouse.com/docs/interfaces/http has them within the head.
 */
import type { FastifyReply } from 'fastify';
import type { QueryProgress } from '../store/store.js';

/** Between two lines, of the time that has passed: 60 s make some 50 lines, 8 KiB, and Node's clients take 16 KiB of head. */
const paceOfElapsed = 0.1;

export class ClickHouseProgress {
  /** As the engine last told. It tells nothing of a question of one tenant: what is read holds rows of others. */
  read: QueryProgress = { readRows: 0, readBytes: 0, totalRows: 0 };
  resultRows = 0;
  /** The head is under way: its status is out, and what follows goes to the connection as it is. */
  isOut = false;
  private isOver = false;
  private timer: NodeJS.Timeout | undefined;
  private readonly started = performance.now();

  /** @param everyMs between two lines at first; undefined: none are asked for. */
  constructor(
    private readonly reply: FastifyReply,
    readonly everyMs: number | undefined,
  ) {
    this.wait();
  }

  /** Whether figures are of use still. */
  get isWanted(): boolean {
    return !this.isOver;
  }

  /** The summary, or a line of progress, as JSON; numbers are texts there. */
  figures(): string {
    const { readRows, readBytes, totalRows } = this.read;
    return JSON.stringify({
      read_rows: String(readRows),
      read_bytes: String(readBytes),
      written_rows: '0',
      written_bytes: '0',
      total_rows_to_read: String(totalRows),
      result_rows: String(this.resultRows),
      elapsed_ns: String(Math.round((performance.now() - this.started) * 1e6)),
    });
  }

  /** No more lines: the head is ended now. */
  end(): void {
    this.isOver = true;
    clearTimeout(this.timer);
  }

  /** Ends a head that is out with an error, as ClickHouse does: its status went before. */
  fail(text: string, code: number): void {
    this.end();
    const body = Buffer.from(`${text}\n`);
    const head = [`X-ClickHouse-Exception-Code: ${code}`, 'Content-Type: text/plain; charset=UTF-8'];
    this.reply.raw.socket?.end(`${[...head, `Content-Length: ${body.length}`].join('\r\n')}\r\n\r\n${body}`);
  }

  private wait(): void {
    if (this.everyMs === undefined || this.reply.request.raw.httpVersion !== '1.1') return;
    const waitMs = Math.max(this.everyMs, (performance.now() - this.started) * paceOfElapsed);
    this.timer = setTimeout(() => this.line(), waitMs);
  }

  private line(): void {
    const { socket } = this.reply.raw;
    if (socket === null || socket.destroyed) return;
    if (!this.isOut) {
      this.isOut = true;
      this.reply.hijack();
      socket.write('HTTP/1.1 200 OK\r\nConnection: close\r\n');
    }
    socket.write(`X-ClickHouse-Progress: ${this.figures()}\r\n`);
    this.wait();
  }
}
