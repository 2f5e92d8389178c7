/**
 * API keys: who may emit events and who may read them.
 *
 * A key is 256 random bits behind a prefix that names its role (`mca_emit_…`, `mca_read_…`), so that redaction and
 * secret scanners find a leaked one. At rest only its SHA-256 is kept: with 2^256 equally likely keys there is nothing
 * to guess, and a slow password hash would only slow down every request.
 *
 * Invariants:
 * - keys.json and the files below keys/ appear complete or not at all (written aside, then renamed or linked), 0600.
 * - A change is made under keys.json.lock, so two commands at once cannot lose one another's change.
 * - A revoked key never comes back by itself: `ensureKeys` only touches an entry when it makes the key file as well.
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { linkSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import { AuditdError } from '../../schemas/errors.js';

/**
 * What a key allows: `emit` sends events to the gateway, `read` asks for them, `respond` says what people decided, `call`
 * calls a server through the HTTP proxy, `admin` reads, decides, and makes and revokes keys of its tenant by the API.
 */
export const keyRoles = ['emit', 'read', 'respond', 'call', 'admin'] as const;
export type KeyRole = (typeof keyRoles)[number];

/** Whether a key may do what a role allows. */
export function may({ role }: Pick<KeyEntry, 'role'>, wanted: KeyRole): boolean {
  return role === wanted || (role === 'admin' && (wanted === 'read' || wanted === 'respond'));
}

/** The key of each role that this user's own emitters and commands find; the others are made by hand. */
type OwnRole = Exclude<KeyRole, 'call' | 'admin'>;
const ownRoles = ['emit', 'read', 'respond'] as const satisfies readonly OwnRole[];
const ownKeys: Readonly<Record<OwnRole, string>> = { emit: 'emitter', read: 'reader', respond: 'responder' };

/** Tenant of a key that sees the rows of every tenant. */
export const everyTenant = '*';

/** A key as keys.json holds it. */
export interface KeyEntry {
  readonly name: string;
  readonly role: KeyRole;
  readonly tenant: string;
  /** SHA-256 of the key's text, 64 lower-case hex digits. */
  readonly hash: string;
  /** RFC 3339, UTC. */
  readonly created_at: string;
}

/** The one tenant whose rows a key sees; undefined: those of every tenant. */
export function tenantSeen({ tenant }: Pick<KeyEntry, 'tenant'>): string | undefined {
  return tenant === everyTenant ? undefined : tenant;
}

/** The tenant for which a key decides: who sees every tenant does so as the operator, whose tenant is `default`. */
export function tenantDecided({ tenant }: Pick<KeyEntry, 'tenant'>): string {
  return tenant === everyTenant ? 'default' : tenant;
}

/** Every request compares with every key: 1,000 comparisons of 32 bytes are about 0.1 ms, the most a request may wait. */
const keysLimit = 1_000;
/** The longest key we make has 52 characters; what is longer is no key and is not worth hashing. */
const keyLengthLimit = 256;
/** A change to keys.json is seen at the latest after this time; a stat costs about 2 µs. */
const reloadIntervalMs = 1_000;
/** A change takes milliseconds, so a lock that is held for longer than this is reported and not waited for. */
const lockWaitMs = 5_000;
const lockPollMs = 20;

const nameText = z.string().min(1).max(256);
const keysFile = z
  .array(
    z.strictObject({
      name: nameText,
      role: z.enum(keyRoles),
      tenant: nameText,
      hash: z.string().regex(/^[0-9a-f]{64}$/, 'expected 64 hex digits (SHA-256)'),
      created_at: z.iso.datetime(),
    }),
  )
  .max(keysLimit);

const keysPath = (data: string): string => join(data, 'keys.json');

/** Path of the plain text key that `ensureKeys` leaves for this user's emitters or commands. */
export function keyFilePath(data: string, role: OwnRole): string {
  return join(data, 'keys', `${ownKeys[role]}.key`);
}

function digest(key: string): Buffer {
  return createHash('sha256').update(key, 'utf8').digest();
}

/** Throws `secret_file_readable` when somebody besides the owner may read the file. Windows has no such bits. */
function refuseReadable(path: string, mode: number): void {
  if (process.platform === 'win32' || (mode & 0o077) === 0) return;
  throw new AuditdError(
    'secret_file_readable',
    `${path} has mode ${(mode & 0o777).toString(8).padStart(4, '0')} and expected 0600: others than its owner can read it.`,
  );
}

function isMissing(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'ENOENT';
}

/**
 * Reads a file that holds one secret (a key), without the line end that an editor may have left.
 * Throws `secret_file_readable` when its mode is not 0600 or stricter, and the system's error when it is not there.
 */
export function readSecretFile(path: string): string {
  refuseReadable(path, statSync(path).mode);
  return readFileSync(path, 'utf8').trim();
}

/** Throws `keys_file_invalid` when others than its owner may change the file: they could add a key of their own. */
function refuseWritable(path: string, mode: number): void {
  if (process.platform === 'win32' || (mode & 0o022) === 0) return;
  throw new AuditdError(
    'keys_file_invalid',
    `${path} has mode ${(mode & 0o777).toString(8).padStart(4, '0')}: others than its owner can change it.`,
  );
}

/** The entries of the file; undefined when it is not there. */
function readEntries(path: string, refuseMode: typeof refuseReadable = refuseReadable): KeyEntry[] | undefined {
  let text: string;
  try {
    refuseMode(path, statSync(path).mode);
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (error) {
    throw new AuditdError('keys_file_invalid', `${path} is not JSON: ${(error as Error).message}`, { cause: error });
  }
  const result = keysFile.safeParse(parsed);
  if (result.success) return result.data;
  const issue = result.error.issues[0]!;
  throw new AuditdError('keys_file_invalid', `${path}: entry ${issue.path.join('.') || '(file)'}: ${issue.message}`);
}

function writeEntries(data: string, entries: readonly KeyEntry[]): void {
  const temporary = `${keysPath(data)}.${process.pid}.${randomBytes(4).toString('hex')}`;
  writeFileSync(temporary, `${JSON.stringify(entries, null, 2)}\n`, { mode: 0o600, flag: 'wx', flush: true });
  renameSync(temporary, keysPath(data));
}

/** Makes the file with all its content or not at all: the content is written aside and then linked to its name. */
function createSecretFile(path: string, text: string): void {
  const temporary = `${path}.${process.pid}.${randomBytes(4).toString('hex')}`;
  writeFileSync(temporary, `${text}\n`, { mode: 0o600, flag: 'wx', flush: true });
  try {
    linkSync(temporary, path);
  } finally {
    rmSync(temporary, { force: true });
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

async function underLock<T>(data: string, change: () => T): Promise<T> {
  mkdirSync(data, { recursive: true, mode: 0o700 });
  const path = `${keysPath(data)}.lock`;
  for (let waitedMs = 0; ; waitedMs += lockPollMs) {
    try {
      // Linked, not opened: a lock is never seen without the pid in it.
      createSecretFile(path, String(process.pid));
      break;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
    let holder = '';
    try {
      holder = readFileSync(path, 'utf8').trim();
    } catch (error) {
      if (!isMissing(error)) throw error;
      continue;
    }
    if (!isAlive(Number(holder))) {
      // Its maker was killed. Renaming takes it away for one of the waiters only.
      const dead = `${path}.${process.pid}.dead`;
      try {
        renameSync(path, dead);
        rmSync(dead, { force: true });
      } catch (error) {
        if (!isMissing(error)) throw error;
      }
      continue;
    }
    if (waitedMs >= lockWaitMs)
      throw new AuditdError('keys_file_busy', `${keysPath(data)} is being changed by process ${holder}.`);
    await delay(lockPollMs);
  }
  try {
    return change();
  } finally {
    rmSync(path, { force: true });
  }
}

function makeKey(name: string, role: KeyRole, tenant: string, now: number): { key: string; entry: KeyEntry } {
  const key = `mca_${role}_${randomBytes(32).toString('base64url')}`;
  return {
    key,
    entry: { name, role, tenant, hash: digest(key).toString('hex'), created_at: new Date(now).toISOString() },
  };
}

/**
 * Makes keys/emitter.key, keys/reader.key and keys/responder.key and their entries where they are missing: of the
 * tenant `default`, but the reader sees every tenant, because it belongs to whoever owns the data. Safe to call
 * at every start and from several processes. When keys.json was deleted, the key files that are left are entered anew.
 */
export async function ensureKeys(data: string, now: number = Date.now()): Promise<void> {
  await underLock(data, () => {
    mkdirSync(join(data, 'keys'), { recursive: true, mode: 0o700 });
    const found = readEntries(keysPath(data));
    let entries = found ?? [];
    for (const role of ownRoles) {
      const path = keyFilePath(data, role);
      const name = ownKeys[role];
      let existing: string | undefined;
      try {
        existing = readSecretFile(path);
      } catch (error) {
        if (!isMissing(error)) throw error;
      }
      const tenant = role === 'read' ? everyTenant : 'default';
      if (existing !== undefined && found !== undefined) {
        // Written when keys of this role had no tenant.
        if (entries.some((each) => each.name === name && each.role === 'read' && each.tenant === 'default')) {
          entries = entries.map((each) => (each.name === name ? { ...each, tenant } : each));
          writeEntries(data, entries);
        }
        continue;
      }
      const made = makeKey(name, role, tenant, now);
      const entry = existing === undefined ? made.entry : { ...made.entry, hash: digest(existing).toString('hex') };
      entries = [...entries.filter((each) => each.name !== name), entry];
      // The entry goes first: a kill in between leaves an entry without a file, which the next start replaces.
      writeEntries(data, entries);
      if (existing === undefined) createSecretFile(path, made.key);
    }
  });
}

/** The secret that signs sessions of the dashboard, made at the first call. */
export function sessionSecret(data: string): Buffer {
  const path = join(data, 'keys', 'session.secret');
  mkdirSync(join(data, 'keys'), { recursive: true, mode: 0o700 });
  try {
    createSecretFile(path, randomBytes(32).toString('base64url'));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
  return Buffer.from(readSecretFile(path), 'base64url');
}

export type ListedKey = Omit<KeyEntry, 'hash'>;
const withoutHash = ({ hash: _hash, ...rest }: KeyEntry): ListedKey => rest;

/** All keys, without their secrets, in the order in which they were made. */
export function listKeys(data: string): ListedKey[] {
  return (readEntries(keysPath(data)) ?? []).map(withoutHash);
}

/** Throws `key_name_invalid` for what can't be the name of a key or of a tenant. */
export function requireName(part: 'name' | 'tenant', text: string): void {
  if (!/^[\w.@:-]{1,256}$/.test(text))
    throw new AuditdError(
      'key_name_invalid',
      `The ${part} ${JSON.stringify(text)} is not 1 to 256 letters, digits or any of _ . @ : -`,
    );
}

/**
 * Makes a key and returns its text, which is kept nowhere and cannot be shown again.
 * Throws `key_name_taken`, and `keys_limit_reached` at 1,000 keys.
 */
export async function createKey(
  data: string,
  options: { name: string; role: KeyRole; tenant: string },
  now: number = Date.now(),
): Promise<{ key: string; entry: KeyEntry }> {
  requireName('name', options.name);
  if (options.tenant !== everyTenant || !may(options, 'read')) requireName('tenant', options.tenant);
  return underLock(data, () => {
    const entries = readEntries(keysPath(data)) ?? [];
    if (entries.some((entry) => entry.name === options.name))
      throw new AuditdError('key_name_taken', `There is a key named "${options.name}" already.`);
    if (entries.length >= keysLimit)
      throw new AuditdError('keys_limit_reached', `There are ${entries.length} keys, the most that are kept.`);
    const made = makeKey(options.name, options.role, options.tenant, now);
    writeEntries(data, [...entries, made.entry]);
    return made;
  });
}

/**
 * Removes a key; requests with it are refused within a second. Throws `key_unknown`, and what `check` throws, which sees
 * the keys as they are while nobody else changes them.
 */
export async function revokeKey(
  data: string,
  name: string,
  check?: (entries: readonly KeyEntry[]) => void,
): Promise<void> {
  await underLock(data, () => {
    const entries = readEntries(keysPath(data)) ?? [];
    check?.(entries);
    const rest = entries.filter((entry) => entry.name !== name);
    if (rest.length === entries.length)
      throw new AuditdError(
        'key_unknown',
        `There is no key named "${name}". There are: ${entries.map((entry) => entry.name).join(', ') || 'none'}.`,
      );
    writeEntries(data, rest);
  });
}

/** Answers whose key it is. */
export interface Keys {
  /** The key's entry, or undefined when nobody made it. Takes equally long for every key that is not there. */
  find(key: string): KeyEntry | undefined;
  /** The entry of a hash, for what a key has vouched for before; undefined once it was revoked, whoever has its name now. */
  ofHash(hash: string): KeyEntry | undefined;
  /** All of them as the file has them now, without their secrets. */
  list(): ListedKey[];
  /** The keys.json of another place, which this process never changes. */
  readonly file: string | undefined;
}

/**
 * Keys of a data directory, read again within a second after keys.json changed. A file that became unreadable or
 * invalid keeps the keys that were known, and is reported through `onError` once for each change. `file` is a keys.json
 * of another place, which must be there and may be readable by others, as it holds nothing but hashes.
 *
 * @throws AuditdError `secret_file_readable` or `keys_file_invalid` at the first reading.
 */
export function openKeys(
  data: string,
  options: { file?: string; clock?: () => number; onError?: (error: unknown) => void } = {},
): Keys {
  const clock = options.clock ?? Date.now;
  const path = options.file ?? keysPath(data);
  const fingerprint = (): string => {
    const stat = statSync(path, { throwIfNoEntry: false, bigint: true });
    return stat === undefined ? 'none' : `${stat.ino} ${stat.mtimeNs} ${stat.ctimeNs} ${stat.size}`;
  };
  const read = (): { entry: KeyEntry; hash: Buffer }[] => {
    const entries = options.file === undefined ? readEntries(path) : readEntries(path, refuseWritable);
    if (entries === undefined && options.file !== undefined)
      throw new AuditdError('keys_file_invalid', `${path} is not there.`);
    return (entries ?? []).map((entry) => ({ entry, hash: Buffer.from(entry.hash, 'hex') }));
  };
  // The fingerprint is taken before the content: a change in between is read once more, never missed.
  let seen = fingerprint();
  let known = read();
  let checkedAt = clock();
  const refresh = (atOnce = false): void => {
    const now = clock();
    if (!atOnce && now - checkedAt < reloadIntervalMs && now >= checkedAt) return;
    checkedAt = now;
    try {
      const current = fingerprint();
      if (current !== seen) {
        seen = current;
        known = read();
      }
    } catch (error) {
      options.onError?.(error);
    }
  };
  return {
    file: options.file,
    list() {
      refresh(true);
      return known.map(({ entry }) => withoutHash(entry));
    },
    ofHash(hash) {
      refresh();
      return known.find(({ entry }) => entry.hash === hash)?.entry;
    },
    find(key) {
      refresh();
      if (key.length > keyLengthLimit) return undefined;
      const hash = digest(key);
      let found: KeyEntry | undefined;
      // No early end: the time says nothing about which key, or how much of one, was right.
      for (const each of known) if (timingSafeEqual(each.hash, hash)) found = each.entry;
      return found;
    },
  };
}
