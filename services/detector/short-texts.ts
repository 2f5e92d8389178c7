/** Times and ids from bytes of ASCII, where making a string first would cost as much as all the rest of reading. */
import { parseTimeMicros } from '../../schemas/time.js';

/** The day of the last time that was read: nearly always also that of the next. */
let lastDay = -1;
let lastDayMicros = 0;

/** Microseconds since the epoch of RFC 3339 text; NaN as `parseTimeMicros` says. */
export function timeMicrosOf(bytes: Buffer, start: number, end: number): number {
  // Of the form 2026-11-24T03:52:00.123456Z, as the emitter writes it and the gateway keeps it.
  if (end - start === 27 && bytes[end - 1] === 90 && bytes[start + 10] === 84 && bytes[start + 19] === 46) {
    const day = number(bytes, start, 4) * 10_000 + number(bytes, start + 5, 2) * 100 + number(bytes, start + 8, 2);
    const hour = number(bytes, start + 11, 2);
    const minute = number(bytes, start + 14, 2);
    const second = number(bytes, start + 17, 2);
    const micros = number(bytes, start + 20, 6);
    const separated =
      bytes[start + 4] === 45 && bytes[start + 7] === 45 && bytes[start + 13] === 58 && bytes[start + 16] === 58;
    // Written so that NaN, of what is no digit, fails.
    if (separated && day > 0 && hour < 24 && minute < 60 && second < 60 && micros >= 0) {
      if (day !== lastDay) {
        const at = parseTimeMicros(`${bytes.toString('latin1', start, start + 10)}T00:00:00Z`);
        if (Number.isNaN(at)) return Number.NaN;
        lastDay = day;
        lastDayMicros = at;
      }
      return lastDayMicros + ((hour * 60 + minute) * 60 + second) * 1e6 + micros;
    }
  }
  return parseTimeMicros(bytes.toString('latin1', start, end));
}

/** Digits as a number; NaN when one is none. */
function number(bytes: Buffer, start: number, digits: number): number {
  let value = 0;
  for (let at = start; at < start + digits; at++) {
    const digit = (bytes[at] as number) - 48;
    if (digit < 0 || digit > 9) return Number.NaN;
    value = value * 10 + digit;
  }
  return value;
}

/** Value of each hexadecimal digit in lower case; 255 for what is none. */
const hexadecimal = new Uint8Array(256).fill(255);
for (let digit = 0; digit < 16; digit++) hexadecimal[digit.toString(16).charCodeAt(0)] = digit;

/** The four words of a UUID in canonical lower-case form; false for what is none. */
export function uuidWords(bytes: Buffer, start: number, end: number, words: Uint32Array): boolean {
  if (end - start !== 36) return false;
  let all = 0;
  let word = 0;
  let digits = 0;
  for (let at = start; at < end; at++) {
    const code = bytes[at] as number;
    if (code === 45) continue;
    const digit = hexadecimal[code] as number;
    all |= digit;
    word = (word << 4) | digit;
    if ((++digits & 7) === 0) words[(digits >> 3) - 1] = word;
  }
  return digits === 32 && all < 16;
}
