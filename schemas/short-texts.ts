/** Times and ids from bytes of ASCII, where making a string first would cost as much as all the rest of reading. */
import { parseTimeMicros } from './time.js';

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

/** Value of each hexadecimal digit in lower case; -1, which no shift makes positive, for what is none. */
const hexadecimal = new Int8Array(256).fill(-1);
for (let digit = 0; digit < 16; digit++) hexadecimal[digit.toString(16).charCodeAt(0)] = digit;

function fourDigits(bytes: Uint8Array, at: number): number {
  return (
    ((hexadecimal[bytes[at] as number] as number) << 12) |
    ((hexadecimal[bytes[at + 1] as number] as number) << 8) |
    ((hexadecimal[bytes[at + 2] as number] as number) << 4) |
    (hexadecimal[bytes[at + 3] as number] as number)
  );
}

/** The four words of a UUID in canonical lower-case form, as `parseUuid`; false, with words of no meaning, for what is none. */
export function uuidWords(bytes: Uint8Array, start: number, end: number, words: Uint32Array): boolean {
  if (end - start !== 36) return false;
  const a = fourDigits(bytes, start);
  const b = fourDigits(bytes, start + 4);
  const c = fourDigits(bytes, start + 9);
  const d = fourDigits(bytes, start + 14);
  const e = fourDigits(bytes, start + 19);
  const f = fourDigits(bytes, start + 24);
  const g = fourDigits(bytes, start + 28);
  const h = fourDigits(bytes, start + 32);
  words[0] = (a << 16) | b;
  words[1] = (c << 16) | d;
  words[2] = (e << 16) | f;
  words[3] = (g << 16) | h;
  return (
    (a | b | c | d | e | f | g | h) >= 0 &&
    bytes[start + 8] === 45 &&
    bytes[start + 13] === 45 &&
    bytes[start + 18] === 45 &&
    bytes[start + 23] === 45
  );
}
