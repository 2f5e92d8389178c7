/**
 * Times of the contract: RFC 3339 text on the wire, microseconds since the epoch in the encoder. A hand-written parser,
 * because `Date.parse` is several times slower, keeps no microseconds and takes a dozen other notations.
 */

/** 2000-01-01 and 2100-01-01 in microseconds: what is outside is a broken clock or a wrong unit, not a time of a call. */
export const earliestTimeMicros = Date.UTC(2000, 0, 1) * 1000;
export const endTimeMicros = Date.UTC(2100, 0, 1) * 1000;

const monthStarts = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
const monthLengths = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

function twoDigits(text: string, at: number): number {
  const tens = text.charCodeAt(at) - 48;
  const ones = text.charCodeAt(at + 1) - 48;
  return tens >= 0 && tens <= 9 && ones >= 0 && ones <= 9 ? tens * 10 + ones : Number.NaN;
}

/**
 * Microseconds since the epoch of RFC 3339 text, for example `2026-11-24T03:52:00.123456Z` or
 * `2026-11-24T05:52:00+02:00`; digits after the sixth decimal are cut. NaN when it is no such text or when its year is
 * not in 2000..2099. A leap second (`:60`) is not taken.
 */
export function parseTimeMicros(text: string): number {
  if (text !== lastText) {
    lastMicros = parse(text);
    lastText = text;
  }
  return lastMicros;
}

/** A time is parsed to be checked and again to be encoded; in between only numbers are looked at. */
let lastText = '';
let lastMicros = Number.NaN;

function parse(text: string): number {
  const length = text.length;
  if (length < 20 || length > 40) return Number.NaN;
  if (text.charCodeAt(4) !== 45 || text.charCodeAt(7) !== 45) return Number.NaN;
  const separator = text.charCodeAt(10);
  if (separator !== 84 && separator !== 116 && separator !== 32) return Number.NaN;
  if (text.charCodeAt(13) !== 58 || text.charCodeAt(16) !== 58) return Number.NaN;
  const century = twoDigits(text, 0);
  const year = century * 100 + twoDigits(text, 2);
  const month = twoDigits(text, 5);
  const day = twoDigits(text, 8);
  const hour = twoDigits(text, 11);
  const minute = twoDigits(text, 14);
  const second = twoDigits(text, 17);
  // Written so that NaN fails each comparison.
  if (!(year >= 1999 && year <= 2100 && month >= 1 && month <= 12 && day >= 1 && hour < 24 && minute < 60)) {
    return Number.NaN;
  }
  if (!(second < 60) || !(day <= (monthLengths[month - 1] as number))) return Number.NaN;
  const leap = year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0);
  if (month === 2 && day === 29 && !leap) return Number.NaN;

  let at = 19;
  let fraction = 0;
  if (text.charCodeAt(at) === 46) {
    let digits = 0;
    for (at++; at < length; at++) {
      const digit = text.charCodeAt(at) - 48;
      if (digit < 0 || digit > 9) break;
      if (digits < 6) fraction = fraction * 10 + digit;
      digits++;
    }
    if (digits === 0) return Number.NaN;
    for (; digits < 6; digits++) fraction *= 10;
  }
  const offsetMinutes = parseOffsetMinutes(text, at);
  // 2000 was a leap year and 2100 is past the end, so every fourth year is one here.
  const yearsSince = year - 1970;
  const days =
    yearsSince * 365 +
    Math.floor((year - 1969) / 4) +
    (monthStarts[month - 1] as number) +
    (leap && month > 2 ? 1 : 0) +
    day -
    1;
  const seconds = days * 86400 + hour * 3600 + minute * 60 + second - offsetMinutes * 60;
  const micros = seconds * 1000000 + fraction;
  return micros >= earliestTimeMicros && micros < endTimeMicros ? micros : Number.NaN;
}

/** Minutes east of UTC of what ends the text at `at`: `Z`, or `+hh:mm`. NaN when it is neither. */
function parseOffsetMinutes(text: string, at: number): number {
  const sign = text.charCodeAt(at);
  if (sign === 90 || sign === 122) return text.length === at + 1 ? 0 : Number.NaN;
  if ((sign !== 43 && sign !== 45) || text.length !== at + 6 || text.charCodeAt(at + 3) !== 58) return Number.NaN;
  const hours = twoDigits(text, at + 1);
  const minutes = twoDigits(text, at + 4);
  if (!(hours < 24 && minutes < 60)) return Number.NaN;
  return (sign === 45 ? -1 : 1) * (hours * 60 + minutes);
}

/** RFC 3339 text in UTC with six decimals of microseconds since the epoch. */
export function formatTimeMicros(micros: number): string {
  const millis = Math.floor(micros / 1000);
  const rest = String(micros - millis * 1000).padStart(3, '0');
  return `${new Date(millis).toISOString().slice(0, -1)}${rest}Z`;
}
