/** Lines and bars over time, drawn by uPlot on a canvas; a range is chosen with the mouse. */
import { useEffect, useRef, useSyncExternalStore } from 'react';
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import { plain } from './text.js';

export interface Line {
  readonly name: string;
  readonly values: readonly (number | null)[];
  /** One of the classes c0 to c8. */
  readonly color?: number;
  readonly kind?: 'line' | 'area' | 'bars' | 'dashed';
}

const colorNames = ['--accent', '--blue', '--good', '--violet', '--bad', '--teal', '--soft', '--ink', '--line'];

function resolved(element: HTMLElement, name: string): string {
  // A custom property holds light-dark(); a real one is computed.
  const probe = document.createElement('span');
  probe.style.color = `var(${name})`;
  element.append(probe);
  const color = getComputedStyle(probe).color;
  probe.remove();
  return color;
}

export function Chart({
  label,
  times,
  lines,
  height = 190,
  format = (value) => String(value),
  onRange,
  stacked = false,
  whole = false,
}: {
  /** What it shows, for who does not see it. */
  label: string;
  /** Seconds since the epoch. */
  times: readonly number[];
  lines: readonly Line[];
  height?: number;
  format?: (value: number) => string;
  onRange?: (fromMs: number, toMs: number) => void;
  stacked?: boolean;
  /** The values are counts: the axis has whole numbers. */
  whole?: boolean;
}) {
  const holder = useRef<HTMLDivElement>(null);
  const theme = useTheme();
  // biome-ignore lint/correctness/useExhaustiveDependencies: the colours are read anew when the theme changes.
  useEffect(() => {
    const element = holder.current;
    if (element === null || times.length === 0) return;
    const color = (name: string): string => resolved(element, name);
    const ink = color('--soft');
    const grid = color('--line');
    const bars = uPlot.paths.bars!({ size: [0.82, 60], gap: 1 });
    const series: uPlot.Series[] = lines.map(({ name, color: index = 0, kind = 'line' }) => {
      const stroke = color(colorNames[index % colorNames.length]!);
      return {
        label: plain(name, 40),
        stroke,
        width: kind === 'bars' ? 0 : kind === 'dashed' ? 1.5 : 1.75,
        ...(kind === 'dashed' ? { dash: [6, 5] } : {}),
        ...(kind === 'bars' ? { paths: bars, fill: stroke } : {}),
        ...(kind === 'area' ? { fill: stroke.replace('rgb(', 'rgba(').replace(')', ', 0.13)') } : {}),
        points: { show: lines.length === 1 && times.length === 1 },
        spanGaps: false,
      };
    });
    const data = [times, ...(stacked ? piled(lines) : lines.map(({ values }) => values))] as uPlot.AlignedData;
    const options: uPlot.Options = {
      width: Math.max(120, element.clientWidth),
      height,
      padding: [8, 4, 0, 0],
      legend: { show: false },
      cursor: { drag: { x: onRange !== undefined, y: false, setScale: false }, points: { size: 6 } },
      series: [{}, ...series],
      axes: [
        {
          stroke: ink,
          grid: { show: false },
          ticks: { stroke: grid, width: 1, size: 4 },
          font: '11px "Geist Variable", sans-serif',
          space: 70,
          values: (_, marks, __, ___, step) => marks.map((mark) => timeText(mark, step)),
        },
        {
          stroke: ink,
          grid: { stroke: grid, width: 1 },
          ticks: { show: false },
          font: '11px "Geist Variable", sans-serif',
          size: 52,
          ...(whole ? { incrs: wholeSteps } : {}),
          values: (_, marks) => marks.map((mark) => format(mark)),
        },
      ],
      scales: { y: { range: (_, low, high) => [Math.min(0, low ?? 0), high === null || high <= 0 ? 1 : high * 1.08] } },
      hooks: {
        setSelect: [
          (plot) => {
            const { left, width } = plot.select;
            if (width < 3 || onRange === undefined) return;
            onRange(plot.posToVal(left, 'x') * 1000, plot.posToVal(left + width, 'x') * 1000);
          },
        ],
      },
    };
    const plot = new uPlot(options, data, element);
    const observer = new ResizeObserver(() => plot.setSize({ width: Math.max(120, element.clientWidth), height }));
    observer.observe(element);
    return () => {
      observer.disconnect();
      plot.destroy();
    };
  }, [times, lines, height, format, onRange, stacked, whole, theme]);
  return (
    <figure className="panel" style={{ margin: 0 }}>
      <div className="chart" ref={holder} role="img" aria-label={label} style={{ minHeight: height }} />
      {lines.length > 1 && (
        <ul className="legend">
          {lines.map(({ name, color = 0 }) => (
            <li key={name}>
              <i className={`c${color % 9}`} />
              <bdi>{plain(name, 40)}</bdi>
            </li>
          ))}
        </ul>
      )}
    </figure>
  );
}

const wholeSteps = Array.from({ length: 12 }, (_, power) => [1, 2, 5].map((each) => each * 10 ** power)).flat();

/** A mark of the axis of times: a day where marks are days apart, else the time of it. */
function timeText(seconds: number, step: number): string {
  const date = new Date(seconds * 1000);
  const two = (value: number): string => String(value).padStart(2, '0');
  if (step >= 86_400 || (date.getHours() === 0 && date.getMinutes() === 0 && step >= 3_600))
    return `${two(date.getDate())}.${two(date.getMonth() + 1)}.`;
  const time = `${two(date.getHours())}:${two(date.getMinutes())}`;
  return step < 60 ? `${time}:${two(date.getSeconds())}` : time;
}

/** Each line upon those after it, so that the first one drawn is the highest and all stay to be seen. */
function piled(lines: readonly Line[]): number[][] {
  const result: number[][] = [];
  let below: number[] | undefined;
  for (const { values } of [...lines].reverse()) {
    const sums: number[] = values.map((value, index) => (value ?? 0) + (below?.[index] ?? 0));
    result.unshift(sums);
    below = sums;
  }
  return result;
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
