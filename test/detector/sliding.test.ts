/** The structures of sliding windows by themselves, from groups of one event to such that outgrow their block, against all events counted anew. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Evaluator, Happening, Trigger } from '../../services/detector/evaluator.js';
import { Memory } from '../../services/detector/memory.js';
import type { Rule } from '../../services/detector/rule.js';
import { SlidingCount } from '../../services/detector/sliding-count.js';
import { SlidingDistinct } from '../../services/detector/sliding-distinct.js';
import { seededRandom } from '../traffic.js';

const seed = Number(process.env.SEED ?? Date.now() % 1_000_000);
console.log(`seed ${seed}`);

const size = 1_000;
const lateness = 300;

interface Event {
  readonly time: number;
  readonly value: string;
}

/** What the event brings about: the earliest window that holds enough, ends at an event and has this one in it. */
function expected(
  events: readonly Event[],
  { time }: Event,
  least: number,
  measure: (events: readonly Event[]) => number,
) {
  const ends = events.map((each) => each.time).filter((end) => end >= time && end < time + size);
  for (const end of ends.sort((left, right) => left - right)) {
    const count = measure(events.filter((each) => each.time <= end && each.time > end - size));
    if (count >= least) return { at: end, count };
  }
  return undefined;
}

/** Groups side by side, of which one ends now and then and one is saved and loaded. */
function hold(
  make: (rule: Rule, memory: Memory) => Evaluator<number>,
  named: string,
  measure: (events: readonly Event[]) => number,
): void {
  const run = fc.record({
    seed: fc.nat(),
    least: fc.constantFrom(1, 3, 40, 70, 1_100),
    /** Events in a window, roughly. */
    rate: fc.constantFrom(2, 50, 2_600),
    values: fc.constantFrom(2, 60, 100, 2_000),
  });
  const holds = fc.property(run, ({ seed: of, least, rate, values }) => {
    const random = seededRandom(of);
    const rule = {
      window: { sizeMicros: size },
      latenessMicros: lateness,
      threshold: { comparison: 'gte', value: least },
    };
    // Texts are more than one map takes, now and then.
    const evaluator = make(rule as unknown as Rule, new Memory(values === 60 ? 20 : undefined));
    const create = () => ({ state: evaluator.create({} as Happening), events: [] as Event[], newest: 0 });
    const groups = [create(), create(), create()];
    for (let round = 0; round < Math.min(2_000, rate * 3); round++) {
      const which = Math.floor(random() * random() * groups.length);
      const group = groups[which] as (typeof groups)[0];
      const late = random() < 0.3 ? Math.floor(random() * lateness) : 0;
      const time = Math.max(0, Math.ceil((round * size) / rate) - late);
      group.newest = Math.max(group.newest, time);
      const event = { time, value: `v${Math.floor(random() * values)}` };
      group.events = [...group.events.filter((each) => each.time > group.newest - 2 * size - lateness), event];
      const told = evaluator.event(group.state, { ...event, newest: group.newest } as Happening) as Trigger | undefined;
      // All counted anew costs a million steps for a busy group: each of the first, and one of ten.
      if (round < 100 || round % 10 === 0) {
        const found = told && { at: told.at, count: told.values[named] };
        expect(found).toEqual(expected(group.events, event, least, measure));
      }
      expect(evaluator.bytes(group.state)).toBeGreaterThan(0);
      if (random() < 0.01) {
        const saved = structuredClone(evaluator.save(group.state));
        evaluator.free?.(group.state);
        group.state = evaluator.load(saved);
        expect(evaluator.save(group.state)).toEqual(saved);
      }
      if (random() < 0.003) {
        evaluator.free?.(group.state);
        groups[which] = create();
      }
    }
  });
  fc.assert(holds, { seed, numRuns: 25 });
}

test('a count', () => {
  hold(
    (rule, memory) => new SlidingCount(rule, memory),
    'count',
    (events) => events.length,
  );
});

test('distinct values', () => {
  const make = (rule: Rule, memory: Memory): Evaluator<number> =>
    new SlidingDistinct(rule, memory, rule.threshold?.value as number, 'distinct');
  hold(make, 'distinct', (events) => new Set(events.map(({ value }) => value)).size);
});
