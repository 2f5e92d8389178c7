/**
 * `query` without a statement, on a terminal: statements that end at `;`, and commands that begin with `\`.
 *
 * Lines wait in a queue while one is dealt with. Ctrl-C ends what runs, or empties the line; only Ctrl-D, \q and the
 * end of the input leave.
 */
import { createInterface, type Interface } from 'node:readline';
import { ask, askRows } from '../ask.js';
import { colors } from '../colors.js';
import type { Loaded } from '../context.js';
import { formats } from '../query.js';
import { bytesText, fitsTerminal, renderBlocks, renderTable, shownLines } from '../terminal.js';
import { commands, completeCommand } from './commands.js';
import { History } from './history.js';
import { complete, type Names, readNames } from './names.js';
import { PagerLeft, Screen } from './screen.js';
import { type Open, Statements, withoutFormat } from './statements.js';

/** A table is laid out in memory: 10,000 rows are more than anybody scrolls through. */
const maxTableRows = 10_000;
const prompt = 'auditd> ';
const historySize = 1_000;

/** How answers are shown; changed by commands. */
export interface Settings {
  format: string;
  vertical: boolean;
  timing: boolean;
  /** A command of the shell; undefined: answers are not paged. */
  pager: string | undefined;
}

export interface SessionStreams {
  readonly input: NodeJS.ReadStream;
  readonly output: NodeJS.WriteStream;
}

export class Session {
  readonly settings: Settings;
  private readonly statements = new Statements();
  private readonly history: History;
  private readonly entries: string[];
  private readonly readline: Interface;
  private readonly lines: string[] = [];
  private wake: (() => void) | undefined;
  private running: AbortController | undefined;
  private lent = false;
  private left = false;
  private readonly leaving = new AbortController();
  private isPrivate = false;
  private names: Promise<Names> | undefined;
  /** Values of placeholders, for every statement. */
  readonly parameters: Map<string, string>;
  /** The last statement that was asked, for \save and \e. */
  last = '';

  constructor(
    readonly loaded: Loaded,
    parameters: Readonly<Record<string, string>>,
    private readonly streams: SessionStreams,
    format: string,
  ) {
    this.parameters = new Map(Object.entries(parameters));
    const pager = process.env.PAGER ?? 'less';
    this.settings = { format, vertical: false, timing: true, pager: pager === '' ? undefined : pager };
    this.history = new History(loaded.data);
    this.entries = this.history.read();
    this.readline = createInterface({
      ...streams,
      terminal: true,
      prompt,
      historySize,
      history: [...this.entries],
      tabSize: 2,
      completer: (line: string, done: (error: null, found: [string[], string]) => void) => {
        void this.completions(line).then((found) => done(null, found));
      },
    });
  }

  /** Resolves when the user has left. */
  async run(): Promise<void> {
    const { readline } = this;
    const { input, output } = this.streams;
    const interrupt = (): void => this.interrupt();
    readline
      .on('line', (line) => {
        this.lines.push(line);
        this.wake?.();
      })
      // A line is no entry; whole statements are, see `remember`.
      .on('history', (history) => history.splice(0, history.length, ...this.entries))
      .on('SIGINT', interrupt)
      .on('close', () => {
        this.left = true;
        this.running?.abort();
        this.wake?.();
      });
    // While a pager or an editor has the keyboard, Ctrl-C is a signal to this process as well.
    process.on('SIGINT', interrupt);
    const onKey = (_text: unknown, key: { name?: string } | undefined): void => this.pasting(key?.name);
    input.on('keypress', onKey);
    output.write('\x1b[?2004h');
    output.write('Statements end at ; — \\? shows the commands, Ctrl-D leaves.\n');
    try {
      while (!this.left) {
        const line = await this.nextLine();
        if (line !== undefined) await this.take(line);
      }
    } finally {
      output.write('\x1b[?2004l');
      input.off('keypress', onKey);
      process.off('SIGINT', interrupt);
      readline.close();
      this.leaving.abort();
    }
  }

  leave(): void {
    this.left = true;
  }

  /** Runs an action that Ctrl-C ends; what it throws is told. */
  async guarded(action: (signal: AbortSignal) => Promise<void>): Promise<void> {
    const running = new AbortController();
    this.running = running;
    try {
      await action(running.signal);
    } catch (error) {
      if (running.signal.aborted) this.say(colors.dim('Ended.'));
      else this.tell(error);
    } finally {
      this.running = undefined;
    }
  }

  say(text: string): void {
    this.streams.output.write(`${text}\n`);
  }

  /** Asks a statement and shows the answer; `otherwise` where the key may not ask it. */
  async ask(sql: string, parameters: Readonly<Record<string, string>> = {}, otherwise?: string): Promise<void> {
    let isRefused = false;
    await this.guarded(async (signal) => {
      const started = performance.now();
      const screen = this.screen();
      try {
        const told = await this.answer(sql, { ...Object.fromEntries(this.parameters), ...parameters }, screen, signal);
        const elapsed = performance.now() - started;
        await screen.end();
        if (this.settings.timing) this.say(colors.dim(`${told}, ${elapsedText(elapsed)}`));
      } catch (error) {
        if (error instanceof PagerLeft) return;
        await screen.end();
        isRefused = otherwise !== undefined && (error as { code?: string }).code === 'query_refused';
        if (isRefused) return;
        throw error;
      }
    });
    if (isRefused) await this.ask(otherwise!, parameters);
  }

  /** Shows rows that a command has made. */
  async show(names: readonly string[], rows: readonly (readonly unknown[])[]): Promise<void> {
    const screen = this.screen();
    await screen.write(`${this.render(names, rows)}\n`);
    await screen.end();
  }

  /** The names of tables, columns and so on, asked for once. */
  async knownNames(): Promise<Names> {
    this.names ??= readNames(this.loaded, this.leaving.signal);
    try {
      return await this.names;
    } catch (error) {
      this.names = undefined;
      throw error;
    }
  }

  /** The statement that is not ended yet, else the last one. */
  get current(): string {
    return this.statements.rest.trim() || this.last;
  }

  /** Takes text as if it had been typed, in place of what was not ended. */
  async replace(text: string): Promise<void> {
    this.statements.clear();
    this.say(shownLines(text));
    await this.take(this.isPrivate ? ` ${text}` : text);
  }

  /** Gives the keyboard to another program; what it returns takes it back. */
  lend(): () => void {
    const { input, output } = this.streams;
    this.lent = true;
    output.write('\x1b[?2004l');
    this.readline.pause();
    input.setRawMode?.(false);
    return () => {
      this.lent = false;
      input.setRawMode?.(true);
      output.write('\x1b[?2004h');
      if (!this.left) this.readline.resume();
    };
  }

  private async nextLine(): Promise<string | undefined> {
    if (this.lines.length === 0) {
      this.readline.setPrompt(promptOf(this.statements.open));
      this.readline.prompt();
      await new Promise<void>((resolve) => {
        this.wake = resolve;
      });
      this.wake = undefined;
    }
    return this.lines.shift();
  }

  private async take(line: string): Promise<void> {
    const { open } = this.statements;
    const command = open === undefined || open === 'statement' ? commandOf(line, open === undefined) : undefined;
    if (command !== undefined) {
      this.remember(line);
      await command.run(this);
      return;
    }
    if (this.statements.rest === '') this.isPrivate = line.startsWith(' ');
    for (const statement of this.statements.add(line)) {
      if (!this.isPrivate) this.remember(`${statement};`);
      this.last = statement;
      await this.ask(statement);
    }
  }

  private async answer(
    text: string,
    parameters: Readonly<Record<string, string>>,
    screen: Screen,
    signal: AbortSignal,
  ): Promise<string> {
    const { sql, format: own = this.settings.format } = withoutFormat(text);
    if (own === 'table') {
      const { names, rows, cut, bytes } = await askRows(this.loaded, { sql, parameters, signal }, maxTableRows);
      await screen.write(`${this.render(names, rows)}\n`);
      const count = `${rows.length} ${rows.length === 1 ? 'row' : 'rows'}`;
      return cut ? `The first ${count}; \\format jsonl gives all` : `${count}, ${bytesText(bytes)}`;
    }
    const format = formats[own] ?? own;
    const decoder = new TextDecoder();
    let bytes = 0;
    for await (const chunk of ask(this.loaded, { sql, parameters, signal, format })) {
      bytes += chunk.length;
      await screen.write(shownLines(decoder.decode(chunk, { stream: true })));
    }
    return bytesText(bytes);
  }

  private render(names: readonly string[], rows: readonly (readonly unknown[])[]): string {
    const { columns } = this.streams.output;
    const beside = !this.settings.vertical && fitsTerminal(names.length, columns);
    return beside ? renderTable(names, rows, columns) : renderBlocks(names, rows);
  }

  private screen(): Screen {
    return new Screen({
      output: this.streams.output,
      pager: this.settings.pager,
      lend: () => this.lend(),
      onPagerEnd: (ran) => {
        if (ran) return;
        this.say(`${shownLines(this.settings.pager ?? '')} does not run; answers are shown without a pager.`);
        this.settings.pager = undefined;
      },
    });
  }

  private interrupt(): void {
    // Nor does what was pasted behind it run.
    this.lines.length = 0;
    if (this.running !== undefined) {
      this.running.abort();
      return;
    }
    if (this.lent) return;
    this.statements.clear();
    // The readline keeps what stands on the line.
    this.readline.write(null as never, { ctrl: true, name: 'e' });
    this.streams.output.write('^C\n');
    this.readline.write(null as never, { ctrl: true, name: 'u' });
    this.readline.setPrompt(prompt);
    this.readline.prompt();
  }

  /** A Tab in pasted text is a Tab. */
  private pasting(key: string | undefined): void {
    const readline = this.readline as Interface & { isCompletionEnabled?: boolean };
    if (key === 'paste-start') readline.isCompletionEnabled = false;
    if (key === 'paste-end') readline.isCompletionEnabled = true;
  }

  private async completions(line: string): Promise<[string[], string]> {
    try {
      if (this.statements.open === undefined && line.startsWith('\\')) return await completeCommand(line, this);
      // At the beginning of a line a Tab indents.
      if (line.trim() === '') return [['  '], ''];
      return complete(`${this.statements.rest}\n${line}`, await this.knownNames());
    } catch {
      return [[], ''];
    }
  }

  private remember(entry: string): void {
    const at = this.entries.indexOf(entry);
    if (at >= 0) this.entries.splice(at, 1);
    this.entries.unshift(entry);
    this.entries.splice(historySize);
    // Entries of the readline are changed in place: it has no other way in.
    const { history } = this.readline as Interface & { history?: string[] };
    history?.splice(0, history.length, ...this.entries);
    const before = this.history.trouble;
    this.history.add(entry);
    if (before !== this.history.trouble) this.say(colors.dim(shownLines(this.history.trouble!)));
  }

  private tell(error: unknown): void {
    const { message = String(error), mend, code } = error as Error & { mend?: string; code?: string };
    this.say(colors.red(shownLines(message)));
    // Of a mistake in the SQL the engine's message says it all.
    if (mend !== undefined && code !== 'query_failed') this.say(shownLines(mend));
  }
}

/** A line that is a command; `exit`, `quit` and `help` are, where no statement has begun. */
function commandOf(line: string, begins: boolean): { run(session: Session): Promise<void> } | undefined {
  const text = line.trim();
  const word = begins ? /^(exit|quit|help)\s*;?$/i.exec(text)?.[1]?.toLowerCase() : undefined;
  if (word !== undefined) return { run: (session) => commands[word === 'help' ? '?' : 'q']!.run(session, '') };
  if (!text.startsWith('\\')) return undefined;
  const [, name = '', rest = ''] = /^\\(\S*)\s*([\s\S]*?)\s*;?$/.exec(text)!;
  const command = commands[name];
  return {
    run: async (session) =>
      command === undefined
        ? session.say(`There is no \\${shownLines(name)}; \\? shows what there is.`)
        : command.run(session, rest),
  };
}

function promptOf(open: Open): string {
  if (open === undefined) return prompt;
  const mark = open === 'statement' ? '-' : open;
  return `${mark}> `.padStart(prompt.length);
}

function elapsedText(milliseconds: number): string {
  return milliseconds < 10_000 ? `${Math.round(milliseconds)} ms` : `${(milliseconds / 1000).toFixed(1)} s`;
}
