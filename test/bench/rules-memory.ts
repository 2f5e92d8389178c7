import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import type { BenchmarkOptions, BenchmarkResult } from './main.js';

export const description = 'Memory of a group at a million of them, beside what the detector counts for its limit.';

export interface MemoryFigures {
  readonly rule: string;
  readonly eventsPerGroup: number;
  readonly measuredBytes: number;
  /** What `detector.max_state_bytes` is compared with. */
  readonly countedBytes: number;
}

/** What a group of one event costs at most, stated in docs/rules.md; the events after it are 8 bytes each and more. */
const statedBytes = 700;

/** Each kind of rule in a process of its own: what is in use after a full collection, before and after the groups. */
export async function run(options: BenchmarkOptions): Promise<BenchmarkResult> {
  const groups = Number(options.groups ?? 1_000_000);
  const found: MemoryFigures[] = [];
  console.log('rule                events   measured   counted   bytes a group');
  for (const [rule, events] of [
    ['event_count', 1],
    ['event_count', 3],
    ['value_count', 1],
    ['value_count, own', 1],
    ['temporal_ordered', 1],
  ] as const) {
    const script = join(import.meta.dirname, 'rules', 'memory.ts');
    const child = spawnSync(
      process.execPath,
      ['--import', 'tsx', '--expose-gc', '--max-old-space-size=6000', script, rule, String(groups), String(events)],
      { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] },
    );
    if (child.status !== 0) throw new Error(`the process that measures ${rule} ended with ${child.status}`);
    const figures = JSON.parse(child.stdout) as MemoryFigures;
    found.push(figures);
    console.log(
      `${rule.padEnd(18)} ${String(events).padStart(7)} ${figures.measuredBytes.toFixed(0).padStart(10)} ${figures.countedBytes.toFixed(0).padStart(9)}`,
    );
  }
  const ratio = Math.max(...found.map(({ measuredBytes, countedBytes }) => measuredBytes / countedBytes));
  const most = Math.max(...found.filter((each) => each.eventsPerGroup === 1).map((each) => each.measuredBytes));
  return {
    name: 'rules-memory',
    ratio,
    target: `measured at most 1.2 times what is counted for the limit, and at most ${statedBytes} bytes for a group of one event`,
    ok: ratio <= 1.2 && most <= statedBytes,
    groups,
    kinds: found,
  };
}
