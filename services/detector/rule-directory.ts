/**
 * The rules as they are on the disk now. Looked at regularly by names, sizes and times of change; read again when
 * something changed. With a mistake in any file the rules of before stay, and the mistakes are told.
 */
import { type Dirent, existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { packDirectory, type RuleSources } from './load.js';
import { type ReadingOptions, type ReadRules, readRules } from './reading.js';
import { inTurns } from './turns.js';
import type { Problem } from './yaml.js';

const deepest = 16;
/** Names that are looked at; what is beyond is refused by the loader anyway. */
const mostNames = 20_000;

/** Bytes of all files, and of the largest one. */
interface Seen {
  all: number;
  largest: number;
}

export class RuleDirectory {
  private signature = '';
  /** What is wrong with the files now; empty while the rules in force are those of the files. */
  problems: readonly Problem[] = [];

  constructor(
    private readonly sources: RuleSources,
    private readonly options: ReadingOptions,
  ) {}

  /**
   * The rules when the files changed since the last call and are without mistakes, else undefined. The first time there
   * are no rules of before: then those that are right are taken. One call at a time.
   */
  async changed(): Promise<ReadRules | undefined> {
    const { options } = this;
    const { signature, ...sizes } = await inTurns(this.looking(), options.pause);
    if (signature === this.signature) return undefined;
    const first = this.signature === '';
    this.signature = signature;
    const { pack, paths } = this.sources;
    // A directory of one's own may be made later.
    const sources = { pack, paths: paths.filter((path) => existsSync(path)) };
    let read: ReadRules;
    try {
      read = await readRules(sources, sizes, options);
    } catch (error) {
      // Too much for the thread's memory, for one: what ships is in force all the same.
      const message = `the rules could not be read: ${(error as Error).message}`;
      this.problems = [{ file: paths[0] ?? packDirectory(), line: 1, column: 1, message }];
      return first ? await readRules({ pack, paths: [] }, { all: 0, largest: 0 }, options) : undefined;
    }
    this.problems = read.problems;
    return read.problems.length === 0 || first ? read : undefined;
  }

  private *looking(): Generator<void, Seen & { readonly signature: string }> {
    const seen: string[] = [];
    const sizes = { all: 0, largest: 0 };
    const paths = this.sources.pack ? [packDirectory(), ...this.sources.paths] : this.sources.paths;
    for (const path of paths) yield* this.add(path, seen, sizes, 0);
    return { signature: seen.join('\n'), ...sizes };
  }

  private *add(path: string, seen: string[], sizes: Seen, depth: number): Generator<void> {
    if (seen.length >= mostNames) return;
    yield;
    let entries: Dirent[];
    try {
      const { mtimeMs, ino, size } = statSync(path);
      seen.push(`${path} ${size} ${mtimeMs} ${ino}`);
      sizes.all += size;
      sizes.largest = Math.max(sizes.largest, size);
      entries = depth > deepest ? [] : readdirSync(path, { withFileTypes: true });
    } catch {
      // A file, or nothing: what was seen of it is in the signature.
      return;
    }
    for (const entry of entries)
      if (!entry.name.startsWith('.')) yield* this.add(join(path, entry.name), seen, sizes, depth + 1);
  }
}
