/**
 * Where an answer goes: onto the terminal when it fits, else through the user's pager, which gets no colours and nothing
 * else that steers a terminal, so it needs no -R.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { stripVTControlCharacters } from 'node:util';

/** The pager was left before the answer had ended. */
export class PagerLeft extends Error {}

export interface ScreenOptions {
  readonly output: NodeJS.WriteStream;
  /** A command of the shell; undefined pages nothing. */
  readonly pager: string | undefined;
  /** Gives the keyboard to another program; what it returns takes it back. */
  lend(): () => void;
  /** Told when the pager was left, or could not be run (`ran` is false). */
  onPagerEnd(ran: boolean): void;
}

const shellFoundNothing = 127;

export class Screen {
  private held = '';
  private lines = 0;
  private pager: ChildProcess | undefined;
  private ended: Promise<number | null> | undefined;
  private left = false;

  constructor(private readonly options: ScreenOptions) {}

  /** @throws PagerLeft when nobody looks on any more. */
  async write(text: string): Promise<void> {
    const { output, pager } = this.options;
    if (this.left) throw new PagerLeft();
    if (this.pager !== undefined) return this.feed(text);
    if (pager === undefined) return put(output, text);
    this.held += text;
    this.lines += linesOn(text, output.columns || 80);
    // The last lines are for the count and the prompt.
    if (this.lines > (output.rows || 24) - 2) await this.openPager(pager);
  }

  /** Resolves when everything was shown and the pager, where there is one, was left. */
  async end(): Promise<void> {
    if (this.pager === undefined) return put(this.options.output, this.held);
    this.pager.stdin!.end();
    await this.ended;
  }

  private async openPager(command: string): Promise<void> {
    const takeBack = this.options.lend();
    const environment = { LESS: 'FSX', LESSCHARSET: 'utf-8', ...process.env };
    const pager = spawn(command, { shell: true, stdio: ['pipe', 'inherit', 'inherit'], env: environment });
    this.pager = pager;
    // Who leaves a pager closes its input: that is no fault.
    pager.stdin!.on('error', () => undefined);
    const held = this.held;
    this.ended = new Promise<number | null>((resolve) => {
      pager.once('error', () => resolve(shellFoundNothing)).once('close', resolve);
    }).then(async (code) => {
      this.left = true;
      takeBack();
      if (code === shellFoundNothing) await put(this.options.output, held);
      this.options.onPagerEnd(code !== shellFoundNothing);
      return code;
    });
    this.held = '';
    await this.feed(held);
  }

  private async feed(text: string): Promise<void> {
    const { stdin } = this.pager!;
    if (stdin!.write(stripVTControlCharacters(text))) return;
    await Promise.race([once(stdin!, 'drain'), this.ended]).catch(() => undefined);
    if (this.left) throw new PagerLeft();
  }
}

async function put(output: NodeJS.WriteStream, text: string): Promise<void> {
  if (text !== '' && !output.write(text)) await once(output, 'drain');
}

/** Lines of the terminal that a text takes, about: wide characters may take more. */
function linesOn(text: string, columns: number): number {
  let lines = 0;
  for (let from = 0; from < text.length; ) {
    const end = text.indexOf('\n', from);
    const length = (end < 0 ? text.length : end) - from;
    lines += Math.max(1, Math.ceil(length / columns));
    if (end < 0) break;
    from = end + 1;
  }
  return lines;
}
