import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { Registry } from 'prom-client';
import { startDetector } from '../../services/detector/detector.js';
import { Engine } from '../../services/detector/engine.js';
import { loadRules } from '../../services/detector/load.js';
import { openLocalStream } from '../../services/stream/local.js';
import type { BenchmarkResult } from './main.js';
import { eventLines, ownYaml, ruleMix } from './rules/corpus.js';

export const description = 'Longest turn of the process while rules are reloaded, beside reading them at once.';

/** What else runs in the process, recording above all, waits for so long at most. */
const targetMs = 50;
const events = 20_000;
const rulesInFile = 5_000;

/**
 * Time of this thread on a core, in milliseconds: other processes and threads do not count, so it says the same on a
 * machine that is busy. Linux only.
 */
function threadMs(): number {
  return Number(readFileSync(`/proc/self/task/${process.pid}/schedstat`, 'utf8').split(' ')[0]) / 1e6;
}

export async function run(): Promise<BenchmarkResult> {
  const sizes: { rules: number; longestMs: number; atOnceMs: number }[] = [];
  console.log('rules   longest turn   at once (ms of this thread)');
  for (const rules of [1_000, 10_000]) {
    const figures = { rules, ...(await reload(rules)) };
    sizes.push(figures);
    console.log(
      `${String(rules).padStart(5)} ${figures.longestMs.toFixed(0).padStart(14)} ${figures.atOnceMs.toFixed(0).padStart(9)}`,
    );
  }
  const longest = Math.max(...sizes.map(({ longestMs }) => longestMs));
  return {
    name: 'rules-reload',
    ratio: Math.max(...sizes.map(({ longestMs, atOnceMs }) => longestMs / atOnceMs)),
    target: `no turn longer than ${targetMs} ms with 1,000 and 10,000 rules; ratio is to reading them at once`,
    ok: longest <= targetMs,
    sizes,
  };
}

async function reload(size: number): Promise<{ longestMs: number; atOnceMs: number }> {
  const directory = mkdtempSync(join(tmpdir(), 'bench-reload-'));
  const own = join(directory, 'rules');
  mkdirSync(own);
  const write = (seed: number): void => {
    const rules = ruleMix(size, seed);
    for (let from = 0; from < size; from += rulesInFile)
      writeFileSync(join(own, `${from}.yaml`), ownYaml(rules.slice(from, from + rulesInFile)));
  };
  write(2);
  const stream = openLocalStream({ directory: join(directory, 'stream') });
  const lines = [...eventLines(events)].map((line) => ({ key: 'k', value: Buffer.from(line), headers: {} }));
  for (let from = 0; from < events; from += 1_000) await stream.append('calls', lines.slice(from, from + 1_000));
  let reloads = 0;
  const faults: string[] = [];
  const detector = startDetector({
    stream,
    directory: join(directory, 'detector'),
    rules: { pack: false, paths: [own] },
    metrics: new Registry(),
    times: { reloadMs: 100 },
    onFault: (error, what) => faults.push(`${what}: ${String(error)}`),
    report: (what) => {
      if (what === 'rules are in force') reloads++;
      else faults.push(what);
    },
  });
  try {
    while (detector.status().records < events) await setImmediate();
    write(3);
    let longestMs = 0;
    let before = threadMs();
    while (reloads === 0) {
      await setImmediate();
      const now = threadMs();
      longestMs = Math.max(longestMs, now - before);
      before = now;
    }
    if (faults.length > 0 || detector.status().rules !== size)
      throw new Error(faults.join('\n') || 'rules are missing');
    const started = threadMs();
    new Engine(loadRules({ pack: false, paths: [own] }).set, () => undefined);
    return { longestMs, atOnceMs: threadMs() - started };
  } finally {
    await detector.close();
    await stream.close();
    rmSync(directory, { recursive: true, force: true });
  }
}
