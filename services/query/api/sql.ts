/** SQL for the editor: a statement's rows as columns and values, CSV, and the names that can be completed. */
import { Readable } from 'node:stream';
import { AuditdError } from '../../../schemas/errors.js';
import { begun } from '../asking.js';
import type { AskBytes } from './api.js';
import { sqlAnswer, sqlRequest, sqlSchema } from './contract.js';
import { type Route, route } from './routes.js';

/** Bytes of an answer that a page holds. */
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
          if (bytes > longestAnswer)
            throw new AuditdError(
              'query_limit',
              `The answer is longer than ${longestAnswer} bytes; ask for fewer columns or rows, or for CSV.`,
            );
          if (lines > body.limit + 3) {
            more = true;
            break;
          }
        }
        const rows = Buffer.concat(chunks)
          .toString()
          .split('\n')
          .filter((line) => line !== '')
          .slice(0, body.limit + 3);
        const [names = [], types = [], ...values] = rows.map((line) => JSON.parse(line) as unknown[]);
        return {
          columns: names.map((name, index) => ({ name: String(name), type: String(types[index] ?? '') })),
          rows: values.slice(0, body.limit),
          more: more || values.length > body.limit,
          elapsed_ms: Math.round(performance.now() - started),
        };
      },
    }),
    route('POST', '/sql/csv', 'The rows of a statement as CSV, all of them', {
      body: sqlRequest,
      media: 'text/csv',
      handle: async ({ body, who, request, reply }) => {
        const rows = await begun(askBytes(request, reply, who, { sql: body.sql, format: 'CSVWithNames' }));
        void reply.type('text/csv; charset=utf-8').header('content-disposition', 'attachment; filename="answer.csv"');
        await reply.send(Readable.from(rows, { objectMode: false }));
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
