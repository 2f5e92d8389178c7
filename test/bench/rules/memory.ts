/** The child of rules-memory.ts: so many groups of one rule. Prints its figures as JSON. */
import { Engine } from '../../../services/detector/engine.js';
import { rulesOf, second, start } from '../../detector/rules.js';
import type { MemoryFigures } from '../rules-memory.js';

const [rule, groupsText, eventsText] = process.argv.slice(2) as [string, string, string];
const groups = Number(groupsText);
const eventsPerGroup = Number(eventsText);
const common = `group-by: actor, timespan: 1h, max_keys: ${groups + 1}`;
const detection = 'detection: {s: {method: tools/call}}';
const rules: Readonly<Record<string, string>> = {
  event_count: `type: event_count, ${common}, ${detection}, condition: {gte: 100}`,
  value_count: `type: value_count, field: tool, ${common}, ${detection}, condition: {gte: 100}`,
  // Of 20 characters that no other group has.
  'value_count, own': `type: value_count, field: session, ${common}, ${detection}, condition: {gte: 100}`,
  temporal_ordered: `type: temporal_ordered, ${common}, steps: [{tool: read}, {tool: send}]`,
};

function inUse(): number {
  // The second one takes what the first one only detached.
  globalThis.gc?.();
  globalThis.gc?.();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}

const engine = new Engine(rulesOf(`rules: [{id: rule, ${rules[rule] as string}}]`), () => undefined, {
  maxBytes: Number.MAX_SAFE_INTEGER,
  rememberedIds: 1_024,
});
/** What reading alone keeps, however many groups there are: values, ids, code. */
function fill(from: number, to: number): void {
  for (let round = 0; round < eventsPerGroup; round++) {
    for (let group = from; group < to; group++) {
      const event = {
        method: 'tools/call',
        tool_name: 'read',
        outcome: 'success',
        actor_id: `user-${group}@example.com`,
        session_id: `session-of-${String(group).padStart(9, '0')}`,
      };
      const recordedAtMicros = start + round * second;
      engine.take({ value: Buffer.from(JSON.stringify(event)), partition: 0, offset: 0, recordedAtMicros });
    }
  }
}
const warm = Math.min(100_000, groups / 2);
fill(0, warm);
const before = inUse();
const countedBefore = engine.bytes;
fill(warm, groups);
const figures: MemoryFigures = {
  rule,
  eventsPerGroup,
  measuredBytes: (inUse() - before) / (groups - warm),
  countedBytes: (engine.bytes - countedBefore) / (groups - warm),
};
if (engine.status()[0]?.groups !== groups) throw new Error('a group was let go');
console.log(JSON.stringify(figures));
