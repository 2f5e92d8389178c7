/**
 * The key that signs throttle signals (Ed25519), and the public keys that emitters of this user pin.
 *
 * keys/throttle.key is the private key (PKCS #8, PEM, 0600); keys/throttle.pub holds public keys (SPKI, PEM), the newest
 * first. Rotation puts the new one in front; emitters take signals of every key that the file holds.
 */
import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { dataPaths } from '../../schemas/data-directory.js';
import { AuditdError } from '../../schemas/errors.js';
import { publicKeysOf, throttleKeyId } from '../../schemas/throttle.js';

export interface SigningKey {
  readonly privateKey: KeyObject;
  readonly keyId: string;
}

/**
 * The signing key: the given PEM text, else that of the data directory, which is made where it is missing.
 * @throws AuditdError `configuration_invalid` when it is no Ed25519 key.
 */
export function openSigningKey(data: string, pem: string | undefined): SigningKey {
  const privateKey = pem === undefined ? ownKey(data) : readKey(pem, 'throttler.signing_key');
  return { privateKey, keyId: throttleKeyId(createPublicKey(privateKey)) };
}

/**
 * Every public key whose signals are taken, by id: those of the data directory and those given as PEM text.
 * @throws AuditdError `configuration_invalid` when one is no Ed25519 key.
 */
export function trustedKeys(data: string, pem: string | undefined): Map<string, KeyObject> {
  let keys = new Map<string, KeyObject>();
  try {
    keys = publicKeysOf(pem ?? '');
  } catch (error) {
    throw new AuditdError('configuration_invalid', `throttler.public_keys: ${(error as Error).message}`);
  }
  try {
    for (const [id, key] of publicKeysOf(readFileSync(dataPaths.throttlePublicKeys(data), 'utf8'))) keys.set(id, key);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
  return keys;
}

/** Makes a new signing key. Signals of the old one are taken until they run out. */
export function rotateSigningKey(data: string): SigningKey {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  const publicPath = dataPaths.throttlePublicKeys(data);
  let known = '';
  try {
    known = readFileSync(publicPath, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
  // The public key first: an emitter must know it before the first signal that it vouches for.
  replaceFile(publicPath, `${publicKey.export({ type: 'spki', format: 'pem' })}${known}`, 0o644);
  replaceFile(dataPaths.throttleKey(data), String(privateKey.export({ type: 'pkcs8', format: 'pem' })), 0o600);
  return { privateKey, keyId: throttleKeyId(publicKey) };
}

function ownKey(data: string): KeyObject {
  const path = dataPaths.throttleKey(data);
  try {
    return readKey(readFileSync(path, 'utf8'), path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
  return rotateSigningKey(data).privateKey;
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
