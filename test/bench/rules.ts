import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import type { BenchmarkOptions, BenchmarkResult } from './main.js';

export const description = 'Rules over events of 500 bytes on one core, beside JSON.parse of the same lines alone.';

/** Shares of JSON.parse's rate that are to be reached, by number of rules. */
const targets: Readonly<Record<number, number>> = { 3: 0.7, 100: 0.6, 1000: 0.4, 3000: 0.25 };

export interface RulesFigures {
  readonly rules: number;
  /** Events a second, the best of the rounds. */
  readonly parse: number;
  readonly engine: number;
  readonly setUpMs: number;
  readonly alerts: number;
}

/** Each size in a process of its own; in it JSON.parse and the engine take turns over the same lines. */
export async function run(options: BenchmarkOptions): Promise<BenchmarkResult> {
  const events = Number(options.events ?? 300_000);
  const rounds = Number(options.rounds ?? 3);
  const found: RulesFigures[] = [];
  console.log('rules    JSON.parse/s     engine/s   ratio   target   set-up');
  for (const rules of Object.keys(targets).map(Number)) {
    const script = join(import.meta.dirname, 'rules', 'measure.ts');
    const child = spawnSync(
      process.execPath,
      ['--import', 'tsx', script, String(rules), String(events), String(rounds)],
      {
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'inherit'],
      },
    );
    if (child.status !== 0) throw new Error(`the process that measures ${rules} rules ended with ${child.status}`);
    const figures = JSON.parse(child.stdout) as RulesFigures;
    found.push(figures);
    const ratio = figures.engine / figures.parse;
    console.log(
      `${String(rules).padStart(5)} ${figures.parse.toFixed(0).padStart(14)} ${figures.engine.toFixed(0).padStart(12)} ${ratio.toFixed(2).padStart(7)} ${(targets[rules] as number).toFixed(2).padStart(8)} ${figures.setUpMs.toFixed(0).padStart(6)} ms`,
    );
  }
  // How far each size is above its target; the smallest decides.
  const shares = found.map(({ rules, parse, engine }) => engine / parse / (targets[rules] as number));
  return {
    name: 'rules',
    ratio: Math.min(...shares),
    target:
      'of JSON.parse alone: 0.7 with 3 rules, 0.6 with 100, 0.4 with 1,000, 0.25 with 3,000; the ratio is the smallest share of these',
    ok: shares.every((share) => share >= 1),
    sizes: found,
  };
}
