import { join } from 'node:path';
import { SegmentReader } from '../segments/segments.js';
import { Cursor } from './cursor.js';
import { Assembler, eventWithoutEnd, type Line } from './frames.js';
import { damageEvent, lossEvent, lossEventId, type SpoolDamage } from './loss.js';
import type { Batch, Source } from './spool.js';
import type { Owner } from './spool-directory.js';

/**
 * The spool of a process that has ended, as a source of events: what it had not delivered, then a report of what it
 * had lost, then its calls without an end as `no_response`.
 *
 * What is added follows from the files alone, so an adopter that dies is followed by one that makes the same events
 * with the same sequences: the cursor counts on over them.
 */
export class OrphanedSpool implements Source {
  readonly #reader: SegmentReader;
  readonly #cursor: Cursor;
  readonly #owner: Owner;
  readonly #assembler: Assembler;
  #nextRead: number;
  /** Reports of losses whose event the process wrote before it could say so in the cursor. */
  #isLossTold = false;
  #nextAdded = 0;
  /** What the files do not hold, made when it is sent. */
  #added: (() => Line | undefined)[] | undefined;

  /** Opens a spool that was claimed. Throws the file system's error, or `data_directory_newer`. */
  constructor(directory: string, owner: Owner) {
    this.#owner = owner;
    this.#reader = SegmentReader.openForReading(directory);
    this.#cursor = openCursor(join(directory, 'cursor'));
    this.#assembler = new Assembler((index) => this.#reader.read(index, 1).records[0], this.#cursor.state.nextIndex);
    this.#nextRead = this.#reader.firstIndex;
  }

  next(maxBytes: number, maxLines: number): Batch {
    const lines: Buffer[] = [];
    const { nextIndex, adoptedIndex, lastSequence } = this.#cursor.state;
    const wanted = Math.max(nextIndex, adoptedIndex);
    let bytes = 0;
    let isFull = false;
    const take = (line: Line): void => {
      lines.push(line.bytes);
      bytes += line.bytes.length + 1;
      isFull = lines.length >= maxLines || bytes >= maxBytes;
    };
    while (!isFull) {
      const { records, firstIndex } = this.#reader.read(this.#nextRead, maxBytes);
      if (records.length === 0) break;
      for (let at = 0; at < records.length && !isFull; at++) {
        const index = firstIndex + at;
        const line = this.#assembler.feed(index, records[at]!);
        this.#nextRead = index + 1;
        if (line === undefined) continue;
        this.#isLossTold ||= this.#tellsOfLoss(line);
        // Delivered by whoever was here before.
        if (index >= wanted) take(line);
      }
      this.#assembler.settle();
    }
    const { nextIndex: end } = this.#reader;
    if (isFull) return { lines, nextIndex: this.#nextRead, lastSequence, isFull };
    this.#added ??= this.#addedEvents();
    let nextAdded = Math.max(0, Math.max(adoptedIndex, this.#nextAdded) - end);
    while (nextAdded < this.#added.length && !isFull) {
      const line = this.#added[nextAdded++]!();
      if (line !== undefined) take(line);
    }
    this.#nextAdded = end + nextAdded;
    return { lines, nextIndex: end + nextAdded, lastSequence, isFull };
  }

  delivered(batch: Batch): boolean {
    this.#cursor.state.adoptedIndex = batch.nextIndex;
    this.#cursor.write();
    return false;
  }

  /** True once `next` has come to the end and everything was delivered. */
  get isDelivered(): boolean {
    return this.#added !== undefined && this.#cursor.state.adoptedIndex >= this.#reader.nextIndex + this.#added.length;
  }

  close(): void {
    this.#reader.close();
    this.#cursor.close();
  }

  #tellsOfLoss(line: Line): boolean {
    const { state } = this.#cursor;
    if (state.lostCount === 0) return false;
    return line.bytes.subarray(0, 64).includes(lossEventId(this.#owner.producer_id, state));
  }

  #addedEvents(): (() => Line | undefined)[] {
    const { state } = this.#cursor;
    const { producer_id, started_at_ms } = this.#owner;
    let last = Math.max(this.#assembler.lastSequence, state.lastSequence, state.lostLast);
    const events: (() => Line | undefined)[] = [];
    const add = (make: (sequence: number) => Line | undefined): void => {
      last += 1;
      const sequence = last;
      events.push(() => make(sequence));
    };
    const report = (text: string, sequence: number): Line => ({ bytes: Buffer.from(text), sequence });
    if (state.lostCount > 0 && !this.#isLossTold) {
      add((sequence) => report(lossEvent(producer_id, sequence, state), sequence));
    }
    const damage = this.#damage();
    if (damage.damagedRecords + damage.unmatchedEnds + damage.tornBytes > 0) {
      add((sequence) => report(damageEvent(producer_id, sequence, started_at_ms * 1000, damage), sequence));
    }
    for (const index of this.#assembler.openIndexes()) {
      add((sequence) => {
        const beginning = this.#reader.read(index, 1).records[0];
        return beginning === undefined ? undefined : eventWithoutEnd(beginning, sequence);
      });
    }
    return events;
  }

  #damage(): SpoolDamage {
    let damagedRecords = 0;
    for (const { firstIndex, nextIndex } of this.#reader.damages) damagedRecords += nextIndex - firstIndex;
    return { damagedRecords, unmatchedEnds: this.#assembler.unmatched, tornBytes: this.#reader.tornBytes };
  }
}

function openCursor(path: string): Cursor {
  try {
    return new Cursor(path, false);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    return new Cursor(path, true);
  }
}
