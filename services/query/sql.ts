/** POST /v1/query: one read-only statement, its rows streamed as the store makes them. */
import { Readable } from 'node:stream';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { AuditdError } from '../../schemas/errors.js';
import type { Keys } from '../access/keys.js';
import type { QueryLimits } from '../store/store.js';
import { contentType, requireReader } from './answers.js';
import { type Asking, askerOf, begun, untilClientLeaves } from './asking.js';

/** Longest statement: 256 KiB hold an IN list of 6,000 ids. Parameters count to the body, which may be 1 MiB. */
const maxStatementBytes = 256 * 1024;
const maxBodyBytes = 1024 * 1024;
/** 256 placeholders are far more than a person writes. */
const maxParameters = 256;

const limit = z.int().min(1).optional();
const queryBody = z.strictObject({
  sql: z.string().min(1).max(maxStatementBytes),
  parameters: z
    .record(z.string().regex(/^[A-Za-z_]\w{0,63}$/, 'expected the name of a placeholder'), z.string())
    .refine((each) => Object.keys(each).length <= maxParameters, `expected at most ${maxParameters} parameters`)
    .default({}),
  format: z
    .string()
    .regex(/^[A-Za-z0-9]{1,64}$/, "expected one of ClickHouse's output formats, for example JSONEachRow")
    .default('JSONEachRow'),
  limits: z
    .strictObject({ time_ms: limit, memory_bytes: limit, result_rows: limit, result_bytes: limit })
    .default({} as never),
});

/** The limits that were named, in the port's terms. */
function asLimits({ time_ms, memory_bytes, result_rows, result_bytes }: z.infer<typeof queryBody>['limits']) {
  const named: { -readonly [N in keyof QueryLimits]?: number } = {};
  if (time_ms !== undefined) named.timeMs = time_ms;
  if (memory_bytes !== undefined) named.memoryBytes = memory_bytes;
  if (result_rows !== undefined) named.resultRows = result_rows;
  if (result_bytes !== undefined) named.resultBytes = result_bytes;
  return named;
}

/**
 * Adds the route. The body is `{sql, parameters?, format?, limits?: {time_ms, memory_bytes, result_rows, result_bytes}}`.
 * An error before the first byte is an answer with its own status; one after it breaks the connection, so that half a
 * result never looks whole. A client that leaves ends its query.
 */
export function addQueryRoute(server: FastifyInstance, asking: Asking, keys: Keys): void {
  server.post('/v1/query', { bodyLimit: maxBodyBytes }, async (request: FastifyRequest, reply: FastifyReply) => {
    const key = requireReader(request, keys);
    const parsed = queryBody.safeParse(request.body);
    if (!parsed.success) {
      const issue = parsed.error.issues[0]!;
      throw new AuditdError('request_invalid', `${issue.path.join('.') || 'body'}: ${issue.message}`);
    }
    const { sql, parameters, format, limits } = parsed.data;
    const signal = untilClientLeaves(reply);
    const asked = { sql, parameters, format, limits: asLimits(limits), signal };
    const rows = await begun(asking.ask(askerOf(request, key, 'sql'), asked));
    void reply.header('content-type', contentType(format)).header('x-content-type-options', 'nosniff');
    return reply.send(Readable.from(rows, { objectMode: false }));
  });
}
