/**
 * One process's events on disk, until they are delivered: `<data>/spool/<producer_id>/` with `owner.json`, `cursor`
 * and segment files.
 *
 * What always holds:
 * 1. When `append` returns, the frame survives the death of the process.
 * 2. A frame is deleted only after it was delivered, and a beginning only after its end was, or was counted as lost.
 * 3. What was lost is counted in `cursor` until an event in the spool tells of it, also when the disk is full.
 * 4. In the order of the frames, every beginning of a call (it may stand there twice) comes before its end.
 *
 * States: open → closed. `spool-directory.ts` says how the directory comes and goes.
 */
import { utimesSync } from 'node:fs';
import { join } from 'node:path';
import { SegmentLog } from '../segments/segments.js';
import { nowMicros } from './clock.js';
import { complainOnce } from './complaints.js';
import type { Cursor } from './cursor.js';
import { Assembler, type EndEntry, frameOf, type SpoolEntry } from './frames.js';
import { ownIdentity } from './process-identity.js';
import type { EventText } from './sink.js';
import { deleteSegments, makeSpoolDirectory, releaseSpool, removeSpool } from './spool-directory.js';
import { Tail, type TailEntry } from './tail.js';

export type { EndEntry, SpoolEntry } from './frames.js';

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
  /** They are durable elsewhere. True when the source has an event of its own to tell of now. */
  delivered(batch: Batch): boolean;
}

export interface SpoolLimits {
  readonly maxBytes: number;
  readonly segmentBytes: number;
  /** Characters of events that are kept in memory as well, while delivery keeps up. */
  readonly memoryLength: number;
}

/** Ends are written up to the limit, beginnings up to this much below it: 2,000 calls that run can end at 500 bytes. */
const reservedBytes = 1024 * 1024;
/** Losses are told once so much of the spool is free below the reserve: 100 calls, so that not every report is lost to the next. */
const reportRoomBytes = 64 * 1024;
/** A spool whose events were all delivered begins anew at this size; below it the files are not worth the effort. */
const startOverBytes = 1024 * 1024;
/** Longest beginning of a running call that is also kept in memory. */
const maxKeptLength = 64 * 1024;
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
  readonly #tail: Tail;
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
    this.#tail = new Tail(limits.memoryLength);
    this.#nextRead = log.nextIndex;
  }

  /** Makes a spool. Throws the file system's error, and leaves nothing behind then. */
  static create(spools: string, producerId: string, name: string, version: string, limits: SpoolLimits): Spool {
    const { directory, cursor } = makeSpoolDirectory(spools, {
      ...ownIdentity(),
      name,
      producer_id: producerId,
      version,
    });
    try {
      return new Spool(directory, openLog(directory, limits), cursor, limits);
    } catch (error) {
      cursor.close();
      removeSpool(directory);
      throw error;
    }
  }

  /** Hands frames to the kernel with one write. Throws, and has changed nothing, when they can't all be kept. */
  append(entries: readonly SpoolEntry[]): void {
    const frames = entries.map(frameOf);
    if (entries.some(({ kind }) => kind === 'beginning')) this.#checkReserve(frames);
    const firstIndex = this.#appendFrames(frames);
    for (let at = 0; at < entries.length; at++) {
      const entry = entries[at]!;
      const index = firstIndex + at;
      // The frame was made flat to be written; its part is not written out once more.
      const text = frames[at]!.slice(frames[at]!.length - entry.text.length);
      if (entry.kind === 'beginning') this.#begun(entry.call, index, text);
      else if (entry.kind === 'end') this.#ended(entry, index, text);
      else this.#keep({ text, sequence: entry.sequence, index, call: 0, beganAt: index });
    }
  }

  #begun(call: number, index: number, text: string): void {
    const isKept = text.length <= maxKeptLength && this.#keptCharacters + text.length <= this.limits.memoryLength;
    if (isKept) this.#keptCharacters += text.length;
    this.#running.set(call, { index, text: isKept ? text : undefined });
  }

  #ended({ call, sequence }: EndEntry, index: number, text: string): void {
    const running = this.#running.get(call);
    this.#forget(call, running);
    if (running?.text === undefined) this.#leaveTail(call, running?.index ?? index);
    else this.#keep({ text: running.text + text, sequence, index, call, beganAt: running.index });
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

  delivered(batch: Batch): boolean {
    const { state } = this.cursor;
    if (batch.nextIndex === state.nextIndex || this.#isClosed) return false;
    state.nextIndex = batch.nextIndex;
    state.lastSequence = batch.lastSequence;
    this.#writeCursor();
    try {
      this.#reclaim();
    } catch (error) {
      complainOnce('reclaim', `room of delivered calls could not be reclaimed: ${(error as Error).message}`);
    }
    return false;
  }

  /** Losses that no event tells of yet. */
  get lostCount(): number {
    return this.cursor.state.lostCount;
  }

  /** Characters of the events that wait in memory. */
  get readyLength(): number {
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
    releaseSpool(this.directory, isEmpty);
  }

  /** Beginnings leave room for the ends of calls that run. */
  #checkReserve(frames: readonly string[]): void {
    let length = 0;
    for (const frame of frames) length += frame.length;
    if (this.#log.bytes + length <= this.limits.maxBytes - this.#reservedBytes) return;
    throw new Error(`the spool holds ${this.#log.bytes} of ${this.limits.maxBytes} bytes`);
  }

  #appendFrames(frames: readonly string[]): number {
    try {
      return frames.length === 1 ? this.#log.appendOne(frames[0]!) : this.#log.append(frames);
    } catch (error) {
      // What was delivered may be all there is, and its room is what is missing.
      if (!this.#startOver()) throw error;
      return this.#log.append(frames);
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
