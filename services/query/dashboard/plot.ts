/** How a chart is drawn, by uPlot: its options from lines and the colours of the page. Loaded when there is a chart. */
import uPlot from 'uplot';
import type { Line, Mark } from './lines.js';
import { plain } from './text.js';

export interface PlotOptions {
  readonly lines: readonly Line[];
  readonly marks: readonly Mark[];
  /** How many there are. */
  readonly points: number;
  readonly height: number;
  readonly format: (value: number) => string;
  /** The values are counts: the axis has whole numbers. */
  readonly whole: boolean;
  /** A range may be chosen. */
  readonly brush: boolean;
  readonly moved: (index: number | null) => void;
  readonly chosen: (fromSeconds: number, toSeconds: number) => void;
}

const colorNames = ['--accent', '--blue', '--good', '--violet', '--bad', '--teal', '--soft', '--ink', '--other'];
const wholeSteps = Array.from({ length: 12 }, (_, power) => [1, 2, 5].map((each) => each * 10 ** power)).flat();

/** A custom property holds light-dark(); a real one is computed. */
function colorsOf(element: HTMLElement): (name: string) => string {
  const probe = document.createElement('span');
  element.append(probe);
  const known = new Map<string, string>();
  for (const name of [...colorNames, '--line']) {
    probe.style.color = `var(${name})`;
    known.set(name, getComputedStyle(probe).color);
  }
  probe.remove();
  return (name) => known.get(name)!;
}

const nameOf = (color: number): string => colorNames[color % colorNames.length]!;

function plotOptions(element: HTMLElement, options: PlotOptions): uPlot.Options {
  const { lines, marks, points, height, format, whole, brush, moved, chosen } = options;
  const color = colorsOf(element);
  const [ink, grid] = [color('--soft'), color('--line')];
  // Text is as large as elsewhere on the page, also on a wall.
  const rem = Number.parseFloat(getComputedStyle(document.documentElement).fontSize) / 16;
  const font = `${Math.round(11.5 * rem)}px "Geist Variable", sans-serif`;
  const bars = uPlot.paths.bars!({ size: [0.82, 60], gap: points > 400 ? 0 : 1 });
  const series = lines.map(({ name, color: index = 0, kind = 'line' }): uPlot.Series => {
    const stroke = color(nameOf(index));
    return {
      label: plain(name, 40),
      stroke,
      width: kind === 'bars' ? 0 : kind === 'dashed' ? 1.5 : 1.75,
      ...(kind === 'dashed' ? { dash: [6, 5] } : {}),
      ...(kind === 'bars' ? { paths: bars, fill: stroke } : {}),
      ...(kind === 'area' ? { fill: stroke.replace('rgb(', 'rgba(').replace(')', ', 0.13)') } : {}),
      points: { show: points === 1 },
      spanGaps: false,
    };
  });
  const axis = { stroke: ink, font };
  return {
    width: Math.max(120, element.clientWidth),
    height: height * rem,
    padding: [marks.length > 0 ? 18 * rem : 8, 8, 0, 0],
    legend: { show: false },
    cursor: { drag: { x: brush, y: false, setScale: false }, points: { size: 6 } },
    series: [{}, ...series],
    axes: [
      {
        ...axis,
        size: 28 * rem,
        space: 70 * rem,
        grid: { show: false },
        ticks: { stroke: grid, width: 1, size: 4 },
        values: (_, at, __, ___, step) => at.map((mark) => timeText(mark, step)),
      },
      {
        ...axis,
        size: 54 * rem,
        grid: { stroke: grid, width: 1 },
        ticks: { show: false },
        ...(whole ? { incrs: wholeSteps } : {}),
        values: (_, at) => at.map((mark) => format(mark)),
      },
    ],
    scales: {
      x: { range: (_, low, high) => (low === high ? [low - 60, high + 60] : [low, high]) },
      y: { range: (_, low, high) => [Math.min(0, low ?? 0), high === null || high <= 0 ? 1 : high * 1.08] },
    },
    hooks: {
      setCursor: [({ cursor }) => moved(cursor.idx ?? null)],
      setSelect: [
        (plot) => {
          const { left, width } = plot.select;
          if (width >= 3) chosen(plot.posToVal(left, 'x'), plot.posToVal(left + width, 'x'));
        },
      ],
      draw: marks.length === 0 ? [] : [(plot) => drawMarks(plot, marks, color, font)],
    },
  };
}

/** Draws a chart into the element. */
export function draw(element: HTMLElement, data: uPlot.AlignedData, options: PlotOptions): uPlot {
  return new uPlot(plotOptions(element, options), data, element);
}

function drawMarks(
  { ctx, bbox, ...plot }: uPlot,
  marks: readonly Mark[],
  color: (name: string) => string,
  font: string,
) {
  const ratio = devicePixelRatio;
  ctx.save();
  ctx.lineWidth = ratio;
  ctx.setLineDash([2 * ratio, 3 * ratio]);
  ctx.font = font.replace(/^\d+/, (size) => String(Number(size) * ratio));
  ctx.textBaseline = 'bottom';
  let free = Number.NEGATIVE_INFINITY;
  for (const { at, name, color: index = 6 } of marks) {
    const { min = 0, max = 0 } = plot.scales.x!;
    if (at < min! || at > max!) continue;
    const x = bbox.left + ((at - min!) / (max! - min!)) * bbox.width;
    ctx.strokeStyle = color(nameOf(index));
    ctx.fillStyle = ctx.strokeStyle;
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    const { width } = ctx.measureText(name);
    const left = Math.min(Math.max(x - width / 2, bbox.left), bbox.left + bbox.width - width);
    if (left < free) continue;
    ctx.fillText(name, left, bbox.top - 2 * ratio);
    free = left + width + 6 * ratio;
  }
  ctx.restore();
}

const two = (value: number): string => String(value).padStart(2, '0');

/** A mark of the axis of times: a day where marks are days apart, else the time of it. */
function timeText(seconds: number, step: number): string {
  const date = new Date(seconds * 1000);
  if (step >= 86_400 || (date.getHours() === 0 && date.getMinutes() === 0 && step >= 3_600))
    return `${two(date.getDate())}.${two(date.getMonth() + 1)}.`;
  const time = `${two(date.getHours())}:${two(date.getMinutes())}`;
  return step < 60 ? `${time}:${two(date.getSeconds())}` : time;
}
