/** CSV for spreadsheets: cells that begin like a formula are guarded, whatever is in them and however the bytes come. */
import { expect, test } from 'vitest';
import { withoutFormulas } from '../../services/query/api/csv.js';

async function guarded(text: string, pieceBytes = 1_000): Promise<string> {
  const bytes = Buffer.from(text);
  async function* pieces() {
    for (let at = 0; at < bytes.length; at += pieceBytes) yield bytes.subarray(at, at + pieceBytes);
  }
  const out: Uint8Array[] = [];
  for await (const piece of withoutFormulas(pieces())) out.push(piece);
  return Buffer.concat(out).toString();
}

const written = (cells: readonly (string | number)[]) =>
  `${cells.map((cell) => (typeof cell === 'number' ? cell : `"${cell.replaceAll('"', '""')}"`)).join(',')}\n`;

test.each(['=', '+', '-', '@', '\t', '\r', '＝', '＋', '－', '＠'])('a cell that begins with %j', async (beginning) => {
  const cell = `${beginning}cmd|' /C calc'!A0`;
  expect(await guarded(written([cell, -5, 'x', cell]))).toBe(written([`'${cell}`, -5, 'x', `'${cell}`]));
});

test('only the beginning of a cell counts, and pieces of any length give the same', async () => {
  const cells = ['', 'a"=b', '"=1', 'a,"=2', '\n=3', 'a\n"=4', '=', '=\n"', '＝', '１', '"', '""', -1, 'ü@'];
  const seed = Date.now() % 100_000;
  console.log(`seed ${seed}`);
  let state = seed;
  const any = (below: number) => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
    return Math.floor((state / 2_147_483_648) * below);
  };
  const rows = Array.from({ length: 200 }, () => Array.from({ length: 1 + any(4) }, () => cells[any(cells.length)]!));
  const isFormula = (cell: string | number) => typeof cell === 'string' && /^[=+\-@\t\r＝＋－＠]/.test(cell);
  const expected = rows.map((row) => written(row.map((cell) => (isFormula(cell) ? `'${cell}` : cell)))).join('');
  for (const pieceBytes of [1, 2, 3, 7, 1_000_000])
    expect(await guarded(rows.map(written).join(''), pieceBytes)).toBe(expected);
});
