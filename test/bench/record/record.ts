/** Figures that were measured, kept in measured.json and shown in README.md. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { join, resolve } from 'node:path';
import type { BenchmarkResult } from '../main.js';

const root = resolve(import.meta.dirname, '..', '..', '..');
const file = join(import.meta.dirname, 'measured.json');
const readme = join(root, 'README.md');
const block = /(<!-- measured -->\n)[\s\S]*?(<!-- end of measured -->)/;

interface Measurement extends BenchmarkResult {
  readonly description: string;
  /** Day, and the machine: a figure without them says little. */
  readonly day: string;
  readonly machine: string;
}

function machine(): string {
  const all = cpus();
  return `${all.length} × ${all[0]?.model.trim() ?? 'unknown'}, Node ${process.versions.node}`;
}

/** Keeps the result and writes the table in README.md anew. */
export function record(description: string, result: BenchmarkResult): void {
  const known = existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Record<string, Measurement>) : {};
  known[result.name] = { ...result, description, day: new Date().toISOString().slice(0, 10), machine: machine() };
  const sorted = Object.fromEntries(Object.entries(known).sort(([a], [b]) => (a < b ? -1 : 1)));
  writeFileSync(file, `${JSON.stringify(sorted, null, 2)}\n`);
  const text = readFileSync(readme, 'utf8');
  if (!block.test(text)) throw new Error('README.md has no place for what was measured');
  writeFileSync(
    readme,
    text.replace(block, (_all, head: string, tail: string) => head + table(Object.values(sorted)) + tail),
  );
}

function table(measurements: readonly Measurement[]): string {
  const rows = measurements.map(({ name, description, ratio, target, ok }) => {
    const shown = Number.isInteger(ratio) ? ratio : ratio.toPrecision(3);
    return `| \`${name}\` | ${description.replace(/\.$/, '')} | ${shown} | ${target} | ${ok ? 'yes' : '**no**'} |`;
  });
  const places = [...new Set(measurements.map(({ day, machine }) => `${day} on ${machine}`))];
  return [
    '',
    '| `npm run bench --` | what, beside what | ratio | target | met |',
    '|---|---|---|---|---|',
    ...rows,
    '',
    `Measured ${places.join('; ')}.`,
    '',
    '',
  ].join('\n');
}
