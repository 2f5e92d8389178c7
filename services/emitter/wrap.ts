import { type ChildProcess, spawn } from 'node:child_process';
import { constants } from 'node:os';
import type { Readable, Writable } from 'node:stream';
import type { ActorSource } from './actor.js';
import { openEnforcement, type ThrottleOptions } from './enforcement.js';
import { LineSplitter, maxLineBytes } from './lines.js';
import { type Direction, isObject, type MessageContext } from './messages.js';
import { ObservedConnection } from './observe.js';
import { Observer } from './observer.js';
import { Recorder, type RecorderOptions } from './recorder.js';
import { errorResponse, type Refusal, type Verdict } from './refusal.js';

export interface WrapOptions {
  readonly command: string;
  readonly args: readonly string[];
  readonly env?: NodeJS.ProcessEnv;
  readonly recorderOptions: RecorderOptions;
  readonly actor?: ActorSource;
  /** How throttle signals are followed; false: not at all. */
  readonly throttle?: ThrottleOptions | false;
  /** The client's side. Default: this process's own streams. */
  readonly stdin?: Readable;
  readonly stdout?: Writable;
  /** Where a command that cannot be started is reported; the server's own stderr is inherited. */
  readonly stderr?: Writable;
}

const forwardedSignals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** Shells' codes (POSIX 2.8.2): not found, found but not executable, and 128 + n for a death by signal n. */
const exitNotFound = 127;
const exitNotExecutable = 126;
const exitSignalBase = 128;

/** What a server wrote just before it exited is in the pipe already and takes milliseconds to read. */
const lastOutputWaitMs = 1_000;

const stdioContext: MessageContext = { header: () => undefined, headers: {}, http: false };

/**
 * Runs a stdio MCP server as a child and passes everything on: the very bytes in both directions, with backpressure,
 * signals, the end of input, stderr. A copy is cut into lines, parsed and recorded before the bytes go on.
 * @returns the exit code to leave with: the server's own, 128 + n when signal n ended it, 127 or 126 when it could not
 * be started.
 */
export async function runWrap(options: WrapOptions): Promise<number> {
  const { recorderOptions } = options;
  const recorder = Recorder.open(recorderOptions);
  const enforcement = openEnforcement(options.throttle, recorderOptions);
  const observer = new Observer(recorder, recorderOptions.failClosed === true, enforcement);
  const connection = new ObservedConnection(observer, {
    transport: 'stdio',
    actor: options.actor,
    server: { name: recorderOptions.name ?? '', version: '' },
  });
  try {
    return await passThrough(options, observer, connection);
  } finally {
    connection.closed();
    enforcement?.close();
    await recorder.close();
  }
}

async function passThrough(options: WrapOptions, observer: Observer, connection: ObservedConnection): Promise<number> {
  const { stdin = process.stdin, stdout = process.stdout, stderr = process.stderr } = options;
  const child = spawn(options.command, options.args, {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: options.env ?? process.env,
    windowsHide: true,
  });
  const started = await new Promise<NodeJS.ErrnoException | undefined>((resolve) => {
    child.once('spawn', () => resolve(undefined));
    child.once('error', resolve);
  });
  if (started !== undefined) {
    const notFound = started.code === 'ENOENT';
    const reason = notFound ? 'there is no such command' : started.message;
    stderr.write(`mcp-auditd wrap: cannot start ${options.command}: ${reason}\n`);
    return notFound ? exitNotFound : exitNotExecutable;
  }
  const stopForwardingSignals = forwardSignals(child);
  // Writing to a peer that has gone fails; that it has gone is learnt from its exit, or from the end of its input.
  child.stdin!.on('error', () => {});
  child.on('error', () => {});

  const upward = new Passage('client_to_server', observer, connection, stdout);
  const downward = new Passage('server_to_client', observer, connection, child.stdin!);
  forward(stdin, child.stdin!, upward, () => child.stdin!.end());
  const delivered = new Promise<void>((resolve) => {
    forward(child.stdout!, stdout, downward, resolve);
  });
  // The client no longer reads: the server meets the same broken pipe as it would without us.
  stdout.once('error', () => child.stdout!.destroy());

  const exitCode = await new Promise<number>((resolve) => {
    child.once('exit', (code, signal) => {
      resolve(code ?? exitSignalBase + (constants.signals[signal as NodeJS.Signals] ?? 0));
    });
  });
  // The server's last answers may still be in the pipe; a grandchild that holds it open must not keep us.
  let timer: NodeJS.Timeout | undefined;
  const waited = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, lastOutputWaitMs);
  });
  await Promise.race([delivered, waited]);
  clearTimeout(timer);
  stopForwardingSignals();
  stdin.pause();
  if (!stdout.destroyed) await new Promise<void>((resolve) => stdout.write('', () => resolve()));
  return exitCode;
}

/** Passes bytes on chunk by chunk, stops reading while the other side is slow, and forgets them once it is gone. */
function forward(source: Readable, sink: Writable, passage: Passage, ended: () => void): void {
  const resume = (): void => {
    source.resume();
  };
  sink.on('drain', resume);
  sink.on('close', resume);
  passage.late = (lines) => {
    for (const bytes of lines) if (!sink.destroyed) sink.write(bytes);
  };
  source.on('data', (chunk: Buffer) => {
    for (const bytes of passage.push(chunk)) {
      if (!sink.destroyed && !sink.write(bytes)) source.pause();
    }
  });
  source.once('error', () => {});
  source.once('close', () => {
    sink.off('drain', resume);
    sink.off('close', resume);
    for (const bytes of passage.end()) if (!sink.destroyed) sink.write(bytes);
    passage.whenNoneWaits(ended);
  });
  source.once('end', () => source.destroy());
}

function forwardSignals(child: ChildProcess): () => void {
  const forwarders = forwardedSignals.map((signal) => {
    const pass = (): void => {
      child.kill(signal);
    };
    process.on(signal, pass);
    return { signal, pass };
  });
  return () => {
    for (const { signal, pass } of forwarders) process.off(signal, pass);
  };
}

/**
 * One direction: takes chunks, records the lines that end in them, and gives back what may go on. That is the chunk
 * itself, at once; only where a message may be refused is an unfinished line held.
 */
class Passage {
  readonly #direction: Direction;
  readonly #mayRefuse: boolean;
  /** A line too long to be recorded is refused, and not handed on. */
  readonly #refusesLong: boolean;
  readonly #connection: ObservedConnection;
  /** Back to where the lines come from. */
  readonly #back: Writable;
  readonly #splitter: LineSplitter;
  /** Takes lines that had to wait. */
  late: ((bytes: readonly Buffer[]) => void) | undefined;
  #waiting = 0;
  #whenNoneWaits: (() => void) | undefined;
  /** The beginning of a line that has not ended. */
  #held: Buffer[] = [];
  #heldBytes = 0;
  /** What was said of each line that has ended since. */
  #seen: { readonly verdict: Verdict | undefined; readonly message: unknown }[] = [];
  #isAllPassed = true;

  constructor(direction: Direction, observer: Observer, connection: ObservedConnection, back: Writable) {
    this.#direction = direction;
    // Only with failClosed must a server's line be held until it is whole.
    this.#mayRefuse = observer.failClosed || (observer.enforcement !== undefined && direction === 'client_to_server');
    this.#refusesLong = observer.failClosed;
    this.#connection = connection;
    this.#back = back;
    this.#splitter = new LineSplitter((line) => this.#observe(line));
  }

  push(chunk: Buffer): Buffer[] {
    this.#splitter.push(chunk);
    this.#connection.commit();
    if (!this.#mayRefuse) return [chunk];
    const passed: Buffer[] = [];
    const end = chunk.lastIndexOf(0x0a) + 1;
    if (this.#isAllPassed) {
      if (end > 0) {
        passed.push(...this.#held, chunk.subarray(0, end));
        this.#held = [];
        this.#heldBytes = 0;
      }
    } else {
      for (let start = 0; start < end; ) {
        const lineEnd = chunk.indexOf(0x0a, start) + 1;
        this.#hold(chunk.subarray(start, lineEnd));
        passed.push(...this.#release());
        start = lineEnd;
      }
    }
    this.#seen = [];
    this.#isAllPassed = true;
    if (end < chunk.length) this.#hold(chunk.subarray(end));
    if (!this.#refusesLong && this.#heldBytes > maxLineBytes + 1) passed.push(...this.#held.splice(0));
    return passed;
  }

  end(): Buffer[] {
    this.#splitter.end();
    this.#connection.commit();
    return this.#release();
  }

  /** Calls back when no line waits: at once, as a rule. */
  whenNoneWaits(callback: () => void): void {
    if (this.#waiting === 0) callback();
    else this.#whenNoneWaits = callback;
  }

  #hold(piece: Buffer): void {
    this.#heldBytes += piece.length;
    // The splitter no longer keeps such a line either: it cannot be recorded. With failClosed it will be refused when it
    // ends; without, it goes on as it comes.
    if (this.#refusesLong && this.#heldBytes > maxLineBytes + 1) this.#held = [];
    else this.#held.push(piece);
  }

  /** What goes on of the line that is held, by what was said of it. */
  #release(): Buffer[] {
    const held = this.#held;
    this.#held = [];
    this.#heldBytes = 0;
    const { verdict, message } = this.#seen.shift() ?? { verdict: undefined, message: undefined };
    if (verdict === undefined) return held;
    if ('refusal' in verdict) return this.#refuse(verdict.refusal, message);
    this.#waiting += 1;
    setTimeout(() => {
      this.late?.(held);
      this.#waiting -= 1;
      if (this.#waiting === 0) this.#whenNoneWaits?.();
    }, verdict.delayMs);
    return [];
  }

  #observe(line: string | undefined): void {
    let verdict: Verdict | undefined;
    let message: unknown;
    if (line === undefined) {
      const reason = `a line of more than ${maxLineBytes} bytes`;
      verdict = this.#connection.invalid(this.#direction, reason, stdioContext);
      if (this.#refusesLong) verdict ??= { refusal: { code: -32600, message: `refused: ${reason}` } };
    } else if (line !== '' && line.trim() !== '') {
      message = parse(line);
      verdict =
        message === undefined
          ? this.#connection.invalid(this.#direction, 'a line that is not JSON', stdioContext)
          : this.#connection.observe(this.#direction, message, stdioContext);
    }
    if (!this.#mayRefuse) return;
    this.#seen.push({ verdict, message });
    if (verdict !== undefined) this.#isAllPassed = false;
  }

  /** Answers each call of the line that is held back, and returns what goes on in the place of answers. */
  #refuse(refusal: Refusal, line: unknown): Buffer[] {
    this.#connection.commit();
    const passed: Buffer[] = [];
    for (const message of Array.isArray(line) ? line : [line]) {
      const id: unknown = isObject(message) ? message.id : null;
      const answer = Buffer.from(`${JSON.stringify(errorResponse(id, refusal))}\n`);
      if (isObject(message) && message.method === undefined && id !== undefined) passed.push(answer);
      else if (id !== undefined && this.#back.writable) this.#back.write(answer);
    }
    return passed;
  }
}

/** Undefined when the text is not JSON. */
function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
