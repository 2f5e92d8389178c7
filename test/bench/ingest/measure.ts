import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import Table from 'cli-table3';
import { round2 } from '../figures.js';
import type { IngestMeasure } from './stopwatch.js';
import type { IngestTask } from './worker.js';

/** Runs one path in a process of its own. Throws when not every event is there after it. */
export async function measureIngest(task: IngestTask): Promise<IngestMeasure> {
  const child = fork(fileURLToPath(new URL('./worker.ts', import.meta.url)), [JSON.stringify(task)], {
    execArgv: ['--import', 'tsx'],
  });
  let result: IngestMeasure | undefined;
  child.on('message', (message) => {
    result = message as IngestMeasure;
  });
  const [code] = await once(child, 'exit');
  if (result === undefined) throw new Error(`The process of the path ${task.path} ended with code ${code}.`);
  if (result.stored !== task.events)
    throw new Error(`${task.path}: ${result.stored} of ${task.events} events are there.`);
  return result;
}

/** Which files belong to which step of both ways; each adds how it reads. */
const steps: readonly (readonly [string, RegExp])[] = [
  ['parse and check', /^(check.*|scan|escapes|short-texts|event|time|field)\.ts$/],
  ['deduplicate', /^recent-ids\.ts$/],
  ['build the block', /^(native|columns)\.ts$/],
  ['ingestor', /^(ingestor|calls|writer|retry)\.ts$/],
  ['garbage collection', /^\(garbage collector\)$/],
];

/** Prints where the time of a profiled run went: the main thread by step, and the rest of the process. */
export function printParts(
  { profile = {}, cpuMicros }: IngestMeasure,
  reading: readonly (readonly [string, RegExp])[],
  rest: string,
): Record<string, number> {
  const all = [...reading, ...steps];
  const parts: Record<string, number> = Object.fromEntries(all.map(([step]) => [step, 0]));
  let main = 0;
  for (const [file, micros] of Object.entries(profile)) {
    const step = all.find(([, pattern]) => pattern.test(file))?.[0] ?? 'Node and the rest of the main thread';
    parts[step] = (parts[step] ?? 0) + micros;
    main += micros;
  }
  parts[rest] = Math.max(0, cpuMicros - main);
  const table = new Table({ head: ['where it goes (one more round, profiled)', 'CPU µs an event'] });
  for (const [part, micros] of Object.entries(parts)) table.push([part, micros.toFixed(2)]);
  console.log(table.toString());
  return Object.fromEntries(Object.entries(parts).map(([part, micros]) => [part, round2(micros)]));
}
