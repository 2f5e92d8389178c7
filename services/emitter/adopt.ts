/**
 * Spools whose process has ended, and who delivers them: the next emitter or the daemon.
 *
 * A spool is claimed by renaming it to `<producer_id>@<who claims it>`: of two claimants one wins, and a claim whose
 * process has died is claimed again. It is given back by renaming it to `<producer_id>@released`.
 */
import { createHash } from 'node:crypto';
import { readdirSync, renameSync, rmSync, statSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { dataPaths, resolveDataDirectory } from '../../schemas/data-directory.js';
import { complainOnce } from './complaints.js';
import { Delivery } from './delivery.js';
import { HttpSink } from './http-sink.js';
import { OrphanedSpool } from './orphan.js';
import { lifeOf, ownIdentity, type ProcessIdentity } from './process-identity.js';
import type { Sink } from './sink.js';
import { type Owner, readOwner, removeSpool } from './spool-directory.js';

/** Fifteen heartbeats of 20 s: a process that can't be asked whether it lives counts as dead after that. */
const silenceMs = 5 * 60_000;
/** A directory that was being made, or removed, when its process died. */
const draftLifeMs = 10 * 60_000;
/** While we deliver we are silent to those who can't ask whether we live, so the claim is renewed. */
const renewMs = 20_000;
/** An emitter looks soon after its start, and then rarely: where a daemon runs, that one is quicker. */
const firstLookMs = 200;
const furtherLookMs = 60_000;
/** A look reads one small file for each spool; so many of them take about a millisecond. */
const looksPerTurn = 20;

export interface AdoptionOptions {
  /** The data directory. Default: MCP_AUDITD_DATA, else the XDG state directory. */
  readonly data?: string;
  readonly signal?: AbortSignal;
  /** Where the events go. Default: the gateway of the data directory. */
  readonly sink?: Sink;
}

/** What one round of adoption did. */
export interface AdoptionReport {
  /** Spools that were delivered whole and removed. */
  adopted: number;
  /** Events that are durable in the sink. */
  delivered: number;
}

/**
 * Delivers every orphaned spool of a data directory once. One that the sink can't take now is given back.
 * Rejects with the file system's error when the spools cannot be listed.
 */
export async function adoptOrphans(options: AdoptionOptions): Promise<AdoptionReport> {
  const data = resolveDataDirectory(options.data);
  const sink = options.sink ?? new HttpSink(data, {});
  const report: AdoptionReport = { adopted: 0, delivered: 0 };
  const spools = dataPaths.spool(data);
  try {
    let looks = 0;
    for (const name of listSpools(spools)) {
      if (++looks % looksPerTurn === 0) await nextTurn();
      if (options.signal?.aborted) break;
      const claimed = claim(spools, name);
      if (claimed === undefined) continue;
      const isWhole = await deliver(data, claimed, sink, options.signal, report);
      // The sink can't take it now, and it won't take the next one either.
      if (!isWhole) break;
    }
    return report;
  } finally {
    if (options.sink === undefined) sink.close();
  }
}

/** Looks for orphans again and again while an emitter lives. Keeps no process alive. */
export class Adopting {
  readonly #data: string;
  readonly #sink: Sink;
  readonly #abort = new AbortController();
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> = Promise.resolve();

  constructor(data: string, sink: Sink) {
    this.#data = data;
    this.#sink = sink;
    this.#lookAfter(firstLookMs);
  }

  /** Gives back what is not delivered. */
  async close(): Promise<void> {
    this.#abort.abort();
    clearTimeout(this.#timer);
    await this.#running;
  }

  #lookAfter(ms: number): void {
    if (this.#abort.signal.aborted) return;
    this.#timer = setTimeout(() => {
      this.#running = this.#look();
    }, ms);
    this.#timer.unref();
  }

  async #look(): Promise<void> {
    try {
      await adoptOrphans({ data: this.#data, sink: this.#sink, signal: this.#abort.signal });
    } catch (error) {
      complainOnce('adopt', `spools of ended processes are not delivered: ${(error as Error).message}`);
    }
    this.#lookAfter(furtherLookMs);
  }
}

function listSpools(spools: string): string[] {
  try {
    return readdirSync(spools);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

interface Claimed {
  readonly producerId: string;
  readonly directory: string;
}

/** Takes a spool when nobody else has it. */
function claim(spools: string, name: string): Claimed | undefined {
  const directory = join(spools, name);
  if (name.startsWith('.')) {
    removeDraft(directory);
    return undefined;
  }
  const [producerId, holder] = name.split('@') as [string, string | undefined];
  try {
    if (!isOrphaned(directory, holder)) return undefined;
    const claimed = join(spools, `${producerId}@${holderText(ownIdentity())}`);
    renameSync(directory, claimed);
    touch(claimed);
    return { producerId, directory: claimed };
  } catch {
    // Somebody else was quicker.
    return undefined;
  }
}

function isOrphaned(directory: string, holder: string | undefined): boolean {
  if (holder === 'released') return true;
  const identity = holder === undefined ? readOwner(directory) : readHolder(holder);
  if (identity === undefined) return isSilent(directory);
  const life = lifeOf(identity);
  return life === 'dead' || (life === 'elsewhere' && isSilent(directory));
}

function isSilent(directory: string): boolean {
  const touched = statSync(join(directory, 'owner.json'), { throwIfNoEntry: false }) ?? statSync(directory);
  return Date.now() - touched.mtimeMs > silenceMs;
}

function removeDraft(directory: string): void {
  try {
    if (Date.now() - statSync(directory).mtimeMs > draftLifeMs) rmSync(directory, { recursive: true, force: true });
  } catch {
    // It has its name by now.
  }
}

/** A process in a file name: pid, start, pid namespace and boot, none of which holds a dot (the boot is hashed). */
function holderText({ pid, process_start, pid_namespace, boot_id }: ProcessIdentity): string {
  return `${pid}.${process_start}.${pid_namespace}.${bootText(boot_id)}`;
}

function bootText(bootId: string): string {
  return createHash('sha256').update(bootId).digest('hex').slice(0, 12);
}

function readHolder(text: string): ProcessIdentity | undefined {
  const [pid, process_start, pid_namespace, boot] = text.split('.');
  if (pid === undefined || process_start === undefined || pid_namespace === undefined) return undefined;
  const own = ownIdentity();
  const boot_id = boot === bootText(own.boot_id) ? own.boot_id : '';
  return { pid: Number(pid), process_start, pid_namespace, boot_id };
}

function touch(directory: string): void {
  const now = new Date();
  try {
    utimesSync(join(directory, 'owner.json'), now, now);
  } catch {
    // Its owner could not write the file; the directory's own time tells then.
  }
}

/** Delivers a claimed spool and removes it, or gives it back. False when the sink can't take more now. */
async function deliver(
  data: string,
  { producerId, directory }: Claimed,
  sink: Sink,
  signal: AbortSignal | undefined,
  report: AdoptionReport,
): Promise<boolean> {
  const renewing = setInterval(() => touch(directory), renewMs);
  renewing.unref();
  let orphan: OrphanedSpool | undefined;
  let isDelivered = false;
  try {
    orphan = new OrphanedSpool(directory, readOwner(directory) ?? unknownOwner(producerId, directory));
    const delivery = new Delivery(orphan, sink, { lingerMs: 0, rejectedPath: dataPaths.rejected(data) });
    const stop = (): void => void delivery.close();
    signal?.addEventListener('abort', stop, { once: true });
    try {
      await delivery.deliverNow();
    } finally {
      signal?.removeEventListener('abort', stop);
      await delivery.close();
      report.delivered += delivery.delivered;
    }
    isDelivered = orphan.isDelivered;
    return isDelivered;
  } catch (error) {
    complainOnce(`adopt:${producerId}`, `the spool ${directory} cannot be delivered: ${(error as Error).message}`);
    return true;
  } finally {
    clearInterval(renewing);
    orphan?.close();
    if (isDelivered) {
      removeSpool(directory);
      report.adopted += 1;
    } else giveBack(directory, producerId);
  }
}

function giveBack(directory: string, producerId: string): void {
  try {
    renameSync(directory, join(directory, '..', `${producerId}@released`));
  } catch (error) {
    // The claim ends with this process.
    complainOnce('give-back', `the spool ${directory} cannot be given back: ${(error as Error).message}`);
  }
}

/** What is known of a spool whose owner.json is gone. */
function unknownOwner(producerId: string, directory: string): Owner {
  const started_at_ms = Math.floor(statSync(directory).birthtimeMs);
  return { ...ownIdentity(), name: '', producer_id: producerId, version: '', started_at_ms };
}
