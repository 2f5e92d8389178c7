import { randomBytes } from 'node:crypto';

/**
 * Wall time in microseconds and ids of events. Both are the process's, not a recorder's: two recorders of one
 * process must not give one id twice.
 */

/** The wall clock may run this far from our anchor (it is slewed, and tells whole milliseconds) before we follow it. */
const maxDriftMs = 2;
let anchorMs = performance.timeOrigin;

/** Microseconds since the epoch. Follows the wall clock when it is stepped; between steps it is monotonic. */
export function nowMicros(): number {
  const monotonicMs = performance.now();
  const wallMs = Date.now();
  const difference = anchorMs + monotonicMs - wallMs;
  if (difference < -maxDriftMs || difference > maxDriftMs) anchorMs = wallMs - monotonicMs;
  return Math.floor((anchorMs + monotonicMs) * 1000);
}

let formattedSecond = Number.NaN;
let secondText = '';

/** RFC 3339 in UTC with six decimals. The text of the second is kept, because calls come many to a second. */
export function formatMicros(micros: number): string {
  const second = Math.floor(micros / 1e6);
  if (second !== formattedSecond) {
    formattedSecond = second;
    secondText = new Date(second * 1000).toISOString().slice(0, 20);
  }
  return `${secondText}${String(micros - second * 1e6).padStart(6, '0')}Z`;
}

/** Version 7 of RFC 9562, §6.2 method 1: milliseconds, a 12-bit counter, 62 bits that are random once a process. */
const randomTail = (() => {
  const bytes = randomBytes(8);
  bytes[0] = (bytes[0]! & 0x3f) | 0x80;
  const hex = bytes.toString('hex');
  return `-${hex.slice(0, 4)}-${hex.slice(4)}`;
})();
const counterTexts = Array.from({ length: 4096 }, (_, counter) => `-7${counter.toString(16).padStart(3, '0')}`);
let lastMs = 0;
let counter = 0;
let lastMsText = '';

/** A UUIDv7, greater than every one before it. When 4,096 were drawn in a millisecond the next one is used ahead. */
export function drawEventId(micros: number): string {
  const ms = Math.floor(micros / 1000);
  if (ms > lastMs) {
    lastMs = ms;
    counter = 0;
    lastMsText = timeText(ms);
  } else if (++counter === 4096) {
    lastMs += 1;
    counter = 0;
    lastMsText = timeText(lastMs);
  }
  return lastMsText + counterTexts[counter]! + randomTail;
}

function timeText(ms: number): string {
  const hex = ms.toString(16).padStart(12, '0');
  return `${hex.slice(0, 8)}-${hex.slice(8)}`;
}

/** A UUIDv7 that follows from its time and a digest of at least 10 bytes: for events that may be made twice. */
export function derivedEventId(micros: number, digest: Buffer): string {
  const hex = digest.subarray(0, 10).toString('hex');
  const variant = ((digest[2]! & 0x3f) | 0x80).toString(16);
  return `${timeText(Math.floor(micros / 1000))}-7${hex.slice(0, 3)}-${variant}${hex.slice(6, 8)}-${hex.slice(8, 20)}`;
}
