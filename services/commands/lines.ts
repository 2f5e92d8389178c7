/** One recorded call as one line for people. */

import stringWidth from 'string-width';
import { colors } from './colors.js';
import { cut, shown } from './terminal.js';

/** Columns of a line that goes to a pipe or a file: long enough that little is cut, short enough to be a line. */
const pipeColumns = 200;
const timeColumns = 8;
const durationColumns = 9;
const gap = 1;
/** Least columns of actor, server and tool, what each may have at most, and its share of what is left. */
const least = [13, 12, 16] as const;
const most = [24, 24, 28] as const;
const fixedColumns = timeColumns + durationColumns + 5 * gap;
/** What outcome and arguments have at least. */
const leastRest = 16;

/** Text in exactly so many columns. */
function column(value: unknown, width: number): string {
  const text = cut(shown(String(value ?? '')), width);
  return text + ' '.repeat(Math.max(0, width - stringWidth(text)));
}

const asExpected: ReadonlySet<unknown> = new Set(['success', 'task_created', 'input_required']);
const unfinished: ReadonlySet<unknown> = new Set(['cancelled', 'no_response', 'throttled', 'timeout']);

function markOf(outcome: unknown): string {
  if (outcome === 'success') return colors.green('✓');
  const text = shown(String(outcome ?? ''));
  if (asExpected.has(outcome)) return colors.green(`✓ ${text}`);
  return unfinished.has(outcome) ? colors.yellow(`! ${text}`) : colors.red(`✗ ${text}`);
}

function durationText(milliseconds: unknown): string {
  if (typeof milliseconds !== 'number') return '';
  return milliseconds < 10_000 ? `${milliseconds.toFixed(1)} ms` : `${(milliseconds / 1000).toFixed(1)} s`;
}

/**
 * Time (UTC), actor, server, tool or method, duration, outcome, and the beginning of the arguments, in `columns` of a
 * terminal (default: standard output's; in a pipe 200).
 */
export function eventLine(
  event: Readonly<Record<string, unknown>>,
  columns: number = process.stdout.isTTY ? process.stdout.columns : pipeColumns,
): string {
  const spare = Math.max(0, columns - fixedColumns - leastRest - least[0] - least[1] - least[2]);
  const [actorColumns, serverColumns, toolColumns] = least.map((width, index) =>
    Math.min(most[index]!, width + Math.floor(spare / 4)),
  ) as [number, number, number];
  const body = event.arguments;
  const bodyText = body === undefined || body === '' ? '' : typeof body === 'string' ? body : JSON.stringify(body);
  const mark = markOf(event.outcome);
  const head = [
    colors.dim(column(String(event.occurred_at ?? '').slice(11, 19), timeColumns)),
    column(event.actor_id, actorColumns),
    colors.cyan(column(event.server_name, serverColumns)),
    colors.bold(column(event.tool_name || event.method, toolColumns)),
    durationText(event.duration_ms).padStart(durationColumns),
    mark,
  ].join(' ');
  const room = columns - stringWidth(head) - gap;
  return room < 4 || bodyText === '' ? head : `${head} ${colors.dim(cut(shown(bodyText), room))}`;
}
