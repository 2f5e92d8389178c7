/**
 * daemon.json: who holds a data directory and where it listens.
 *
 * Invariants: the file appears complete or not at all; it is made by link(2), so of two processes one wins; it is taken
 * over only when the process it names does not live any more (a pid that was given out again has another start time).
 * The store's own lock stands behind it.
 */
import { randomBytes } from 'node:crypto';
import { linkSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { z } from 'zod';
import { dataPaths } from '../../schemas/data-directory.js';
import { AuditdError } from '../../schemas/errors.js';
import { lifeOf, ownIdentity } from '../emitter/process-identity.js';

const holderFile = z.object({
  pid: z.int().min(1),
  process_start: z.string(),
  boot_id: z.string(),
  pid_namespace: z.string(),
  version: z.string(),
  started_at: z.string(),
  url: z.url().optional(),
});

/** What daemon.json says. `url` is there once the daemon listens. */
export type Holder = z.infer<typeof holderFile>;

/** Who holds the directory, or undefined when nobody does: no file, a torn one, or one of a process that ended. */
export function readHolder(data: string): Holder | undefined {
  try {
    const holder = holderFile.parse(JSON.parse(readFileSync(dataPaths.daemon(data), 'utf8')));
    return lifeOf(holder) === 'dead' ? undefined : holder;
  } catch {
    return undefined;
  }
}

export interface Hold {
  readonly startedAt: string;
  /** Tells where the daemon listens. */
  publish(url: string): void;
  release(): void;
}

/** Takeovers of a file that keeps coming back; more than two means that others start at the same time and win. */
const maxAttempts = 5;

/** Takes the directory for this process. Throws `data_directory_held`, naming who holds it, since when and where. */
export function holdDataDirectory(data: string, version: string, now: number = Date.now()): Hold {
  const path = dataPaths.daemon(data);
  const started_at = new Date(now).toISOString();
  const own: Holder = { ...ownIdentity(), version, started_at };
  const write = (holder: Holder): string => {
    const temporary = `${path}.${process.pid}.${randomBytes(4).toString('hex')}`;
    writeFileSync(temporary, `${JSON.stringify(holder)}\n`, { mode: 0o600, flag: 'wx' });
    return temporary;
  };
  for (let attempt = 1; ; attempt++) {
    const temporary = write(own);
    try {
      linkSync(temporary, path);
      break;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    } finally {
      rmSync(temporary, { force: true });
    }
    const holder = readHolder(data);
    if (holder !== undefined || attempt === maxAttempts)
      throw new AuditdError(
        'data_directory_held',
        holder === undefined
          ? `${data} is being taken by another process.`
          : `${data} is held by process ${holder.pid} since ${holder.started_at}${holder.url === undefined ? ', which is starting' : `, listening on ${holder.url}`}.`,
      );
    takeAway(path);
  }
  return {
    startedAt: started_at,
    publish(url) {
      renameSync(write({ ...own, url }), path);
    },
    release() {
      if (readHolder(data)?.pid === process.pid) rmSync(path, { force: true });
    },
  };
}

/** Removes the file of a dead process. Renaming first gives it to one taker only; what lives by now is put back. */
function takeAway(path: string): void {
  const aside = `${path}.${process.pid}.${randomBytes(4).toString('hex')}.dead`;
  try {
    renameSync(path, aside);
  } catch {
    return;
  }
  try {
    const holder = holderFile.safeParse(JSON.parse(readFileSync(aside, 'utf8')));
    if (holder.success && lifeOf(holder.data) !== 'dead') linkSync(aside, path);
  } catch {
    // Torn by a power loss, or another taker was quicker: nothing to put back.
  } finally {
    rmSync(aside, { force: true });
  }
}
