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
  const last: ReturnType<typeof record>[] = [];
  for (const line of eventLines(inWindow + measured, { actors, eventsPerSecond })) {
    const taken = record(line);
    if (taken.offset < inWindow) engine.take(taken);
    else last.push(taken);
  }
  const before = process.cpuUsage();
  for (const taken of last) engine.take(taken);
  const { user, system } = process.cpuUsage(before);
  return (user + system) / measured;
}

const figures: HotFigures = { quietMicros: cost(10_000), hotMicros: cost(1) };
console.log(JSON.stringify(figures));
