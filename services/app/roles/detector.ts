import { join, resolve } from 'node:path';
import { startDetector } from '../../detector/detector.js';
import type { RoleContext, RunningRole } from '../roles.js';

/** History is read in slices of 500,000 rows: with bodies of 10 KB each that is 5 GB. */
const historyLimits = {
  timeMs: 600_000,
  memoryBytes: 4 * 1024 ** 3,
  resultRows: 10_000_000,
  resultBytes: 64 * 1024 ** 3,
} as const;

export async function start(context: RoleContext): Promise<RunningRole> {
  const { configuration, identity, stream, metrics, log } = context;
  const { max_state_bytes, remembered_ids, alerts_per_minute, checkpoint_ms, reload_ms } = configuration.detector;
  const { tenant, may_name_tenant } = configuration.ingestor.direct;
  const store = await context.store();
  const detector = startDetector({
    stream,
    directory: join(identity.data, 'detector'),
    rules: { pack: configuration.rules.pack, paths: [resolve(identity.data, configuration.rules.directory)] },
    metrics,
    ask: (sql, format) => store.query(sql, { format, limits: historyLimits }),
    storedOffsets: () => store.highestOffsets('calls'),
    limits: {
      maxBytes: max_state_bytes,
      rememberedIds: 2 ** Math.ceil(Math.log2(Math.max(1_024, remembered_ids))),
      alertsPerMinute: alerts_per_minute,
    },
    times: { checkpointMs: checkpoint_ms, reloadMs: reload_ms, stopMs: Math.ceil(configuration.stop_timeout_ms / 2) },
    direct: { tenant, mayNameTenant: may_name_tenant },
    onFault: (error, what) => log.warn({ err: error }, `detector: ${what}`),
    report: (what, details) => log.info(details, `detector: ${what}`),
    warn: (what, details) => log.warn(details, `detector: ${what}`),
  });
  return { health: () => detector.health(), status: () => detector.status(), stop: () => detector.close() };
}
