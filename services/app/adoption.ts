import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from 'pino';
import { adoptOrphans } from '../emitter/adopt.js';

/** How often spools without a living process are looked for. */
const adoptIntervalMs = 2_000;

/** Delivers what dead emitters left behind, at once and then regularly; one round at a time. */
export function adoptRegularly(data: string, log: Logger): { stop(): Promise<void> } {
  const stopped = new AbortController();
  const ended = (async () => {
    while (!stopped.signal.aborted) {
      try {
        await adoptOrphans({ data, signal: stopped.signal });
      } catch (error) {
        if (!stopped.signal.aborted) log.warn({ err: error }, 'adopting orphaned spools failed and is tried again');
      }
      await delay(adoptIntervalMs, undefined, { signal: stopped.signal, ref: false }).catch(() => undefined);
    }
  })();
  return {
    stop() {
      stopped.abort();
      return ended;
    },
  };
}
