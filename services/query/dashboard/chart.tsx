/**
 * Lines and bars over time, drawn by uPlot on a canvas. Whoever does not see it has its lowest, highest and last values in
 * words and all of them as a table. A range is chosen with the mouse, or with the arrow keys, Shift and Enter.
 */
import { useEffect, useMemo, useRef, useState, useSyncExternalStore } from 'react';
import type uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import { drawnValues, type Line, type Mark, piled } from './lines.js';
import { type Column, Table } from './table.js';
import { dayText, plain, Time } from './text.js';

export type { Line, Mark };

const none: readonly Mark[] = [];
/** On its way beside the figures: what draws is no part of what the first page waits for. */
const drawing = import('./plot.js');

export function Chart({
  label,
  times,
  lines,
  height = 190,
  format = String,
  onRange,
  stacked = false,
  whole = false,
  marks = none,
}: {
  /** What it shows. */
  label: string;
  /** Seconds since the epoch, ascending. */
  times: readonly number[];
  lines: readonly Line[];
  height?: number;
  format?: (value: number) => string;
  onRange?: (fromMs: number, toMs: number) => void;
  stacked?: boolean;
  whole?: boolean;
  marks?: readonly Mark[];
}) {
  const holder = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot>(null);
  const theme = useTheme();
  const [at, setAt] = useState<number | null>(null);
  const [tabled, setTabled] = useState(false);
  const data = useMemo(
    () => [times, ...(stacked ? piled(lines) : lines.map(drawnValues))] as uPlot.AlignedData,
    [times, lines, stacked],
  );
  const latest = useRef(data);
  latest.current = data;
  const shape = JSON.stringify([times.length, ...lines.map(({ name, color, kind }) => [name, color, kind])]);
  // biome-ignore lint/correctness/useExhaustiveDependencies: made anew for another shape, and for other colours.
  useEffect(() => {
    const element = holder.current;
    if (element === null || times.length === 0) return;
    let undo: (() => void) | undefined;
    let isOver = false;
    void drawing.then(({ draw }) => {
      if (isOver) return;
      const drawn = draw(element, latest.current, {
        lines,
        marks,
        points: times.length,
        height,
        format,
        whole,
        brush: onRange !== undefined,
        moved: setAt,
        chosen: (from, to) => onRange?.(from * 1000, to * 1000),
      });
      plot.current = drawn;
      setAt(null);
      const { height: drawnHeight } = drawn;
      const observer = new ResizeObserver(() =>
        drawn.setSize({ width: Math.max(120, element.clientWidth), height: drawnHeight }),
      );
      observer.observe(element);
      undo = () => {
        observer.disconnect();
        drawn.destroy();
        plot.current = null;
      };
    });
    return () => {
      isOver = true;
      undo?.();
    };
  }, [shape, height, format, onRange, whole, marks, theme]);
  // What is pointed at stays so when new values come.
  useEffect(() => {
    if (plot.current !== null && plot.current.data !== data) plot.current.setData(data);
  }, [data]);
  const words = useMemo(() => inWords(times, lines, format), [times, lines, format]);
  const shown = at === null ? undefined : times[at];
  return (
    <figure className="figure-of">
      {/* biome-ignore lint/a11y/useSemanticElements: a chart is no form. */}
      <div
        className="chart"
        ref={holder}
        role="group"
        aria-roledescription="chart"
        aria-label={`${label}. ${words}`}
        // biome-ignore lint/a11y/noNoninteractiveTabindex: its points are read, and a range of it is chosen, with keys.
        tabIndex={0}
        style={{ minHeight: `${height / 16}rem` }}
        onKeyDown={(event) => {
          if (plot.current !== null && walk(plot.current, event, times, onRange)) event.preventDefault();
        }}
        onBlur={() => plot.current?.setCursor({ left: -10, top: -10 })}
      />
      <figcaption className="legend">
        {(lines.length > 1 || shown !== undefined) && (
          <ul>
            {lines.map(({ name, color = 0, values }) => (
              <li key={name}>
                <i className={`c${color % 9}`} />
                <bdi>{plain(name, 40)}</bdi>
                {at !== null && <b>{typeof values[at] === 'number' ? format(values[at]) : '—'}</b>}
              </li>
            ))}
          </ul>
        )}
        <span className="at" aria-live="polite">
          {shown !== undefined && <Time at={new Date(shown * 1000).toISOString()} />}
        </span>
        {times.length > 0 && (
          <button type="button" className="button quiet" aria-expanded={tabled} onClick={() => setTabled(!tabled)}>
            {tabled ? 'no table' : 'as a table'}
          </button>
        )}
      </figcaption>
      {tabled && <Values label={label} times={times} lines={lines} format={format} />}
    </figure>
  );
}

/** Arrow keys move along the points, with Shift a range is chosen, which Enter opens. @returns whether the key was one. */
function walk(
  plot: uPlot,
  { key, shiftKey, metaKey, ctrlKey, altKey }: React.KeyboardEvent,
  times: readonly number[],
  onRange: ((fromMs: number, toMs: number) => void) | undefined,
): boolean {
  if (metaKey || ctrlKey || altKey) return false;
  const last = times.length - 1;
  const { left, width } = plot.select;
  if (key === 'Enter' && width > 0 && onRange !== undefined) {
    onRange(plot.posToVal(left, 'x') * 1000, plot.posToVal(left + width, 'x') * 1000);
    return true;
  }
  const here = plot.cursor.idx ?? null;
  const place = (index: number): number => plot.valToPos(times[index]!, 'x');
  const page = Math.max(1, Math.round(times.length / 20));
  const steps: Readonly<Record<string, number>> = {
    ArrowRight: 1,
    ArrowLeft: -1,
    PageDown: page,
    PageUp: -page,
    Home: -last,
    End: last,
  };
  const step = steps[key];
  if (step === undefined) return false;
  const fromEnd = key === 'End' || (step < 0 && key !== 'Home');
  const next = here === null ? (fromEnd ? last : 0) : Math.min(last, Math.max(0, here + step));
  const height = plot.over.clientHeight;
  if (shiftKey && onRange !== undefined && here !== null) {
    // The edge that the cursor stands on moves, the other one stays.
    const edge = width > 0 ? (Math.abs(place(here) - left) < 1 ? left + width : left) : place(here);
    const [from, to] = [Math.min(edge, place(next)), Math.max(edge, place(next))];
    plot.setSelect({ left: from, top: 0, width: to - from, height }, false);
  } else plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
  plot.setCursor({ left: place(next), top: height / 2 });
  return true;
}

interface Point {
  readonly seconds: number;
  readonly index: number;
}

function Values({
  label,
  times,
  lines,
  format,
}: {
  label: string;
  times: readonly number[];
  lines: readonly Line[];
  format: (value: number) => string;
}) {
  const rows = useMemo(() => times.map((seconds, index): Point => ({ seconds, index })), [times]);
  const columns: Column<Point>[] = [
    { name: 'time', cell: ({ seconds }) => <Time at={new Date(seconds * 1000).toISOString()} dated /> },
    ...lines.map(
      ({ name, values }): Column<Point> => ({
        name: plain(name, 40),
        number: true,
        cell: ({ index }) => (typeof values[index] === 'number' ? format(values[index]) : '—'),
      }),
    ),
  ];
  return <Table label={`${label}, as a table`} rows={rows} columns={columns} keyOf={({ index }) => String(index)} />;
}

/** A chart for who hears it. */
function inWords(times: readonly number[], lines: readonly Line[], format: (value: number) => string): string {
  if (times.length === 0) return 'Nothing to show.';
  const said = lines.slice(0, 9).map(({ name, values }) => {
    let [low, high, top] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0];
    for (let index = 0; index < values.length; index++) {
      const value = values[index];
      if (typeof value !== 'number') continue;
      if (value < low) low = value;
      if (value > high) [high, top] = [value, index];
    }
    if (high === Number.NEGATIVE_INFINITY) return `${plain(name, 40)}: none`;
    return low === high
      ? `${plain(name, 40)}: always ${format(high)}`
      : `${plain(name, 40)}: from ${format(low)} to ${format(high)} at ${dayText(times[top]! * 1000)}`;
  });
  return `${dayText(times[0]! * 1000)} to ${dayText(times.at(-1)! * 1000)}. ${said.join('. ')}.`;
}

const scheme = matchMedia('(prefers-color-scheme: dark)');

/** Changes when the colours do. */
function useTheme(): string {
  return useSyncExternalStore(
    (changed) => {
      scheme.addEventListener('change', changed);
      addEventListener('theme', changed);
      return () => {
        scheme.removeEventListener('change', changed);
        removeEventListener('theme', changed);
      };
    },
    () => `${document.documentElement.dataset.theme ?? ''} ${scheme.matches}`,
  );
}
