/**
 * One process's events on disk, until they are delivered: `<data>/spool/<producer_id>/` with `owner.json`, `cursor`
 * and segment files.
 *
 * What always holds:
 * 1. When `append` returns, the frame survives the death of the process.
 * 2. A frame is deleted only after it was delivered, and a beginning only after its end was, or was counted as lost.
 * 3. What was lost is counted in `cursor` until an event in the spool tells of it, also when the disk is full.
 * 4. The directory appears under its name only when it is complete, and changes hands only by rename.
 * 5. In the order of the frames, every beginning of a call (it may stand there twice) comes before its end.
 *
 * States: open → closed. Names of the directory: `.new-…` while it is made, `<producer_id>` while its process lives,
 * `<producer_id>@released` when it was closed with something in it, `<producer_id>@<adopter>` while it is adopted.
 */
import { randomBytes } from 'node:crypto';
import {
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { SegmentLog } from '../segments/segments.js';
import { nowMicros } from './clock.js';
import { complainOnce } from './complaints.js';
import { Cursor } from './cursor.js';
import { Assembler, beginningFrame, endFrame, wholeFrame } from './frames.js';
import { ownIdentity, type ProcessIdentity } from './process-identity.js';
import type { EventText } from './sink.js';
import { Tail, type TailEntry } from './tail.js';

export interface Owner extends ProcessIdentity {
  readonly name: string;
  readonly producer_id: string;
  readonly version: string;
  readonly started_at_ms: number;
}

export interface Batch {
  /** Events, each one JSON object. */
  readonly lines: readonly EventText[];
  /** Position and highest sequence behind the batch. */
  readonly nextIndex: number;
  readonly lastSequence: number;
  /** False when the source had no more. */
  readonly isFull: boolean;
}

/** Where a delivery takes its events from. */
export interface Source {
  /** The next events, at least one when there is one; empty when everything was delivered. */
  next(maxBytes: number, maxLines: number): Batch;
  /** They are durable elsewhere. */
  delivered(batch: Batch): void;
}

export interface SpoolLimits {
  readonly maxBytes: number;
  readonly segmentBytes: number;
}

/** Ends are written up to the limit, beginnings up to this much below it: 2,000 calls that run can end at 500 bytes. */
const reservedBytes = 1024 * 1024;
/** Losses are told once so much of the spool is free below the reserve: 100 calls, so that not every report is lost to the next. */
const reportRoomBytes = 64 * 1024;
/** A spool whose events were all delivered begins anew at this size; below it the files are not worth the effort. */
const startOverBytes = 1024 * 1024;
/** Longest beginning of a running call that is also kept in memory, and all of them together. */
const maxKeptLength = 64 * 1024;
const maxKeptCharacters = 4 * 1024 * 1024;
/** Beginnings that pin old segments are written anew at the end when the spool is filled to this part. */
const carryFraction = 1 / 4;

interface RunningCall {
  /** Where its beginning stands. */
  index: number;
  /** The event's text of the beginning; undefined when it was too long to keep. */
  readonly text: string | undefined;
}

export class Spool implements Source {
  /** Calls whose beginning was written and whose end was not. */
  readonly #running = new Map<number, RunningCall>();
  #keptCharacters = 0;
  #log: SegmentLog;
  /** Index of the next frame that `next` takes. */
  #nextRead = 0;
  /** Everything from `#nextRead` on, while `#isTailWhole`. */
  readonly #tail = new Tail();
  #isTailWhole = true;
  /** Reads the frames back when they are not in the tail. */
  readonly #assembler: Assembler;
  #damagesTold = 0;
  #unmatchedTold = 0;
  #isClosed = false;
  #isLost = false;

  private constructor(
    readonly directory: string,
    log: SegmentLog,
    readonly cursor: Cursor,
    readonly limits: SpoolLimits,
  ) {
    this.#log = log;
    this.#assembler = new Assembler((index) => this.#log.read(index, 1).records[0]);
    this.#nextRead = log.nextIndex;
  }

  /** Makes a spool. Throws the file system's error, and leaves nothing behind then. */
  static create(spools: string, producerId: string, name: string, version: string, limits: SpoolLimits): Spool {
    mkdirSync(spools, { recursive: true, mode: 0o700 });
    const draft = join(spools, `.new-${randomBytes(6).toString('hex')}`);
    const directory = join(spools, producerId);
    mkdirSync(draft, { mode: 0o700 });
    let cursor: Cursor | undefined;
    try {
      const owner: Owner = { ...ownIdentity(), name, producer_id: producerId, version, started_at_ms: Date.now() };
      writeFileSync(join(draft, 'owner.json'), `${JSON.stringify(owner)}\n`, { mode: 0o600 });
      cursor = new Cursor(join(draft, 'cursor'), true);
      renameSync(draft, directory);
      return new Spool(directory, openLog(directory, limits), cursor, limits);
    } catch (error) {
      cursor?.close();
      rmSync(draft, { recursive: true, force: true });
      throw error;
    }
  }

  /** Hands a beginning to the kernel. Throws, and has changed nothing, when it can't be kept. */
  appendBeginning(call: number, alone: string, text: string): void {
    const frame = beginningFrame(call, alone, text);
    if (this.#log.bytes + frame.length > this.limits.maxBytes - this.#reservedBytes) throw this.#full();
    const index = this.#append(frame);
    const isKept = text.length <= maxKeptLength && this.#keptCharacters + text.length <= maxKeptCharacters;
    if (isKept) this.#keptCharacters += text.length;
    // The frame was made flat to be written; its part is not written out once more.
    this.#running.set(call, { index, text: isKept ? frame.slice(frame.length - text.length) : undefined });
  }

  /** Hands the end of a running call to the kernel. Throws when it can't be kept; the call still runs then. */
  appendEnd(call: number, sequence: number, text: string): void {
    const frame = endFrame(call, sequence, text);
    const index = this.#append(frame);
    const running = this.#running.get(call);
    this.#forget(call, running);
    if (running?.text === undefined) this.#leaveTail(call, running?.index ?? index);
    else
      this.#keep({
        text: running.text + frame.slice(frame.length - text.length),
        sequence,
        index,
        call,
        beganAt: running.index,
      });
  }

  /** Hands a whole event to the kernel. Throws when it can't be kept. */
  appendWhole(sequence: number, text: string): void {
    const index = this.#append(wholeFrame(sequence, text));
    this.#keep({ text, sequence, index, call: 0, beganAt: index });
  }

  /** The end of this call could not be written and never will be. */
  abandon(call: number): void {
    this.#forget(call, this.#running.get(call));
  }

  /** Counts events that were lost, where it survives this process and a full disk. Never throws. */
  noteLoss(count: number, firstSequence: number, lastSequence: number, reason: string, micros: number): void {
    const { state } = this.cursor;
    if (state.lostCount === 0) {
      state.lostFirst = firstSequence;
      state.lostAtMicros = micros;
      state.lostReason = reason.slice(0, 64);
    }
    state.lostCount += count;
    state.lostLast = Math.max(state.lostLast, lastSequence);
    this.#writeCursor();
  }

  /** An event in the spool tells of the losses now. Never throws. */
  clearLoss(): void {
    const { state } = this.cursor;
    Object.assign(state, { lostCount: 0, lostFirst: 0, lostLast: 0, lostReason: '', lostAtMicros: 0 });
    this.#writeCursor();
  }

  /** True when a report of losses would take the place of the calls that come next. */
  get isNearlyFull(): boolean {
    const room = Math.min(reportRoomBytes, this.limits.maxBytes / 16);
    return this.#log.bytes > this.limits.maxBytes - this.#reservedBytes - room;
  }

  next(maxBytes: number, maxLines: number): Batch {
    if (!this.#isTailWhole) return this.#readNext(maxBytes, maxLines);
    const lines: string[] = [];
    let bytes = 0;
    let { lastSequence } = this.cursor.state;
    while (lines.length < maxLines && bytes < maxBytes) {
      const entry = this.#tail.shift();
      if (entry === undefined) {
        this.#nextRead = this.#log.nextIndex;
        return { lines, nextIndex: this.#nextRead, lastSequence, isFull: false };
      }
      lines.push(entry.text);
      bytes += entry.text.length + 1;
      lastSequence = Math.max(lastSequence, entry.sequence);
      this.#nextRead = entry.index + 1;
    }
    return { lines, nextIndex: this.#nextRead, lastSequence, isFull: true };
  }

  #readNext(maxBytes: number, maxLines: number): Batch {
    const lines: Buffer[] = [];
    let bytes = 0;
    let { lastSequence } = this.cursor.state;
    let isFull = false;
    while (!isFull) {
      const { records, firstIndex } = this.#log.read(this.#nextRead, maxBytes - bytes);
      if (records.length === 0) {
        // Delivery has caught up. A call that the assembler still waits for runs, or was abandoned.
        this.#nextRead = this.#log.nextIndex;
        this.#assembler.clear();
        this.#isTailWhole = true;
        break;
      }
      for (let at = 0; at < records.length && !isFull; at++) {
        const line = this.#assembler.feed(firstIndex + at, records[at]!);
        this.#nextRead = firstIndex + at + 1;
        if (line === undefined) continue;
        lines.push(line.bytes);
        bytes += line.bytes.length + 1;
        lastSequence = Math.max(lastSequence, line.sequence);
        isFull = lines.length >= maxLines || bytes >= maxBytes;
      }
      this.#assembler.settle();
    }
    this.#noteDamage(lastSequence);
    return { lines, nextIndex: this.#nextRead, lastSequence, isFull };
  }

  delivered(batch: Batch): void {
    const { state } = this.cursor;
    if (batch.nextIndex === state.nextIndex || this.#isClosed) return;
    state.nextIndex = batch.nextIndex;
    state.lastSequence = batch.lastSequence;
    this.#writeCursor();
    try {
      this.#reclaim();
    } catch (error) {
      complainOnce('reclaim', `room of delivered calls could not be reclaimed: ${(error as Error).message}`);
    }
  }

  /** Characters of the events that wait in memory. */
  get readyBytes(): number {
    return this.#tail.characters;
  }

  /** True when no event waits. Calls may run. */
  get isDrained(): boolean {
    return this.cursor.state.nextIndex >= this.#log.nextIndex;
  }

  /** Tells processes elsewhere that the owner lives. Throws the file system's error. */
  beat(): void {
    const now = new Date();
    try {
      utimesSync(join(this.directory, 'owner.json'), now, now);
    } catch (error) {
      // Deleted, or adopted by a process elsewhere that took us for dead.
      this.#isLost ||= (error as NodeJS.ErrnoException).code === 'ENOENT';
      throw error;
    }
  }

  /** True when nothing can be written here any more; what was written is in other hands, if anywhere. */
  get isLost(): boolean {
    return this.#isLost;
  }

  /** Removes the spool when everything in it was delivered, else leaves it to whoever adopts it. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    const isEmpty = this.isDrained && this.#running.size === 0 && this.cursor.state.lostCount === 0;
    this.#log.close();
    this.cursor.close();
    try {
      // The name says that it may be taken although this process goes on.
      const released = `${this.directory}@released`;
      renameSync(this.directory, released);
      if (isEmpty) removeSpool(released);
    } catch {
      // Adopted already, or the directory is gone.
    }
  }

  #append(frame: string): number {
    try {
      return this.#log.appendOne(frame);
    } catch (error) {
      // What was delivered may be all there is, and its room is what is missing.
      if (!this.#startOver()) throw error;
      return this.#log.appendOne(frame);
    }
  }

  #forget(call: number, running: RunningCall | undefined): void {
    if (running === undefined) return;
    this.#running.delete(call);
    if (running.text !== undefined) this.#keptCharacters -= running.text.length;
  }

  #keep(entry: TailEntry): void {
    if (this.#isTailWhole && !this.#tail.push(entry)) this.#leaveTail(entry.call, entry.beganAt);
  }

  /** Reads the frames back from now on, until delivery has caught up again. `call` has ended, and is not in the tail. */
  #leaveTail(call: number, beganAt: number): void {
    if (!this.#isTailWhole) return;
    this.#isTailWhole = false;
    for (const entry of this.#tail.clear()) if (entry.call > 0) this.#assembler.expect(entry.call, entry.beganAt);
    for (const [running, { index }] of this.#running) this.#assembler.expect(running, index);
    if (call > 0) this.#assembler.expect(call, beganAt);
  }

  /** Deletes what was delivered. */
  #reclaim(): void {
    const log = this.#log;
    if (log.bytes >= startOverBytes && this.#startOver()) return;
    log.dropBefore(this.#oldestNeeded());
    const second = log.segmentStates[1];
    if (second === undefined || log.bytes < this.limits.maxBytes * carryFraction) return;
    if (this.cursor.state.nextIndex < second.firstIndex) return;
    for (const running of this.#running.values()) {
      if (running.index >= second.firstIndex) continue;
      const frame = log.read(running.index, 1).records[0];
      if (frame === undefined) continue;
      try {
        running.index = log.append([frame]);
      } catch {
        return;
      }
    }
    log.dropBefore(this.#oldestNeeded());
  }

  /** Index of the oldest frame that was not delivered, or belongs to an event that was not. */
  #oldestNeeded(): number {
    let oldest = Math.min(this.cursor.state.nextIndex, this.#tail.oldest, this.#assembler.oldestOpen);
    for (const { index } of this.#running.values()) oldest = Math.min(oldest, index);
    return oldest;
  }

  /**
   * Begins the files anew when everything was delivered and no call runs; false when that is not so. The last segment
   * is never dropped, and on a full disk there is no room to begin the next one beside it.
   */
  #startOver(): boolean {
    const { state } = this.cursor;
    if (this.#isClosed || !this.isDrained || this.#running.size > 0 || this.#log.bytes === 0) return false;
    this.#log.close();
    // Deleted first: a cursor that points behind the end finds nothing, one at 0 would find everything again.
    deleteSegments(this.directory);
    state.nextIndex = 0;
    this.#writeCursor();
    this.#assembler.clear();
    this.#isTailWhole = true;
    this.#nextRead = 0;
    this.#damagesTold = 0;
    this.#isLost = true;
    this.#log = openLog(this.directory, this.limits);
    this.#isLost = false;
    return true;
  }

  /** Places on the disk that can't be read any more are losses like any other. */
  #noteDamage(sequence: number): void {
    const { damages } = this.#log;
    let count = this.#assembler.unmatched - this.#unmatchedTold;
    for (const { firstIndex, nextIndex } of damages.slice(this.#damagesTold)) count += nextIndex - firstIndex;
    this.#damagesTold = damages.length;
    this.#unmatchedTold = this.#assembler.unmatched;
    if (count > 0) this.noteLoss(count, sequence, sequence, 'spool_damaged', nowMicros());
  }

  get #reservedBytes(): number {
    return Math.min(reservedBytes, this.limits.maxBytes / 4);
  }

  #full(): Error {
    return new Error(`the spool holds ${this.#log.bytes} of ${this.limits.maxBytes} bytes`);
  }

  #writeCursor(): void {
    try {
      this.cursor.write();
    } catch (error) {
      // Delivery then repeats, and ids tell; a count of losses is told while this process lives.
      complainOnce('cursor', `the cursor of the spool cannot be written: ${(error as Error).message}`);
    }
  }
}

function openLog(directory: string, limits: SpoolLimits): SegmentLog {
  return SegmentLog.open(directory, { maxSegmentBytes: limits.segmentBytes, maxTotalBytes: limits.maxBytes });
}

function deleteSegments(directory: string): void {
  // Oldest first: what is left after a kill is the end of the log, as if the rest had been reclaimed.
  for (const name of readdirSync(directory).sort()) if (name.endsWith('.segment')) unlinkSync(join(directory, name));
}

/** Deletes a spool: in an order that lets nobody deliver a part of it again after a kill. */
export function removeSpool(directory: string): void {
  deleteSegments(directory);
  rmSync(directory, { recursive: true, force: true });
}

/** Reads owner.json; undefined when it is not there or no JSON. */
export function readOwner(directory: string): Owner | undefined {
  try {
    return JSON.parse(readFileSync(join(directory, 'owner.json'), 'utf8')) as Owner;
  } catch {
    return undefined;
  }
}
