/** Keys of the whole page. A view adds its own by `data-key` on a button or link, which the letter presses. */
import { useEffect, useRef } from 'react';
import { useLocation } from 'wouter';
import { ranges, timesOf } from './address.js';

export const views = [
  ['now', 'Now', 'n'],
  ['explore', 'Explore', 'e'],
  ['actors', 'Actors', 'c'],
  ['tools', 'Tools', 't'],
  ['sessions', 'Sessions', 's'],
  ['alerts', 'Alerts', 'a'],
  ['rules', 'Rules', 'r'],
  ['sql', 'SQL', 'q'],
  ['health', 'Health', 'h'],
] as const;

/** What the help tells. */
export const keyHelp: readonly (readonly [keys: readonly string[], what: string])[] = [
  ...views.map(([, name, key]) => [[`g ${key}`], name] as const),
  [['/'], 'to the filter, or the editor'],
  [['j', 'k', '↓', '↑'], 'next and previous row'],
  [['⏎'], 'open it'],
  [['[', ']', '-'], 'earlier, later, twice as long'],
  [['.'], 'choose two times'],
  [['y'], 'copy the address, its times made fixed'],
  [['←', '→'], 'on a chart: its points; with Shift a range, which ⏎ opens'],
  [['a', 'r', 's', 'l', 'e'], 'on an alert: acknowledge, resolve, silence, lift, explore around it'],
  [['s', 'r', 'x'], 'on a call: its session, its trace, where traces are kept'],
  [['p'], 'on Now: pause'],
  [['b'], 'on a rule: backtest'],
  [['Ctrl ⏎'], 'in SQL: run'],
  [['t'], 'dark or light'],
  [['?'], 'these keys'],
];

export function theme(next?: 'dark' | 'light'): void {
  if (next !== undefined) localStorage.setItem('theme', next);
  const chosen = localStorage.getItem('theme');
  if (chosen === 'dark' || chosen === 'light') document.documentElement.dataset.theme = chosen;
  dispatchEvent(new Event('theme'));
}

export function turnTheme(): void {
  const chosen = document.documentElement.dataset.theme;
  const dark = chosen === undefined ? matchMedia('(prefers-color-scheme: dark)').matches : chosen === 'dark';
  theme(dark ? 'light' : 'dark');
}

/** The address with the times that are seen now, so that whoever opens it sees the same. */
function fixedAddress(): string {
  const url = new URL(location.href);
  const range = url.searchParams.get('range') ?? document.querySelector<HTMLElement>('[data-range]')?.dataset.range;
  if (range !== undefined && range in ranges) {
    const { from, to } = timesOf(range, Date.now());
    url.searchParams.set('range', `${Date.parse(from)}..${Date.parse(to)}`);
  }
  return url.href;
}

/** Moves from the link of a row to that of the next one; into the first list of the page from outside of any. */
function moveRow(step: 1 | -1, target: HTMLElement): boolean {
  const rows = 'a.row, a.alert-row, a.span, tr > td:first-child a';
  const list = target.closest('[data-rows]') ?? document.querySelector(`main [data-rows]:has(${rows})`);
  const links = [...(list?.querySelectorAll<HTMLElement>(rows) ?? [])];
  const at = links.indexOf(target.closest('a') as HTMLElement);
  const next = links[at < 0 ? 0 : at + step];
  next?.focus();
  return next !== undefined;
}

export function useKeys(help: () => void, copied: (address: string) => void): void {
  const [, go] = useLocation();
  const lead = useRef(Number.NEGATIVE_INFINITY);
  useEffect(() => {
    const pressed = (event: KeyboardEvent): void => {
      const target = event.target as HTMLElement;
      const writing = target.closest('input, textarea, select, [contenteditable], dialog[open]') !== null;
      if (writing || event.metaKey || event.ctrlKey || event.altKey) return;
      if (act(event.key, target, event.timeStamp)) event.preventDefault();
    };
    const act = (key: string, target: HTMLElement, atMs: number): boolean => {
      // When it was pressed: a busy page takes keys later.
      const led = atMs - lead.current < 1_500;
      lead.current = key === 'g' ? atMs : Number.NEGATIVE_INFINITY;
      const view = led ? views.find(([, , letter]) => letter === key)?.[0] : undefined;
      if (view !== undefined) go(`/${view}`);
      else if (key === 'g') return true;
      else if (key === '/') document.querySelector<HTMLElement>('[data-search]')?.focus();
      else if (key === '?') help();
      else if (key === 't') turnTheme();
      else if (key === 'j') moveRow(1, target);
      else if (key === 'k') moveRow(-1, target);
      else if (key === 'y') {
        const address = fixedAddress();
        void navigator.clipboard?.writeText(address).catch(() => undefined);
        history.replaceState(null, '', address);
        copied(address);
      } else if (key === 'ArrowDown' || key === 'ArrowUp') {
        // Elsewhere these scroll.
        return target.closest('[data-rows] a') !== null && moveRow(key === 'ArrowDown' ? 1 : -1, target);
      } else {
        const button = document.querySelector<HTMLElement>(`[data-key="${CSS.escape(key)}"]`);
        button?.click();
        return button !== null;
      }
      return true;
    };
    addEventListener('keydown', pressed);
    return () => removeEventListener('keydown', pressed);
  }, [go, help, copied]);
}
