import { closeSync, openSync, readdirSync, readSync, statSync } from 'node:fs';
import { join } from 'node:path';
import {
  claimedFrameBytes,
  firstIndexOfFileName,
  frameCount,
  frameFirstIndex,
  frameHeaderBytes,
  isFrameWhole,
  maxRecordBytes,
  readSegmentHeader,
  readU32,
  recordHeaderBytes,
  segmentFileName,
  segmentHeaderBytes,
} from './format.js';

/** A place whose bytes are not what was written. The records between the two indexes are lost. */
export interface Damage {
  readonly file: string;
  /** Byte position of the first bad frame in the file. */
  readonly position: number;
  /** Index of the first record that can't be read. */
  readonly firstIndex: number;
  /** Index of the first record behind it that can be read again. */
  readonly nextIndex: number;
}

export interface Records<T = Buffer> {
  /** Consecutive records. They are views into one chunk of the file: whoever keeps one keeps the chunk. */
  readonly records: T[];
  /** Index of the first of them; greater than the index asked for where records were dropped or damaged. */
  readonly firstIndex: number;
  /** Where to go on. */
  readonly nextIndex: number;
}

export interface SegmentState {
  readonly firstIndex: number;
  readonly bytes: number;
}

export interface Segment {
  readonly path: string;
  readonly firstIndex: number;
  /** Undefined until the header is read; null when both copies of it are damaged. */
  salt: number | null | undefined;
  /** End of what may be read. A torn tail lies behind it. */
  bytes: number;
  /** Byte positions of some frames and their first indexes, ascending: where a search begins. */
  readonly markPositions: number[];
  readonly markIndexes: number[];
}

/** Between two marks of a segment: 256 KiB are searched in about 100 µs, and a 64 MiB segment has 256 marks. */
const markDistanceBytes = 256 * 1024;
/** Read beyond the bytes asked for, so that the frames' own headers do not cost a second read. */
const readAheadBytes = 64 * 1024;
/** Most bytes of one read; a caller who asks for more gets several answers. The largest record fits. */
const maxReadBytes = 2 * maxRecordBytes;
/** Places where a reader stopped, one a consumer; a consumer that lost its place searches from a mark. */
const maxPlaces = 16;
/** Open files for reading: consumers at the end of the log share one, one more catches up. */
const maxOpenFiles = 2;
/** Damages told one by one; a disk with more of them is beyond telling. */
const maxDamages = 1000;

/** Makes of the bytes `start` to `end` of a chunk what a reader wants of a record. The chunk is written by nobody. */
export type RecordMaker<T> = (chunk: Buffer, start: number, end: number, index: number) => T;

const asView: RecordMaker<Buffer> = (chunk, start, end) => chunk.subarray(start, end);

interface Place {
  readonly segment: Segment;
  readonly position: number;
  readonly index: number;
}

/** What the reader of a dead process's directory and the writer have in common: finding and reading records. */
export class SegmentReader {
  readonly directory: string;
  protected readonly segments: Segment[] = [];
  protected endIndex = 0;
  protected tornByteCount = 0;
  private readonly places = new Map<number, Place>();
  private readonly openFiles = new Map<Segment, number>();
  private readonly damagesFound = new Map<string, Damage>();

  /** Lists the segments and finds the end of the last one. Changes nothing on disk. */
  protected constructor(directory: string) {
    this.directory = directory;
    const firstIndexes = readdirSync(directory)
      .map(firstIndexOfFileName)
      .filter((index) => index !== undefined)
      .sort((a, b) => a - b);
    for (const firstIndex of firstIndexes) {
      const path = join(directory, segmentFileName(firstIndex));
      const bytes = statSync(path).size;
      this.segments.push({ path, firstIndex, salt: undefined, bytes, markPositions: [], markIndexes: [] });
    }
    const last = this.segments.at(-1);
    if (last !== undefined) this.findEnd(last);
  }

  /**
   * Opens the directory of a process that has ended, changing nothing: a torn tail is ignored and counted. Of a
   * directory that is still written to it shows what was there when it was opened.
   */
  static openForReading(directory: string): SegmentReader {
    return new SegmentReader(directory);
  }

  /** Index of the first record that is kept (records at it may be damaged). */
  get firstIndex(): number {
    return this.segments[0]?.firstIndex ?? this.endIndex;
  }

  /** One past the last record. */
  get nextIndex(): number {
    return this.endIndex;
  }

  /** Bytes of the segment files. */
  get bytes(): number {
    let bytes = 0;
    for (const segment of this.segments) bytes += segment.bytes;
    return bytes;
  }

  /** Bytes of an unfinished append that were found, and ignored, when the log was opened. */
  get tornBytes(): number {
    return this.tornByteCount;
  }

  /** The damaged places met so far; reading finds them. */
  get damages(): readonly Damage[] {
    return [...this.damagesFound.values()];
  }

  /** The segments, oldest first; the last one is being written. */
  get segmentStates(): SegmentState[] {
    return this.segments.map(({ firstIndex, bytes }) => ({ firstIndex, bytes }));
  }

  /**
   * Reads consecutive records from an index on: at least one if there is one, else until their bytes reach
   * `maxBytes` (or 16 MiB). A damaged place is noted in `damages` and skipped.
   */
  read(fromIndex: number, maxBytes: number): Records {
    return this.readAs(fromIndex, maxBytes, asView);
  }

  /** `read`, with records made by `make`: a view costs more than a reader that wants something else of it. */
  readAs<T>(fromIndex: number, maxBytes: number, make: RecordMaker<T>): Records<T> {
    let index = Math.max(fromIndex, this.firstIndex);
    while (index < this.endIndex) {
      const found = this.readFrom(this.locate(index), index, Math.min(maxBytes, maxReadBytes), make);
      if (found.records.length > 0) return found;
      index = found.nextIndex;
    }
    return { records: [], firstIndex: index, nextIndex: index };
  }

  /** Closes the files. */
  close(): void {
    for (const descriptor of this.openFiles.values()) closeSync(descriptor);
    this.openFiles.clear();
  }

  /** Notes where a frame begins, for later searches. */
  protected mark(segment: Segment, position: number, index: number): void {
    const last = segment.markPositions.at(-1) ?? segmentHeaderBytes;
    if (position < last + markDistanceBytes) return;
    segment.markPositions.push(position);
    segment.markIndexes.push(index);
  }

  /** Forgets a segment whose file is gone. */
  protected forget(segment: Segment): void {
    const descriptor = this.openFiles.get(segment);
    if (descriptor !== undefined) closeSync(descriptor);
    this.openFiles.delete(segment);
    this.places.clear();
  }

  /** Reads the header; null when it is damaged beyond use. */
  protected saltOf(segment: Segment): number | null {
    if (segment.salt === undefined) {
      const header = this.readAt(segment, 0, Math.min(segment.bytes, segmentHeaderBytes));
      segment.salt = readSegmentHeader(header, segment.firstIndex, segment.path) ?? null;
    }
    return segment.salt;
  }

  /** Walks the last segment, sets `endIndex`, and cuts from `bytes` what a whole frame no longer follows. */
  private findEnd(last: Segment): void {
    this.endIndex = last.firstIndex;
    const sizeOnDisk = last.bytes;
    if (this.saltOf(last) === null) {
      if (sizeOnDisk > segmentHeaderBytes) {
        // Nothing in it can be checked. No record is shorter than its own length, so past this many indexes none
        // that was given out is given out again.
        this.endIndex = last.firstIndex + Math.ceil(sizeOnDisk / recordHeaderBytes);
      } else {
        last.bytes = 0;
        this.tornByteCount = sizeOnDisk;
      }
      return;
    }
    let place: Place = { segment: last, position: segmentHeaderBytes, index: last.firstIndex };
    for (;;) {
      place = this.walkWholeFrames(place);
      this.endIndex = place.index;
      last.bytes = place.position;
      if (place.position === sizeOnDisk) return;
      last.bytes = sizeOnDisk;
      const next = this.findWholeFrame(place);
      if (next === undefined) {
        last.bytes = place.position;
        this.tornByteCount = sizeOnDisk - place.position;
        return;
      }
      this.noteDamage(place, next.index);
      place = next;
    }
  }

  /** Goes over whole frames from a place on and returns where they end. */
  private walkWholeFrames(from: Place): Place {
    const { segment } = from;
    const salt = this.saltOf(segment) as number;
    let { position, index } = from;
    let wanted = 1024 * 1024;
    while (position + frameHeaderBytes <= segment.bytes) {
      const chunk = this.readAt(segment, position, Math.min(wanted, segment.bytes - position));
      let at = 0;
      while (at + frameHeaderBytes <= chunk.length) {
        const frameBytes = claimedFrameBytes(chunk, at, index);
        if (frameBytes === 0 || position + at + frameBytes > segment.bytes) {
          return { segment, position: position + at, index };
        }
        if (at + frameBytes > chunk.length) {
          wanted = Math.max(wanted, frameBytes);
          break;
        }
        if (!isFrameWhole(chunk, at, frameBytes, salt)) return { segment, position: position + at, index };
        this.mark(segment, position + at, index);
        index += frameCount(chunk, at);
        at += frameBytes;
      }
      if (at === 0 && chunk.length < frameHeaderBytes) break;
      position += at;
    }
    return { segment, position, index };
  }

  /** The first whole frame behind a bad one in the same segment. */
  private findWholeFrame(bad: Place): Place | undefined {
    const { segment } = bad;
    const salt = this.saltOf(segment) as number;
    const windowBytes = 1024 * 1024;
    for (let start = bad.position + 1; start + frameHeaderBytes <= segment.bytes; start += windowBytes) {
      // Windows overlap by a header, so that none is overlooked at a border.
      const window = this.readAt(segment, start, Math.min(windowBytes + frameHeaderBytes - 1, segment.bytes - start));
      for (let at = 0; at + frameHeaderBytes <= window.length && at < windowBytes; at++) {
        const frameBytes = claimedFrameBytes(window, at, bad.index, true);
        const position = start + at;
        if (frameBytes === 0 || position + frameBytes > segment.bytes) continue;
        const index = frameFirstIndex(window, at);
        // The bytes in between can't have held more records than this.
        if (index - bad.index > (position - bad.position) / recordHeaderBytes) continue;
        const frame = this.readAt(segment, position, frameBytes);
        if (isFrameWhole(frame, 0, frameBytes, salt)) return { segment, position, index };
      }
    }
    return undefined;
  }

  private noteDamage(bad: Place, nextIndex: number): void {
    const { path } = bad.segment;
    const key = `${path}:${bad.position}`;
    if (this.damagesFound.size >= maxDamages || this.damagesFound.has(key)) return;
    this.damagesFound.set(key, { file: path, position: bad.position, firstIndex: bad.index, nextIndex });
  }

  /** The nearest known frame at or before an index. */
  private locate(index: number): Place {
    const known = this.places.get(index);
    // A consumer that stopped at the end of a segment goes on in the one that was begun since.
    if (known !== undefined && (known.position < known.segment.bytes || known.segment === this.segments.at(-1))) {
      return known;
    }
    const segment = this.segments[lastAtOrBefore(this.segments.length, (at) => this.segments[at]!.firstIndex, index)]!;
    const mark = lastAtOrBefore(segment.markIndexes.length, (at) => segment.markIndexes[at]!, index);
    if (mark < 0) return { segment, position: segmentHeaderBytes, index: segment.firstIndex };
    return { segment, position: segment.markPositions[mark]!, index: segment.markIndexes[mark]! };
  }

  /** Reads from one segment; no records when it holds none from `wanted` on. */
  private readFrom<T>(from: Place, wanted: number, maxBytes: number, make: RecordMaker<T>): Records<T> {
    const { segment } = from;
    const salt = this.saltOf(segment);
    if (salt === null) return this.endOfSegment({ segment, position: 0, index: segment.firstIndex }, true);
    let { position, index } = from;
    let chunkBytes = maxBytes + readAheadBytes;
    while (position < segment.bytes) {
      const chunk = this.readAt(segment, position, Math.min(chunkBytes, segment.bytes - position));
      const records: T[] = [];
      let firstIndex = -1;
      let taken = 0;
      let at = 0;
      let bad = false;
      while (at < chunk.length) {
        if (at + frameHeaderBytes > chunk.length) {
          bad = position + chunk.length === segment.bytes;
          break;
        }
        const frameBytes = claimedFrameBytes(chunk, at, index);
        bad = frameBytes === 0 || position + at + frameBytes > segment.bytes;
        if (bad) break;
        if (at + frameBytes > chunk.length) {
          chunkBytes = Math.max(chunkBytes, frameBytes);
          break;
        }
        bad = !isFrameWhole(chunk, at, frameBytes, salt);
        if (bad) break;
        this.mark(segment, position + at, index);
        const frameEnd = index + frameCount(chunk, at);
        if (frameEnd > wanted) {
          let recordAt = at + frameHeaderBytes;
          for (let record = index; record < frameEnd; record++) {
            const length = readU32(chunk, recordAt);
            recordAt += recordHeaderBytes;
            if (record >= wanted) {
              if (records.length > 0 && taken + length > maxBytes) {
                return this.foundUpTo({ segment, position: position + at, index }, records, firstIndex);
              }
              if (firstIndex < 0) firstIndex = record;
              records.push(make(chunk, recordAt, recordAt + length, record));
              taken += length;
            }
            recordAt += length;
          }
        }
        index = frameEnd;
        at += frameBytes;
      }
      const place = { segment, position: position + at, index };
      if (records.length > 0) return this.foundUpTo(place, records, firstIndex);
      position = place.position;
      if (bad) {
        const next = this.findWholeFrame(place);
        if (next === undefined) return this.endOfSegment(place, true);
        this.noteDamage(place, next.index);
        ({ position, index } = next);
      }
    }
    return this.endOfSegment({ segment, position, index }, false);
  }

  /** Remembers where the reader stopped: `place` is the frame that holds the next record, or will. */
  private foundUpTo<T>(place: Place, records: T[], firstIndex: number): Records<T> {
    const nextIndex = firstIndex + records.length;
    const oldest = this.places.keys().next();
    if (this.places.size >= maxPlaces && !oldest.done) this.places.delete(oldest.value);
    this.places.set(nextIndex, place);
    return { records, firstIndex, nextIndex };
  }

  private endOfSegment(place: Place, damaged: boolean): Records<never> {
    const next = this.segments[this.segments.indexOf(place.segment) + 1];
    const nextIndex = next?.firstIndex ?? this.endIndex;
    if (damaged) this.noteDamage(place, nextIndex);
    return { records: [], firstIndex: nextIndex, nextIndex };
  }

  private readAt(segment: Segment, position: number, length: number): Buffer {
    let descriptor = this.openFiles.get(segment);
    if (descriptor === undefined) {
      const oldest = this.openFiles.entries().next();
      if (this.openFiles.size >= maxOpenFiles && !oldest.done) {
        closeSync(oldest.value[1]);
        this.openFiles.delete(oldest.value[0]);
      }
      descriptor = openSync(segment.path, 'r');
      this.openFiles.set(segment, descriptor);
    }
    const chunk = Buffer.allocUnsafeSlow(length);
    let filled = 0;
    while (filled < length) {
      const got = readSync(descriptor, chunk, filled, length - filled, position + filled);
      if (got === 0) break;
      filled += got;
    }
    return filled === length ? chunk : chunk.subarray(0, filled);
  }
}

/** The last of `count` ascending values that is not greater than `wanted`, or -1. */
function lastAtOrBefore(count: number, valueAt: (at: number) => number, wanted: number): number {
  let low = 0;
  let high = count;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (valueAt(middle) <= wanted) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}
