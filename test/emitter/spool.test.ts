/**
 * Journal, spool and orphan against a model: whatever is begun, ended, delivered, refused for want of room and killed,
 * every event is told once, sequences have no gap that is no loss, and losses are counted.
 */
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Cursor } from '../../services/emitter/cursor.js';
import { Journal, type JournalCall } from '../../services/emitter/journal.js';
import { OrphanedSpool } from '../../services/emitter/orphan.js';
import type { Source, SpoolLimits } from '../../services/emitter/spool.js';
import { readOwner } from '../../services/emitter/spool-directory.js';

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'spool-'));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

interface Told {
  event_id: string;
  producer_sequence: number;
  outcome: string;
  method?: string;
  pad?: string;
  attributes?: Record<string, string>;
}

/** What reached the other end and was acknowledged, by event id. */
class Receiver {
  readonly events = new Map<string, Told>();

  /** Takes batches until the source has no more, or so many of them. */
  drain(source: Source, batches = Number.POSITIVE_INFINITY, maxLines = 7): void {
    for (let taken = 0; taken < batches; taken++) {
      const batch = source.next(3000, maxLines);
      this.take(batch.lines.map(String));
      source.delivered(batch);
      if (!batch.isFull) return;
    }
  }

  take(lines: readonly string[]): void {
    for (const line of lines) {
      const event = JSON.parse(line) as Told;
      const known = this.events.get(event.event_id);
      // Told again after an acknowledgement was lost: the same event.
      if (known !== undefined) expect(event).toEqual(known);
      this.events.set(event.event_id, event);
    }
  }
}

type Step =
  | { readonly do: 'begin'; readonly size: number }
  | { readonly do: 'end'; readonly which: number; readonly size: number }
  | { readonly do: 'commit' }
  | { readonly do: 'deliver'; readonly batches: number }
  | { readonly do: 'unacknowledged' };

const size = fc.oneof(
  { weight: 8, arbitrary: fc.nat(300) },
  { weight: 1, arbitrary: fc.integer({ min: 3000, max: 9000 }) },
);
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 5, arbitrary: fc.record({ do: fc.constant('begin' as const), size }) },
  { weight: 5, arbitrary: fc.record({ do: fc.constant('end' as const), which: fc.nat(50), size }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('commit' as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('deliver' as const), batches: fc.integer({ min: 1, max: 4 }) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('unacknowledged' as const) }) },
);
const limits = (maxBytes: number) =>
  fc.record({
    maxBytes: fc.constant(maxBytes),
    segmentBytes: fc.constantFrom(2048, 16_384),
    memoryLength: fc.constantFrom(0, 2000, 1_000_000),
  });

interface Run {
  journal: Journal;
  receiver: Receiver;
  /** Calls that were committed: by event id, whether they ended and with what. */
  expected: Map<string, { ended: boolean; pad: string }>;
}

function run(steps: readonly Step[], spoolLimits: SpoolLimits): Run {
  const journal = new Journal({ spools: join(root, 'spool'), name: 'model', version: '0', limits: spoolLimits });
  const receiver = new Receiver();
  const expected: Run['expected'] = new Map();
  const running: { call: JournalCall; id: string }[] = [];
  const queued: (() => void)[] = [];
  let number = 0;
  for (const each of steps) {
    if (each.do === 'begin') {
      const call = journal.newCall();
      const id = `call-${++number}`;
      journal.begin(call, '"attributes":{"alone":"yes"},', `{"event_id":"${id}","text":"${'b'.repeat(each.size)}"`);
      running.push({ call, id });
      queued.push(() => call.isLost || expected.set(id, { ended: false, pad: '' }));
    } else if (each.do === 'end' && running.length > 0) {
      const [{ call, id }] = running.splice(each.which % running.length, 1) as [(typeof running)[number]];
      const pad = 'e'.repeat(each.size);
      const shortestRest = ',"pad":"short"}';
      journal.end(call, { durationMs: 1, outcome: 'success', rest: `,"pad":"${pad}"}`, shortestRest });
      queued.push(
        () => expected.has(id) && (call.isLost ? expected.delete(id) : expected.set(id, { ended: true, pad })),
      );
    } else if (each.do === 'commit') {
      journal.commit();
      for (const settle of queued.splice(0)) settle();
    } else if (each.do === 'deliver') {
      receiver.drain(journal, each.batches);
    } else if (each.do === 'unacknowledged') {
      // Sent, and the acknowledgement was lost: only what runs later in the same delivery may follow.
      const batch = journal.next(3000, 7);
      receiver.take(batch.lines.map(String));
      journal.delivered(batch);
    }
  }
  journal.commit();
  for (const settle of queued) settle();
  return { journal, receiver, expected };
}

function check({ journal, receiver, expected }: Run): void {
  const told = [...receiver.events.values()];
  for (const [id, { ended, pad }] of expected) {
    const event = receiver.events.get(id);
    expect(event, id).toBeDefined();
    if (ended) expect([pad, 'short']).toContain(event!.pad);
    else expect(event).toMatchObject({ outcome: 'no_response', attributes: { alone: 'yes' } });
  }
  const sequences = told.map((event) => event.producer_sequence).sort((a, b) => a - b);
  expect(new Set(sequences).size).toBe(sequences.length);
  const reported = told.filter((event) => event.method === 'audit/loss');
  const lost = reported.reduce((sum, event) => sum + Number(event.attributes!.lost_calls), 0);
  expect(lost).toBe(journal.dropped);
  expect(sequences.at(-1) ?? 0).toBe(sequences.length + lost);
}

/** The spool's directory as a kill would leave it now. */
function killed(): string {
  const [name] = readdirSync(join(root, 'spool'));
  const copy = mkdtempSync(join(root, 'copy-'));
  cpSync(join(root, 'spool', name!), copy, { recursive: true });
  return copy;
}

function checkAndClose(made: Run): void {
  try {
    check(made);
  } finally {
    made.journal.close();
    rmSync(join(root, 'spool'), { recursive: true, force: true });
  }
}

describe('a journal', () => {
  it('that is killed at any moment is told to its end by whoever adopts it, and by the next when that one is killed', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 120 }), limits(1 << 20), fc.nat(6), (steps, spoolLimits, batches) => {
        const made = run(steps, spoolLimits);
        let directory = killed();
        const first = new OrphanedSpool(directory, readOwner(directory)!);
        made.receiver.drain(first, batches);
        const batch = first.next(3000, 7);
        made.receiver.take(batch.lines.map(String));
        const copy = mkdtempSync(join(root, 'copy-'));
        cpSync(directory, copy, { recursive: true });
        first.close();
        directory = copy;
        const second = new OrphanedSpool(directory, readOwner(directory)!);
        made.receiver.drain(second);
        expect(second.isDelivered).toBe(true);
        second.close();
        checkAndClose(made);
      }),
      { numRuns: 40 },
    );
  });

  it('counts and reports what does not fit, and keeps the rest', () => {
    let dropped = 0;
    fc.assert(
      fc.property(fc.array(step, { minLength: 40, maxLength: 200 }), limits(24_576), (steps, spoolLimits) => {
        const made = run(steps, spoolLimits);
        dropped += made.journal.dropped;
        const directory = killed();
        const orphan = new OrphanedSpool(directory, readOwner(directory)!);
        made.receiver.drain(orphan);
        orphan.close();
        checkAndClose(made);
      }),
      { numRuns: 40 },
    );
    expect(dropped).toBeGreaterThan(0);
  });

  it('gives its room back when everything was delivered, while a call runs through it all', () => {
    const spoolLimits = { maxBytes: 65_536, segmentBytes: 4096, memoryLength: 1000 };
    const journal = new Journal({ spools: join(root, 'spool'), name: 'model', version: '0', limits: spoolLimits });
    const receiver = new Receiver();
    const long = journal.newCall();
    journal.begin(long, '', '{"event_id":"long"');
    const end = { durationMs: 1, outcome: 'success' as const, rest: `,"pad":"${'x'.repeat(500)}"}`, shortestRest: '}' };
    for (let n = 0; n < 1000; n++) {
      const call = journal.newCall();
      journal.begin(call, '', `{"event_id":"short-${n}"`);
      journal.end(call, end);
      journal.commit();
      if (n % 20 === 0) receiver.drain(journal);
    }
    journal.end(long, end);
    journal.commit();
    receiver.drain(journal);
    expect(journal.dropped).toBe(0);
    expect(receiver.events.size).toBe(1001);
    journal.close();
    expect(readdirSync(join(root, 'spool'))).toEqual([]);
  });
});

describe('the cursor', () => {
  it('is what was written last, whichever byte of it is torn afterwards', () => {
    const state = fc.record({
      nextIndex: fc.nat(),
      adoptedIndex: fc.nat(),
      lastSequence: fc.nat(),
      lostCount: fc.nat(),
      lostFirst: fc.nat(),
      lostLast: fc.nat(),
      lostReason: fc.string({ maxLength: 64 }),
      lostAtMicros: fc.maxSafeNat(),
    });
    fc.assert(
      fc.property(fc.array(state, { minLength: 2, maxLength: 6 }), fc.nat(511), (states, at) => {
        const path = join(root, 'cursor');
        const written = new Cursor(path, true);
        for (const each of states) {
          Object.assign(written.state, each);
          written.write();
        }
        written.close();
        const read = new Cursor(path, false);
        expect(read.state).toEqual(states.at(-1));
        read.close();
        // The last slot torn: the one before it counts, or the last where the byte carries nothing.
        const bytes = readFileSync(path);
        bytes[(states.length % 2) * 512 + at]! ^= 0x55;
        writeFileSync(path, bytes);
        const torn = new Cursor(path, false);
        expect([states.at(-1), states.at(-2)]).toContainEqual({ ...torn.state });
        torn.close();
        rmSync(path);
      }),
      { numRuns: 50 },
    );
  });

  it('begins anew when nothing of it can be read', () => {
    const path = join(root, 'cursor');
    writeFileSync(path, Buffer.alloc(1024, 7));
    const cursor = new Cursor(path, false);
    expect(cursor.state.nextIndex).toBe(0);
    cursor.close();
  });
});
