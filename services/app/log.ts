/** The daemon's own log, on standard error: JSON, or one short line an entry for people. */
import { type Logger, pino } from 'pino';
import type { Configuration } from '../../schemas/configuration.js';

const levelNames: Readonly<Record<number, string>> = {
  10: 'trace',
  20: 'debug',
  30: 'info',
  40: 'warn',
  50: 'error',
  60: 'fatal',
};
/** Longest value of a field in a line for people. */
const maxFieldLength = 400;

/** `04:12:33 warn the message field=value`, of one line of pino's JSON. */
export function textLine(json: string): string {
  const { time, level, msg, err, ...fields } = JSON.parse(json) as Record<string, unknown>;
  const clock = new Date(Number(time)).toISOString().slice(11, 19);
  const rest = Object.entries({ ...fields, ...errorFields(err) })
    .map(
      ([name, value]) =>
        ` ${name}=${(typeof value === 'string' ? value : JSON.stringify(value)).slice(0, maxFieldLength)}`,
    )
    .join('');
  // A field may hold what a producer sent: no control character of it reaches the terminal.
  const line = `${clock} ${levelNames[Number(level)] ?? level} ${msg ?? ''}${rest}`;
  return `${line.replace(/\p{Cc}/gu, (each) => `\\x${each.charCodeAt(0).toString(16).padStart(2, '0')}`)}\n`;
}

function errorFields(error: unknown): Record<string, unknown> {
  if (typeof error !== 'object' || error === null) return {};
  const { code, message } = error as { code?: unknown; message?: unknown };
  return { error: message, ...(code === undefined ? {} : { code }) };
}

/** Opens the log. `auto` is text on a terminal. */
export function openLog(options: Configuration['log'], target: NodeJS.WriteStream = process.stderr): Logger {
  const text = options.format === 'text' || (options.format === 'auto' && target.isTTY);
  return pino(
    { level: options.level, base: null, serializers: { err: pino.stdSerializers.err } },
    { write: (line: string) => void target.write(text ? textLine(line) : line) },
  );
}
