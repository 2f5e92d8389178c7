/** Values of lower-case hexadecimal digits by character code; -1, which no shift makes positive, for every other one. */
const digits = new Int8Array(65_536).fill(-1);
for (let value = 0; value < 16; value++) digits[value.toString(16).charCodeAt(0)] = value;

/** Four digits as a number, negative when one is none. */
function fourDigits(text: string, at: number): number {
  return (
    (digits[text.charCodeAt(at)]! << 12) |
    (digits[text.charCodeAt(at + 1)]! << 8) |
    (digits[text.charCodeAt(at + 2)]! << 4) |
    digits[text.charCodeAt(at + 3)]!
  );
}

/**
 * Reads a UUID in canonical lower-case form into four words, the first digits first. False, with words of no meaning,
 * when the text is none. Several times faster than a regular expression and `parseInt`, and each event needs it thrice.
 */
export function parseUuid(text: string, words: Uint32Array): boolean {
  if (text.length !== 36) return false;
  const a = fourDigits(text, 0);
  const b = fourDigits(text, 4);
  const c = fourDigits(text, 9);
  const d = fourDigits(text, 14);
  const e = fourDigits(text, 19);
  const f = fourDigits(text, 24);
  const g = fourDigits(text, 28);
  const h = fourDigits(text, 32);
  words[0] = (a << 16) | b;
  words[1] = (c << 16) | d;
  words[2] = (e << 16) | f;
  words[3] = (g << 16) | h;
  return (
    (a | b | c | d | e | f | g | h) >= 0 &&
    text.charCodeAt(8) === 45 &&
    text.charCodeAt(13) === 45 &&
    text.charCodeAt(18) === 45 &&
    text.charCodeAt(23) === 45
  );
}

/** Milliseconds since the epoch inside a UUIDv7 in four words, 0 for any other UUID. */
export function timeOfUuid(words: Uint32Array): number {
  const second = words[1] as number;
  return ((second >>> 12) & 15) === 7 ? (words[0] as number) * 65_536 + (second >>> 16) : 0;
}
