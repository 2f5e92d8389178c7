import { readFileSync } from 'node:fs';
import { open, rename } from 'node:fs/promises';
import { dirname } from 'node:path';

type Offsets = Record<string, Record<string, number>>;

/**
 * Where the groups of one topic go on: a small JSON file, replaced whole. A kill leaves the old one or the new one.
 * Commits that arrive during a write share the next one.
 */
export class GroupOffsets {
  private readonly path: string;
  private readonly sync: boolean;
  private readonly offsets: Map<string, Map<number, number>>;
  private running: Promise<void> | undefined;
  private waiting: Promise<void> | undefined;

  /** @throws Error that names the file, when it holds something else. */
  constructor(path: string, sync: boolean) {
    this.path = path;
    this.sync = sync;
    this.offsets = readOffsets(path);
  }

  /** The committed offsets of a group, by partition. */
  of(group: string): Map<number, number> {
    return new Map(this.offsets.get(group));
  }

  /** The groups that committed an offset of a partition. */
  at(partition: number): Map<string, number> {
    const found = new Map<string, number>();
    for (const [group, offsets] of this.offsets) {
      const offset = offsets.get(partition);
      if (offset !== undefined) found.set(group, offset);
    }
    return found;
  }

  /** Resolves when the offset is on record. */
  commit(group: string, partition: number, nextOffset: number): Promise<void> {
    const offsets = this.offsets.get(group) ?? new Map<number, number>();
    offsets.set(partition, nextOffset);
    this.offsets.set(group, offsets);
    if (this.running === undefined) return this.write();
    this.waiting ??= this.running.then(
      () => this.write(),
      () => this.write(),
    );
    return this.waiting;
  }

  /** Waits for the commits in hand. */
  async close(): Promise<void> {
    await Promise.allSettled([this.running, this.waiting]);
  }

  private write(): Promise<void> {
    this.waiting = undefined;
    const content: Offsets = {};
    for (const [group, offsets] of this.offsets) content[group] = Object.fromEntries(offsets);
    const running = replaceFile(this.path, `${JSON.stringify(content)}\n`, this.sync).finally(() => {
      this.running = undefined;
    });
    this.running = running;
    return running;
  }
}

/** Puts a file in another's place, so that a reader and a crash meet one or the other. */
async function replaceFile(path: string, content: string, sync: boolean): Promise<void> {
  const newPath = `${path}.new`;
  const file = await open(newPath, 'w', 0o600);
  try {
    await file.writeFile(content);
    if (sync) await file.datasync();
  } finally {
    await file.close();
  }
  await rename(newPath, path);
  if (!sync) return;
  const directory = await open(dirname(path), 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

function readOffsets(path: string): Map<string, Map<number, number>> {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return new Map();
    throw error;
  }
  const groups = new Map<string, Map<number, number>>();
  try {
    for (const [group, offsets] of Object.entries(JSON.parse(text) as Offsets)) {
      const byPartition = new Map<number, number>();
      for (const [partition, offset] of Object.entries(offsets)) {
        if (!Number.isSafeInteger(offset) || offset < 0) throw new Error(`group ${group}: ${offset} is no offset`);
        byPartition.set(Number(partition), offset);
      }
      groups.set(group, byPartition);
    }
  } catch (cause) {
    throw new Error(
      `${path} is not a file of committed offsets; delete it and the groups begin at the earliest record`,
      {
        cause,
      },
    );
  }
  return groups;
}
