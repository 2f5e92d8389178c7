import { createRequire } from 'node:module';
import { SecretNames } from './secret-names.js';
import { cardNumbers, isCardNumber, placePatterns, type SecretPattern, tokenPatterns } from './secret-patterns.js';
import { maySecret, nameBefore } from './secret-scan.js';

export interface RedactionOptions {
  /** Names whose values are redacted, beside the built-in ones; case and separators do not matter. */
  readonly names?: readonly string[];
  /** Patterns in RE2's syntax (linear time), with the kind that `redactions` shows. */
  readonly patterns?: readonly { readonly kind: string; readonly pattern: string }[];
  /** False turns the built-in names and patterns off. Default: true. */
  readonly builtIn?: boolean;
}

/** Longest text that is searched beyond what is kept of it: a secret across the limit is found, or cut off whole. */
const marginLength = 8192;
/** Notes of one event: enough to see what kind of data it was. The last one says that there were more. */
export const maxRedactions = 64;
/** A path of a note; names in it come from outside. */
const maxPathLength = 200;
/** Longest quoted value behind a name in text; what follows is another matter. */
const maxQuotedLength = 4096;

interface OperatorPattern {
  readonly kind: string;
  readonly regex: { matcher(text: string): { find(): boolean; replaceAll(replacement: string): string } };
}

/** What was replaced where: `result.content.0.text:jwt`. Bounded. */
export class Notes {
  readonly list: string[] = [];

  add(path: string, kind: string): void {
    if (this.list.length >= maxRedactions) return;
    const note = this.list.length === maxRedactions - 1 ? 'more:more' : `${path.slice(0, maxPathLength)}:${kind}`;
    if (this.list.at(-1) !== note) this.list.push(note.toWellFormed());
  }
}

declare global {
  interface String {
    /** Node 20 has it; the language level of the compiler does not know it yet. */
    toWellFormed(): string;
  }
}

/** Replaces secrets in text. Never throws once it is made. */
export class Redactor {
  readonly names: SecretNames;
  readonly #builtIn: boolean;
  readonly #operators: readonly OperatorPattern[];

  /** @throws TypeError naming the operator's pattern that is not RE2's syntax. */
  constructor(options: RedactionOptions = {}) {
    this.#builtIn = options.builtIn ?? true;
    this.names = new SecretNames(options.names ?? [], this.#builtIn);
    this.#operators = (options.patterns ?? []).map(compile);
  }

  /** Whether a text, or JSON text, may hold a secret. False is certain. */
  suspects(text: string): boolean {
    return this.#operators.length > 0 || maySecret(text, this.names);
  }

  /** The text without its secrets, at most `maxLength` characters of it. */
  text(text: string, path: string, notes: Notes, maxLength: number): { text: string; cut: boolean } {
    const isLong = text.length > maxLength + marginLength;
    let kept = isLong ? text.slice(0, maxLength + marginLength) : text;
    if (this.suspects(kept)) kept = this.#replace(kept, path, notes);
    // What lies in the margin may be the first part of a secret.
    const length = isLong ? Math.min(maxLength, Math.max(0, kept.length - marginLength)) : maxLength;
    if (kept.length <= length && !isLong) return { text: kept, cut: false };
    return { text: cutAt(kept, length), cut: true };
  }

  /** The number as it may be kept; a card number is one as a number, too. */
  isSecretNumber(value: number): boolean {
    return this.#builtIn && isCardNumber(String(value));
  }

  #replace(text: string, path: string, notes: Notes): string {
    let kept = text;
    for (const { kind, regex } of this.#operators) {
      const matcher = regex.matcher(kept);
      if (!matcher.find()) continue;
      notes.add(path, kind);
      kept = regex.matcher(kept).replaceAll(`[redacted:${kind}]`);
    }
    if (this.#builtIn) {
      kept = replaceFirst(kept, tokenPatterns, path, notes);
      for (const pattern of placePatterns) kept = replaceFirst(kept, [pattern], path, notes);
      kept = replaceFirst(kept, [cardNumbers], path, notes);
    }
    return this.#replaceAssigned(kept, path, notes);
  }

  /** `password=…`, `"token": "…"`, `Authorization: …` in text that is not JSON, or no longer. */
  #replaceAssigned(text: string, path: string, notes: Notes): string {
    let kept = '';
    let copied = 0;
    const separators = /[:=]/g;
    for (let found = separators.exec(text); found !== null; found = separators.exec(text)) {
      const name = nameBefore(text, found.index);
      if (name === '' || !this.names.has(name)) continue;
      const value = assignedValue(text, found.index + 1, name);
      if (value === undefined) continue;
      notes.add(path, 'assignment');
      kept += `${text.slice(copied, value.start)}[redacted]`;
      copied = value.end;
      separators.lastIndex = Math.max(value.end, found.index + 1);
    }
    return copied === 0 ? text : kept + text.slice(copied);
  }
}

/**
 * Replaces every match of the patterns. Of matches that overlap the first decides what the secret is, and all of them
 * are hidden: a key may hold three letters with which another kind begins.
 */
function replaceFirst(text: string, patterns: readonly SecretPattern[], path: string, notes: Notes): string {
  const found: { start: number; end: number; kind: string; replacement: string }[] = [];
  for (const { kind, hints, pattern, replace } of patterns) {
    if (hints.length > 0 && !hints.some((hint) => text.includes(hint))) continue;
    const marker = `[redacted:${kind}]`;
    for (const match of text.matchAll(pattern)) {
      const replacement = replace === undefined ? marker : replace(match[0], marker);
      if (replacement === undefined) continue;
      found.push({ start: match.index, end: match.index + match[0].length, kind, replacement });
    }
  }
  if (found.length === 0) return text;
  found.sort((left, right) => left.start - right.start);
  let kept = '';
  let copied = 0;
  for (const { start, end, kind, replacement } of found) {
    if (start >= copied) {
      kept += text.slice(copied, start) + replacement;
      notes.add(path, kind);
    }
    copied = Math.max(copied, end);
  }
  return kept + text.slice(copied);
}

const valueStart = />?[ \t]{0,4}/y;
const quotedStart = /\\{0,7}["'`]/y;
const bareValue = /[^\s"'`,;&<>(){}[\]\\]*/y;
const lineValue = /[^\r\n"'`\\]*/y;
/** Values that are no secret: words of code and configuration, and what this very pass has written. */
const harmlessValue = /^(?:null|true|false|none|undefined|string|number|boolean|str|int|any|unknown|)$/i;

/** Where the value after a separator stands, without its quotes; undefined when there is none worth hiding. */
function assignedValue(text: string, from: number, name: string): { start: number; end: number } | undefined {
  // A comparison assigns nothing.
  if (text[from] === '=') return undefined;
  valueStart.lastIndex = from;
  const start = from + (valueStart.exec(text)?.[0].length ?? 0);
  if (text.startsWith('//', start) || text.startsWith('[redacted', start)) return undefined;
  quotedStart.lastIndex = start;
  const quote = quotedStart.exec(text)?.[0];
  if (quote !== undefined) {
    const first = start + quote.length;
    if (text.startsWith('[redacted', first)) return undefined;
    const limit = Math.min(text.length, first + maxQuotedLength);
    let end = text.indexOf(quote, first);
    // A quote that is itself escaped once more belongs to the value.
    while (end > 0 && end < limit && text[end - 1] === '\\') end = text.indexOf(quote, end + quote.length);
    if (end < 0 || end > limit) end = limit;
    return end === first ? undefined : { start: first, end };
  }
  const pattern = /authorization|cookie/i.test(name) ? lineValue : bareValue;
  pattern.lastIndex = start;
  const value = pattern.exec(text)?.[0] ?? '';
  // The result of a call is not there to be hidden.
  if (harmlessValue.test(value.trim()) || text[start + value.length] === '(') return undefined;
  return { start, end: start + value.length };
}

/** The first `length` characters; a pair of surrogates is not parted. */
export function cutAt(text: string, length: number): string {
  const last = text.charCodeAt(length - 1);
  return text.slice(0, last >= 0xd800 && last < 0xdc00 ? length - 1 : length);
}

function compile({ kind, pattern }: { kind: string; pattern: string }): OperatorPattern {
  // Loaded only here: most emitters have no patterns of their own, and it would be the greater part of the start.
  const { RE2JS } = createRequire(import.meta.url)('re2js') as typeof import('re2js');
  if (!/^\w{1,64}$/.test(kind))
    throw new TypeError(`redaction.patterns: kind must be 1 to 64 letters, digits or _, got ${kind}`);
  try {
    const regex = RE2JS.compile(pattern);
    return { kind, regex: { matcher: (text) => regex.matcher(text) } };
  } catch (error) {
    throw new TypeError(`redaction.patterns: ${kind}: ${pattern} is no RE2 pattern: ${(error as Error).message}`);
  }
}
