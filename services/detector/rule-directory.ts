/**
 * The rules as they are on the disk now. Looked at regularly by names, sizes and times of change; read again when
 * something changed. With a mistake in any file the rules of before stay, and the mistakes are told.
 */
import { type Dirent, existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { loadingRules, packDirectory, type RuleSources } from './load.js';
import type { RuleSet } from './rule.js';
import { atOnce, inTurns } from './turns.js';
import type { Problem } from './yaml.js';

const deepest = 16;
/** Names that are looked at; what is beyond is refused by the loader anyway. */
const mostNames = 20_000;

export interface LoadedRules {
  readonly set: RuleSet;
  readonly warnings: readonly Problem[];
}

export class RuleDirectory {
  private signature = '';
  /** What is wrong with the files now; empty while the rules in force are those of the files. */
  problems: readonly Problem[] = [];

  constructor(private readonly sources: RuleSources) {}

  /**
   * The rules when the files changed since the last call and are without mistakes, else undefined. The first time there
   * are no rules of before: then those that are right are taken.
   */
  changed(): LoadedRules | undefined {
    return atOnce(this.looking());
  }

  /** The same in turns with the rest of the process. */
  async changedInTurns(pause: () => Promise<void>): Promise<LoadedRules | undefined> {
    return await inTurns(this.looking(), pause);
  }

  private *looking(): Generator<void, LoadedRules | undefined> {
    const signature = this.look();
    if (signature === this.signature) return undefined;
    const first = this.signature === '';
    this.signature = signature;
    const { pack, paths } = this.sources;
    // A directory of one's own may be made later.
    const { set, problems, warnings } = yield* loadingRules({ pack, paths: paths.filter((path) => existsSync(path)) });
    this.problems = problems;
    return problems.length === 0 || first ? { set, warnings } : undefined;
  }

  private look(): string {
    const seen: string[] = [];
    const paths = this.sources.pack ? [packDirectory(), ...this.sources.paths] : this.sources.paths;
    for (const path of paths) this.add(path, seen, 0);
    return seen.join('\n');
  }

  private add(path: string, seen: string[], depth: number): void {
    if (seen.length >= mostNames) return;
    let entries: Dirent[];
    try {
      const { mtimeMs, ino, size } = statSync(path);
      seen.push(`${path} ${size} ${mtimeMs} ${ino}`);
      entries = depth > deepest ? [] : readdirSync(path, { withFileTypes: true });
    } catch {
      // A file, or nothing: what was seen of it is in the signature.
      return;
    }
    for (const entry of entries) if (!entry.name.startsWith('.')) this.add(join(path, entry.name), seen, depth + 1);
  }
}
