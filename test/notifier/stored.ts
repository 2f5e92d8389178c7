/** A stream whose clock the test sets and the real engine, filled by the real ingestor. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Registry } from 'prom-client';
import type { Alert } from '../../schemas/alert.js';
import type { Response } from '../../schemas/response.js';
import { startIngestor } from '../../services/ingestor/ingestor.js';
import { openChdbStore } from '../../services/store/chdb.js';
import type { Store } from '../../services/store/store.js';
import { openLocalStream } from '../../services/stream/local.js';
import type { Topic } from '../../services/stream/stream.js';
import { newId } from '../detector/rules.js';
import { alert, response, timeText } from './alerts.js';

interface Entry {
  readonly atMs: number;
  readonly topic: Topic;
  readonly tenant: string;
  readonly value: unknown;
}

/** What happened, in any order of calls; `store` puts it on record in the order of time. */
export class History {
  private readonly entries: Entry[] = [];

  call(atMs: number, fields: Record<string, unknown>, tenant = 'default'): void {
    const value = {
      event_id: newId(),
      method: 'tools/call',
      outcome: 'success',
      occurred_at: timeText(atMs),
      ...fields,
    };
    this.entries.push({ atMs, topic: 'calls', tenant, value });
  }

  alert(atMs: number, over: Partial<Alert>): void {
    const value = alert({ at: timeText(atMs), ...over });
    this.entries.push({ atMs, topic: 'alerts', tenant: '', value });
  }

  respond(atMs: number, over: Partial<Response>): void {
    const value = response({ response_id: newId(), at: timeText(atMs), ...over });
    this.entries.push({ atMs, topic: 'responses', tenant: '', value });
  }

  async store(): Promise<{ store: Store; remove: () => Promise<void> }> {
    const directory = mkdtempSync(join(tmpdir(), 'mcp-auditd-stored-'));
    let nowMs = 0;
    const stream = openLocalStream({ directory: join(directory, 'stream'), durability: 'kernel', now: () => nowMs });
    for (const { atMs, topic, tenant, value } of this.entries.sort((left, right) => left.atMs - right.atMs)) {
      nowMs = atMs;
      const headers: Record<string, string> = topic === 'calls' ? { tenant, producer_key: 'emitter' } : {};
      await stream.append(topic, [{ key: '', value: Buffer.from(JSON.stringify(value)), headers }]);
    }
    const store = await openChdbStore({ directory: join(directory, 'store') });
    await store.migrate();
    const ingestor = await startIngestor({ stream, store, limits: { timeMs: 5 }, metrics: new Registry() });
    for (const topic of ['calls', 'alerts', 'responses'] as const) {
      const end = (await stream.partitions(topic))[0]!.endOffset;
      while (((await stream.committed(topic, 'ingestor')).get(0) ?? 0) < end) await new Promise(setImmediate);
    }
    await ingestor.close();
    await stream.close();
    const remove = async (): Promise<void> => {
      await store.close();
      rmSync(directory, { recursive: true, force: true });
    };
    return { store, remove };
  }
}
