/** A small picture of a rate: characters for Slack and plain text, bars of a table for mail. */

export interface Series {
  /** One count for each span of time, oldest first. */
  readonly counts: readonly number[];
  readonly spanMs: number;
  /** End of the last span. Milliseconds since the epoch. */
  readonly endMs: number;
}

const steps = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'] as const;

/** Heights of 0 to 100: a count above 0 is never drawn as nothing. */
export function heights(counts: readonly number[]): number[] {
  const most = counts.reduce((highest, each) => Math.max(highest, each), 0);
  return counts.map((each) => (each <= 0 || most === 0 ? 0 : Math.max(4, Math.round((each / most) * 100))));
}

/** `▁▁▂▁█`: an empty span is the lowest mark, so that the width is the time. */
export function sparkline(counts: readonly number[]): string {
  return heights(counts)
    .map((height) => (height === 0 ? steps[0] : steps[Math.min(7, 1 + Math.floor((height / 100) * 6.99))]!))
    .join('');
}

/** `up to 412 calls a minute, 30 minutes` */
export function caption({ counts, spanMs }: Series): string {
  const most = counts.reduce((highest, each) => Math.max(highest, each), 0);
  return `up to ${most} ${most === 1 ? 'call' : 'calls'} in ${spanText(spanMs)}, the last ${spanText(spanMs * counts.length)}`;
}

function spanText(ms: number): string {
  const units = [
    [86_400_000, 'day'],
    [3_600_000, 'hour'],
    [60_000, 'minute'],
    [1_000, 'second'],
  ] as const;
  const [size, name] = units.find(([each]) => ms >= each && ms % each === 0) ?? units[3];
  const count = Math.round(ms / size);
  return count === 1 ? `a ${name}`.replace('a hour', 'an hour') : `${count} ${name}s`;
}
