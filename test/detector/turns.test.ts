import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { expect, test } from 'vitest';
import type { Alert } from '../../schemas/alert.js';
import { mostRules } from '../../services/detector/compile.js';
import { Engine } from '../../services/detector/engine.js';
import type { EngineRecord } from '../../services/detector/event-reader.js';
import { loadRules } from '../../services/detector/load.js';
import type { Rule } from '../../services/detector/rule.js';
import { RuleDirectory } from '../../services/detector/rule-directory.js';
import { inTurns } from '../../services/detector/turns.js';
import { event, rulesOf, second } from './rules.js';

const ruleText = (from: number, count: number): string =>
  Array.from({ length: count }, (_, at) => `- {id: r-${from + at}, detection: {s: {tool: t-${from + at}}}}`).join('\n');

function inDirectory<T>(files: number, rulesEach: number, use: (directory: string) => T): T {
  const directory = mkdtempSync(join(tmpdir(), 'rules-'));
  for (let file = 0; file < files; file++) {
    const path = join(directory, `${String(file).padStart(5, '0')}.yaml`);
    writeFileSync(path, `rules:\n${ruleText(file * rulesEach, rulesEach)}\n`);
  }
  const clean = () => rmSync(directory, { recursive: true, force: true });
  const result = use(directory);
  if (result instanceof Promise) return result.finally(clean) as T;
  clean();
  return result;
}

const giveWay = (): Promise<void> => setImmediate();

test('few rules are read in turns, many in a thread, and both are what is read at once', async () => {
  const text = `- {id: r, detection: {s: {tool: $tools}}, tests: [{name: fires, events: [{at: 0s, tool: a}], expect: [{at: 1s}]}]}`;
  for (const inThread of [false, true]) {
    await inDirectory(1, inThread ? 800 : 10, async (directory) => {
      writeFileSync(join(directory, 'one.yaml'), `lists: {tools: [a, b]}\nrules:\n${text}\n`);
      const sources = { pack: false, paths: [directory] };
      const found = await new RuleDirectory(sources, { excerpts: true, pause: giveWay }).changed();
      const { set } = loadRules(sources);
      // A thread keeps the tests to itself.
      expect(found?.set.rules.at(-1)?.tests).toHaveLength(inThread ? 0 : 1);
      const withoutTests = (rules: readonly Rule[]) => rules.map((rule) => ({ ...rule, tests: [] }));
      expect(withoutTests(found?.set.rules ?? [])).toEqual(withoutTests(set.rules));
      expect(found?.set.calendars).toEqual(set.calendars);
      expect(found?.excerpts.at(-1)).toEqual({
        source: text,
        tests: [
          {
            name: 'fires',
            failures: [
              'line 3: at: expected 1s, got 0s; the alert was: firing at 0s event_id=00000000-0000-7000-8000-000000000000',
            ],
          },
        ],
      });
    });
  }
});

test('what is wrong is told by the thread too, and the rules of before stay', async () => {
  await inDirectory(1, 800, async (directory) => {
    const path = join(directory, 'broken.yaml');
    const rules = new RuleDirectory({ pack: false, paths: [directory] }, { excerpts: false, pause: giveWay });
    expect([(await rules.changed())?.set.rules.length, rules.problems]).toEqual([800, []]);
    writeFileSync(path, 'rules:\n- {id: x, detection: {s: {toool: a}}}\n');
    expect(await rules.changed()).toBeUndefined();
    expect(rules.problems).toMatchObject([{ file: path, line: 2, column: 27 }]);
    rmSync(path);
    expect(await rules.changed()).toBeDefined();
    expect(rules.problems).toEqual([]);
  });
});

test('an engine that is made in steps, and succeeds another, knows what that one knew', async () => {
  const rules = (condition: string) =>
    rulesOf(
      `rules: [{id: three, type: event_count, detection: {s: {tool: x}}, group-by: actor, timespan: 1m, condition: {gte: 3}},
        {id: other, type: event_count, detection: {s: {arguments|contains: "${condition}"}}, group-by: actor, timespan: 1m, condition: {gte: 3}}]`,
    );
  const first = new Engine(rules('a'), () => undefined);
  const [one, two, three] = [0, 1, 2].map((at) => event(at * second, { actor_id: 'ann', tool_name: 'x' })) as [
    EngineRecord,
    EngineRecord,
    EngineRecord,
  ];
  for (const each of [one, two]) first.take(each);
  const alerts: Alert[] = [];
  const next = await inTurns(
    Engine.making(rules('b'), (alert) => alerts.push(alert)),
    giveWay,
    0,
  );
  expect(await inTurns(next.succeeding(first), giveWay, 0)).toEqual(new Set(['three']));
  // One that was seen before is known again, and the third is the third.
  next.take({ ...two, recordedAtMicros: three.recordedAtMicros });
  expect([next.counts.repeated, alerts]).toEqual([1, []]);
  next.take(three);
  expect(alerts).toMatchObject([{ rule_id: 'three', values: { count: 3 } }]);
});

test('a turn ends when its time is over, however many steps there are', async () => {
  let done = 0;
  const work = function* (): Generator<void, string> {
    for (; done < 100; done++) yield;
    return 'all';
  };
  const seen: number[] = [];
  const pause = async (): Promise<void> => void seen.push(done);
  // Turns of no time: one step each.
  expect(await inTurns(work(), pause, 0)).toBe('all');
  expect(seen).toHaveLength(100);
});

test('100,000 rules are refused with the place of the first that is too many', () => {
  inDirectory(100, 1_000, (directory) => {
    const { problems, set } = loadRules({ pack: false, paths: [directory] });
    expect(problems).toMatchObject([
      {
        file: join(directory, '00010.yaml'),
        line: 2,
        message: `at most ${mostRules} rules are taken, and there are more`,
      },
    ]);
    expect(set.rules).toHaveLength(mostRules);
  });
});
