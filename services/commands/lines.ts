/** One recorded call as one line for people. */
import colors from 'picocolors';
import stringWidth from 'string-width';
import { cut, shown } from './terminal.js';

function column(value: unknown, width: number): string {
  const text = cut(shown(String(value ?? '')), width);
  return text + ' '.repeat(Math.max(0, width - stringWidth(text)));
}

function colorOf(outcome: string): (text: string) => string {
  if (outcome === 'success' || outcome === 'task_created' || outcome === 'input_required') return colors.green;
  return outcome === 'cancelled' || outcome === 'no_response' || outcome === 'throttled' ? colors.yellow : colors.red;
}

/** Time, actor, server, tool or method, outcome, duration, and the beginning of the arguments. */
export function eventLine(event: Readonly<Record<string, unknown>>, argumentsColumns: number): string {
  const time = String(event.occurred_at ?? '').slice(11, 23);
  const outcome = String(event.outcome ?? '');
  const milliseconds = typeof event.duration_ms === 'number' ? `${event.duration_ms.toFixed(1)} ms` : '';
  const body = event.arguments;
  const text = body === undefined || body === '' ? '' : typeof body === 'string' ? body : JSON.stringify(body);
  return [
    colors.dim(column(time, 12)),
    column(event.actor_id, 14),
    colors.cyan(column(event.server_name, 14)),
    colors.bold(column(event.tool_name || event.method, 24)),
    colorOf(outcome)(column(outcome, 14)),
    milliseconds.padStart(10),
    ` ${colors.dim(cut(shown(text), argumentsColumns))}`,
  ]
    .join(' ')
    .trimEnd();
}
