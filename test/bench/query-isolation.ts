/** How much of the recording rate is left while eight people ask heavy questions of the same engine. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AuditdError } from '../../schemas/errors.js';
import { openChdbStore } from '../../services/store/chdb.js';
import type { InsertBatch, Store } from '../../services/store/store.js';
import { batchOfCalls } from '../contract/store.js';
import type { BenchmarkOptions, BenchmarkResult } from './main.js';

export const description = 'recording rate while 8 heavy queries run, beside the rate without';

const rowsPerBlock = 2_000;
const heavy = [
  'SELECT actor_id, tool_name, uniqExact(arguments), quantile(0.99)(duration_ms) FROM calls GROUP BY actor_id, tool_name ORDER BY 3 DESC LIMIT 10',
  "SELECT count() FROM calls WHERE arguments LIKE '%no such word%' OR result LIKE '%neither this%'",
  'SELECT sum(sipHash64(number, number + 1)) FROM numbers(1000000000)',
  'SELECT count() FROM calls AS a JOIN calls AS b ON a.session_id = b.session_id',
];

/** Inserts blocks until the time is over; rows a second. */
async function record(store: Store, blocks: Iterator<InsertBatch>, forMs: number): Promise<number> {
  const start = performance.now();
  let rows = 0;
  while (performance.now() < start + forMs) {
    const { value } = blocks.next() as { value: InsertBatch };
    await store.insert(value);
    rows += value.rows;
  }
  return (rows * 1000) / (performance.now() - start);
}

export async function run(options: BenchmarkOptions): Promise<BenchmarkResult> {
  const seconds = Number(options.seconds ?? 8);
  const askers = Number(options.askers ?? 8);
  const directory = mkdtempSync(join(tmpdir(), 'query-isolation-'));
  const store = await openChdbStore({ directory });
  try {
    await store.migrate();
    // Made before anything is timed: making them would be most of the time.
    const prepared = Array.from({ length: Number(options.blocks ?? 300) }, (_, index) =>
      batchOfCalls(0, index * rowsPerBlock, rowsPerBlock),
    );
    const blocks = prepared[Symbol.iterator]();
    for (let index = 0; index < 20; index++) await store.insert(blocks.next().value as InsertBatch);
    const alone = await record(store, blocks, seconds * 1000);
    const done = new AbortController();
    const counts = { answered: 0, stopped: 0, busy: 0 };
    const asking = Array.from({ length: askers }, async (_, asker) => {
      for (let turn = asker; !done.signal.aborted; turn++) {
        try {
          const limits = { timeMs: 5_000, resultRows: 100_000 };
          const rows = store.query(heavy[turn % heavy.length]!, { format: 'TSV', limits, signal: done.signal });
          for await (const _ of rows) if (done.signal.aborted) break;
          counts.answered++;
        } catch (error) {
          if (!(error instanceof AuditdError)) throw error;
          if (error.code === 'query_busy') counts.busy++;
          else if (error.code === 'query_limit') counts.stopped++;
          else if (error.code !== 'query_aborted') throw error;
        }
      }
    });
    const beside = await record(store, blocks, seconds * 1000);
    done.abort();
    await Promise.all(asking);
    const ratio = Math.round((beside / alone) * 100) / 100;
    console.log(`alone                 ${Math.round(alone).toLocaleString('en')} calls/s`);
    console.log(`beside ${askers} heavy queries ${Math.round(beside).toLocaleString('en')} calls/s`);
    console.log(`queries: ${counts.answered} answered, ${counts.stopped} stopped at a limit, ${counts.busy} busy`);
    return {
      name: 'query-isolation',
      ratio,
      target: 'at least 0.7 of the recording rate without queries',
      ok: ratio >= 0.7,
      alone_per_second: Math.round(alone),
      beside_per_second: Math.round(beside),
      ...counts,
    };
  } finally {
    await store.close();
    rmSync(directory, { recursive: true, force: true });
  }
}
