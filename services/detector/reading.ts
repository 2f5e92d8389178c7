/**
 * Rules from the disk, without holding up the process that reads them: few are compiled in turns with the rest of it,
 * many in a thread of their own, because the parser takes a file in one piece (about a second a MiB). What the thread
 * hands over is plain data, fetched in turns as well.
 *
 * The thread has a limit of memory. Files that need more end the thread and not the process.
 */
import { once } from 'node:events';
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { MessageChannel, type MessagePort, receiveMessageOnPort, Worker } from 'node:worker_threads';
import type { CalendarDefinition } from '../../schemas/calendar.js';
import type { Compiled } from './compile.js';
import { type Excerpt, excerptsOf } from './excerpt.js';
import { loadingRules, type RuleSources } from './load.js';
import type { Rule } from './rule.js';
import { inTurns } from './turns.js';
import type { Problem } from './yaml.js';

export interface ReadRules extends Compiled {
  /** One for each rule, when they were asked for. */
  readonly excerpts: readonly Excerpt[];
}

export interface ReadingOptions {
  readonly excerpts: boolean;
  /** Lets the rest of the process have its turn. */
  readonly pause: () => Promise<void>;
}

/** Of all files together, and of one: 100 ms in turns, and 30 ms in one piece. A thread takes half a second to start. */
const fewBytes = { all: 128 * 1024, one: 32 * 1024 };
/** 10,000 rules with their tests take 200 MiB, and as much while they are compiled. */
const threadMegabytes = 1_024;

/** What the thread sends, in this order: parts of the rules, and then what is of all of them. */
export type ReadingPiece =
  | { readonly rules: readonly Rule[]; readonly excerpts: readonly Excerpt[] }
  | {
      readonly calendars: ReadonlyMap<string, CalendarDefinition>;
      readonly problems: readonly Problem[];
      readonly warnings: readonly Problem[];
    };

export interface ThreadWork {
  readonly sources: RuleSources;
  readonly excerpts: boolean;
  readonly port: MessagePort;
}

/** @param sizes Bytes of the files, as far as is known. */
export async function readRules(
  sources: RuleSources,
  sizes: { readonly all: number; readonly largest: number },
  options: ReadingOptions,
): Promise<ReadRules> {
  if (sizes.all > fewBytes.all || sizes.largest > fewBytes.one) return await inThread(sources, options);
  return await inTurns(reading(sources, options.excerpts), options.pause);
}

export function* reading(sources: RuleSources, wanted: boolean): Generator<void, ReadRules> {
  const compiled = yield* loadingRules(sources);
  return { ...compiled, excerpts: wanted ? yield* excerptsOf(compiled.set) : [] };
}

async function inThread(sources: RuleSources, { excerpts: wanted, pause }: ReadingOptions): Promise<ReadRules> {
  const { port1: port, port2 } = new MessageChannel();
  const work: ThreadWork = { sources, excerpts: wanted, port: port2 };
  const [program, how] = threadProgram();
  const thread = new Worker(program, {
    ...how,
    workerData: work,
    transferList: [port2],
    resourceLimits: { maxOldGenerationSizeMb: threadMegabytes },
  });
  try {
    // Rejects when the thread fails.
    await once(thread, 'message');
    const rules: Rule[] = [];
    const excerpts: Excerpt[] = [];
    for (;;) {
      const piece = (receiveMessageOnPort(port) as { message: ReadingPiece } | undefined)?.message;
      if (piece === undefined) throw new Error('the thread that reads rules ended too early');
      if (!('rules' in piece)) {
        const { calendars, problems, warnings } = piece;
        return { set: { rules, calendars }, problems, warnings, excerpts };
      }
      rules.push(...piece.rules);
      excerpts.push(...piece.excerpts);
      await pause();
    }
  } finally {
    port.close();
    await thread.terminate();
  }
}

/** The sources, as tests and benchmarks run them, are TypeScript, and a thread does not inherit what reads it. */
function threadProgram(): [string | URL, { eval: boolean }] {
  const extension = extname(fileURLToPath(import.meta.url));
  const program = new URL(`./reading-thread${extension}`, import.meta.url);
  if (extension === '.js') return [program, { eval: false }];
  return [`import('tsx/esm/api').then(({ register }) => (register(), import('${program}')))`, { eval: true }];
}
