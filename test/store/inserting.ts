import { openChdbStore } from '../../services/store/chdb.js';
import { batchOfCalls } from '../contract/store.js';

/**
 * A process for the tests to kill: inserts batches from an offset on and prints each last offset that was acknowledged.
 * With batches of no rows it only holds the directory.
 */
const [directory, firstOffset, rows] = process.argv.slice(2) as [string, string, string];
const store = await openChdbStore({ directory });
await store.migrate();
console.log('open');
if (Number(rows) === 0) setInterval(() => undefined, 60_000);
for (let offset = Number(firstOffset); Number(rows) > 0; offset += Number(rows)) {
  const batch = batchOfCalls(0, offset, Number(rows));
  await store.insert(batch);
  console.log(`inserted ${batch.lastOffset}`);
}
