/**
 * An append-only log of records in segment files: the durable format under the emitter's spool and the local stream.
 *
 * What always holds:
 *
 * 1. One process writes to a directory, through one SegmentLog; its caller makes sure of that. Any process may read.
 * 2. Records have consecutive indexes, in the order of their appends. An index that was given out never names another
 *    record; `skipTo` and damage leave holes.
 * 3. When `append` returns, its records are with the kernel: they survive the death of the process. When `sync`
 *    resolves, everything appended before it was called survives the loss of power.
 * 4. An append is in the log whole or, when it throws, not at all. A process that dies in an append leaves a torn
 *    tail; the next `open` cuts it and counts its bytes. Only what no whole frame follows is a torn tail.
 * 5. Every byte that is read was checked. A damaged frame costs its own records and no others, is told with file and
 *    position in `damages`, and is never cut while a whole frame follows it.
 * 6. The files never take more than `maxTotalBytes`. Memory is the reused append buffer and some 5 KiB a segment.
 *
 * States: open → closed. A failed `sync` makes the log refuse appends until it is opened again, because the kernel
 * may have thrown away what it could not write (https://wiki.postgresql.org/wiki/Fsync_Errors).
 */
import {
  close,
  closeSync,
  fdatasync,
  fsync,
  ftruncateSync,
  mkdirSync,
  open,
  openSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { dirname, resolve } from 'node:path';
import { promisify } from 'node:util';
import { AuditdError } from '../../schemas/errors.js';
import {
  frameHeaderBytes,
  makeSegmentHeader,
  maxRecordBytes,
  readU32,
  recordHeaderBytes,
  sealFrame,
  segmentFileName,
  segmentHeaderBytes,
  targetFrameBytes,
  writeU32,
} from './format.js';
import { type Segment, SegmentReader } from './reader.js';

export { maxRecordBytes } from './format.js';
export { SegmentReader } from './reader.js';

export interface SegmentLogOptions {
  /** A segment is begun when the last one would grow beyond this. A larger append has a segment of its own. */
  readonly maxSegmentBytes: number;
  /** Appends that would make the files larger than this together are refused with `segments_full`. */
  readonly maxTotalBytes?: number;
}

/** The append buffer's size at rest; hundreds of calls fit, and a larger append borrows a larger one for its time. */
const restingBufferBytes = 256 * 1024;
/** Most bytes of one append: 30 of the largest records, or 500,000 ordinary ones. */
const maxAppendBytes = 256 * 1024 * 1024;

const openDirectories = new Set<string>();
const openFile = promisify(open);
const closeFile = promisify(close);
const syncData = promisify(fdatasync);
const syncFile = promisify(fsync);

/** A record that is written where it belongs, instead of being made first and copied there. */
export interface RecordSource {
  /** Bytes. */
  readonly length: number;
  /** Writes exactly `length` bytes. */
  copyTo(buffer: Buffer, at: number): void;
}

/** The writing end of a log; see the invariants at the top of this file. */
export class SegmentLog extends SegmentReader {
  private readonly maxSegmentBytes: number;
  private readonly maxTotalBytes: number;
  /** Directories that must be synced once, because this log made them or something in them. */
  private readonly newDirectories: string[];
  private totalBytes = 0;
  private active: Segment | undefined;
  private descriptor = -1;
  /** Of the active segment while it is synced; who closes it meanwhile leaves that to the sync. */
  private syncing = -1;
  private buffer = Buffer.alloc(0);
  /** True after a failed append whose bytes could not be taken back yet. */
  private hasLeftover = false;
  private readonly unsynced = new Set<Segment>();
  private isDirectoryUnsynced = true;
  private runningSync: Promise<void> | undefined;
  private waitingSync: Promise<void> | undefined;
  private syncFailure: unknown;
  private isClosed = false;

  private constructor(directory: string, options: SegmentLogOptions, newDirectories: string[]) {
    super(directory);
    this.maxSegmentBytes = options.maxSegmentBytes;
    this.maxTotalBytes = options.maxTotalBytes ?? Number.POSITIVE_INFINITY;
    this.newDirectories = newDirectories;
    this.resume();
  }

  /**
   * Opens a directory for writing, making it (mode 0700) where there is none, and cuts a torn tail.
   * @throws Error when this process has it open already, AuditdError `data_directory_newer`, or a file system error.
   */
  static open(directory: string, options: SegmentLogOptions): SegmentLog {
    const path = resolve(directory);
    if (openDirectories.has(path)) throw new Error(`${path} is already open for writing in this process`);
    const newDirectories: string[] = [];
    const firstMade = mkdirSync(path, { recursive: true, mode: 0o700 });
    if (firstMade !== undefined) {
      for (let made = path; made.length >= firstMade.length; made = dirname(made)) newDirectories.push(dirname(made));
    }
    const log = new SegmentLog(path, options, newDirectories);
    openDirectories.add(path);
    return log;
  }

  /**
   * Appends records with one write to the kernel and returns the index of the first.
   * @throws AuditdError `segments_full` or `record_too_large`, or the file system's error; the log is then unchanged.
   */
  append(records: readonly (string | Uint8Array | RecordSource)[]): number {
    if (records.length === 0) return this.endIndex;
    let room = frameHeaderBytes;
    for (const record of records) {
      room += frameHeaderBytes + recordHeaderBytes + (typeof record === 'string' ? record.length * 3 : record.length);
    }
    if (room > this.buffer.length) {
      room = frameHeaderBytes;
      for (const record of records) {
        const length = typeof record === 'string' ? Buffer.byteLength(record) : record.length;
        room += frameHeaderBytes + recordHeaderBytes + length;
      }
      if (room > maxAppendBytes) throw tooLarge(`an append of ${room} bytes`, maxAppendBytes);
      if (room > this.buffer.length) this.buffer = Buffer.allocUnsafeSlow(Math.max(room, restingBufferBytes));
    }
    const { buffer } = this;
    let frameAt = 0;
    let at = frameHeaderBytes;
    let count = 0;
    for (let record = 0; record < records.length; record++) {
      const value = records[record]!;
      let length: number;
      if (typeof value === 'string') length = buffer.write(value, at + recordHeaderBytes, 'utf8');
      else {
        length = value.length;
        if (length <= maxRecordBytes) {
          if (value instanceof Uint8Array) buffer.set(value, at + recordHeaderBytes);
          else value.copyTo(buffer, at + recordHeaderBytes);
        }
      }
      if (length > maxRecordBytes) throw tooLarge(`record ${record} of an append, ${length} bytes,`, maxRecordBytes);
      if (count > 0 && at + recordHeaderBytes + length - frameAt - frameHeaderBytes > targetFrameBytes) {
        // The record begins the next frame: move it behind that frame's header.
        buffer.copyWithin(
          at + frameHeaderBytes + recordHeaderBytes,
          at + recordHeaderBytes,
          at + recordHeaderBytes + length,
        );
        this.describeFrame(frameAt, at, count);
        frameAt = at;
        at += frameHeaderBytes;
        count = 0;
      }
      writeU32(buffer, at, length);
      at += recordHeaderBytes + length;
      count++;
    }
    this.describeFrame(frameAt, at, count);
    return this.writeFrames(at, records.length);
  }

  /** Appends one record; what `append` does, without its loops. About 3 µs. */
  appendOne(record: string): number {
    const start = frameHeaderBytes + recordHeaderBytes;
    if (start + record.length * 3 > this.buffer.length) return this.append([record]);
    const length = this.buffer.write(record, start, 'utf8');
    if (length > maxRecordBytes) throw tooLarge(`a record of ${length} bytes`, maxRecordBytes);
    writeU32(this.buffer, frameHeaderBytes, length);
    this.describeFrame(0, start + length, 1);
    return this.writeFrames(start + length, 1);
  }

  /**
   * Resolves when everything appended before the call is on the disk. Callers who arrive while a sync runs share the
   * next one. Rejects with the disk's error, and the log then refuses appends until it is opened again.
   */
  sync(): Promise<void> {
    if (this.syncFailure !== undefined) return Promise.reject(this.syncFailure);
    if (this.runningSync === undefined) return this.startSync();
    this.waitingSync ??= this.runningSync.then(
      () => this.startSync(),
      () => this.startSync(),
    );
    return this.waitingSync;
  }

  /** Deletes whole segments that hold only records below an index. The last segment stays. */
  dropBefore(index: number): void {
    while (this.segments.length > 1 && this.segments[1]!.firstIndex <= index) {
      const segment = this.segments[0]!;
      unlinkSync(segment.path);
      this.segments.shift();
      this.unsynced.delete(segment);
      this.forget(segment);
      this.totalBytes -= segment.bytes;
    }
  }

  /** Begins a new segment, so that the one written so far may be dropped. An empty one is left as it is. */
  roll(): void {
    this.checkWritable();
    if (this.active !== undefined && this.active.bytes > segmentHeaderBytes) this.beginSegment();
  }

  /** Gives the next record this index or a higher one: a hole instead of an index that was already given out. */
  skipTo(index: number): void {
    this.checkWritable();
    if (index > this.endIndex) this.beginSegment(index);
  }

  override get bytes(): number {
    return this.totalBytes;
  }

  /** Closes the files. What was not synced stays with the kernel. Idempotent. */
  override close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    super.close();
    this.closeDescriptor();
    this.descriptor = -1;
    openDirectories.delete(this.directory);
  }

  /** Makes the last segment on disk what the reader found to be whole, and goes on writing in it. */
  private resume(): void {
    for (const segment of this.segments) {
      this.totalBytes += segment.bytes;
      // The process before us may have died between a write and its sync.
      this.unsynced.add(segment);
    }
    const last = this.segments.at(-1);
    if (last === undefined) return;
    if (last.bytes < segmentHeaderBytes) {
      unlinkSync(last.path);
      this.segments.pop();
      this.unsynced.delete(last);
      this.forget(last);
      this.totalBytes -= last.bytes;
      this.beginSegment();
    } else if (this.saltOf(last) === null) {
      this.beginSegment();
    } else {
      this.descriptor = openSync(last.path, 'r+');
      ftruncateSync(this.descriptor, last.bytes);
      this.active = last;
    }
  }

  /** Notes a frame's size and count in its header; `writeFrames` seals it when index and segment are known. */
  private describeFrame(frameAt: number, end: number, count: number): void {
    writeU32(this.buffer, frameAt + 4, end - frameAt - frameHeaderBytes);
    writeU32(this.buffer, frameAt + 16, count);
  }

  /** Seals and writes the frames in the first `length` bytes of the buffer. */
  private writeFrames(length: number, count: number): number {
    const { buffer } = this;
    this.checkWritable();
    const isNew =
      this.active === undefined ||
      (this.active.bytes + length > this.maxSegmentBytes && this.active.bytes > segmentHeaderBytes);
    const needed = isNew ? length + segmentHeaderBytes : length;
    if (this.totalBytes + needed > this.maxTotalBytes) {
      this.restBuffer();
      throw new AuditdError(
        'segments_full',
        `${this.directory} holds ${this.totalBytes} of ${this.maxTotalBytes} bytes; ${needed} more do not fit`,
      );
    }
    if (isNew) this.beginSegment();
    const active = this.active!;
    const firstIndex = this.endIndex;
    for (let at = 0, index = firstIndex; at < length; ) {
      const frameBytes = frameHeaderBytes + readU32(buffer, at + 4);
      const frameCount = readU32(buffer, at + 16);
      sealFrame(buffer, at, frameBytes, index, frameCount, active.salt as number);
      index += frameCount;
      at += frameBytes;
    }
    this.writeWhole(buffer, length, active.bytes);
    this.mark(active, active.bytes, firstIndex);
    active.bytes += length;
    this.totalBytes += length;
    this.endIndex = firstIndex + count;
    this.unsynced.add(active);
    if (buffer.length > restingBufferBytes) this.restBuffer();
    return firstIndex;
  }

  /** Writes, or takes back what was written and throws. */
  private writeWhole(bytes: Buffer, length: number, position: number): void {
    let written = 0;
    try {
      // One write(2), unless the kernel takes less: then the next one tells why.
      while (written < length)
        written += writeSync(this.descriptor, bytes, written, length - written, position + written);
    } catch (error) {
      this.hasLeftover = true;
      this.restBuffer();
      try {
        this.takeBackLeftover();
      } catch {
        // The next append tries again before it writes.
      }
      throw error;
    }
  }

  private takeBackLeftover(): void {
    ftruncateSync(this.descriptor, this.active!.bytes);
    this.hasLeftover = false;
  }

  private restBuffer(): void {
    if (this.buffer.length > restingBufferBytes) this.buffer = Buffer.allocUnsafeSlow(restingBufferBytes);
  }

  private checkWritable(): void {
    if (this.isClosed) throw new Error(`${this.directory} is closed`);
    if (this.syncFailure !== undefined) throw this.syncFailure;
    if (this.hasLeftover) this.takeBackLeftover();
  }

  /** Makes the file of the next record the one that is written. On failure nothing has changed. */
  private beginSegment(firstIndex = this.endIndex): void {
    const path = resolve(this.directory, segmentFileName(firstIndex));
    const last = this.segments.at(-1);
    if (last?.firstIndex === firstIndex) {
      throw new Error(`${path} can't be begun: it is there and holds no record that can be read`);
    }
    const { header, salt } = makeSegmentHeader(firstIndex);
    const descriptor = openSync(path, 'wx+', 0o600);
    try {
      let written = 0;
      while (written < header.length)
        written += writeSync(descriptor, header, written, header.length - written, written);
    } catch (error) {
      closeSync(descriptor);
      unlinkSync(path);
      throw error;
    }
    this.closeDescriptor();
    this.descriptor = descriptor;
    this.active = { path, firstIndex, salt, bytes: segmentHeaderBytes, markPositions: [], markIndexes: [] };
    this.segments.push(this.active);
    this.endIndex = firstIndex;
    this.totalBytes += segmentHeaderBytes;
    this.unsynced.add(this.active);
    this.isDirectoryUnsynced = true;
  }

  private closeDescriptor(): void {
    if (this.descriptor >= 0 && this.descriptor !== this.syncing) closeSync(this.descriptor);
  }

  private startSync(): Promise<void> {
    this.waitingSync = undefined;
    const running = this.syncNow().finally(() => {
      this.runningSync = undefined;
    });
    this.runningSync = running;
    return running;
  }

  /** Through the descriptor that writes: opening another one is two more turns of a thread, each behind other work. */
  private async syncActive(): Promise<void> {
    const { descriptor } = this;
    this.syncing = descriptor;
    try {
      await syncData(descriptor);
    } finally {
      this.syncing = -1;
      if (this.descriptor !== descriptor) closeSync(descriptor);
    }
  }

  private async syncNow(): Promise<void> {
    if (this.syncFailure !== undefined) throw this.syncFailure;
    const segments = [...this.unsynced];
    this.unsynced.clear();
    const directories = this.newDirectories.splice(0);
    if (this.isDirectoryUnsynced) directories.unshift(this.directory);
    this.isDirectoryUnsynced = false;
    try {
      for (const segment of segments)
        await (segment === this.active ? this.syncActive() : syncPath(segment.path, syncData));
      for (const directory of directories) await syncPath(directory, syncFile);
    } catch (error) {
      this.syncFailure = error;
      throw error;
    }
  }
}

/** Syncs through a descriptor of its own: the log has gone on to another segment. */
async function syncPath(path: string, sync: (descriptor: number) => Promise<void>): Promise<void> {
  let descriptor: number;
  try {
    descriptor = await openFile(path, 'r');
  } catch (error) {
    // Dropped since: nothing of it is left to be kept.
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw error;
  }
  try {
    await sync(descriptor);
  } finally {
    await closeFile(descriptor);
  }
}

function tooLarge(what: string, maxBytes: number): AuditdError {
  return new AuditdError('record_too_large', `${what} is larger than the ${maxBytes} bytes a log takes`);
}
