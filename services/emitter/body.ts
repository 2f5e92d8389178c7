import { cutAt, type Notes, type Redactor } from './redaction.js';

export interface BodyLimits {
  /** Bytes of the stored JSON text. */
  readonly maxBytes: number;
  /** Characters of one string. */
  readonly maxStringLength: number;
  /** Levels of nesting. */
  readonly maxDepth: number;
}

export interface Body {
  /** Valid JSON text without secrets, within the limits. */
  readonly text: string;
  readonly truncated: boolean;
}

/** Text inside a string that is JSON itself is searched this deep. */
const maxInnerDepth = 4;
/** Members of a value that can't be serialised as it is (a cycle, a BigInt) which are looked at. */
const maxPlainMembers = 10_000;

/**
 * JSON text of any value. Never throws: what JSON.stringify refuses (cycles, BigInt, accessors and toJSON that throw,
 * nesting that exhausts the stack) is replaced by a note of it.
 */
export function serialise(value: unknown): string {
  try {
    return JSON.stringify(value) ?? 'null';
  } catch {
    return JSON.stringify(plain(value, new Set(), { left: maxPlainMembers })) ?? 'null';
  }
}

function plain(value: unknown, above: Set<object>, members: { left: number }): unknown {
  if (typeof value === 'bigint') return value.toString();
  if (typeof value === 'function' || typeof value === 'symbol') return undefined;
  if (typeof value !== 'object' || value === null) return value;
  if (above.has(value)) return '[cycle]';
  if (above.size >= 128 || members.left <= 0) return '[too deep]';
  above.add(value);
  try {
    if (Array.isArray(value)) {
      const items: unknown[] = [];
      for (let index = 0; index < value.length && members.left-- > 0; index++)
        items.push(member(value, index, above, members) ?? null);
      return items;
    }
    const copy: Record<string, unknown> = Object.create(null) as Record<string, unknown>;
    for (const name of Object.keys(value)) {
      if (members.left-- <= 0) break;
      copy[name] = member(value, name, above, members);
    }
    return copy;
  } catch {
    // A proxy that refuses to tell its members.
    return '[unreadable]';
  } finally {
    above.delete(value);
  }
}

function member(value: object, name: string | number, above: Set<object>, members: { left: number }): unknown {
  try {
    return plain((value as Record<string | number, unknown>)[name], above, members);
  } catch {
    return '[unreadable]';
  }
}

/** Redacts and bounds a body that was serialised by `serialise`. Never throws. */
export function boundBody(text: string, path: string, redactor: Redactor, limits: BodyLimits, notes: Notes): Body {
  // Nothing suspicious, small, and not deep: by far the most frequent case costs one pass.
  if (
    text.length * 3 <= limits.maxBytes * 3 &&
    Buffer.byteLength(text) <= limits.maxBytes &&
    text.length <= limits.maxStringLength &&
    !isDeep(text, limits.maxDepth) &&
    !redactor.suspects(text)
  ) {
    return { text, truncated: false };
  }
  const writer = new BodyWriter(redactor, limits, notes);
  try {
    return writer.write(JSON.parse(text), path);
  } catch {
    return { text: '"[unreadable]"', truncated: true };
  }
}

/** Whether brackets, wherever they stand, could nest deeper than the limit. */
function isDeep(text: string, maxDepth: number): boolean {
  let brackets = 0;
  for (let at = text.indexOf('{'); at >= 0; at = text.indexOf('{', at + 1)) if (++brackets > maxDepth) break;
  if (brackets <= maxDepth) {
    for (let at = text.indexOf('['); at >= 0; at = text.indexOf('[', at + 1)) if (++brackets > maxDepth) break;
  }
  if (brackets <= maxDepth) return false;
  let depth = 0;
  let inString = false;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (inString) {
      if (code === 92) at++;
      else if (code === 34) inString = false;
    } else if (code === 34) inString = true;
    else if (code === 123 || code === 91) {
      if (++depth > maxDepth) return true;
    } else if (code === 125 || code === 93) depth--;
  }
  return false;
}

/** Writes a parsed JSON value as text, without its secrets, until the limit is reached; what was begun is closed. */
class BodyWriter {
  #left: number;
  #truncated = false;
  #parts: string[] = [];

  constructor(
    readonly redactor: Redactor,
    readonly limits: BodyLimits,
    readonly notes: Notes,
  ) {
    this.#left = limits.maxBytes;
  }

  write(value: unknown, path: string): Body {
    this.#value(value, path, 0, 0);
    return { text: this.#parts.join(''), truncated: this.#truncated };
  }

  #emit(text: string): void {
    this.#parts.push(text);
    this.#left -= Buffer.byteLength(text);
  }

  #value(value: unknown, path: string, depth: number, inner: number): void {
    if (typeof value === 'string') this.#string(value, path, inner);
    else if (typeof value === 'number' && this.redactor.isSecretNumber(value)) {
      this.notes.add(path, 'card_number');
      this.#emit('"[redacted:card_number]"');
    } else if (typeof value !== 'object' || value === null) this.#emit(JSON.stringify(value));
    else if (depth >= this.limits.maxDepth) {
      this.#truncated = true;
      this.#emit('"[too deep]"');
    } else if (Array.isArray(value)) this.#array(value, path, depth, inner);
    else this.#object(value as Record<string, unknown>, path, depth, inner);
  }

  /** Room for the shortest member, the note behind it and the closing brackets of everything around it. */
  #isFull(depth: number): boolean {
    if (this.#left >= 64 + depth * 2) return false;
    this.#truncated = true;
    return true;
  }

  #array(items: readonly unknown[], path: string, depth: number, inner: number): void {
    this.#emit('[');
    for (let index = 0; index < items.length; index++) {
      if (this.#isFull(depth)) break;
      if (index > 0) this.#emit(',');
      this.#value(items[index], `${path}.${index}`, depth + 1, inner);
    }
    this.#emit(']');
  }

  #object(members: Record<string, unknown>, path: string, depth: number, inner: number): void {
    this.#emit('{');
    let isFirst = true;
    for (const name of Object.keys(members)) {
      if (this.#isFull(depth)) break;
      const kept = this.redactor.text(name, path, this.notes, 256);
      if (kept.cut) this.#truncated = true;
      const nameText = JSON.stringify(kept.text);
      if (Buffer.byteLength(nameText) > this.#left - 64 - depth * 2) {
        this.#left = 0;
        this.#truncated = true;
        break;
      }
      this.#emit(`${isFirst ? '' : ','}${nameText}:`);
      isFirst = false;
      const value = members[name];
      const memberPath = path.length > 256 ? path : `${path}.${kept.text}`;
      if (this.redactor.names.has(name) && value !== null && typeof value !== 'boolean' && value !== '') {
        this.notes.add(memberPath, 'key');
        this.#emit('"[redacted]"');
      } else this.#value(value, memberPath, depth + 1, inner);
    }
    this.#emit('}');
  }

  #string(value: string, path: string, inner: number): void {
    const innerText = inner < maxInnerDepth ? this.#innerJson(value, path, inner) : undefined;
    const room = Math.max(0, Math.min(this.limits.maxStringLength, this.#left));
    const kept =
      innerText === undefined
        ? this.redactor.text(value, path, this.notes, room)
        : { text: cutAt(innerText, Math.min(room, innerText.length)), cut: innerText.length > room };
    let text = JSON.stringify(kept.text);
    let cut = kept.cut;
    // Escapes and UTF-8 make it longer than its characters; halving ends after a few rounds.
    for (let length = kept.text.length; text.length > 2 && Buffer.byteLength(text) > this.#left - 32; ) {
      length = Math.floor(length / 2);
      text = JSON.stringify(cutAt(kept.text, length));
      cut = true;
    }
    if (cut) this.#truncated = true;
    this.#emit(text);
  }

  /** A string that is JSON text of an object or array, redacted as such; undefined when it is not, or holds no secret. */
  #innerJson(value: string, path: string, inner: number): string | undefined {
    if (value.length > this.limits.maxBytes || !/^\s*[{[]/.test(value) || !this.redactor.suspects(value))
      return undefined;
    let parsed: unknown;
    try {
      parsed = JSON.parse(value);
    } catch {
      return undefined;
    }
    const before = this.notes.list.length;
    const outer = { parts: this.#parts, left: this.#left };
    this.#parts = [];
    this.#left = this.limits.maxBytes;
    this.#value(parsed, path, 0, inner + 1);
    const text = this.#parts.join('');
    this.#parts = outer.parts;
    this.#left = outer.left;
    // Written anew only where something was replaced: numbers and spaces stay as they were otherwise.
    return this.notes.list.length > before || before >= 63 ? text : undefined;
  }
}
