import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type KafkaEvent, openKafkaStream } from '../../services/stream/kafka.js';
import type { Position, Stream } from '../../services/stream/stream.js';
import { type Broker, namedBrokers, startBroker } from '../kafka/broker.js';
import { makeTopics } from '../kafka/topics.js';

const partitions = 4;

/** Waits for a state that callbacks bring about; vitest's time limit ends a wait in vain. */
class Changes {
  private readonly waiting = new Set<() => void>();
  notify(): void {
    for (const look of this.waiting) look();
  }
  until(reached: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      const look = () => {
        if (!reached()) return;
        this.waiting.delete(look);
        resolve();
      };
      this.waiting.add(look);
      look();
    });
  }
}

/** Appends from several callers until it is stopped; `acknowledged` maps each position to the text there. */
function produce(stream: Stream, changes: Changes) {
  const acknowledged = new Map<string, string>();
  let stopped = false;
  const caller = async (name: string) => {
    for (let at = 0; !stopped; at++) {
      const texts = Array.from({ length: 1 + (at % 7) }, (_, one) => `${name}-${at}-${one}`);
      const records = texts.map((text) => ({
        key: text.slice(0, 4 + (at % 3)),
        value: Buffer.from(text),
        headers: {},
      }));
      const positions: Position[] = await stream.append('calls', records);
      for (const [one, { partition, offset }] of positions.entries()) {
        const place = `${partition},${offset}`;
        expect(acknowledged.has(place), `${place} was given out twice`).toBe(false);
        acknowledged.set(place, texts[one]!);
      }
      changes.notify();
      // Slow enough that the children's pipes keep up on a busy machine.
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  };
  const callers = ['a', 'b', 'c'].map(caller);
  return {
    acknowledged,
    stop: async () => {
      stopped = true;
      await Promise.all(callers);
    },
  };
}

describe.skipIf(namedBrokers() !== undefined)('faults (skipped with KAFKA_BROKERS: they kill the broker)', () => {
  let broker: Broker;
  beforeAll(async () => {
    broker = await startBroker();
  });
  afterAll(async () => {
    await broker.stop();
  });

  test('the broker is killed and started again: what was acknowledged is consumed, and nothing is there twice', async () => {
    const topicPrefix = await makeTopics(broker.brokers, partitions);
    const events: KafkaEvent[] = [];
    const changes = new Changes();
    const stream = await openKafkaStream({
      brokers: broker.brokers,
      clientId: 'faults',
      topicPrefix,
      sessionTimeoutMs: 3000,
      observe: (event) => events.push(event),
    });
    const consumed = new Map<string, string>();
    const consumer = await stream.consume({
      topic: 'calls',
      group: 'reader',
      assigned: async () => new Map(),
      revoked: async () => undefined,
      batch: async ({ partition, records, nextOffset }) => {
        for (const { offset, value } of records) {
          const place = `${partition},${offset}`;
          // A batch may come again after a restart; the same place holds the same record for ever.
          expect(consumed.get(place) ?? value.toString()).toBe(value.toString());
          consumed.set(place, value.toString());
        }
        await consumer.commit(partition, nextOffset);
        changes.notify();
      },
    });
    const producing = produce(stream, changes);
    for (let kill = 0; kill < 2; kill++) {
      const enough = producing.acknowledged.size + 400;
      await changes.until(() => producing.acknowledged.size >= enough && consumed.size >= enough - 300);
      await broker.kill();
      await broker.restart();
    }
    const enough = producing.acknowledged.size + 400;
    await changes.until(() => producing.acknowledged.size >= enough);
    await producing.stop();
    await changes.until(() => [...producing.acknowledged.keys()].every((place) => consumed.has(place)));
    for (const [place, text] of producing.acknowledged) expect(consumed.get(place)).toBe(text);
    expect(new Set(consumed.values()).size).toBe(consumed.size);
    const ends = await stream.partitions('calls');
    expect(ends.reduce((sum, { endOffset }) => sum + endOffset, 0)).toBe(consumed.size);
    expect(events.some((event) => event.kind === 'send_retried' || event.kind === 'restarted')).toBe(true);
    await stream.close();
  }, 90_000);

  test('consumers of a group join, are killed, frozen and thawed, and leave: no acknowledged record is missed', async () => {
    const topicPrefix = await makeTopics(broker.brokers, partitions);
    const changes = new Changes();
    const stream = await openKafkaStream({ brokers: broker.brokers, clientId: 'faults', topicPrefix });
    const handled = new Set<string>();
    const children: ChildProcess[] = [];
    /** Resolves to what the child tells of its assignment. */
    const join_ = () => {
      const words = [broker.brokers.join(), topicPrefix, 'group', '2000'];
      const script = join(import.meta.dirname, '..', 'kafka', 'consuming-child.ts');
      const child = spawn(process.execPath, ['--import', 'tsx', script, ...words], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      children.push(child);
      const seen = { child, assigned: '', closed: false };
      createInterface({ input: child.stdout }).on('line', (line) => {
        if (line.startsWith('assigned ')) seen.assigned = line.slice('assigned '.length);
        else if (line.startsWith('record ')) handled.add(line.slice('record '.length));
        else if (line === 'closed') seen.closed = true;
        changes.notify();
      });
      return seen;
    };
    const count = (seen: { assigned: string }) => (seen.assigned === '' ? 0 : seen.assigned.split(',').length);
    try {
      const producing = produce(stream, changes);
      const progress = async () => {
        const enough = handled.size + 100;
        await changes.until(() => handled.size >= enough);
      };
      const first = join_();
      await changes.until(() => count(first) === 4);
      const second = join_();
      await changes.until(() => count(first) === 2 && count(second) === 2);
      const third = join_();
      await changes.until(() => count(first) + count(second) + count(third) === 4 && count(third) > 0);
      await progress();
      second.child.kill('SIGKILL');
      await once(second.child, 'exit');
      await changes.until(() => count(first) + count(third) === 4);
      await progress();
      first.child.kill('SIGSTOP');
      first.assigned = '';
      await changes.until(() => count(third) === 4);
      await progress();
      first.child.kill('SIGCONT');
      await changes.until(() => count(first) === 2 && count(third) === 2);
      await progress();
      first.child.kill('SIGTERM');
      await changes.until(() => first.closed && count(third) === 4);
      await producing.stop();
      const wanted = [...producing.acknowledged].map(([place, text]) => `${place},${text}`);
      await changes.until(() => wanted.every((one) => handled.has(one)));
      expect(wanted.filter((one) => !handled.has(one))).toEqual([]);
      third.child.kill('SIGTERM');
      await changes.until(() => third.closed);
    } finally {
      for (const child of children) child.kill('SIGKILL');
      await stream.close();
    }
  }, 90_000);

  test('a consumer without a group leaves no group behind', async () => {
    const topicPrefix = await makeTopics(broker.brokers, partitions);
    const stream = await openKafkaStream({ brokers: broker.brokers, clientId: 'alone', topicPrefix });
    const assigned = new Promise<readonly number[]>((resolve) => {
      void stream.consume({
        topic: 'calls',
        assigned: async (partitions) => {
          resolve(partitions);
          return new Map();
        },
        revoked: async () => undefined,
        batch: async () => undefined,
      });
    });
    expect([...(await assigned)].sort()).toEqual([0, 1, 2, 3]);
    await stream.close();
    const { kafkaClient } = await import('../../services/stream/kafka.js');
    const admin = kafkaClient({ brokers: broker.brokers, clientId: 'look' }).admin();
    await admin.connect();
    const { groups } = await admin.listGroups();
    await admin.disconnect();
    expect(groups.map(({ groupId }) => groupId).filter((name) => name.includes('alone-'))).toEqual([]);
  });
});
