/** How values are written. What comes from an event is text and nothing else, and is cut before the browser measures it. */
import type { ReactNode } from 'react';

/** Characters that change how others are shown, or are not shown themselves: they are written out. */
const unseen = /(?![\t\n])[\p{Cc}\p{Cf}]/gu;

export function plain(text: string, most = 200): string {
  const cut = text.length > most ? `${text.slice(0, most)}… (${number(text.length)} characters)` : text;
  return cut.replace(unseen, (each) => `⟨U+${each.codePointAt(0)!.toString(16).toUpperCase().padStart(4, '0')}⟩`);
}

/** Text of an event: apart from what stands around it, whatever its direction. */
export function Said({ text, most, none = '—' }: { text: string; most?: number; none?: ReactNode }) {
  return text === '' ? <span className="dim">{none}</span> : <bdi>{plain(text, most)}</bdi>;
}

const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 });

export function number(value: number): string {
  return whole.format(value);
}

export function compact(value: number): string {
  return value < 10_000 ? whole.format(value) : short.format(value);
}

export function took(ms: number | null | undefined): string {
  if (ms === null || ms === undefined || Number.isNaN(ms)) return '—';
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  if (ms < 3_600_000) return `${Math.round(ms / 60_000)} min`;
  return `${(ms / 3_600_000).toFixed(1)} h`;
}

export function bytes(value: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let rest = value;
  let unit = 0;
  for (; rest >= 1_000 && unit < units.length - 1; unit++) rest /= 1_000;
  return `${rest < 10 && unit > 0 ? rest.toFixed(1) : Math.round(rest)} ${units[unit]}`;
}

export function percent(part: number, all: number): string {
  if (all === 0) return '0 %';
  const share = (100 * part) / all;
  return `${share > 0 && share < 10 ? share.toFixed(1) : Math.round(share)} %`;
}

const clock = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });
const day = new Intl.DateTimeFormat('en-GB', {
  day: '2-digit',
  month: 'short',
  hour: '2-digit',
  minute: '2-digit',
  second: '2-digit',
});

/** A time here with its day, as text. */
export function dayText(ms: number): string {
  return day.format(ms);
}

/** A time here; the whole of it, in UTC, where somebody points at it. */
export function Time({ at, dated = false }: { at: string; dated?: boolean }) {
  const date = new Date(at);
  if (Number.isNaN(date.getTime())) return <span className="dim">—</span>;
  const old = dated || Date.now() - date.getTime() > 43_200_000;
  return (
    <time dateTime={at} title={at}>
      {(old ? day : clock).format(date)}
    </time>
  );
}

/** How long something lasts, in one unit. */
export function lasting(ms: number): string {
  if (ms < 90_000) return `${Math.round(ms / 1000)} s`;
  if (ms < 5_400_000) return `${Math.round(ms / 60_000)} min`;
  if (ms < 129_600_000) return `${Math.round(ms / 3_600_000)} h`;
  return `${Math.round(ms / 86_400_000)} d`;
}

export function Ago({ at }: { at: string | null }) {
  if (at === null) return <span className="dim">never</span>;
  const ms = Date.now() - Date.parse(at);
  return (
    <time dateTime={at} title={at} className="ago">
      {ms < 5_000 ? 'just now' : `${lasting(ms)} ago`}
    </time>
  );
}

export function Outcome({ outcome }: { outcome: string }) {
  const known = /^[a-z_]+$/.test(outcome) ? outcome : 'other';
  return <span className={`outcome ${known}`}>{plain(outcome, 20).replaceAll('_', ' ')}</span>;
}

export const isFine = (outcome: string): boolean => ['success', 'task_created', 'input_required'].includes(outcome);

export function groupText(group: Readonly<Record<string, string>>): string {
  return Object.values(group)
    .map((value) => plain(value, 80))
    .join(' · ');
}
