/** How recording goes: what `GET /v1/status` tells, and what the table shows of losses. */
import { tenantSeen } from '../../access/keys.js';
import type { Status } from '../status.js';
import { health } from './contract.js';
import { type Route, route } from './routes.js';

/** Producers of the last day: a gap in their sequence is a call that was recorded there and never came. */
const gaps = `SELECT producer_id, toUInt64(max(producer_sequence) - min(producer_sequence) + 1 - uniqExact(producer_sequence)) AS missing,
  count() AS seen, max(occurred_at) AS last_at
FROM calls WHERE occurred_at > now() - INTERVAL 1 DAY AND producer_sequence > 0
GROUP BY producer_id HAVING missing > 0 ORDER BY missing DESC LIMIT 20`;

const delays = `SELECT quantilesTDigest(0.5, 0.99)(toFloat64(toUnixTimestamp64Milli(recorded_at) - toUnixTimestamp64Milli(occurred_at))) AS delays
FROM calls WHERE occurred_at > now() - INTERVAL 15 MINUTE`;

const dead = `SELECT reason, count() AS records, max(recorded_at) AS last_at, argMax(message, recorded_at) AS message
FROM dead WHERE recorded_at > now() - INTERVAL 30 DAY GROUP BY reason ORDER BY records DESC LIMIT 20`;

export function healthRoutes(status: (tenant: string | undefined) => Promise<Status>): Route[] {
  return [
    route('GET', '/health', 'Rates, lags, gaps, dead letters and disk', {
      answer: health,
      handle: async ({ ask, who }) => {
        const [told, missing, letters, [delay]] = await Promise.all([
          status(tenantSeen(who.reader)),
          ask(gaps),
          ask(dead),
          ask<{ delays: (number | null)[] }>(delays),
        ]);
        const [p50 = null, p99 = null] = delay?.delays ?? [];
        return { ...told, gaps: missing, dead: letters, ingest_delay_ms: { p50, p99 } };
      },
    }),
  ];
}
