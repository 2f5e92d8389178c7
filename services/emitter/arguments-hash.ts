import { createHash, hash, randomBytes } from 'node:crypto';
import { linkSync, mkdirSync, readFileSync, unlinkSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';

/** SHA-256's block; HMAC's key is padded to it (RFC 2104). */
const blockBytes = 64;
const keyBytes = 32;

/** HMAC-SHA-256 of texts, first 16 hex digits: 64 bits, a chance of 1 in 37 million that two of a million are equal. */
export class ArgumentsHash {
  readonly #inner = Buffer.alloc(blockBytes, 0x36);
  readonly #outer = Buffer.alloc(blockBytes + 32, 0x5c);
  #buffer = Buffer.alloc(4096);

  constructor(key: Buffer) {
    const padded = key.length > blockBytes ? createHash('sha256').update(key).digest() : key;
    for (let at = 0; at < padded.length; at++) {
      this.#inner[at]! ^= padded[at]!;
      this.#outer[at]! ^= padded[at]!;
    }
    this.#inner.copy(this.#buffer);
  }

  /** Two one-shot digests: a third of the time of createHmac. */
  of(text: string): string {
    const needed = blockBytes + text.length * 3;
    let buffer = this.#buffer;
    if (needed > buffer.length) {
      buffer = Buffer.allocUnsafe(blockBytes + Buffer.byteLength(text));
      this.#inner.copy(buffer);
    }
    const length = buffer.write(text, blockBytes, 'utf8');
    // As a string, which costs half of what a Buffer does.
    const inner = hash('sha256', buffer.subarray(0, blockBytes + length), 'binary');
    this.#outer.write(inner, blockBytes, 'latin1');
    return hash('sha256', this.#outer, 'hex').slice(0, 16);
  }
}

/**
 * The key of `arguments_hash`, made when there is none: equal arguments have equal hashes in all servers of a data
 * directory, and no one without the key can try out values. Link after write: nobody ever reads half a key.
 * Throws the file system's error.
 */
export function argumentsKey(path: string): Buffer {
  for (let attempt = 0; ; attempt++) {
    try {
      const key = Buffer.from(readFileSync(path, 'latin1').trim(), 'hex');
      if (key.length >= keyBytes) return key;
      throw new Error(`${path} is no key of ${keyBytes} bytes in hex`);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || attempt > 0) throw error;
    }
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    const draft = `${path}.${randomBytes(6).toString('hex')}`;
    writeFileSync(draft, `${randomBytes(keyBytes).toString('hex')}\n`, { mode: 0o600, flag: 'wx' });
    try {
      linkSync(draft, path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    } finally {
      unlinkSync(draft);
    }
  }
}

/**
 * JSON text with the members of every object sorted by name: the same arguments in another order have the same hash.
 * Numbers and strings are as JSON.stringify writes them, which is what RFC 8785 asks for; names are sorted by UTF-16
 * code units, as it asks, too. `text` is JSON text of `JSON.stringify`.
 */
export function sortedJson(text: string): string {
  // Fewer than two members: there is nothing to sort.
  if (text.indexOf('":') === text.lastIndexOf('":')) return text;
  try {
    return sorted(JSON.parse(text));
  } catch {
    // Nested beyond the stack.
    return text;
  }
}

function sorted(value: unknown): string {
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map(sorted).join(',')}]`;
  const members = value as Record<string, unknown>;
  const names = Object.keys(members).sort();
  return `{${names.map((name) => `${JSON.stringify(name)}:${sorted(members[name])}`).join(',')}}`;
}
