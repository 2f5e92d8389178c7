import { createPublicKey } from 'node:crypto';
import { isSignedBy, signSignal } from '../../../schemas/throttle.js';
import { openSigningKey, trustedKeys } from '../../access/throttle-key.js';
import { throttlerMetrics } from '../../throttler/metrics.js';
import { startThrottler } from '../../throttler/throttler.js';
import type { RoleContext, RunningRole } from '../roles.js';

export async function start(context: RoleContext): Promise<RunningRole> {
  const { configuration, stream, metrics, log, identity } = context;
  const { signing_key, public_keys, limits, protect, most_actors } = configuration.throttler;
  const signing = openSigningKey(identity.data, signing_key);
  const keys = trustedKeys(identity.data, public_keys).set(signing.keyId, createPublicKey(signing.privateKey));
  const throttler = await startThrottler({
    stream,
    policy: {
      mostActors: most_actors,
      protect: {
        actor_id: new Set(protect.actors),
        tool_name: new Set(protect.tools),
        server_name: new Set(protect.servers),
      },
    },
    limits,
    sign: (signal) => signSignal(signal, signing.privateKey, signing.keyId),
    isOwn: (signal) => {
      const key = keys.get(signal.key_id);
      return key !== undefined && isSignedBy(signal, key);
    },
    metrics: throttlerMetrics(metrics),
    clock: () => Date.now() * 1000,
    onFault: (error, what) => log.warn({ err: error }, `throttler: ${what}`),
  });
  return { health: () => throttler.health(), status: () => throttler.status(), stop: () => throttler.close() };
}
