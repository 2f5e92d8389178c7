/** How much of the recording rate is left while people ask heavy questions of the same engine, and who waits for whom. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AuditdError } from '../../schemas/errors.js';
import { openChdbStore } from '../../services/store/chdb.js';
import type { InsertBatch, Store } from '../../services/store/store.js';
import { batchOfCalls } from '../contract/store.js';
import type { Engine } from './disk.js';
import { median, percentile, round2 } from './figures.js';
import type { BenchmarkOptions, BenchmarkResult } from './main.js';
import { fillCalls } from './sql/history.js';

export const description =
  'Recording rate while 8 heavy queries run, beside the rate without; and short questions meanwhile.';

const rowsPerBlock = 2_000;
const heavy = [
  'SELECT actor_id, tool_name, uniqExact(arguments), quantile(0.99)(duration_ms) FROM calls GROUP BY actor_id, tool_name ORDER BY 3 DESC LIMIT 10',
  "SELECT count() FROM calls WHERE arguments LIKE '%no such word%' OR result LIKE '%neither this%'",
  'SELECT sum(sipHash64(number, number + 1)) FROM numbers(1000000000)',
  'SELECT count() FROM calls AS a JOIN calls AS b ON a.session_id = b.session_id',
];
const short =
  'SELECT outcome, count() FROM calls WHERE occurred_at > now() - INTERVAL 1 DAY AND duration_ms > 10 GROUP BY outcome';
const shortEveryMs = 200;

/** Inserts blocks for so many seconds; rows a second. */
async function record(store: Engine, blocks: readonly InsertBatch[], seconds: number): Promise<number> {
  // Making blocks would be most of the time, so each round stores the same ones; they are of one day, the table's partition.
  await store.execute("ALTER TABLE calls DROP PARTITION '2026-10-01'");
  const start = performance.now();
  let rows = 0;
  for (const block of blocks) {
    await store.insert(block);
    rows += block.rows;
    if (performance.now() > start + seconds * 1000) break;
  }
  return (rows * 1000) / (performance.now() - start);
}

async function ask(store: Store, sql: string, signal: AbortSignal): Promise<void> {
  const limits = { timeMs: 5_000, resultRows: 100_000 };
  for await (const _ of store.query(sql, { format: 'TSV', limits, signal })) if (signal.aborted) break;
}

/** People who ask one heavy question after the other, and one who asks short ones. */
class Askers {
  readonly counts = { answered: 0, stopped: 0, busy: 0 };
  readonly shortMs: number[] = [];
  private readonly done: AbortController[] = [];
  private readonly asking: Promise<void>[];

  constructor(
    private readonly store: Store,
    heavyAskers: number,
  ) {
    this.asking = Array.from({ length: heavyAskers }, (_, asker) => this.askHeavy(asker, this.signal()));
    this.asking.push(this.askShort(this.signal()));
  }

  async stop(): Promise<void> {
    for (const each of this.done) each.abort();
    await Promise.all(this.asking);
  }

  private signal(): AbortSignal {
    const done = new AbortController();
    this.done.push(done);
    return done.signal;
  }

  private async askHeavy(asker: number, signal: AbortSignal): Promise<void> {
    for (let turn = asker; !signal.aborted; turn++) {
      try {
        await ask(this.store, heavy[turn % heavy.length]!, signal);
        this.counts.answered++;
      } catch (error) {
        if (!(error instanceof AuditdError)) throw error;
        if (error.code === 'query_busy') this.counts.busy++;
        else if (error.code === 'query_limit') this.counts.stopped++;
        else if (error.code !== 'query_aborted') throw error;
      }
    }
  }

  private async askShort(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const start = performance.now();
      try {
        await ask(this.store, short, signal);
        this.shortMs.push(performance.now() - start);
      } catch (error) {
        if (!signal.aborted) throw error;
      }
      await new Promise((resolve) => setTimeout(resolve, shortEveryMs));
    }
  }
}

export async function run(options: BenchmarkOptions): Promise<BenchmarkResult> {
  const seconds = Number(options.seconds ?? 4);
  const rounds = Number(options.rounds ?? 4);
  const askers = Number(options.askers ?? 8);
  const directory = mkdtempSync(join(tmpdir(), 'query-isolation-'));
  const store = (await openChdbStore({ directory })) as unknown as Engine;
  try {
    await store.migrate();
    await fillCalls(store, Number(options.events ?? 500_000), "now64(6, 'UTC') - INTERVAL 30 DAY");
    // Made before anything is timed: making them would be most of the time.
    const blocks = Array.from({ length: 120 }, (_, index) => batchOfCalls(1, index * rowsPerBlock, rowsPerBlock));
    const alone: number[] = [];
    const beside: number[] = [];
    const counts = { answered: 0, stopped: 0, busy: 0 };
    const shortAloneMs: number[] = [];
    const shortBesideMs: number[] = [];
    // In turns, so that what else runs on the machine meets both.
    for (let round = 0; round < rounds; round++) {
      const quiet = new Askers(store, 0);
      alone.push(await record(store, blocks, seconds));
      await quiet.stop();
      shortAloneMs.push(...quiet.shortMs);
      const loud = new Askers(store, askers);
      beside.push(await record(store, blocks, seconds));
      await loud.stop();
      shortBesideMs.push(...loud.shortMs);
      for (const name of ['answered', 'stopped', 'busy'] as const) counts[name] += loud.counts[name];
    }
    const ratio = round2(median(beside) / median(alone));
    const figures = {
      alone_per_second: Math.round(median(alone)),
      beside_per_second: Math.round(median(beside)),
      short_alone_p95_ms: Math.round(percentile(shortAloneMs, 0.95)),
      short_beside_p50_ms: Math.round(percentile(shortBesideMs, 0.5)),
      short_beside_p95_ms: Math.round(percentile(shortBesideMs, 0.95)),
      short_questions: shortBesideMs.length,
    };
    console.log(`alone                 ${figures.alone_per_second.toLocaleString('en')} calls/s`);
    console.log(`beside ${askers} heavy queries ${figures.beside_per_second.toLocaleString('en')} calls/s`);
    console.log(`heavy ones: ${counts.answered} answered, ${counts.stopped} stopped at a limit, ${counts.busy} busy`);
    console.log(
      `a short one: p95 ${figures.short_alone_p95_ms} ms alone, p50 ${figures.short_beside_p50_ms} and p95 ${figures.short_beside_p95_ms} ms beside (${figures.short_questions})`,
    );
    return {
      name: 'query-isolation',
      ratio,
      target: 'at least 0.7 of the recording rate without queries',
      ok: ratio >= 0.7,
      ...figures,
      ...counts,
    };
  } finally {
    await store.close();
    rmSync(directory, { recursive: true, force: true });
  }
}
