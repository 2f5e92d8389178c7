import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { Registry } from 'prom-client';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Alert } from '../../schemas/alert.js';
import type { Response } from '../../schemas/response.js';
import { isSignedBy, parseSignal, type ThrottleSignal } from '../../schemas/throttle.js';
import { formatTimeMicros, parseTimeMicros } from '../../schemas/time.js';
import { type LocalStream, openLocalStream } from '../../services/stream/local.js';
import type { Consumer, ConsumerOptions, Stream, Topic } from '../../services/stream/stream.js';
import { throttlerMetrics } from '../../services/throttler/metrics.js';
import { startThrottler, type Throttler, type ThrottlerOptions } from '../../services/throttler/throttler.js';
import { makeAlert, makeSigner } from './signals.js';

const start = parseTimeMicros('2026-11-24T09:00:00Z');
const signer = makeSigner();

let directory: string;
let stream: LocalStream;
let now: number;
let running: Throttler[];
let seen: ThrottleSignal[];
let waiting: (() => void) | undefined;
let watcher: Consumer;

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'throttler-'));
  stream = openLocalStream({ directory, durability: 'kernel', partitions: 2 });
  now = start;
  running = [];
  seen = [];
  watcher = await stream.consume({
    topic: 'throttle',
    assigned: async (partitions) => new Map(partitions.map((partition) => [partition, 0])),
    revoked: async () => undefined,
    batch: async ({ records }) => {
      for (const { value } of records) {
        const signal = parseSignal(value);
        if (signal !== undefined) seen.push(signal);
      }
      waiting?.();
    },
  });
});

afterEach(async () => {
  for (const throttler of running) await throttler.close();
  await watcher.close();
  await stream.close();
  rmSync(directory, { recursive: true, force: true });
});

async function startOne(changed: Partial<ThrottlerOptions> = {}): Promise<Throttler> {
  const throttler = await startThrottler({
    stream,
    policy: { mostActors: 20, protect: {} },
    limits: [],
    sign: signer.sign,
    isOwn: (signal) => signal.key_id === signer.keyId && isSignedBy(signal, signer.publicKey),
    signingKeyId: () => signer.keyId,
    metrics: throttlerMetrics(new Registry()),
    clock: () => now,
    onFault: (error) => {
      throw error;
    },
    ...changed,
  });
  running.push(throttler);
  return throttler;
}

function append(topic: Topic, record: object, key = 'k'): Promise<unknown> {
  return stream.append(topic, [{ key, value: Buffer.from(JSON.stringify(record)), headers: {} }]);
}

const tell = (alert: Alert): Promise<unknown> => append('alerts', alert, alert.alert_id);

/** Resolves when so many records were written. */
async function written(count: number): Promise<ThrottleSignal[]> {
  while (seen.length < count)
    await new Promise<void>((resolve) => {
      waiting = resolve;
    });
  return seen;
}

function response(changed: Partial<Response>): Response {
  return {
    response_id: 'r1',
    revision: 1,
    kind: 'throttle',
    target: '',
    matchers: [],
    reason: 'by hand',
    author: 'eve',
    author_key: 'responder',
    tenant: 'default',
    at: formatTimeMicros(now),
    ...changed,
  };
}

describe('a throttler', () => {
  it('makes a signed signal of an alert, extends it with a reminder, and lifts it when the alert is resolved', async () => {
    await startOne();
    await tell(makeAlert(start));
    expect((await written(1))[0]).toMatchObject({
      revision: 1,
      state: 'active',
      scope: { actor_id: 'alice', tool_name: 'echo' },
      interval_micros: 1e6,
      alert_ids: ['a1'],
      expires_at: formatTimeMicros(start + 15 * 60e6),
    });
    expect(isSignedBy(seen[0] as ThrottleSignal, signer.publicKey)).toBe(true);
    await tell(makeAlert(start, { revision: 2, state: 'updated', caused_at: formatTimeMicros(start + 60e6) }));
    expect((await written(2))[1]).toMatchObject({ revision: 2, expires_at: formatTimeMicros(start + 16 * 60e6) });
    await tell(makeAlert(start, { revision: 3, state: 'resolved' }));
    expect((await written(3))[2]).toMatchObject({ revision: 3, state: 'lifted' });
  });

  it('writes nothing anew after a restart, and what happened while it was away once', async () => {
    const first = await startOne();
    await tell(makeAlert(start));
    await written(1);
    await first.close();
    await tell(makeAlert(start, { alert_id: 'a2', group: { actor_id: 'bob' } }));
    await startOne();
    const signals = await written(2);
    expect(signals.map(({ scope, revision }) => [scope.actor_id, revision])).toEqual([
      ['alice', 1],
      ['bob', 1],
    ]);
    // A third alert shows that nothing else was written in between.
    await tell(makeAlert(start, { alert_id: 'a3', group: { actor_id: 'carol' } }));
    expect((await written(3))[2]?.scope).toEqual({ actor_id: 'carol' });
  });

  it('of two writes one, and the other goes on when it stops', async () => {
    const one = await startOne();
    const two = await startOne();
    await tell(makeAlert(start));
    await written(1);
    expect([one.status().owner, two.status().owner].filter(Boolean)).toHaveLength(1);
    const [owner] = [one, two].filter((each) => each.status().owner);
    await owner?.close();
    await tell(makeAlert(start, { alert_id: 'a2', group: { actor_id: 'bob' } }));
    expect((await written(2))[1]?.scope).toEqual({ actor_id: 'bob' });
    expect(seen).toHaveLength(2);
  });

  it('decides when the last two partitions that it was behind with are read in one turn', async () => {
    const handlers = new Map<Topic, ConsumerOptions>();
    const appended: Topic[] = [];
    let takeOver: Promise<unknown> | undefined;
    const scripted: Stream = {
      append: async (topic, records) => {
        appended.push(topic);
        return records.map(() => ({ partition: 0, offset: 0 }));
      },
      consume: async (options) => {
        if (options.group === undefined) handlers.set(options.topic, options);
        else takeOver = options.assigned([0]);
        return { commit: async () => undefined, close: async () => undefined, closed: Promise.resolve() };
      },
      partitions: async (topic) =>
        [0, 1].map((partition) => ({ partition, earliestOffset: 0, endOffset: topic === 'responses' ? 1 : 0 })),
      committed: async () => new Map(),
      close: async () => undefined,
    };
    await startOne({ stream: scripted });
    await takeOver;
    const { batch } = handlers.get('responses')!;
    const throttle = { scope: { actor_id: 'mallory' }, each: [], block: true };
    await Promise.all(
      [0, 1].map((partition) => {
        const record = response({ response_id: `r${partition}`, throttle, ends_at: formatTimeMicros(start + 60e6) });
        const value = Buffer.from(JSON.stringify(record));
        const records = [{ key: 'k', value, headers: {}, offset: 0, timestamp: 0 }];
        return batch({ topic: 'responses', partition, records, nextOffset: 1, endOffset: 1 });
      }),
    );
    await setImmediate();
    expect(appended).toEqual(['throttle']);
  });

  it('does what people say: adds, lifts, and overrides everything', async () => {
    await startOne();
    const throttle = { scope: { server_name: 'prod' }, each: ['actor_id' as const], rate: '10/m', burst: 2 };
    await append('responses', response({ throttle, ends_at: formatTimeMicros(start + 60e6) }));
    const [added] = await written(1);
    expect(added).toMatchObject({ origin: 'person', author: 'eve', each: ['actor_id'], interval_micros: 6e6 });
    now += 1e6;
    await append('responses', response({ response_id: 'r2', kind: 'lift', target: added?.signal_id ?? '' }));
    expect((await written(2))[1]).toMatchObject({ state: 'lifted', author: 'eve', reason: 'by hand' });
    const override = { scope: {}, each: [], override: true };
    await append(
      'responses',
      response({ response_id: 'r3', throttle: override, ends_at: formatTimeMicros(now + 60e6) }),
    );
    expect((await written(3))[2]).toMatchObject({ origin: 'override', scope: {}, state: 'active' });
  });

  it('follows no record of another key, and counts it', async () => {
    const throttler = await startOne();
    const stranger = makeSigner();
    await tell(makeAlert(start));
    const [signal] = await written(1);
    const { key_id, signature, ...unsigned } = signal as ThrottleSignal;
    await append('throttle', stranger.sign({ ...unsigned, revision: 99, block: true }), unsigned.signal_id);
    await append('throttle', { ...signal, revision: 98 }, unsigned.signal_id);
    await stream.append('throttle', [{ key: 'x', value: Buffer.from('{"no": "signal'), headers: {} }]);
    await tell(makeAlert(start, { revision: 2, state: 'resolved' }));
    expect((await written(4))[3]).toMatchObject({ revision: 2, state: 'lifted' });
    expect(throttler.status().foreign_signals).toBe(3);
  });

  it('shares a rate among the producers that serve the caller, after a restart as well', async () => {
    const first = await startOne();
    await tell(makeAlert(start));
    await written(1);
    const call = { actor_id: 'alice', tool_name: 'echo' };
    await append('calls', { ...call, producer_id: 'p1' });
    await append('calls', { ...call, producer_id: 'p2' });
    await append('calls', { ...call, tool_name: 'other', producer_id: 'p3' });
    expect((await written(2))[1]).toMatchObject({ producers: 2 });
    await first.close();
    await startOne();
    await tell(makeAlert(start, { alert_id: 'a2', group: { actor_id: 'bob' } }));
    expect((await written(3))[2]?.scope).toEqual({ actor_id: 'bob' });
  });

  it('holds the fixed limits of the configuration without any rule', async () => {
    await startOne({ limits: [{ each: 'actor', rate: '5/s', burst: 10, tenant: 'default', dry_run: false }] });
    expect((await written(1))[0]).toMatchObject({
      origin: 'limit',
      scope: {},
      each: ['actor_id'],
      interval_micros: 200_000,
      burst: 10,
    });
  });
});
