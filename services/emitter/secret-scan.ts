/**
 * One pass over a text that tells whether it may hold a secret at all. Most texts do not, and are then kept as they
 * are. It never overlooks what the exact patterns find, in plain text or in JSON text; it may suspect too much.
 */
import type { SecretNames } from './secret-names.js';

/** What each character may be the last or the telling one of; 0 is most of them. */
const nothing = 0;
const digit = 1;
const separator = 2;
const candidate = 3;
const classes = new Uint8Array(128);
for (let code = 48; code < 58; code++) classes[code] = digit;
for (const text of ':=') classes[text.charCodeAt(0)] = separator;
for (const text of '-_@JA.r~zR/cC') classes[text.charCodeAt(0)] = candidate;

/**
 * Whether a candidate can tell anything behind the character before it, by `before * 128 + candidate`: most letters and
 * full stops of a text are none, and need no further look. What `isTelling` asks of that character, and no more.
 */
const tellingBehind = new Uint8Array(128 * 128);
for (const [texts, before] of [
  ['-@', String.fromCharCode(...Array(128).keys())],
  ['_', 'pousrmftec1a'],
  ['J', 'y'],
  ['A', 'IC'],
  ['.', '9Gsb'],
  ['rR', 'eE'],
  ['~', 'Q'],
  ['z', 'I'],
  ['/', 'm'],
  ['cC', 'iI'],
] as const)
  for (const text of texts) for (const one of before) tellingBehind[one.charCodeAt(0) * 128 + text.charCodeAt(0)] = 1;

/** Whether `text` ends in `word` before `end`. */
function endsWith(text: string, word: string, end: number): boolean {
  return text.startsWith(word, end - word.length);
}

/** Characters of a name, going back from a separator. */
function isNameCode(code: number): boolean {
  return (code >= 97 && code <= 122) || (code >= 65 && code <= 90) || (code >= 48 && code <= 57) || code > 127;
}

/** Characters between a name and its separator: quotes, their escapes, white space (escaped in JSON text), brackets. */
function isBetween(code: number): boolean {
  return (
    code === 34 || code === 39 || code === 92 || code === 32 || code === 9 || code === 10 || code === 13 || code === 96
  );
}

/** Longest distance from a separator back to its name, and longest name. */
const maxBetween = 8;
const maxName = 64;

/** The name that stands before a separator at `at`, or ''. */
export function nameBefore(text: string, at: number): string {
  let end = at;
  while (end > 0 && at - end < maxBetween && isBetween(text.charCodeAt(end - 1))) end--;
  let start = end;
  while (start > 0 && end - start < maxName) {
    const code = text.charCodeAt(start - 1);
    if (!isNameCode(code) && code !== 45 && code !== 95 && code !== 46) break;
    start--;
  }
  return text.slice(start, end);
}

/** Whether the text may hold a secret. About 2 ns a character. */
export function maySecret(text: string, names: SecretNames): boolean {
  let digits = 0;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    const kind = code < 128 ? classes[code] : nothing;
    if (kind === nothing) {
      if (code !== 32) digits = 0;
    } else if (kind === digit) {
      if (++digits >= 15) return true;
    } else if (kind === separator) {
      digits = 0;
      const before = text.charCodeAt(at - 1);
      // Between the name and its separator there may be closing quotes; most names are told harmless by a look-up.
      if (isNameCode(before) || isBetween(before)) {
        const name = nameBefore(text, at);
        if (name !== '' && names.has(name)) return true;
      }
    } else {
      if (code !== 45) digits = 0;
      const before = text.charCodeAt(at - 1);
      // At the start, and behind other alphabets, as behind a zero.
      if (tellingBehind[(before < 128 ? before : 0) * 128 + code] === 1 && isTelling(text, at, code)) return true;
    }
  }
  return false;
}

function isTelling(text: string, at: number, code: number): boolean {
  const end = at + 1;
  switch (code) {
    case 45: // -
      return (
        endsWith(text, 'sk-', end) ||
        text.startsWith('xox', at - 4) ||
        endsWith(text, 'xapp-', end) ||
        text.startsWith('-----BEGIN', at) ||
        endsWith(text, 'pypi-', end) ||
        endsWith(text, 'GOCSPX-', end) ||
        /gl[a-z]{2,5}-$/.test(text.slice(Math.max(0, at - 8), end))
      );
    case 95: // _
      return /(?:gh[pousr]|npm|hf|github_pat|_live|_test|whsec|do[por]_v1|shp(?:at|ss|ca))_$/.test(
        text.slice(Math.max(0, at - 12), end),
      );
    case 64: // @
      return true;
    case 74: // J
      return endsWith(text, 'eyJ', end);
    case 65: // A
      return /A(?:KIA|SIA|BIA|CCA)$/.test(text.slice(Math.max(0, at - 3), end));
    case 46: // .
      return (
        endsWith(text, 'ya29.', end) ||
        endsWith(text, 'SG.', end) ||
        /hv[sb]\.$/.test(text.slice(Math.max(0, at - 3), end))
      );
    case 114: // r
    case 82: // R
      return before(text, at, 101) && text.slice(Math.max(0, at - 5), end).toLowerCase() === 'bearer';
    case 126: // ~
      return endsWith(text, '8Q~', end);
    case 122: // z
      return text.startsWith('AIza', at - 2);
    case 47: // /
      return endsWith(text, 'hooks.slack.com/', end);
    default: // c, C
      return before(text, at, 105) && text.slice(Math.max(0, at - 4), end).toLowerCase() === 'basic';
  }
}

/** Whether the letter before is this one, small or capital: most words end here. */
function before(text: string, at: number, smallLetter: number): boolean {
  return (text.charCodeAt(at - 1) | 32) === smallLetter;
}
