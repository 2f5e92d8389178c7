/** The API under /api/v1: the routes of the lists beside this file, checked, asked for whoever asks, and answered. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { AuditdError } from '../../../schemas/errors.js';
import type { KeyEntry, Keys } from '../../access/keys.js';
import type { Stream } from '../../stream/stream.js';
import { answerError } from '../answers.js';
import { untilClientLeaves } from '../asking.js';
import type { Status } from '../status.js';
import type { Tail } from '../tail.js';
import type { Access, Principal } from './access.js';
import { alertRoutes } from './alerts.js';
import { callRoutes } from './calls.js';
import { healthRoutes } from './health.js';
import { keyRoutes } from './keys.js';
import { openApiDocument } from './openapi.js';
import { type AskRows, checked, type Route } from './routes.js';
import { type RuleBook, ruleRoutes } from './rules.js';
import { savedRoutes } from './saved.js';
import { sessionRoutes } from './sessions.js';
import { sqlRoutes } from './sql.js';
import { tailRoutes } from './tail.js';
import { toolRoutes } from './tools.js';

/** One statement of a request, asked for its key. */
export interface Statement {
  readonly sql: string;
  readonly format: string;
  readonly parameters?: Readonly<Record<string, string>>;
  /** Settings that only change how values are written. */
  readonly settings?: Readonly<Record<string, string>>;
  /** As in the store's port. */
  readonly isOurs?: boolean;
  readonly signal: AbortSignal;
}

/** Asks the store for a key, within its tenant and limits, and records the question. */
export type AskFor = (
  request: FastifyRequest,
  key: KeyEntry,
  door: Principal['door'],
  statement: Statement,
) => AsyncGenerator<Uint8Array>;

/** The same, ended when the client leaves. */
export type AskBytes = (
  request: FastifyRequest,
  reply: FastifyReply,
  who: Principal,
  statement: Omit<Statement, 'signal'>,
) => AsyncGenerator<Uint8Array>;

export interface ApiOptions {
  readonly stream: Stream;
  readonly tail: Tail;
  readonly access: Access;
  readonly keys: Keys;
  /** The data directory, where keys are made and revoked. */
  readonly data: string;
  readonly askFor: AskFor;
  readonly status: (tenant: string | undefined) => Promise<Status>;
  readonly version: string;
  /** Where traces are kept, with {trace_id} in it. */
  readonly traceUrl?: string | undefined;
  /** undefined: this process knows no rules. */
  readonly rules: RuleBook | undefined;
  readonly clock?: () => number;
}

const settings = { date_time_output_format: 'iso', output_format_json_quote_64bit_integers: '0' } as const;

const askBytesWith =
  (askFor: AskFor): AskBytes =>
  (request, reply, who, statement) => {
    return askFor(request, who.reader, who.door, { ...statement, settings, signal: untilClientLeaves(reply) });
  };

function whoAsks(access: Access, { role }: Route, request: FastifyRequest): Principal {
  if (role === 'admin') return access.admin(request);
  return role === 'viewer' ? access.principal(request) : (undefined as never);
}

/** Rows of short answers, for whoever asks. */
export type AskAs = (request: FastifyRequest, reply: FastifyReply, who: Principal) => AskRows;

const askAsWith =
  (askBytes: AskBytes): AskAs =>
  (request, reply, who) =>
  async <T>(sql: string, parameters: Readonly<Record<string, string>> = {}) => {
    const chunks: Uint8Array[] = [];
    for await (const chunk of askBytes(request, reply, who, { sql, format: 'JSONEachRow', parameters, isOurs: true }))
      chunks.push(chunk);
    const lines = Buffer.concat(chunks).toString().split('\n');
    return lines.filter((line) => line !== '').map((line) => JSON.parse(line) as T);
  };

/** Every route, also for docs/openapi.json. */
export function apiRoutes(options: Omit<ApiOptions, 'clock'>): Route[] {
  const { stream, access, rules, askFor, keys, data } = options;
  const askBytes = askBytesWith(askFor);
  return [
    ...sessionRoutes(access, options.version, options.traceUrl),
    ...callRoutes,
    ...tailRoutes(options.tail),
    ...toolRoutes,
    ...alertRoutes(stream, access, rules),
    ...ruleRoutes(rules),
    ...sqlRoutes(askBytes),
    ...savedRoutes(stream, access, askAsWith(askBytes)),
    ...healthRoutes(options.status),
    ...keyRoutes(keys, data),
  ];
}

/** A fastify plugin, to be registered below /api/v1. */
export async function api(server: FastifyInstance, options: ApiOptions): Promise<void> {
  const { access, askFor, clock = Date.now } = options;
  const askAs = askAsWith(askBytesWith(askFor));
  const routes = apiRoutes(options);
  const document = openApiDocument(routes);
  server.setErrorHandler(answerError);
  server.setNotFoundHandler((request, reply) =>
    answerError(new AuditdError('not_found', `There is nothing at ${request.url.slice(0, 200)}.`), request, reply),
  );
  server.get('/openapi.json', async () => document);
  for (const route of routes)
    server.route({
      method: route.method,
      url: route.path,
      bodyLimit: 1024 * 1024,
      handler: async (request, reply) => {
        void reply.header('cache-control', 'no-store').header('x-content-type-options', 'nosniff');
        const who = whoAsks(access, route, request);
        const answer = await route.handle({
          query: checked(route.query, request.query) as never,
          body: checked(route.body, request.body) as never,
          params: request.params as Record<string, string>,
          who,
          ask: askAs(request, reply, who),
          now: clock(),
          request,
          reply,
        });
        return reply.sent || reply.raw.headersSent ? reply : reply.code(route.status).send(answer);
      },
    });
}
