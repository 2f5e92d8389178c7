/** Statements kept under names: records on a topic, read back from the store like everything else. */
import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { AuditdError } from '../../../schemas/errors.js';
import { mostSavedQueries, type SavedQuery, savedNameSchema } from '../../../schemas/saved-query.js';
import { formatTimeMicros } from '../../../schemas/time.js';
import { tenantDecided } from '../../access/keys.js';
import type { Stream } from '../../stream/stream.js';
import type { Access } from './access.js';
import type { AskAs } from './api.js';
import { savedQuery, savedQueryList, savedQueryRequest } from './contract.js';
import { type Asked, checked, type Route, route } from './routes.js';

/** Who has kept a statement looks for it next, so the answer waits for the store, which is seldom a second behind. */
const storedWithinMs = 5_000;
const lookAgainMs = 50;

/** @param askAs asks for whoever may decide; these questions are recorded like all others. */
export function savedRoutes(stream: Stream, access: Access, askAs: AskAs): Route[] {
  const keep = async (asked: Asked, statement: string, author = ''): Promise<SavedQuery> => {
    const key = access.responder(asked.request);
    const tenant = tenantDecided(key);
    const name = checked(savedNameSchema, asked.params.name);
    const ask = askAs(asked.request, asked.reply, {
      reader: key,
      responder: key,
      role: 'responder',
      door: 'api',
      expiresAt: null,
    });
    const [kept] = await ask<{ others: number; same: number }>(
      'SELECT countIf(name != {name:String}) AS others, countIf(name = {name:String}) AS same FROM saved_queries_latest WHERE tenant = {tenant:String}',
      { name, tenant },
    );
    if (statement === '' && kept?.same === 0) throw new AuditdError('not_found', `No query is kept as ${name}.`);
    if (statement !== '' && (kept?.others ?? 0) >= mostSavedQueries)
      throw new AuditdError('request_invalid', `${kept?.others} queries are kept already; forget some first.`);
    const record: SavedQuery = {
      record_id: randomUUID(),
      name,
      tenant,
      statement,
      author,
      author_key: key.name,
      saved_at: formatTimeMicros(asked.now * 1000),
    };
    await stream.append('saved_queries', [
      {
        key: `${tenant}\0${name}`,
        value: Buffer.from(JSON.stringify(record)),
        headers: { tenant, author_key: key.name },
      },
    ]);
    const giveUpAt = performance.now() + storedWithinMs;
    const isStored = async (): Promise<boolean> => {
      const [found] = await ask<{ stored: number }>(
        'SELECT count() AS stored FROM saved_queries WHERE tenant = {tenant:String} AND name = {name:String} AND record_id = {id:String}',
        { tenant, name, id: record.record_id },
      );
      return found?.stored === 1;
    };
    while (!(await isStored()) && performance.now() < giveUpAt) await delay(lookAgainMs);
    return record;
  };
  return [
    route('GET', '/saved', 'Statements that are kept under a name', {
      answer: savedQueryList,
      handle: async ({ ask }) => ({
        queries: await ask(
          'SELECT name, tenant, statement, author, author_key, saved_at FROM saved_queries_latest ORDER BY name, tenant LIMIT 10000',
        ),
      }),
    }),
    route('PUT', '/saved/:name', 'Keep a statement under a name', {
      role: 'responder',
      body: savedQueryRequest,
      answer: savedQuery,
      handle: (asked) => keep(asked, asked.body.statement, asked.body.author),
    }),
    route('DELETE', '/saved/:name', 'Forget a name', {
      role: 'responder',
      answer: savedQuery,
      handle: (asked) => keep(asked, ''),
    }),
  ];
}
