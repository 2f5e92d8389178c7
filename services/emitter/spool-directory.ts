/**
 * Directories of spools: `<data>/spool/<producer_id>/` with `owner.json`, `cursor` and segment files.
 *
 * A directory appears under its name only when it is complete, and changes hands only by rename. Its names are `.new-…`
 * while it is made, `<producer_id>` while its process lives, `<producer_id>@released` when it was closed with something
 * in it, and `<producer_id>@<adopter>` while somebody else delivers it.
 */
import { randomBytes } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Cursor } from './cursor.js';
import type { ProcessIdentity } from './process-identity.js';

export interface Owner extends ProcessIdentity {
  readonly name: string;
  readonly producer_id: string;
  readonly version: string;
  readonly started_at_ms: number;
}

/** Makes the directory of a new spool. Throws the file system's error, and leaves nothing behind then. */
export function makeSpoolDirectory(
  spools: string,
  owner: Omit<Owner, 'started_at_ms'>,
): { directory: string; cursor: Cursor } {
  mkdirSync(spools, { recursive: true, mode: 0o700 });
  const draft = join(spools, `.new-${randomBytes(6).toString('hex')}`);
  const directory = join(spools, owner.producer_id);
  mkdirSync(draft, { mode: 0o700 });
  let cursor: Cursor | undefined;
  try {
    const started: Owner = { ...owner, started_at_ms: Date.now() };
    writeFileSync(join(draft, 'owner.json'), `${JSON.stringify(started)}\n`, { mode: 0o600 });
    cursor = new Cursor(join(draft, 'cursor'), true);
    renameSync(draft, directory);
    return { directory, cursor };
  } catch (error) {
    cursor?.close();
    rmSync(draft, { recursive: true, force: true });
    throw error;
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

/** Gives a spool away that its process has closed, or removes it when it is empty. Never throws. */
export function releaseSpool(directory: string, isEmpty: boolean): void {
  try {
    // The name says that it may be taken although its process goes on.
    const released = `${directory}@released`;
    renameSync(directory, released);
    if (isEmpty) removeSpool(released);
  } catch {
    // Adopted already, or the directory is gone.
  }
}

/** Deletes a spool: in an order that lets nobody deliver a part of it again after a kill. */
export function removeSpool(directory: string): void {
  deleteSegments(directory);
  rmSync(directory, { recursive: true, force: true });
}

/** Oldest first: what is left after a kill is the end of the log, as if the rest had been reclaimed. */
export function deleteSegments(directory: string): void {
  for (const name of readdirSync(directory).sort()) if (name.endsWith('.segment')) unlinkSync(join(directory, name));
}
