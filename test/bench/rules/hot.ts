/**
 * A child of rules.ts: what an event costs when it is one of a million events of one actor in the window, and when
 * 10,000 actors share the million. Prints its figures as JSON.
 */
import { parseTimeMicros } from '../../../schemas/time.js';
import { Engine } from '../../../services/detector/engine.js';
import { rulesOf } from '../../detector/rules.js';
import type { HotFigures } from '../rules.js';
import { eventLines, ownYaml, threeRules } from './corpus.js';

const inWindow = 1_000_000;
const measured = 100_000;
/** A million events in the five minutes of the rules' windows. */
const eventsPerSecond = inWindow / 300;

/** Microseconds of CPU an event, with the window full. */
function cost(actors: number): number {
  const engine = new Engine(rulesOf(ownYaml(threeRules)), () => undefined);
  let clock = 0;
  let offset = 0;
  const record = (line: string) => {
    const { occurred_at } = JSON.parse(line) as { occurred_at: string };
    clock = Math.max(clock, parseTimeMicros(occurred_at) + 250_000);
    const value = Buffer.from(line);
    return { value, tenant: 'default', partition: 0, offset: offset++, recordedAtMicros: clock };
  };
  // As the detector does: 64 records at a time.
  let some: ReturnType<typeof record>[] = [];
  const last: (typeof some)[] = [];
  for (const line of eventLines(inWindow + measured, { actors, eventsPerSecond })) {
    if (some.push(record(line)) < 64 && offset !== inWindow && offset !== inWindow + measured) continue;
    if (offset <= inWindow) engine.takeAll(some);
    else last.push(some);
    some = [];
  }
  const before = process.cpuUsage();
  for (const records of last) engine.takeAll(records);
  const { user, system } = process.cpuUsage(before);
  return (user + system) / measured;
}

const figures: HotFigures = { quietMicros: cost(10_000), hotMicros: cost(1) };
console.log(JSON.stringify(figures));
