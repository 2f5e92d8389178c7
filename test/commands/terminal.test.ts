import { stripVTControlCharacters } from 'node:util';
import stringWidth from 'string-width';
import { expect, test } from 'vitest';
import { eventLine } from '../../services/commands/lines.js';
import { shellWord } from '../../services/commands/output.js';
import {
  agoText,
  bytesText,
  cut,
  fitsTerminal,
  renderBlocks,
  renderTable,
  shown,
  shownLines,
} from '../../services/commands/terminal.js';

/** What a terminal would act on: C0 and C1 controls, directional overrides, what is invisible. */
const acting = [
  '\u001b[2J',
  '\u001b]0;title\u0007',
  '\u009b31m',
  '\u0000',
  '\u0008',
  '\r',
  '\u007f',
  '\u202e',
  '\u2066',
  '\u200b',
  '\ufeff',
  '\u2028',
  '\ud800',
];
const actingCharacter = /(?!\n)[\p{Cc}\p{Cs}\p{Zl}\p{Zp}\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]/u;

test.each(acting)('%j is written out wherever an event is shown', (text) => {
  const hostile = `a${text}b`;
  for (const out of [
    shown(hostile),
    shownLines(hostile),
    renderTable([hostile], [[hostile]], 80),
    renderBlocks([hostile], [[hostile]]),
    eventLine(
      { tool_name: hostile, actor_id: hostile, server_name: hostile, arguments: hostile, outcome: hostile },
      80,
    ),
  ])
    expect(stripVTControlCharacters(out)).not.toMatch(actingCharacter);
});

test('a table fits the terminal, wide characters and all', () => {
  const rows = [
    ['日本語の長いテキスト'.repeat(5), 1.5, 'short'],
    ['x'.repeat(200), null, 'é'.repeat(60)],
  ];
  for (const width of [30, 80, 200])
    for (const line of renderTable(['text', 'number', 'more'], rows, width).split('\n'))
      expect(stringWidth(line), line).toBeLessThanOrEqual(width);
  expect(renderTable(['n'], [[1], [22]], 80)).toBe(' n\n 1\n22');
  expect(renderTable(['a', 'b'], [], 80)).toBe('a  b');
});

test('rows that are too wide for a table stand one below the other', () => {
  expect(fitsTerminal(8, 80)).toBe(true);
  expect(fitsTerminal(9, 80)).toBe(false);
  expect(fitsTerminal(50, undefined)).toBe(true);
  expect(
    renderBlocks(
      ['a', 'long'],
      [
        [1, null],
        [{ x: 1 }, '日本'],
      ],
    ),
  ).toBe('row 1\na     1\nlong\n\nrow 2\na     {"x":1}\nlong  日本');
});

test('a call is one line of the terminal at any width', () => {
  const event = {
    occurred_at: '2026-11-24T03:52:00.123456Z',
    actor_id: 'somebody-with-a-long-name@example.com',
    server_name: 'secure-filesystem-server',
    tool_name: 'read_text_file',
    outcome: 'tool_error',
    duration_ms: 12.345,
    arguments: { path: `/srv/${'long/'.repeat(60)}` },
  };
  for (const width of [80, 100, 120, 200, 400]) expect(stringWidth(eventLine(event, width))).toBeLessThanOrEqual(width);
  expect(eventLine(event, 80)).toBe('03:52:00 somebody-wit… secure-file… read_text_file     12.3 ms ✗ tool_error {"p…');
  expect(eventLine({ ...event, outcome: 'success', arguments: '', duration_ms: 61_500 }, 80)).toBe(
    '03:52:00 somebody-wit… secure-file… read_text_file      61.5 s ✓',
  );
  expect(eventLine({}, 80).trim()).toBe('✗');
});

test('cut counts columns, not characters', () => {
  expect(cut('abcdef', 6)).toBe('abcdef');
  expect(cut('abcdefg', 6)).toBe('abcde…');
  expect(cut('日本語', 5)).toBe('日本…');
});

test('sizes, times and words', () => {
  expect([0, 1023, 1024, 5 * 1024 ** 3].map(bytesText)).toEqual(['0 B', '1023 B', '1.0 KiB', '5.0 GiB']);
  expect([-5, 999, 119_000, 120_000, 7_200_000, 172_800_000].map(agoText)).toEqual([
    '0 s',
    '0 s',
    '119 s',
    '2 min',
    '2 h',
    '2 days',
  ]);
  expect(['/var/lib/x', 'a b', "it's", ''].map(shellWord)).toEqual(['/var/lib/x', "'a b'", "'it'\\''s'", "''"]);
});
