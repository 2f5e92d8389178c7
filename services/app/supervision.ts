/**
 * What a supervisor and a scraper ask a process for.
 *
 * - `GET /healthz`: 503 only where a restart helps, that is when a role is stuck; a dependency that is away is none.
 * - `GET /readyz`: 200 when every role works or has nothing to do. 503 tells which does not, and why.
 * - `GET /metrics`: Prometheus' text format.
 */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { Registry } from 'prom-client';
import type { Keys } from '../access/keys.js';
import { answerError, requireReader } from '../query/answers.js';
import type { Health } from '../stream/progress.js';

export interface SupervisionOptions {
  readonly metrics: Registry;
  readonly keys: Keys;
  /** Whether anyone who reaches the port may read the metrics. */
  readonly open: boolean;
  /** By name of the role. */
  readonly health: ReadonlyMap<string, () => Health | Promise<Health>>;
  /** True from the moment on when the process is to end: then nothing more is sent here. */
  readonly stopping: () => boolean;
}

/** A fastify plugin. */
export async function supervision(server: FastifyInstance, options: SupervisionOptions): Promise<void> {
  const { metrics, keys, open, health, stopping } = options;
  server.setErrorHandler(answerError);
  const report = async (): Promise<Record<string, Health>> => {
    const roles: Record<string, Health> = {};
    for (const [name, ask] of health) roles[name] = await ask();
    return roles;
  };
  server.get('/healthz', async (_request, reply) => {
    const roles = await report();
    const stuck = Object.values(roles).some(({ state }) => state === 'stuck');
    return reply.code(stuck ? 503 : 200).send({ status: stuck ? 'stuck' : 'ok', roles });
  });
  server.get('/readyz', async (_request, reply) => {
    const roles = await report();
    const ready = !stopping() && Object.values(roles).every(({ state }) => state === 'ready');
    return reply.code(ready ? 200 : 503).send({ ready, ...(stopping() ? { reason: 'stopping' } : {}), roles });
  });
  server.get('/metrics', async (request, reply) => {
    if (!open && !isLocal(request)) requireReader(request, keys);
    return reply.type(metrics.contentType).send(await metrics.metrics());
  });
}

/**
 * A scraper on this machine needs no set-up, and whoever is on this machine can count processes and files anyway.
 * Through a proxy everybody comes from loopback, so what a proxy adds asks for the key.
 */
function isLocal(request: FastifyRequest): boolean {
  const forwarded = request.headers['x-forwarded-for'] ?? request.headers.forwarded;
  return forwarded === undefined && /^(127\.|::1$|::ffff:127\.)/.test(request.socket.remoteAddress ?? '');
}
