/**
 * `POST /v1/responses`: what a person decided, one JSON object; answered with the record once it is durable.
 *
 * Who vouches for it, whose it is and when it was are the gateway's to say; the author's name is a claim.
 */
import { randomUUID } from 'node:crypto';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { AuditdError } from '../../schemas/errors.js';
import { type Response, responseRequestSchema } from '../../schemas/response.js';
import { formatTimeMicros } from '../../schemas/time.js';
import { type KeyEntry, tenantDecided } from '../access/keys.js';
import type { Stream } from '../stream/stream.js';

/** The longest: 64 matchers of 1 KiB, a reason of 2,000 characters, escapes. */
const longestBody = 256 * 1024;

export function addResponseRoute(
  server: FastifyInstance,
  stream: Stream,
  clock: () => number,
  authenticate: (request: FastifyRequest) => KeyEntry,
): void {
  server.post('/v1/responses', async (request, reply) => {
    const entry = authenticate(request);
    const { name } = entry;
    const tenant = tenantDecided(entry);
    const parsed = responseRequestSchema.safeParse(await readJson(request));
    if (!parsed.success) {
      const problems = parsed.error.issues.map(({ path, message }) => `${path.join('.') || 'body'}: ${message}`);
      throw new AuditdError('request_invalid', problems.join('; '));
    }
    const record: Response = {
      ...parsed.data,
      response_id: parsed.data.response_id ?? randomUUID(),
      author_key: name,
      tenant,
      at: formatTimeMicros(clock() * 1000),
    };
    await stream.append('responses', [
      { key: record.response_id, value: Buffer.from(JSON.stringify(record)), headers: { tenant, author_key: name } },
    ]);
    return reply.code(201).send(record);
  });
}

async function readJson(request: FastifyRequest): Promise<unknown> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request.raw as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > longestBody) throw new AuditdError('body_too_large', `The body is longer than ${longestBody} bytes.`);
    chunks.push(chunk);
  }
  try {
    return JSON.parse(Buffer.concat(chunks).toString('utf8'));
  } catch (error) {
    throw new AuditdError('body_invalid', `The body is no JSON: ${(error as Error).message}`);
  }
}
