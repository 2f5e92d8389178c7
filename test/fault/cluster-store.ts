/** The store of the cluster's fault rounds: the engine behind our endpoint, in a process that can be killed. */
import { startClickHouse } from '../contract/clickhouse-server.js';

const [directory, port] = process.argv.slice(2) as [string, string];
await startClickHouse(directory, Number(port));
console.log('ready');
