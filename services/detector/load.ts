/** Rule files from the disk, within limits: a rule directory is somebody's input. */
import { existsSync, readdirSync, readFileSync, realpathSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Compiled, compilingRules, type RuleFile } from './compile.js';
import { atOnce } from './turns.js';
import { longestFileBytes, type Problem } from './yaml.js';

/** 10,000 rules with tests of 1.5 KiB each; the parser takes about a second for each MiB. */
const mostBytes = 16 * 1024 * 1024;
const mostFiles = 10_000;
const deepestDirectory = 16;

/** The rules that ship with the program: below the package's root, found from the sources as well as from `dist/`. */
export function packDirectory(): string {
  let directory = dirname(fileURLToPath(import.meta.url));
  for (;;) {
    const candidate = join(directory, 'rules');
    if (existsSync(join(directory, 'package.json')) && existsSync(candidate)) return candidate;
    const parent = dirname(directory);
    if (parent === directory) throw new Error('the package has no directory rules');
    directory = parent;
  }
}

class Files {
  readonly found: RuleFile[] = [];
  readonly problems: Problem[] = [];
  private bytes = 0;
  /** A limit was met: nothing more is read, and what was is no rule set. */
  full = false;
  private readonly visited = new Set<string>();

  private problem(file: string, message: string): void {
    this.problems.push({ file, line: 1, column: 1, message });
  }

  /** A file, or every `.yaml` and `.yml` below a directory in the order of their names. */
  add(path: string, layer: number, named = true, depth = 0): void {
    if (this.full) return;
    let stat: ReturnType<typeof statSync>;
    try {
      stat = statSync(path);
    } catch (error) {
      const missing = (error as NodeJS.ErrnoException).code === 'ENOENT';
      this.problem(
        path,
        missing ? 'there is no such file or directory' : `cannot be read: ${(error as Error).message}`,
      );
      return;
    }
    if (stat.isDirectory()) {
      if (depth > deepestDirectory) this.problem(path, `directories nest deeper than ${deepestDirectory} levels`);
      else this.directory(path, layer, depth);
    } else if (named || /\.ya?ml$/.test(path)) this.file(path, stat.size, layer);
  }

  private directory(path: string, layer: number, depth: number): void {
    let names: string[];
    try {
      // A link may lead back to where it stands.
      const real = realpathSync(path);
      if (this.visited.has(real)) return;
      this.visited.add(real);
      names = readdirSync(path).sort();
    } catch (error) {
      this.problem(path, `cannot be read: ${(error as Error).message}`);
      return;
    }
    // Hidden names are editors' and, in a mounted ConfigMap, the older copies.
    for (const name of names) if (!name.startsWith('.')) this.add(join(path, name), layer, false, depth + 1);
  }

  private file(path: string, size: number, layer: number): void {
    if (size > longestFileBytes) {
      this.problem(
        path,
        `the file has ${size} bytes; at most ${longestFileBytes} are read. Split it into several files.`,
      );
      return;
    }
    this.bytes += size;
    if (this.bytes > mostBytes || this.found.length >= mostFiles) {
      this.full = true;
      this.problem(
        path,
        `the rule files up to here are more than ${mostFiles} or longer than ${mostBytes} bytes together`,
      );
      return;
    }
    try {
      this.found.push({ path, text: readFileSync(path, 'utf8'), layer });
    } catch (error) {
      this.problem(path, `cannot be read: ${(error as Error).message}`);
    }
  }
}

/** Where rules come from. */
export interface RuleSources {
  /** Whether the rules that ship with the program are loaded too; those of `paths` may replace or tune them. */
  readonly pack: boolean;
  /** Files and directories. */
  readonly paths: readonly string[];
}

/** Reads and compiles rules. Everything that is wrong is in `problems`; nothing is thrown for it. */
export function loadRules(sources: RuleSources): Compiled {
  return atOnce(loadingRules(sources));
}

/** The same in steps, so that thousands of rules hold up nothing else. */
export function* loadingRules({ pack, paths }: RuleSources): Generator<void, Compiled> {
  const files = new Files();
  if (pack) files.add(packDirectory(), 0);
  for (const path of paths) files.add(path, 1);
  const compiled = yield* compilingRules(files.full ? [] : files.found);
  return { ...compiled, problems: [...files.problems, ...compiled.problems] };
}
