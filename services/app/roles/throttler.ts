import { ThrottleKeys } from '../../access/throttle-key.js';
import { throttlerMetrics } from '../../throttler/metrics.js';
import { startThrottler } from '../../throttler/throttler.js';
import type { RoleContext, RunningRole } from '../roles.js';
import { givenKey } from '../throttle-keys.js';

/** How often it is looked whether the key was rotated. */
const keyIntervalMs = 1_000;

export async function start(context: RoleContext): Promise<RunningRole> {
  const { configuration, stream, metrics, log, identity } = context;
  const { protect, most_actors } = configuration.throttler;
  const keys = new ThrottleKeys(identity.data, {
    signingKey: givenKey(configuration, 'signing_key'),
    publicKeys: givenKey(configuration, 'public_keys'),
  });
  let keyId = keys.signingKeyId;
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
    limits: configuration.limits,
    sign: (signal) => keys.sign(signal),
    isOwn: (signal) => keys.isTrusted(signal),
    signingKeyId: () => keys.signingKeyId,
    metrics: throttlerMetrics(metrics),
    clock: () => Date.now() * 1000,
    onFault: (error, what) => log.warn({ err: error }, `throttler: ${what}`),
  });
  const rotation = setInterval(() => {
    try {
      if (keys.signingKeyId === keyId) return;
      keyId = keys.signingKeyId;
      log.info({ key_id: keyId }, 'throttler: signs with another key, all that holds anew');
      throttler.review();
    } catch (error) {
      log.warn({ err: error }, 'throttler: the key cannot be read');
    }
  }, keyIntervalMs).unref();
  return {
    health: () => throttler.health(),
    status: () => throttler.status(),
    stop: async () => {
      clearInterval(rotation);
      await throttler.close();
    },
  };
}
