/**
 * daemon.json: who holds a data directory and where it listens.
 *
 * Invariants: the file appears complete or not at all; it is made by link(2), so of two processes one wins; it is taken
 * over only when the process it names does not live any more (a pid that was given out again has another start time; one
 * that cannot be asked, in another container, has been silent for a minute). The store's own lock stands behind it.
 */
import { randomBytes } from 'node:crypto';
import { linkSync, readFileSync, renameSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { z } from 'zod';
import { dataPaths } from '../../schemas/data-directory.js';
import { AuditdError } from '../../schemas/errors.js';
import { lifeOf, ownIdentity } from '../emitter/process-identity.js';

const holderFile = z.object({
  pid: z.int().min(1),
  process_start: z.string(),
  boot_id: z.string(),
  pid_namespace: z.string(),
  /** Tells a machine that was started again from another one on a shared disk. */
  host: z.string(),
  version: z.string(),
  started_at: z.string(),
  url: z.url().optional(),
});

/** What daemon.json says. `url` is there once the daemon listens. */
export type Holder = z.infer<typeof holderFile>;

/** The holder touches daemon.json this often, for those who cannot ask whether it lives. */
const heartbeatMs = 10_000;
/** Six heartbeats: then a holder elsewhere has ended. */
const silenceMs = 60_000;

/** Who holds the directory, or undefined when nobody does: no file, a torn one, or one of a process that ended. */
export function readHolder(data: string): Holder | undefined {
  try {
    const path = dataPaths.daemon(data);
    const holder = holderFile.parse(JSON.parse(readFileSync(path, 'utf8')));
    return hasEnded(holder, path) ? undefined : holder;
  } catch {
    return undefined;
  }
}

function hasEnded(holder: Holder, path: string): boolean {
  const life = lifeOf(holder);
  if (life !== 'elsewhere') return life === 'dead';
  const restarted = holder.host === hostname() && holder.boot_id !== ownIdentity().boot_id;
  return restarted || Date.now() - statSync(path).mtimeMs > silenceMs;
}

/** Whether a signal of this process reaches the holder. */
export function isReachable(holder: Holder): boolean {
  return lifeOf(holder) === 'alive';
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
  const own: Holder = { ...ownIdentity(), host: hostname(), version, started_at };
  const write = (holder: Holder): string => {
    const temporary = `${path}.${process.pid}.${randomBytes(4).toString('hex')}`;
    try {
      writeFileSync(temporary, `${JSON.stringify(holder)}\n`, { mode: 0o600, flag: 'wx', flush: true });
      return temporary;
    } catch (error) {
      rmSync(temporary, { force: true });
      throw error;
    }
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
  let current = own;
  const publish = (holder: Holder): void => {
    current = holder;
    renameSync(write(holder), path);
  };
  const heartbeat = setInterval(() => {
    try {
      // Somebody may have damaged or deleted the file: then nobody would find us, and a second daemon would try to start.
      if (readHolder(data) === undefined) publish(current);
      else utimesSync(path, new Date(), new Date());
    } catch {
      // A disk that is full or gone is told of elsewhere, and who can ask us needs no heartbeat.
    }
  }, heartbeatMs).unref();
  return {
    startedAt: started_at,
    publish(url) {
      publish({ ...own, url });
    },
    release() {
      clearInterval(heartbeat);
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
    if (holder.success && !hasEnded(holder.data, aside)) linkSync(aside, path);
  } catch {
    // Torn by a power loss, or another taker was quicker: nothing to put back.
  } finally {
    rmSync(aside, { force: true });
  }
}
