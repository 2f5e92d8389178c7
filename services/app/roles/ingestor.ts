import { startIngestor } from '../../ingestor/ingestor.js';
import type { RoleContext, RunningRole } from '../roles.js';

export async function start(context: RoleContext): Promise<RunningRole> {
  const { configuration, stream, metrics, log } = context;
  const { max_rows, max_delay_ms, direct } = configuration.ingestor;
  const ingestor = await startIngestor({
    stream,
    store: await context.store(),
    metrics,
    limits: {
      rows: max_rows,
      timeMs: max_delay_ms,
      rememberedIds: rememberedIds(max_rows),
      // The rest is for closing connections.
      stopTimeMs: Math.ceil(configuration.stop_timeout_ms * 0.75),
    },
    direct: { tenant: direct.tenant, mayNameTenant: direct.may_name_tenant },
    onFault: (error, what) => log.warn({ err: error }, `ingestor: ${what}`),
  });
  return { health: () => ingestor.health(), status: () => ingestor.status(), stop: () => ingestor.close() };
}

/** A power of two of at least eight blocks, so that a larger batch does not outgrow what is remembered. */
function rememberedIds(rows: number): number {
  return Math.max(1 << 20, 2 ** Math.ceil(Math.log2(rows * 8)));
}
