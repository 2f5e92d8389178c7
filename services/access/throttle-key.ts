/**
 * The key that signs throttle signals (Ed25519), and the public keys that emitters of this user pin.
 *
 *   keys/throttle.key       private key (PKCS #8, PEM, 0600)
 *   keys/throttle-next.key  the one that the next rotation takes, where it was prepared
 *   keys/throttle.pub       public keys (SPKI, PEM), the newest first; `# until TIME` stands above one that was replaced
 *
 * Where the configuration names files of keys instead (`throttler.signing_key_file`, `throttler.public_keys_file`), those
 * are followed in the same way.
 *
 * Whoever takes signals takes those of every key that the file holds, so a key becomes public before it signs, and stays
 * public for a grace time after it was replaced.
 */
import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { dataPaths } from '../../schemas/data-directory.js';
import { AuditdError } from '../../schemas/errors.js';
import {
  isSignedBy,
  publicKeysOf,
  signSignal,
  type ThrottleSignal,
  throttleKeyId,
  type UnsignedSignal,
} from '../../schemas/throttle.js';

/** A key of the configuration: its text, and the file that holds it now, where it came from one. */
export interface GivenKey {
  readonly text: string;
  readonly file?: string | undefined;
}

export interface ThrottleKeysOptions {
  /** `throttler.signing_key`: PEM; the files of the data directory are not signed with then. */
  readonly signingKey?: GivenKey | undefined;
  /** `throttler.public_keys`: PEM; taken besides those of the data directory. */
  readonly publicKeys?: GivenKey | undefined;
}

/** A rotation is taken up at the latest after this time; a look at the files costs about 10 µs. */
const lookAgainMs = 1_000;

/**
 * The keys of a process, which follow their files while it runs. A file that cannot be read for now, or holds no such
 * key, leaves what it held before.
 */
export class ThrottleKeys {
  readonly #data: string;
  readonly #options: ThrottleKeysOptions;
  #given: Map<string, KeyObject>;
  #givenKey: KeyObject | undefined;
  #trusted = new Map<string, KeyObject>();
  #signing: { readonly privateKey: KeyObject; readonly keyId: string } | undefined;
  #seen = '';
  #nextLookMs = 0;

  /** @throws AuditdError `configuration_invalid` when a key is no Ed25519 key. */
  constructor(data: string, options: ThrottleKeysOptions) {
    this.#data = data;
    this.#options = options;
    const { signingKey, publicKeys } = options;
    try {
      this.#given = publicKeysOf(publicKeys?.text ?? '');
    } catch (error) {
      throw new AuditdError('configuration_invalid', `throttler.public_keys: ${(error as Error).message}`);
    }
    this.#givenKey = signingKey && readKey(signingKey.text, 'throttler.signing_key');
    this.#look();
  }

  /** The id of the key that signs, which is made where there is none. */
  get signingKeyId(): string {
    this.#lookNowAndThen();
    return this.#signingKey().keyId;
  }

  sign(signal: UnsignedSignal): ThrottleSignal {
    const { privateKey, keyId } = this.#signingKey();
    return signSignal(signal, privateKey, keyId);
  }

  /** Whether a key that counts now signed it. */
  isTrusted(signal: ThrottleSignal): boolean {
    this.#lookNowAndThen();
    const key = this.#trusted.get(signal.key_id);
    return key !== undefined && isSignedBy(signal, key);
  }

  #signingKey(): { readonly privateKey: KeyObject; readonly keyId: string } {
    if (this.#signing === undefined) {
      const path = dataPaths.throttleKey(this.#data);
      if (!isThere(path)) rotateThrottleKey(this.#data, 0);
      this.#look();
      this.#signWith(readKey(readFileSync(path, 'utf8'), path));
    }
    return this.#signing as { privateKey: KeyObject; keyId: string };
  }

  #signWith(privateKey: KeyObject): void {
    const publicKey = createPublicKey(privateKey);
    this.#signing = { privateKey, keyId: throttleKeyId(publicKey) };
    this.#trusted.set(this.#signing.keyId, publicKey);
  }

  #lookNowAndThen(): void {
    if (Date.now() < this.#nextLookMs) return;
    this.#look();
  }

  /** Reads the files that changed; an `until` that has passed counts without a change. */
  #look(): void {
    this.#nextLookMs = Date.now() + lookAgainMs;
    const path = dataPaths.throttlePublicKeys(this.#data);
    const { signingKey, publicKeys } = this.#options;
    this.#given = reread(publicKeys, readPublic) ?? this.#given;
    this.#givenKey = reread(signingKey, (text) => readKey(text, 'throttler.signing_key')) ?? this.#givenKey;
    this.#trusted = new Map(this.#given);
    if (isThere(path)) for (const [id, key] of publicKeysOf(readFileSync(path, 'utf8'))) this.#trusted.set(id, key);
    const privatePath = dataPaths.throttleKey(this.#data);
    const stat = statSync(privatePath, { throwIfNoEntry: false, bigint: true });
    const seen = stat === undefined ? '' : `${stat.ino} ${stat.mtimeNs} ${stat.size}`;
    if (this.#givenKey !== undefined) this.#signWith(this.#givenKey);
    else if (seen !== this.#seen) this.#signing = undefined;
    this.#seen = seen;
  }
}

function readPublic(pem: string): Map<string, KeyObject> {
  const keys = publicKeysOf(pem);
  if (keys.size === 0) throw new Error('no public key');
  return keys;
}

/** What the file of a key holds now; undefined when there is none, or it cannot be read. */
function reread<T>(given: GivenKey | undefined, read: (text: string) => T): T | undefined {
  if (given?.file === undefined) return undefined;
  try {
    return read(readFileSync(given.file, 'utf8'));
  } catch {
    return undefined;
  }
}

/** Makes the key that the next rotation takes, and its public half known. Returns its id. */
export function prepareThrottleKey(data: string): string {
  const next = dataPaths.throttleNextKey(data);
  if (isThere(next)) return throttleKeyId(createPublicKey(readKey(readFileSync(next, 'utf8'), next)));
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  // The public key first: who takes signals must know it before the first one that it vouches for.
  writePublicKeys(data, [String(publicKey.export({ type: 'spki', format: 'pem' })), ...readPublicKeys(data)]);
  replaceFile(next, String(privateKey.export({ type: 'pkcs8', format: 'pem' })), 0o600);
  return throttleKeyId(publicKey);
}

/**
 * Puts the prepared key, or a new one, in the place of the one that signs. Running throttlers sign with it within a
 * second, all that holds anew; signals of the one before are taken for `graceMs` more.
 * @returns the new key's id.
 */
export function rotateThrottleKey(data: string, graceMs: number): string {
  const id = prepareThrottleKey(data);
  const until = new Date(Date.now() + graceMs).toISOString();
  const known = readPublicKeys(data).filter((entry) => publicKeysOf(entry).size > 0);
  writePublicKeys(
    data,
    known.map((entry) =>
      publicKeysOf(entry).has(id) || entry.startsWith('# until ') ? entry : `# until ${until}\n${entry}`,
    ),
  );
  renameSync(dataPaths.throttleNextKey(data), dataPaths.throttleKey(data));
  return id;
}

/** Each key with the line above it. */
function readPublicKeys(data: string): string[] {
  const path = dataPaths.throttlePublicKeys(data);
  if (!isThere(path)) return [];
  return readFileSync(path, 'utf8').match(/(?:^# until \S+\n)?-----BEGIN[^-]+-----[^-]+-----END[^-]+-----\n?/gm) ?? [];
}

function writePublicKeys(data: string, entries: readonly string[]): void {
  const text = entries.map((entry) => (entry.endsWith('\n') ? entry : `${entry}\n`)).join('');
  replaceFile(dataPaths.throttlePublicKeys(data), text, 0o644);
}

function isThere(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false }) !== undefined;
}

function readKey(pem: string, where: string): KeyObject {
  let key: KeyObject | undefined;
  try {
    key = createPrivateKey(pem);
  } catch {
    key = undefined;
  }
  if (key?.asymmetricKeyType !== 'ed25519')
    throw new AuditdError('configuration_invalid', `${where}: expected an Ed25519 private key (PKCS #8, PEM).`);
  return key;
}

function replaceFile(path: string, text: string, mode: number): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const aside = `${path}.${process.pid}`;
  writeFileSync(aside, text, { mode });
  renameSync(aside, path);
}
