/** One attempt through a channel, whatever happens. */
import type { Channel, Message } from '../channel.js';
import type { Outcome } from '../retry.js';

/** A channel promises to return in time; what does not is counted as an answer that was lost. */
export async function deliver(message: Message, channel: Channel): Promise<Outcome> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<Outcome>((resolve) => {
    const give = (): void => resolve({ kind: 'ambiguous', message: `no answer in ${channel.attemptMs} ms` });
    timer = setTimeout(give, channel.attemptMs);
  });
  const attempt = channel
    .send(message)
    .catch((error: unknown): Outcome => ({ kind: 'ambiguous', message: String((error as Error).message ?? error) }));
  const outcome = await Promise.race([attempt, late]);
  clearTimeout(timer);
  return outcome;
}
