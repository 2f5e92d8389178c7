/**
 * Where an export goes: standard output, a file, or a directory of files. Files are written under another name, 0600,
 * and get theirs when everything is in them, so what has the name is whole.
 */
import { once } from 'node:events';
import { existsSync, linkSync, mkdirSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { AuditdError } from '../../../schemas/errors.js';

export interface Output {
  /** Begins a part that `rewind` takes back. */
  mark(): Promise<void>;
  write(chunk: Uint8Array): Promise<void>;
  /** Takes back what was written since the mark; false where it has left already. */
  rewind(): Promise<boolean>;
  /** Everything is written: gives it its name. */
  finish(): Promise<void>;
  /** Leaves nothing behind. */
  discard(): Promise<void>;
}

/** @throws AuditdError `argument_invalid` when something of the name is there and `force` is not given. */
export async function openOutput(name: string, force: boolean, extension: string): Promise<Output> {
  if (name === '-') return new StandardOutput();
  const path = resolve(name);
  if (existsSync(path) && !force)
    throw new AuditdError('argument_invalid', `${name} is there already; --force replaces it.`);
  const temporary = `${path}.partial-${process.pid}`;
  if (existsSync(path)) requireReplaceable(path, name, extension);
  if (!name.endsWith('/')) return new SingleFile(path, temporary, force, await open(temporary, 'wx', 0o600));
  mkdirSync(temporary, { mode: 0o700 });
  return new DirectoryOfParts(path, temporary, extension);
}

/**
 * `--force` takes away an earlier export and nothing else: a directory that holds anything but parts stays.
 * @throws AuditdError `argument_invalid`.
 */
function requireReplaceable(path: string, name: string, extension: string): void {
  const isDirectory = statSync(path).isDirectory();
  if (isDirectory !== name.endsWith('/'))
    throw new AuditdError('argument_invalid', `${name} is a ${isDirectory ? 'directory' : 'file'}; give another name.`);
  const foreign = isDirectory
    ? readdirSync(path).find((each) => !each.startsWith(`${basename(path)}-`) || !each.endsWith(`.${extension}`))
    : undefined;
  if (foreign !== undefined)
    throw new AuditdError(
      'argument_invalid',
      `${name} holds ${JSON.stringify(foreign)}, which is no part of an export; give another name.`,
    );
}

class StandardOutput implements Output {
  private left = false;

  async mark(): Promise<void> {
    this.left = false;
  }

  async write(chunk: Uint8Array): Promise<void> {
    this.left = true;
    if (!process.stdout.write(chunk)) await once(process.stdout, 'drain');
  }

  async rewind(): Promise<boolean> {
    return !this.left;
  }

  async finish(): Promise<void> {}
  async discard(): Promise<void> {}
}

class SingleFile implements Output {
  private length = 0;
  private marked = 0;

  constructor(
    private readonly path: string,
    private readonly temporary: string,
    private readonly force: boolean,
    private readonly file: FileHandle,
  ) {}

  async mark(): Promise<void> {
    this.marked = this.length;
  }

  async write(chunk: Uint8Array): Promise<void> {
    for (let done = 0; done < chunk.length; ) {
      const { bytesWritten } = await this.file.write(chunk, done, chunk.length - done, this.length);
      done += bytesWritten;
      this.length += bytesWritten;
    }
  }

  async rewind(): Promise<boolean> {
    await this.file.truncate(this.marked);
    this.length = this.marked;
    return true;
  }

  async finish(): Promise<void> {
    await this.file.sync();
    await this.file.close();
    if (this.force) return renameSync(this.temporary, this.path);
    // A link is refused where somebody has taken the name meanwhile.
    linkSync(this.temporary, this.path);
    rmSync(this.temporary);
  }

  async discard(): Promise<void> {
    await this.file.close().catch(() => undefined);
    rmSync(this.temporary, { force: true });
  }
}

/** Each marked part is a file: for formats whose documents can't be put one after another. */
class DirectoryOfParts implements Output {
  private file: FileHandle | undefined;
  private parts = 0;

  constructor(
    private readonly path: string,
    private readonly temporary: string,
    private readonly extension: string,
  ) {}

  async mark(): Promise<void> {
    await this.end();
    this.parts++;
    this.file = await open(this.partName(), 'wx', 0o600);
  }

  async write(chunk: Uint8Array): Promise<void> {
    await this.file!.writeFile(chunk);
  }

  async rewind(): Promise<boolean> {
    await this.file?.close();
    this.file = undefined;
    rmSync(this.partName(), { force: true });
    this.parts--;
    return true;
  }

  async finish(): Promise<void> {
    await this.end();
    if (existsSync(this.path)) requireReplaceable(this.path, `${this.path}/`, this.extension);
    rmSync(this.path, { recursive: true, force: true });
    renameSync(this.temporary, this.path);
  }

  async discard(): Promise<void> {
    await this.file?.close().catch(() => undefined);
    rmSync(this.temporary, { recursive: true, force: true });
  }

  private partName(): string {
    return join(this.temporary, `${basename(this.path)}-${String(this.parts).padStart(6, '0')}.${this.extension}`);
  }

  private async end(): Promise<void> {
    await this.file?.sync();
    await this.file?.close();
    this.file = undefined;
  }
}
