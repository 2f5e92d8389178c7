/** Makes a delivery's record durable before the next step. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Delivery } from '../../../schemas/delivery.js';
import type { Stream } from '../../stream/stream.js';

const firstPauseMs = 100;
const longestPauseMs = 10_000;

/**
 * Appends the records, and tries until the stream takes them: nothing is sent, and nothing forgotten, before that.
 * A record that is stored twice changes nothing. Rejects when `signal` ends the waiting.
 */
export async function record(
  stream: Stream,
  records: readonly Delivery[],
  failed: (error: unknown) => void,
  signal: AbortSignal,
): Promise<void> {
  if (records.length === 0) return;
  const values = records.map((each) => ({
    key: each.channel,
    value: Buffer.from(JSON.stringify(each)),
    headers: {},
  }));
  for (let pauseMs = firstPauseMs; ; pauseMs = Math.min(pauseMs * 2, longestPauseMs)) {
    signal.throwIfAborted();
    try {
      await stream.append('deliveries', values);
      return;
    } catch (error) {
      failed(error);
    }
    await delay(pauseMs, undefined, { signal });
  }
}
