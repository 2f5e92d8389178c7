import { startNotifier } from '../../notifier/notifier.js';
import type { RoleContext, RunningRole } from '../roles.js';

export async function start(context: RoleContext): Promise<RunningRole> {
  const { configuration, stream, metrics, log, identity } = context;
  // A store that is away costs messages their pictures and nothing else.
  const hasStore = configuration.stream.kafka === undefined || configuration.store.clickhouse !== undefined;
  const notifier = await startNotifier({
    stream,
    ...(hasStore ? { store: () => context.store() } : {}),
    section: configuration.notifier,
    secrets: { directory: identity.data, environment: process.env },
    metrics,
    shared: configuration.stream.kafka !== undefined,
    onFault: (error, what) => log.warn({ err: error }, `notifier: ${what}`),
  });
  return { health: () => notifier.health(), status: () => notifier.status(), stop: () => notifier.close() };
}
