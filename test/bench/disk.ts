import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { checkCall } from '../../schemas/check.js';
import { CallsBlock } from '../../schemas/native.js';
import { openChdbStore } from '../../services/store/chdb.js';
import type { Store } from '../../services/store/store.js';
import { generateEventLines } from '../traffic.js';

export const description = 'bytes on disk of an event after merge, beside raw JSON with zstd';

const blockRows = 20_000;
const newline = Buffer.from('\n');
const target = { withoutBodies: 20, withBodies: 64 };

/** The store's own connection: the benchmark makes tables and merges, which no user's query may. */
export interface Engine extends Store {
  execute(statement: string): Promise<void>;
  select(query: string): Promise<readonly Record<string, unknown>[]>;
}

export async function run(options: { readonly [key: string]: string } = {}) {
  const count = Number(options.events ?? 1_000_000);
  const directory = await mkdtemp(join(tmpdir(), 'auditd-disk-'));
  const store = (await openChdbStore({ directory })) as unknown as Engine;
  try {
    await store.migrate();
    await store.execute('CREATE TABLE raw (line String CODEC(ZSTD(3))) ENGINE = MergeTree ORDER BY tuple()');
    const rawFile = join(directory, 'raw.jsonl');
    let rawBytes = 0;
    let gzipBytes = 0;
    let rows = 0;
    let lines: Buffer[] = [];
    const block = new CallsBlock();
    // One day, so that what is measured is one merged part; the middle of a day, because a block may not span two.
    const startMs = Date.now() - 3_600_000 - ((Date.now() - 3_600_000) % 86_400_000);
    const flush = async () => {
      if (block.rows === 0) return;
      const batch = { partition: 0, firstOffset: rows - block.rows, lastOffset: rows - 1, rows: block.rows };
      await store.insert({ table: 'calls', ...batch, block: block.finish() });
      const text = Buffer.concat(lines.flatMap((line) => [line, newline]));
      gzipBytes += gzipSync(text, { level: 6 }).length;
      await writeFile(rawFile, text);
      await store.execute(`INSERT INTO raw SELECT line FROM file('${rawFile}', LineAsString)`);
      block.reset();
      lines = [];
    };
    for (const line of generateEventLines({ seed: 1, count, startMs, spanMs: 86_000_000 })) {
      const checked = checkCall(line, { tenant: 'default', producer_key: 'emitter' });
      if (!checked.ok) throw new Error(checked.message);
      const { event } = checked;
      block.append(event, Date.parse(event.occurred_at) + 200, 0, rows++);
      rawBytes += line.length;
      lines.push(line);
      if (block.rows === blockRows) await flush();
    }
    await flush();
    await store.execute('OPTIMIZE TABLE calls FINAL');
    await store.execute('OPTIMIZE TABLE raw FINAL');
    return await report(store, count, rawBytes, gzipBytes);
  } finally {
    await store.close();
    await rm(directory, { recursive: true, force: true });
  }
}

async function report(store: Engine, count: number, rawBytes: number, gzipBytes: number) {
  const perEvent = async (query: string): Promise<number> => {
    const [row] = await store.select(query);
    return Math.round((Number(row?.bytes) / count) * 100) / 100;
  };
  const sum = 'SELECT toString(sum(column_data_compressed_bytes)) AS bytes FROM system.parts_columns';
  const bodies = await perEvent(`${sum} WHERE active AND table = 'calls' AND column IN ('arguments', 'result')`);
  const columns = await perEvent(`${sum} WHERE active AND table = 'calls'`);
  const eventId = await perEvent(`${sum} WHERE active AND table = 'calls' AND column = 'event_id'`);
  const indexes = await perEvent(
    "SELECT toString(sum(secondary_indices_compressed_bytes)) AS bytes FROM system.parts WHERE active AND table = 'calls'",
  );
  const projections = await perEvent(
    "SELECT toString(sum(bytes_on_disk)) AS bytes FROM system.projection_parts WHERE active AND table = 'calls'",
  );
  const total = await perEvent(
    "SELECT toString(sum(bytes_on_disk)) AS bytes FROM system.parts WHERE active AND table = 'calls'",
  );
  const zstd = await perEvent(
    "SELECT toString(sum(data_compressed_bytes)) AS bytes FROM system.parts WHERE active AND table = 'raw'",
  );
  const largest = await store.select(
    `SELECT column, round(sum(column_data_compressed_bytes) / ${count}, 2) AS bytes FROM system.parts_columns WHERE active AND table = 'calls' GROUP BY column ORDER BY bytes DESC LIMIT 12`,
  );
  const withoutBodies = Math.round((columns - bodies) * 100) / 100;
  const figures = {
    events: count,
    raw: Math.round((rawBytes / count) * 100) / 100,
    raw_gzip: Math.round((gzipBytes / count) * 100) / 100,
    raw_zstd: zstd,
    without_bodies: withoutBodies,
    with_bodies: columns,
    event_id: eventId,
    indexes,
    projections,
    total_on_disk: total,
  };
  console.log('bytes of an event');
  for (const [name, value] of Object.entries(figures)) console.log(`  ${name.padEnd(16)} ${value}`);
  for (const { column, bytes } of largest) console.log(`    ${String(column).padEnd(20)} ${bytes}`);
  return {
    name: 'disk',
    ratio: Math.round((columns / zstd) * 1000) / 1000,
    target: `at most ${target.withoutBodies} bytes without bodies and ${target.withBodies} with them; ratio is ours to raw JSON with zstd`,
    ok: withoutBodies <= target.withoutBodies && columns <= target.withBodies,
    ...figures,
  };
}
