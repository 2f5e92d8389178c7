/**
 * Turns at the engine in process: quick questions and long ones each have their lane, so that long questions hold up one
 * another and nobody else.
 *
 * A question begins in the quick lane. What takes longer than `quickMs` of the engine's time goes on in the long lane when
 * nobody is there, and else is told to begin again there. The same question begins in the long lane the next time, so that
 * one who asks it over and over holds up no quick one. A turn is held while the engine works for the question and while
 * its reader is about to take the next piece; a reader who rests gives it away, so an answer that nobody reads holds up
 * nobody.
 */
import { createHash } from 'node:crypto';
import { AuditdError } from '../../schemas/errors.js';
import { abortedError } from './admission.js';

type Lane = 'quick' | 'long';

/** Questions that the engine works on at once, each in one thread; long ones, of them. */
const mostRunning = 2;
const mostLong = 1;
/**
 * The engine's time for a question in the quick lane: what has passed, or the processor time that this process has had
 * meanwhile where that is less. Where others take the cores, or a disk is waited for, a question is none the longer for it.
 */
const quickMs = 300;
/** What may pass before a question is a long one, whatever it got of the processors. */
const mostQuickMs = 10 * quickMs;
/** Then a question that took long is tried in the quick lane again: inserts hold it up in the long one. */
const knownForMs = 600_000;
/** A reader who takes longer than this over a piece rests. */
const restMs = 100;

export class Lanes {
  private readonly running = { quick: 0, long: 0 };
  private readonly waiting: Record<Lane, (() => void)[]> = { quick: [], long: [] };

  /**
   * @param maxWaiting questions that may wait in a lane, each at the cost of a closure.
   * @param isRecording whether an insert is under way: then one quick question runs at a time.
   * @param processorMs the processor time that this process has had.
   */
  constructor(
    private readonly maxWaiting: number,
    private readonly isRecording: () => boolean,
    readonly processorMs: () => number = () => {
      const { user, system } = process.cpuUsage();
      return (user + system) / 1000;
    },
  ) {}

  /** Resolves when a turn begins; `leave` ends it. @throws AuditdError `query_busy`, `query_aborted`. */
  async enter(lane: Lane, signal: AbortSignal | undefined): Promise<void> {
    const queue = this.waiting[lane];
    if (queue.length >= this.maxWaiting)
      throw new AuditdError('query_busy', `${queue.length} ${lane} questions wait already`);
    if (signal?.aborted) throw abortedError();
    await new Promise<void>((resolve, reject) => {
      const abort = () => {
        queue.splice(queue.indexOf(admit), 1);
        reject(abortedError());
        this.admit();
      };
      const admit = () => {
        signal?.removeEventListener('abort', abort);
        resolve();
      };
      signal?.addEventListener('abort', abort, { once: true });
      queue.push(admit);
      this.admit();
    });
  }

  leave(lane: Lane): void {
    this.running[lane]--;
    this.admit();
  }

  /** A quick turn goes on as a long one. False: there is a long one already, so this one is beyond the number. */
  outgrow(): boolean {
    this.running.quick--;
    this.running.long++;
    this.admit();
    return this.running.long <= mostLong;
  }

  private admit(): void {
    const { running, waiting } = this;
    const start = (lane: Lane): void => {
      running[lane]++;
      waiting[lane].shift()!();
    };
    for (;;) {
      // A place is kept for a long one that waits, or quick ones could hold it up for ever.
      const longs = running.long + waiting.long.length;
      const mostQuick = longs > 0 || this.isRecording() ? mostRunning - mostLong : mostRunning;
      if (waiting.quick.length > 0 && running.quick < mostQuick) start('quick');
      else if (waiting.long.length > 0 && running.long < mostLong && running.quick <= mostRunning - mostLong)
        start('long');
      else return;
    }
  }
}

/** Questions that took long in the quick lane not long ago, to the letter and the value: about 100 bytes each. */
export class LongQuestions {
  private readonly sinceMs = new Map<string, number>();

  constructor(private readonly most: number) {}

  laneOf(question: string): Lane {
    const sinceMs = this.sinceMs.get(keyOf(question)) ?? Number.NEGATIVE_INFINITY;
    return performance.now() < sinceMs + knownForMs ? 'long' : 'quick';
  }

  /** What it took where it began. One that began in the long lane and was long again says nothing new. */
  learn(question: string, began: Lane, wasLong: boolean): void {
    const key = keyOf(question);
    if (wasLong && began === 'long') return;
    this.sinceMs.delete(key);
    if (wasLong) this.sinceMs.set(key, performance.now());
    if (this.sinceMs.size > this.most) this.sinceMs.delete(this.sinceMs.keys().next().value!);
  }
}

function keyOf(question: string): string {
  return createHash('sha256').update(question).digest('base64');
}

/** One question's turns, from the first to the last. */
export class Turn {
  private held = false;
  private spentMs = 0;
  /** It goes on beside a long one, until its step is over. */
  private isBeyond = false;
  private resting: NodeJS.Timeout | undefined;
  private working: Promise<unknown> = Promise.resolve();

  /**
   * @param crowded told when it has outgrown the quick lane and the long one is taken; it may end the step then.
   * @param lane where it begins.
   */
  constructor(
    private readonly lanes: Lanes,
    private readonly crowded: () => void,
    private lane: Lane = 'quick',
  ) {}

  get isLong(): boolean {
    return this.lane === 'long';
  }

  /** Whether it took longer than a question may in the quick lane. */
  get wasLong(): boolean {
    return this.spentMs >= quickMs;
  }

  /** One step of the engine, in a turn. @throws AuditdError `query_busy`, `query_aborted` before it began. */
  async step<T>(work: () => Promise<T>, signal: AbortSignal | undefined): Promise<T> {
    clearTimeout(this.resting);
    if (this.isBeyond) this.leave();
    if (!this.held) await this.lanes.enter(this.lane, signal);
    this.held = true;
    const { processorMs } = this.lanes;
    const [begunMs, begunProcessorMs] = [performance.now(), processorMs()];
    const spent = (): { passed: number; engine: number } => {
      const passed = performance.now() - begunMs;
      return { passed, engine: this.spentMs + Math.min(passed, processorMs() - begunProcessorMs) };
    };
    const watch = (): void => {
      const { passed, engine } = spent();
      if (engine >= quickMs || passed >= mostQuickMs) this.outgrow();
      else overtime = setTimeout(watch, Math.max(1, Math.min(quickMs - engine, mostQuickMs - passed)));
    };
    let overtime = this.lane === 'quick' ? setTimeout(watch, Math.max(0, quickMs - this.spentMs)) : undefined;
    try {
      const working = work();
      this.working = working;
      return await working;
    } finally {
      clearTimeout(overtime);
      this.spentMs = spent().engine;
      this.resting = setTimeout(() => this.leave(), restMs);
    }
  }

  /** Ends the turn when the engine's step has ended, however it did. */
  async end(): Promise<void> {
    await this.working.catch(() => undefined);
    this.leave();
  }

  private outgrow(): void {
    this.lane = 'long';
    this.isBeyond = !this.lanes.outgrow();
    if (this.isBeyond) this.crowded();
  }

  private leave(): void {
    clearTimeout(this.resting);
    if (this.held) this.lanes.leave(this.lane);
    this.held = false;
    this.isBeyond = false;
  }
}
