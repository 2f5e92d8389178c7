import { ThrottleKeys } from '../../access/throttle-key.js';
import { createGateway } from '../../gateway/gateway.js';
import { adoptRegularly } from '../adoption.js';
import type { RoleContext, RunningRole } from '../roles.js';
import { spoolMetrics } from '../spool-metrics.js';
import { givenKey } from '../throttle-keys.js';

export async function start(context: RoleContext): Promise<RunningRole> {
  const { configuration, stream, keys, metrics, log, server, identity } = context;
  const { max_body_bytes, max_line_bytes, events_per_second } = configuration.gateway;
  const throttleKeys = new ThrottleKeys(identity.data, { publicKeys: givenKey(configuration, 'public_keys') });
  const gateway = createGateway({
    stream,
    keys,
    metrics,
    isTrusted: (signal) => throttleKeys.isTrusted(signal),
    limits: { bodyBytes: max_body_bytes, lineBytes: max_line_bytes, eventsPerSecond: events_per_second },
    onError: (error) => log.error({ err: error }, 'gateway'),
  });
  spoolMetrics(metrics, identity.data);
  await gateway.start();
  await server.register(gateway.plugin);
  return {
    health: () => gateway.health(),
    status: () => gateway.status(),
    stop: () => gateway.close(),
    // Spools go where this gateway listens.
    listening: () => {
      const adoption = adoptRegularly(identity.data, log);
      return () => adoption.stop();
    },
  };
}
