/**
 * `npm run bench` lists the benchmarks; `npm run bench -- NAME [--key[=value] …]` runs one: a table for people, and as
 * the last line one JSON object with `name`, `ratio`, `target`, `ok` and the figures behind them. With --record the
 * result goes into the table of README.md.
 */
import { readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { record } from './record/record.js';

export interface BenchmarkResult {
  readonly name: string;
  /** Ours against the peer or limit that was measured in the same run. */
  readonly ratio: number;
  readonly target: string;
  readonly ok: boolean;
  readonly [figure: string]: unknown;
}

export type BenchmarkOptions = Readonly<Record<string, string>>;

interface Benchmark {
  readonly description: string;
  run(options: BenchmarkOptions): Promise<BenchmarkResult>;
}

const directory = dirname(fileURLToPath(import.meta.url));
const names = readdirSync(directory)
  .filter((file) => file.endsWith('.ts') && !['main.ts', 'figures.ts'].includes(file))
  .map((file) => file.slice(0, -'.ts'.length))
  .sort();

async function load(name: string): Promise<Benchmark> {
  return (await import(pathToFileURL(join(directory, `${name}.ts`)).href)) as Benchmark;
}

const [name, ...rest] = process.argv.slice(2);
if (name === undefined || name === '--help' || name === '-h') {
  console.log('npm run bench -- NAME [--key[=value] …] [--record]\n');
  for (const each of names) console.log(`  ${each.padEnd(16)} ${(await load(each)).description}`);
  process.exit(0);
}
if (!names.includes(name)) {
  console.error(`There is no benchmark "${name}". There are: ${names.join(', ')}.`);
  process.exit(2);
}
const options: Record<string, string> = {};
let isRecorded = false;
for (const argument of rest) {
  if (argument === '--record') {
    isRecorded = true;
    continue;
  }
  const match = /^--([a-z-]+)(?:=(.*))?$/s.exec(argument);
  if (match === null) {
    console.error(`Expected --key=value or --key and got "${argument}".`);
    process.exit(2);
  }
  options[match[1]!] = match[2] ?? 'yes';
}
const benchmark = await load(name);
const result = await benchmark.run(options);
if (isRecorded) record(benchmark.description, result);
console.log(JSON.stringify(result));
process.exit(0);
