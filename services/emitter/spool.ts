/**
 * One process's events on disk, until they are delivered: `<data>/spool/<producer_id>/` with `owner.json`, `cursor`
 * and segment files.
 *
 * What always holds:
 * 1. When `append` returns, the frame survives the death of the process.
 * 2. A frame is deleted only after it was delivered, and a beginning only after its end was.
 * 3. What was lost is counted in `cursor` until an event in the spool tells of it, also when the disk is full.
 * 4. The directory appears under its name only when it is complete, and changes hands only by rename.
 */
import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { SegmentLog } from '../segments/segments.js';
import { Cursor } from './cursor.js';
import { Assembler, type Line } from './frames.js';
import { ownIdentity, type ProcessIdentity } from './process-identity.js';

export interface Owner extends ProcessIdentity {
  readonly name: string;
  readonly producer_id: string;
  readonly version: string;
  readonly started_at_ms: number;
}

export interface Batch {
  readonly lines: readonly Buffer[];
  /** Position and highest sequence behind the batch. */
  readonly nextIndex: number;
  readonly lastSequence: number;
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
/** Beginnings that pin old segments are written anew at the end when the spool is filled to this part. */
const carryFraction = 1 / 4;

export class Spool implements Source {
  readonly assembler: Assembler;
  #nextRead = 0;
  #isClosed = false;

  private constructor(
    readonly directory: string,
    readonly log: SegmentLog,
    readonly cursor: Cursor,
    readonly limits: SpoolLimits,
  ) {
    this.assembler = new Assembler((index) => log.read(index, 1).records[0]);
    this.#nextRead = log.firstIndex;
  }

  /** Makes a spool. Throws the file system's error, and leaves nothing behind then. */
  static create(spools: string, producerId: string, name: string, version: string, limits: SpoolLimits): Spool {
    mkdirSync(spools, { recursive: true, mode: 0o700 });
    const draft = join(spools, `.new-${randomBytes(6).toString('hex')}`);
    const directory = join(spools, producerId);
    mkdirSync(draft, { mode: 0o700 });
    try {
      const owner: Owner = { ...ownIdentity(), name, producer_id: producerId, version, started_at_ms: Date.now() };
      writeFileSync(join(draft, 'owner.json'), `${JSON.stringify(owner)}\n`, { mode: 0o600 });
      const cursor = new Cursor(join(draft, 'cursor'), true);
      renameSync(draft, directory);
      const log = SegmentLog.open(directory, { maxSegmentBytes: limits.segmentBytes, maxTotalBytes: limits.maxBytes });
      return new Spool(directory, log, cursor, limits);
    } catch (error) {
      rmSync(draft, { recursive: true, force: true });
      throw error;
    }
  }

  /** Hands a beginning to the kernel. Throws, and has changed nothing, when it can't be kept. */
  appendBeginning(frame: string): void {
    const reserved = Math.min(reservedBytes, this.limits.maxBytes / 4);
    if (this.log.bytes + frame.length > this.limits.maxBytes - reserved) {
      throw new Error(`the spool holds ${this.log.bytes} of ${this.limits.maxBytes} bytes`);
    }
    this.log.appendOne(frame);
  }

  append(frame: string): void {
    this.log.appendOne(frame);
  }

  next(maxBytes: number, maxLines: number): Batch {
    const lines: Buffer[] = [];
    let bytes = 0;
    let lastSequence = this.cursor.state.lastSequence;
    let { nextIndex } = this.cursor.state;
    while (lines.length < maxLines && bytes < maxBytes) {
      const { records, firstIndex, nextIndex: behind } = this.log.read(this.#nextRead, maxBytes - bytes);
      if (records.length === 0) break;
      let index = firstIndex;
      for (const record of records) {
        const line: Line | undefined = this.assembler.feed(index, record);
        index += 1;
        if (line === undefined) continue;
        lines.push(line.bytes);
        bytes += line.bytes.length + 1;
        lastSequence = Math.max(lastSequence, line.sequence);
      }
      this.#nextRead = behind;
      nextIndex = behind;
      this.assembler.settle();
    }
    return { lines, nextIndex, lastSequence };
  }

  delivered(batch: Batch): void {
    const { state } = this.cursor;
    if (batch.nextIndex === state.nextIndex) return;
    state.nextIndex = batch.nextIndex;
    state.lastSequence = batch.lastSequence;
    this.cursor.write();
    this.#reclaim();
  }

  /** True when no event waits. Beginnings without an end may. */
  get isDrained(): boolean {
    return this.cursor.state.nextIndex >= this.log.nextIndex;
  }

  /** Tells processes elsewhere that the owner lives. */
  beat(): void {
    const now = new Date();
    utimesSync(join(this.directory, 'owner.json'), now, now);
  }

  /** Removes the spool when everything in it was delivered, else leaves it to whoever adopts it. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    const isEmpty = this.isDrained && this.assembler.open.size === 0 && this.cursor.state.lostCount === 0;
    this.log.close();
    this.cursor.close();
    try {
      // The name says that it may be taken although this process goes on.
      const released = `${this.directory}@released`;
      renameSync(this.directory, released);
      if (isEmpty) rmSync(released, { recursive: true, force: true });
    } catch {
      // Adopted already, or the directory is gone.
    }
  }

  #reclaim(): void {
    const { log, assembler } = this;
    // A segment that is only filled partly is begun anew once all of a large one was delivered.
    log.dropBefore(Math.min(assembler.oldestOpen, this.cursor.state.nextIndex));
    const second = log.segmentStates[1];
    if (second === undefined || log.bytes < this.limits.maxBytes * carryFraction) return;
    if (this.cursor.state.nextIndex < second.firstIndex) return;
    for (const opened of assembler.open.values()) {
      if (opened.index >= second.firstIndex) continue;
      const frame = opened.frame ?? log.read(opened.index, 1).records[0];
      if (frame === undefined) continue;
      try {
        opened.index = log.append([frame]);
      } catch {
        return;
      }
    }
    log.dropBefore(Math.min(assembler.oldestOpen, this.cursor.state.nextIndex));
  }
}

/** Reads owner.json; undefined when it is not there or no JSON. */
export function readOwner(directory: string): Owner | undefined {
  try {
    return JSON.parse(readFileSync(join(directory, 'owner.json'), 'utf8')) as Owner;
  } catch {
    return undefined;
  }
}
