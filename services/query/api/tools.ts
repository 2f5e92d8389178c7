/** Tools with the history of their definitions, and sessions. */

import { z } from 'zod';
import { fine, quantilesOf } from './calls.js';
import { callsRange, sessionList, sessionQuery, type ToolRow, toolDefinitions, toolList } from './contract.js';
import { conditionOf } from './filters.js';
import { route } from './routes.js';

const between = `calls.occurred_at >= fromUnixTimestamp64Milli({from:Int64}, 'UTC') AND calls.occurred_at < fromUnixTimestamp64Milli({to:Int64}, 'UTC')`;
/**
 * Lists of tools that are looked through: the newest of each length that a server has answered, and of so many lengths. A
 * client asks for the list in every session, so most lists are the same one, and reading all of them would be most of
 * what is read.
 */
const mostOfLength = 3;
const mostLists = 200;

export const toolRoutes = [
  route('GET', '/tools', 'Tools that were listed or called', {
    query: callsRange,
    answer: toolList,
    handle: async ({ query, ask, now }) => {
      const { sql, parameters } = conditionOf(query, now);
      const [called, listed] = await Promise.all([
        ask<ToolRow>(
          `SELECT * EXCEPT (durations) FROM (SELECT calls.server_name AS server_name, calls.tool_name AS tool_name, count() AS calls, countIf(NOT calls.outcome IN ${fine}) AS failed,
             uniq(calls.actor_id) AS actors, ${quantilesOf('0.5, 0.95')} AS durations, durations[1] AS p50, durations[2] AS p95,
             uniqIf(calls.tool_definition_hash, calls.tool_definition_hash != '') AS definitions,
             any(calls.tool_read_only) AS read_only, any(calls.tool_destructive) AS destructive,
             min(calls.occurred_at) AS first_at, max(calls.occurred_at) AS last_at
           FROM calls WHERE calls.method = 'tools/call' AND ${between} AND ${sql} GROUP BY server_name, tool_name) ORDER BY calls DESC LIMIT 2000`,
          parameters,
        ),
        ask<{ server_name: string; tool_name: string; definitions: number }>(
          `WITH newest AS
             (SELECT event_id FROM (SELECT calls.event_id AS event_id, calls.server_name AS server_name, calls.occurred_at AS at FROM calls
                WHERE calls.method = 'tools/list' AND ${between} AND ${sql} ORDER BY at DESC LIMIT ${mostOfLength} BY server_name, calls.result_bytes)
              ORDER BY at DESC LIMIT ${mostLists} BY server_name)
           SELECT server_name, JSONExtractString(tool, 'name') AS tool_name, uniq(tool) AS definitions FROM
             (SELECT calls.server_name AS server_name, arrayJoin(JSONExtractArrayRaw(calls.result, 'tools')) AS tool FROM calls
                WHERE calls.method = 'tools/list' AND ${between} AND calls.event_id GLOBAL IN newest)
           GROUP BY server_name, tool_name LIMIT 5000`,
          parameters,
        ).catch(() => []),
      ]);
      const nameOf = (row: { server_name: string; tool_name: string }): string =>
        `${row.server_name}\n${row.tool_name}`;
      const known = new Map(called.map((row) => [nameOf(row), row]));
      const never: ToolRow[] = [];
      for (const row of listed) {
        const found = known.get(nameOf(row));
        if (found !== undefined) found.definitions = Math.max(found.definitions, row.definitions);
        else
          never.push({
            ...row,
            calls: 0,
            failed: 0,
            actors: 0,
            p50: null,
            p95: null,
            read_only: null,
            destructive: null,
            first_at: null,
            last_at: null,
          });
      }
      return { tools: [...called, ...never] };
    },
  }),
  route('GET', '/tools/definitions', 'What a tool was defined as, the newest first', {
    query: z.strictObject({ server: z.string().max(256), tool: z.string().max(256) }),
    answer: toolDefinitions,
    handle: async ({ query, ask }) => ({
      definitions: await ask(
        `SELECT definition, min(at) AS first_at, max(at) AS last_at, count() AS listed FROM
           (SELECT at, arrayJoin(arrayFilter(x -> JSONExtractString(x, 'name') = {tool:String}, JSONExtractArrayRaw(result, 'tools'))) AS definition FROM
             (SELECT calls.occurred_at AS at, calls.result AS result FROM calls WHERE calls.method = 'tools/list' AND calls.server_name = {server:String} ORDER BY calls.occurred_at DESC LIMIT 2000))
         GROUP BY definition ORDER BY last_at DESC LIMIT 50`,
        query,
      ),
    }),
  }),
  route('GET', '/sessions', 'Sessions, the last that did something first', {
    query: sessionQuery,
    answer: sessionList,
    handle: async ({ query, ask, now }) => {
      const { sql, parameters } = conditionOf(query, now);
      const where = `calls.session_id != '' AND ${between} AND ${sql}`;
      return {
        sessions: await ask(
          // What is told of a session is worked out for those that are told of.
          `WITH newest AS (SELECT calls.session_id FROM calls WHERE ${where} GROUP BY calls.session_id ORDER BY max(calls.occurred_at) DESC LIMIT ${query.limit})
           SELECT calls.session_id AS session_id, any(calls.actor_id) AS actor_id, any(calls.client_name) AS client_name, groupUniqArray(8)(calls.server_name) AS servers,
             uniqIf(calls.tool_name, calls.tool_name != '') AS tools, count() AS calls, countIf(NOT calls.outcome IN ${fine}) AS failed,
             min(calls.occurred_at) AS first_at, max(calls.occurred_at) AS last_at
           FROM calls WHERE ${where} AND calls.session_id GLOBAL IN newest GROUP BY session_id ORDER BY last_at DESC`,
          parameters,
        ),
      };
    },
  }),
];
