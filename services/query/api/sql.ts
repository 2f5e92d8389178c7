/** SQL for the editor: a statement's rows as columns and values, CSV, and the names that can be completed. */
import { AuditdError } from '../../../schemas/errors.js';
import { begun } from '../asking.js';
import { sendRows } from '../clickhouse-answer.js';
import type { AskBytes } from './api.js';
import { sqlAnswer, sqlRequest, sqlSchema } from './contract.js';
import { withoutFormulas } from './csv.js';
import { type Route, route } from './routes.js';

/** Bytes of an answer that a page holds; what is beyond them is left out. */
const longestAnswer = 32 * 1024 * 1024;

export function sqlRoutes(askBytes: AskBytes): Route[] {
  return [
    route('POST', '/sql', 'One read-only statement', {
      body: sqlRequest,
      answer: sqlAnswer,
      handle: async ({ body, who, request, reply }) => {
        const started = performance.now();
        const chunks: Uint8Array[] = [];
        let bytes = 0;
        let lines = 0;
        let more = false;
        const answer = askBytes(request, reply, who, { sql: body.sql, format: 'JSONCompactEachRowWithNamesAndTypes' });
        for await (const chunk of answer) {
          chunks.push(chunk);
          bytes += chunk.length;
          for (const byte of chunk) if (byte === 10) lines++;
          more = lines > body.limit + 2 || bytes > longestAnswer;
          if (more) break;
        }
        const text = Buffer.concat(chunks).toString();
        // Of an answer that is cut by its bytes the last line may be cut as well.
        const rows = (more ? text.slice(0, text.lastIndexOf('\n')) : text).split('\n').filter((line) => line !== '');
        const [names = [], types = []] = rows.slice(0, 2).map((line) => JSON.parse(line) as string[]);
        const columns = names.map((name, index) => ({ name, type: types[index] ?? '' }));
        const elapsed_ms = Math.round(performance.now() - started);
        // A row is JSON already; 100,000 of them are neither read nor written anew while calls wait to be recorded.
        const told = JSON.stringify({ columns, more, elapsed_ms });
        await reply
          .type('application/json; charset=utf-8')
          .send(`${told.slice(0, -1)},"rows":[${rows.slice(2, body.limit + 2).join(',')}]}`);
        return undefined;
      },
    }),
    route('POST', '/sql/csv', 'The rows of a statement as CSV, all of them', {
      body: sqlRequest,
      media: 'text/csv',
      handle: async ({ body, who, request, reply }) => {
        const rows = await begun(askBytes(request, reply, who, { sql: body.sql, format: 'CSVWithNames' }));
        void reply.type('text/csv; charset=utf-8').header('content-disposition', 'attachment; filename="answer.csv"');
        const told = async (error: unknown) => (error instanceof AuditdError ? error.message : 'The daemon failed.');
        await sendRows(reply, withoutFormulas(rows), { encoding: 'identity', format: 'CSV' }, told);
        return undefined;
      },
    }),
    route('GET', '/sql/schema', 'Tables, columns and functions, for completion', {
      answer: sqlSchema,
      handle: async ({ ask }) => {
        const [tables, functions] = await Promise.all([
          ask(
            "SELECT columns.table AS name, groupArray(columns.name) AS columns FROM (SELECT table, name FROM system.columns WHERE database = currentDatabase() AND NOT startsWith(table, '.') AND table NOT IN ('migrations', 'ingest_owners') ORDER BY table, position) AS columns GROUP BY columns.table ORDER BY columns.table",
          ),
          ask<{ name: string }>(
            "SELECT name FROM system.functions WHERE is_aggregate OR NOT startsWith(name, '_') ORDER BY name LIMIT 5000",
          ).catch(() => []),
        ]);
        return { tables, functions: functions.map(({ name }) => name) };
      },
    }),
  ];
}
