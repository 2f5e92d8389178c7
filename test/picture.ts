/**
 * `npm run picture`: runs the demo on a real terminal and keeps what it shows, as docs/demo.svg (excerpts, in colour)
 * and as the text in README.md (all of it). Needs `script` of util-linux and a build.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { stripVTControlCharacters } from 'node:util';

const root = resolve(import.meta.dirname, '..');
const columns = 92;
const characterWidth = 8;
const lineHeight = 18;
const padding = 20;
const barHeight = 32;

interface Style {
  readonly color: string;
  readonly isBold: boolean;
  readonly isDim: boolean;
}

interface Run extends Style {
  readonly text: string;
  readonly column: number;
}

const plain: Style = { color: '#d8dee9', isBold: false, isDim: false };
const colors: Readonly<Record<number, string>> = { 31: '#ff7b72', 32: '#7ee787', 33: '#f2cc60', 36: '#79c0ff' };

/**
 * The runs of one style in each line with ANSI escapes (SGR, which is all that the program writes). They are cut where
 * columns are, so that each begins in its place whatever the font's width is.
 */
function runsOf(lines: readonly string[]): Run[][] {
  let style = plain;
  return lines.map((line) => {
    const runs: Run[] = [];
    let column = 0;
    // biome-ignore lint/suspicious/noControlCharactersInRegex: the escape that begins a sequence
    for (const part of line.split(/(\u001b\[[\d;]*m| {2,})/)) {
      if (part.startsWith('\u001b')) {
        for (const code of part.slice(2, -1).split(';').map(Number)) style = styled(style, code);
        continue;
      }
      if (part.trim() !== '') runs.push({ text: part, column, ...style });
      column += [...part].length;
    }
    return runs;
  });
}

function styled(style: Style, code: number): Style {
  if (code === 0) return plain;
  if (code === 1) return { ...style, isBold: true };
  if (code === 2) return { ...style, isDim: true };
  if (code === 22) return { ...style, isBold: false, isDim: false };
  if (code === 39) return { ...style, color: plain.color };
  return { ...style, color: colors[code] ?? style.color };
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
}

function svgOf(lines: readonly string[]): string {
  const width = columns * characterWidth + 2 * padding;
  const height = barHeight + lines.length * lineHeight + 2 * padding;
  const texts = runsOf(lines).flatMap((runs, index) =>
    runs.map(({ text, column, color, isBold, isDim }) => {
      const x = padding + column * characterWidth;
      const y = barHeight + padding + index * lineHeight + 12;
      const style = `fill="${color}"${isBold ? ' font-weight="bold"' : ''}${isDim ? ' opacity="0.6"' : ''}`;
      const length = [...text].length * characterWidth;
      return `<text x="${x}" y="${y}" textLength="${length}" ${style}>${escaped(text)}</text>`;
    }),
  );
  const dots = ['#ff5f57', '#febc2e', '#28c840'].map(
    (color, index) => `<circle cx="${padding + index * 18}" cy="${barHeight / 2 + 4}" r="5.5" fill="${color}"/>`,
  );
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img">
<title>What npm run demo prints</title>
<rect width="${width}" height="${height}" rx="10" fill="#161b22"/>
${dots.join('\n')}
<g font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace" font-size="13" xml:space="preserve">
${texts.join('\n')}
</g>
</svg>
`;
}

/** The lines from the first that matches `from` to the one before the first after it that matches `to`. */
function between(lines: readonly string[], from: RegExp, to: RegExp): string[] {
  const start = lines.findIndex((line) => from.test(stripVTControlCharacters(line)));
  const length = lines.slice(start + 1).findIndex((line) => to.test(stripVTControlCharacters(line)));
  if (start === -1 || length === -1) throw new Error(`the demo has no lines from ${from} to ${to}`);
  return lines.slice(start, start + 1 + length);
}

const demo = `stty cols ${columns} rows 60; exec '${process.execPath}' '${join(root, 'dist', 'services', 'cli.js')}' demo`;
const output = execFileSync('script', ['-qec', demo, '/dev/null'], {
  encoding: 'utf8',
  env: { PATH: process.env.PATH, HOME: process.env.HOME, TERM: 'xterm-256color', LANG: 'C.UTF-8' },
  stdio: ['ignore', 'pipe', 'inherit'],
});
const lines = output.trimEnd().replaceAll('\r\n', '\n').split('\n');
const more = '\u001b[2m⋮\u001b[22m';
const picture = [
  '\u001b[2m$\u001b[22m npm run demo',
  '',
  ...between(lines, /^2 {2}Calls/, /mcp-servers\S* +initialize/),
  ...between(lines, /alice\S* +mcp-servers\S* +echo/, /secure-file\S* +tools\/list/),
  more,
  ...between(lines, /agent-7 +secure-file\S* +initialize/, /memory-server|memory-se…/),
  more,
  ...between(lines, /^What did agent-7 try/, /^Which secrets/),
  ...between(lines, /^Which secrets/, /^Next/),
];
writeFileSync(join(root, 'docs', 'demo.svg'), svgOf(picture));
const readme = join(root, 'README.md');
const block = /(<!-- demo -->\n+```text\n)[\s\S]*?(\n```\n+<!-- end of demo -->)/;
const text = readFileSync(readme, 'utf8');
if (!block.test(text)) throw new Error('README.md has no place for the demo');
writeFileSync(
  readme,
  text.replace(block, (_all, head: string, tail: string) => head + stripVTControlCharacters(lines.join('\n')) + tail),
);
