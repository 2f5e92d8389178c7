import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { openLocalStream } from '../../../services/stream/local.js';
import type { Source } from './source.js';

/** The local log in a directory. */
export function localSource(directory: string): Source {
  const open = async () => {
    // The group's position from an earlier round would make this one begin at the end.
    rmSync(join(directory, 'calls', 'groups.json'), { force: true });
    return openLocalStream({ directory, durability: 'kernel' });
  };
  return {
    open,
    async readAll(events, take, done) {
      const stream = await open();
      let finish: () => void = () => undefined;
      const all = new Promise<void>((resolve) => {
        finish = resolve;
      });
      const consumer = await stream.consume({
        topic: 'calls',
        assigned: async () => new Map(),
        revoked: async () => undefined,
        batch: async ({ records, partition, nextOffset }) => {
          for (const { value, headers, timestamp, offset } of records) {
            const { tenant, producer_key } = headers as { tenant: string; producer_key: string };
            const room = take(value, tenant, producer_key, partition, timestamp, offset);
            if (room !== undefined) await room;
          }
          await done(nextOffset);
          if (nextOffset >= events) finish();
        },
      });
      await Promise.race([all, consumer.closed]);
      await consumer.close();
      await stream.close();
    },
  };
}
