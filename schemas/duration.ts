/** Durations as rules write them: `90s`, `5m`, `1h`, `30d`, Sigma's `1w`, `1M`, `1y`, and milliseconds as `250ms`. */

const unitMicros: Readonly<Record<string, number>> = {
  ms: 1e3,
  s: 1e6,
  m: 60e6,
  h: 3_600e6,
  d: 86_400e6,
  w: 7 * 86_400e6,
  M: 30 * 86_400e6,
  y: 365 * 86_400e6,
};

export const durationPattern = /^(\d{1,9}(?:\.\d{1,3})?)(ms|s|m|h|d|w|M|y)$/;

/** Microseconds of a duration; NaN when the text is none. A month is 30 days and a year 365, as in Sigma's back ends. */
export function parseDuration(text: string): number {
  const match = durationPattern.exec(text);
  return match === null ? Number.NaN : Math.round(Number(match[1]) * (unitMicros[match[2] as string] as number));
}

/** The shortest exact spelling, for messages: 300000000 is `5m`. */
export function formatDuration(micros: number): string {
  for (const unit of ['d', 'h', 'm', 's', 'ms'] as const) {
    const size = unitMicros[unit] as number;
    if (micros >= size && micros % size === 0) return `${micros / size}${unit}`;
  }
  return `${micros / 1e6}s`;
}
