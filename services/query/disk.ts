/** What lies on the disk, told without opening the stream or the store: it works beside a daemon and without one. */
import { readdirSync, readFileSync, statfsSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';

export interface SpoolState {
  readonly producer_id: string;
  /** Segment files: what is not yet delivered, and at most one file more. */
  readonly bytes: number;
  /** The process that writes it, where it is still there. */
  readonly pid: number | null;
}

export interface DiskState {
  readonly spool_bytes: number;
  readonly stream_bytes: number;
  readonly store_bytes: number;
  readonly free_bytes: number;
  readonly spools: readonly SpoolState[];
}

/** Files that are counted below one directory. An engine with 10,000 parts has about 100,000; a walk takes a second. */
const maxFiles = 200_000;
/** Spools that are listed one by one. */
const maxSpools = 1_000;

/** Bytes of all files below a directory; 0 when it is not there. What vanishes meanwhile counts as nothing. */
function bytesBelow(directory: string): number {
  const waiting = [directory];
  let bytes = 0;
  let files = 0;
  for (let next = waiting.pop(); next !== undefined && files < maxFiles; next = waiting.pop()) {
    let entries: ReturnType<typeof readEntries>;
    try {
      entries = readEntries(next);
    } catch {
      continue;
    }
    for (const entry of entries) {
      const path = join(next, entry.name);
      if (entry.isDirectory()) waiting.push(path);
      else {
        files++;
        bytes += statSync(path, { throwIfNoEntry: false })?.size ?? 0;
      }
    }
  }
  return bytes;
}

function readEntries(directory: string) {
  return readdirSync(directory, { withFileTypes: true });
}

function livingOwner(directory: string): number | null {
  try {
    const { pid } = JSON.parse(readFileSync(join(directory, 'owner.json'), 'utf8')) as { pid: number };
    process.kill(pid, 0);
    return pid;
  } catch {
    return null;
  }
}

/** The spools of the emitters of a data directory, at most 1,000 of them; a few system calls each. */
export function spoolStates(data: string): SpoolState[] {
  let names: string[] = [];
  try {
    names = readEntries(join(data, 'spool'))
      .filter((entry) => entry.isDirectory())
      .map((entry) => entry.name)
      .sort();
  } catch {
    // No emitter has been here.
  }
  return names.slice(0, maxSpools).map((name) => {
    const directory = join(data, 'spool', name);
    // Behind an @ stands who delivers it in the stead of its own process.
    const [producer_id = name] = name.split('@');
    return { producer_id, bytes: bytesBelow(directory), pid: livingOwner(directory) };
  });
}

/** Bytes of the rooms in a data directory, free bytes of its file system, and each emitter's spool. */
export function diskState(data: string): DiskState {
  const spools = spoolStates(data);
  return {
    spool_bytes: spools.reduce((sum, spool) => sum + spool.bytes, 0),
    stream_bytes: bytesBelow(join(data, 'stream')),
    store_bytes: bytesBelow(join(data, 'store')),
    free_bytes: freeBytes(data),
    spools,
  };
}

/** Of the file system that the directory is on, or will be on once it is made. */
function freeBytes(directory: string): number {
  try {
    const { bavail, bsize } = statfsSync(directory);
    return bavail * bsize;
  } catch {
    const above = dirname(directory);
    return above === directory ? 0 : freeBytes(above);
  }
}
