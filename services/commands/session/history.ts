/**
 * The statements of earlier sessions: a file in the data directory, 0600, one JSON text a line, the oldest first.
 * Sessions side by side append to it; the next one to start cuts it down.
 */
import { appendFileSync, chmodSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** More than anybody goes back through. */
const maxEntries = 1_000;
/** Longer ones are remembered by the session alone. */
const maxEntryLength = 64 * 1024;
const maxFileLength = 4 * 1024 * 1024;

export class History {
  private readonly path: string;
  /** Why it can't be kept, told once. */
  trouble: string | undefined;

  constructor(data: string) {
    this.path = join(data, 'query-history');
  }

  /** The newest first. A file that can't be read is an empty one. */
  read(): string[] {
    let text = '';
    try {
      text = readFileSync(this.path, 'utf8');
      chmodSync(this.path, 0o600);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') this.fail(error);
      return [];
    }
    const lines = text.split('\n');
    // Of equal ones the newest.
    const entries = [...new Set(lines.flatMap(entryOf).reverse())].reverse();
    let kept = entries.slice(-maxEntries);
    for (let length = totalLength(kept); length > maxFileLength / 2; length -= kept[0]!.length, kept = kept.slice(1));
    if (lines.length > 2 * maxEntries || text.length > maxFileLength) this.rewrite(kept);
    return kept.reverse();
  }

  add(entry: string): void {
    if (entry.length > maxEntryLength || this.trouble !== undefined) return;
    try {
      mkdirSync(dirname(this.path), { recursive: true, mode: 0o700 });
      appendFileSync(this.path, `${JSON.stringify(entry)}\n`, { mode: 0o600 });
    } catch (error) {
      this.fail(error);
    }
  }

  private rewrite(entries: readonly string[]): void {
    const temporary = `${this.path}.${process.pid}`;
    try {
      writeFileSync(temporary, entries.map((entry) => `${JSON.stringify(entry)}\n`).join(''), {
        mode: 0o600,
        flag: 'wx',
      });
      renameSync(temporary, this.path);
    } catch (error) {
      rmSync(temporary, { force: true });
      this.fail(error);
    }
  }

  private fail(error: unknown): void {
    this.trouble ??= `Statements are not kept for the next session: ${(error as Error).message}`;
  }
}

/** Of a line that a crash cut there is nothing to keep. */
function entryOf(line: string): string[] {
  try {
    const entry: unknown = JSON.parse(line);
    return typeof entry === 'string' ? [entry] : [];
  } catch {
    return [];
  }
}

function totalLength(entries: readonly string[]): number {
  return entries.reduce((sum, entry) => sum + entry.length, 0);
}
