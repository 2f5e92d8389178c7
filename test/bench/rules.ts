import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import type { BenchmarkOptions, BenchmarkResult } from './main.js';
import { ruleMix } from './rules/corpus.js';
import { measureRsigma, rsigmaVersion } from './rules/rsigma.js';

export const description =
  'Rules over events of 500 bytes on one core, beside JSON.parse of the same lines and RSigma.';

/** Shares of JSON.parse's rate that are to be reached, by number of rules. */
const targets: Readonly<Record<number, number>> = { 3: 0.7, 100: 0.6, 1000: 0.4, 3000: 0.25 };

export interface RulesFigures {
  readonly rules: number;
  /** Events a second of CPU, the best of the rounds. */
  readonly parse: number;
  readonly engine: number;
  readonly setUpMs: number;
  readonly alerts: number;
}

/** Microseconds of CPU an event, with a million events in the window: of one actor, and of 10,000. */
export interface HotFigures {
  readonly hotMicros: number;
  readonly quietMicros: number;
}

/** What a script of `rules/` prints, in a process of its own. */
function measure<Figures>(script: string, ...options: number[]): Figures {
  const child = spawnSync(
    process.execPath,
    ['--import', 'tsx', join(import.meta.dirname, 'rules', script), ...options.map(String)],
    { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] },
  );
  if (child.status !== 0) throw new Error(`${script} ${options.join(' ')} ended with ${child.status}`);
  return JSON.parse(child.stdout) as Figures;
}

const column = (value: string, width: number): string => value.padStart(width);

/** Each size in a process of its own; in it JSON.parse and the engine take turns over the same lines. */
export async function run(options: BenchmarkOptions): Promise<BenchmarkResult> {
  const events = Number(options.events ?? 300_000);
  const rounds = Number(options.rounds ?? 3);
  const peer = rsigmaVersion();
  console.log(
    peer === undefined
      ? 'RSigma is skipped: no rsigma on the path, and RSIGMA names none (cargo install --locked rsigma --version 0.23.0)'
      : `${peer}, without its distinct count where that is faster`,
  );
  console.log('Events a second of CPU time.');
  console.log('rules   JSON.parse     engine   ratio   target   set-up     RSigma   ratio');
  const found: (RulesFigures & { rsigma?: number; rsigmaAll?: number })[] = [];
  for (const rules of Object.keys(targets).map(Number)) {
    const figures = measure<RulesFigures>('measure.ts', rules, events, rounds);
    // Fewer events: it needs a second for each 10,000, and its windows are cheaper while they fill.
    const rates = peer === undefined ? undefined : measureRsigma(ruleMix(rules), Math.min(events, 60_000));
    const rsigma = rates && Math.max(rates.all, rates.withoutDistinct);
    found.push({ ...figures, ...(rates && rsigma && { rsigma, rsigmaAll: rates.all }) });
    console.log(
      [
        column(String(rules), 5),
        column(figures.parse.toFixed(0), 13),
        column(figures.engine.toFixed(0), 11),
        column((figures.engine / figures.parse).toFixed(2), 8),
        column((targets[rules] as number).toFixed(2), 9),
        column(`${figures.setUpMs.toFixed(0)} ms`, 9),
        column(rsigma?.toFixed(0) ?? 'skipped', 11),
        column(rsigma === undefined ? '' : (figures.engine / rsigma).toFixed(2), 8),
      ].join(''),
    );
  }
  const hot = measure<HotFigures>('hot.ts');
  console.log(
    `A million events in the window: ${hot.hotMicros.toFixed(2)} µs an event of one actor, ${hot.quietMicros.toFixed(2)} µs of 10,000.`,
  );
  // How far each size is above its target; the smallest decides.
  const shares = found.map(({ rules, parse, engine }) => engine / parse / (targets[rules] as number));
  const ahead = found.every(({ engine, rsigma }) => rsigma === undefined || engine > rsigma);
  return {
    name: 'rules',
    ratio: Math.min(...shares),
    target:
      'of JSON.parse alone: 0.7 with 3 rules, 0.6 with 100, 0.4 with 1,000, 0.25 with 3,000; the ratio is the smallest share of these; ahead of RSigma at every size; a hot actor no dearer than a quiet one',
    ok: shares.every((share) => share >= 1) && ahead && hot.hotMicros <= hot.quietMicros,
    sizes: found,
    ...hot,
    ...(peer !== undefined && { peer }),
  };
}
