/** What is shown to people: nothing that came from an event may steer the terminal. */
import Table from 'cli-table3';
import stringWidth from 'string-width';
import { colors } from './colors.js';

/** Control characters, directional overrides, invisible formatting and lone surrogates. */
const unsafe = /[\p{Cc}\p{Cs}\p{Zl}\p{Zp}\u00ad\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]/gu;

function escaped(character: string): string {
  if (character === '\n') return '\\n';
  if (character === '\t') return '\\t';
  if (character === '\r') return '\\r';
  const code = character.codePointAt(0)!;
  return code < 0x100 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u{${code.toString(16)}}`;
}

/** The text on one line, with everything that a terminal would act on written out. */
export function shown(text: string): string {
  return text.replace(unsafe, escaped);
}

/** As `shown`, but keeps lines and tabs: for formats that are lines. */
export function shownLines(text: string): string {
  return text.replace(unsafe, (character) =>
    character === '\n' || character === '\t' ? character : escaped(character),
  );
}

/** Cuts to a number of terminal columns; wide characters count twice. */
export function cut(text: string, columns: number): string {
  if (text.length <= columns && stringWidth(text) <= columns) return text;
  let width = 0;
  let kept = '';
  for (const character of text) {
    width += stringWidth(character);
    if (width > columns - 1) break;
    kept += character;
  }
  return `${kept}…`;
}

const line = {
  top: '',
  'top-mid': '',
  'top-left': '',
  'top-right': '',
  bottom: '',
  'bottom-mid': '',
  'bottom-left': '',
  'bottom-right': '',
  left: '',
  'left-mid': '',
  mid: '',
  'mid-mid': '',
  right: '',
  'right-mid': '',
  middle: '  ',
};
/** Narrower than this a column says nothing. */
const leastColumnWidth = 6;
const gapWidth = 2;

/**
 * Rows as a table that fits the terminal: the widest columns are cut first. Numbers stand to the right.
 * `width` of undefined cuts nothing.
 */
export function renderTable(
  names: readonly string[],
  rows: readonly (readonly unknown[])[],
  width: number | undefined = terminalWidth(),
): string {
  const texts = rows.map((row) => row.map((value) => shown(cellText(value))));
  const widths = names.map((name, column) =>
    texts.reduce((most, row) => Math.max(most, stringWidth(row[column] ?? '')), stringWidth(shown(name))),
  );
  const room = (width ?? Number.POSITIVE_INFINITY) - gapWidth * (names.length - 1);
  let total = widths.reduce((sum, each) => sum + each, 0);
  while (total > room) {
    const widest = Math.max(...widths);
    if (widest <= leastColumnWidth) break;
    const second = Math.max(leastColumnWidth, ...widths.filter((each) => each < widest));
    const column = widths.indexOf(widest);
    const next = Math.max(second === widest ? widest - 1 : second, widest - (total - room), leastColumnWidth);
    widths[column] = Math.min(next, widest - 1);
    total -= widest - widths[column]!;
  }
  const numeric = names.map(
    (_, column) => rows.length > 0 && rows.every((row) => row[column] === null || typeof row[column] === 'number'),
  );
  const table = new Table({
    head: names.map((name, column) => colors.bold(cut(shown(name), widths[column]!))),
    chars: line,
    style: { head: [], border: [], 'padding-left': 0, 'padding-right': 0 },
    colAligns: numeric.map((each) => (each ? 'right' : 'left')),
  });
  for (const row of texts) table.push(row.map((text, column) => cut(text, widths[column]!)));
  return table
    .toString()
    .split('\n')
    .map((each) => each.trimEnd())
    .join('\n');
}

/** Columns below this width are read one by one rather than beside each other. */
const readableColumnWidth = 8;

/** Whether so many columns stand beside each other on the terminal and can still be read. */
export function fitsTerminal(columns: number, width: number | undefined = terminalWidth()): boolean {
  return width === undefined || columns * (readableColumnWidth + gapWidth) - gapWidth <= width;
}

/** Each row as a block of lines `name  value`, for rows that are too wide for a table. */
export function renderBlocks(names: readonly string[], rows: readonly (readonly unknown[])[]): string {
  const labels = names.map((name) => shown(name));
  const width = labels.reduce((most, label) => Math.max(most, stringWidth(label)), 0);
  const blocks = rows.map((row, index) => {
    const lines = labels.map((label, column) => {
      const padding = ' '.repeat(width - stringWidth(label) + gapWidth);
      return `${colors.bold(label)}${padding}${shown(cellText(row[column]))}`.trimEnd();
    });
    return [colors.dim(`row ${index + 1}`), ...lines].join('\n');
  });
  return blocks.join('\n\n');
}

function terminalWidth(): number | undefined {
  return process.stdout.isTTY ? process.stdout.columns : undefined;
}

function cellText(value: unknown): string {
  if (value === null || value === undefined) return '';
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}

/** `1.5 GiB`. */
export function bytesText(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  let value = bytes;
  for (; value >= 1024 && unit < units.length - 1; unit++) value /= 1024;
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}

/** `3 min`, of the largest whole unit. */
export function agoText(milliseconds: number): string {
  const units = [
    ['days', 86_400_000],
    ['h', 3_600_000],
    ['min', 60_000],
  ] as const;
  for (const [unit, length] of units)
    if (milliseconds >= 2 * length) return `${Math.floor(milliseconds / length)} ${unit}`;
  return `${Math.max(0, Math.floor(milliseconds / 1000))} s`;
}
