/** What other engines get wrong, one test each. Their names stand where the defect was seen or reported. */
import { describe, expect, test } from 'vitest';
import type { Alert } from '../../schemas/alert.js';
import { parseTimeMicros } from '../../schemas/time.js';
import { compileRules, compilingRules } from '../../services/detector/compile.js';
import { Engine } from '../../services/detector/engine.js';
import { replay } from '../../services/detector/replay.js';
import type { RuleSet } from '../../services/detector/rule.js';
import { event, minute, rulesOf, second, start } from './rules.js';

const a = { actor_id: 'a' };
const threeIn = (span: string): RuleSet =>
  rulesOf(
    `rules: [{id: three, type: event_count, detection: {s: {method: tools/call}}, group-by: actor, timespan: ${span}, condition: {gte: 3}}]`,
  );
const firing = (alerts: readonly Alert[]): Alert[] => alerts.filter(({ state }) => state === 'firing');

/** An engine that stopped after some records and went on as another process would. */
function restarted(rules: RuleSet, before: Parameters<Engine['take']>[0][]): { engine: Engine; alerts: Alert[] } {
  const first = new Engine(rules, () => undefined);
  for (const each of before) first.take(each);
  const alerts: Alert[] = [];
  const engine = new Engine(rules, (alert) => alerts.push(alert));
  engine.load(structuredClone([...first.save()]));
  return { engine, alerts };
}

describe('time', () => {
  test('two events now and one that is ten minutes late are not three in a minute (RSigma, Esper ext_timed)', () => {
    const now = [event(10 * minute, a), event(10 * minute + second, a)];
    expect(replay(threeIn('1m'), [...now, event(0, a, 10 * minute + 2 * second)])).toEqual([]);
  });

  test('an event that comes late and belongs to the window is counted (Esper time_order)', () => {
    const events = [event(0, a), event(20 * second, a), event(10 * second, a, 30 * second)];
    expect(firing(replay(threeIn('1m'), events))).toHaveLength(1);
  });

  test('of 25 sequences whose first step comes last none is missed (Esper, Siddhi: 5 missed)', () => {
    const rules = rulesOf(
      'rules: [{id: steps, type: temporal_ordered, group-by: session, timespan: 5m, steps: [{tool: read}, {tool: send}]}]',
    );
    const of = (at: number, tool_name: string, session: number, recorded: number) =>
      event(at, { tool_name, session_id: `s-${session}` }, recorded);
    const events = Array.from({ length: 25 }, (_, session) => [
      of(session * second + 500_000, 'send', session, session * second + 500_000),
      of(session * second, 'read', session, session * second + 700_000),
    ]).flat();
    expect(firing(replay(rules, events))).toHaveLength(25);
  });

  test('three steps backwards within one second are not in order (RSigma)', () => {
    const rules = rulesOf(
      'rules: [{id: steps, type: temporal_ordered, group-by: actor, timespan: 5m, steps: [{tool: x}, {tool: y}, {tool: z}]}]',
    );
    const run = (tools: string[]) =>
      firing(
        replay(
          rules,
          tools.map((tool_name, at) => event(at * 1_000, { ...a, tool_name })),
        ),
      ).length;
    expect([run(['z', 'y', 'x']), run(['x', 'y', 'z'])]).toEqual([0, 1]);
  });

  test('an event from the future does not get past the rules (kibana #153821)', () => {
    const events = [event(0, a), event(second, a), event(365 * 24 * 60 * minute, a, 2 * second)];
    const [alert] = firing(replay(threeIn('1m'), events));
    expect(alert?.flags).toContain('future_time');
  });

  test('the time of the event decides, not the time it was recorded (wazuh #38808)', () => {
    const rules = threeIn('1m');
    const at = [0, 40, 80].map((each) => each * second);
    // Spread over 80 s, recorded within a moment.
    const spread = at.map((each, index) => event(each, a, 80 * second + index));
    expect(firing(replay(rules, spread))).toEqual([]);
  });

  test.each([
    ['2026-01-05T07:30:00Z', 0],
    ['2026-01-05T06:30:00Z', 1],
    ['2026-07-06T06:30:00Z', 0],
    ['2026-07-06T16:30:00Z', 1],
  ])('off-hours know zone and daylight saving: %s raises %i (RSigma, elastalert2 #842)', (at, alerts) => {
    const rules = rulesOf(`calendars: {nl: {tz: Europe/Amsterdam, open: ["mon-fri 08:00-18:00"]}}
rules: [{id: off, detection: {s: {method: tools/call}}, when: {calendar: nl, is: closed}, group-by: actor}]`);
    expect(firing(replay(rules, [event(parseTimeMicros(at) - start, a)]))).toHaveLength(alerts);
  });

  test('absence is told although no event comes (RSigma: never)', () => {
    const rules = rulesOf('rules: [{id: silent, type: absence, group-by: actor, timespan: 3m}]');
    const alerts = replay(rules, [event(0, a)], { untilMicros: start + 10 * minute });
    expect(firing(alerts)).toMatchObject([{ rule_id: 'silent', group: { actor_id: 'a' } }]);
  });

  test('what is over is told as over (elastalert2 #1016)', () => {
    const events = [0, 1, 2].map((each) => event(each * second, a));
    const states = replay(threeIn('1m'), events, { untilMicros: start + 10 * minute }).map(({ state }) => state);
    expect(states).toEqual(['firing', 'resolved']);
  });
});

describe('restarts', () => {
  test('a window goes on where it was (RSigma: up to 30 s lost, elastalert #704)', () => {
    const { engine, alerts } = restarted(threeIn('1m'), [event(0, a), event(second, a)]);
    engine.take(event(2 * second, a));
    expect(firing(alerts)).toHaveLength(1);
  });

  test('an event that is sent again after it counts once (RSigma: twice)', () => {
    const events = [event(0, a), event(second, a)];
    const { engine, alerts } = restarted(threeIn('1m'), events);
    for (const each of events) engine.take({ ...each, recordedAtMicros: start + 2 * second });
    expect(alerts).toEqual([]);
    expect(engine.counts.repeated).toBe(2);
  });

  test('what was learned is still known (elastalert2 #1770)', () => {
    const rules = rulesOf(
      'rules: [{id: fresh, type: new_value, field: tool, group-by: actor, warmup: {events: 3}, learn: 1m}]',
    );
    const usual = Array.from({ length: 10 }, (_, at) => event(at * minute, { ...a, tool_name: 'read' }));
    const { engine, alerts } = restarted(rules, usual);
    engine.take(event(11 * minute, { ...a, tool_name: 'read' }));
    engine.take(event(12 * minute, { ...a, tool_name: 'odd' }));
    expect(firing(alerts)).toHaveLength(1);
  });

  test('a replay raises the same alerts under the same ids (alertmanager #4108, elastalert #2711)', () => {
    const events = [0, 1, 2].map((each) => event(each * second, a));
    expect(replay(threeIn('1m'), events)).toEqual(replay(threeIn('1m'), events));
  });
});

describe('many and much', () => {
  test('20,000 actors with three calls each are 20,000 alerts (RSigma with 120,000: none)', () => {
    const actors = 20_000;
    const events = function* () {
      for (let round = 0; round < 3; round++)
        for (let actor = 0; actor < actors; actor++)
          yield event(round * minute + actor, { actor_id: `actor-${actor}` });
    };
    const alerts = firing(replay(threeIn('5m'), events()));
    expect(new Set(alerts.map(({ group }) => group.actor_id)).size).toBe(actors);
  });

  test('a distinct count keeps one interval for a value, however often it comes (RSigma recounts the window)', () => {
    const rules = rulesOf(
      'rules: [{id: many, type: value_count, field: tool, detection: {s: {method: tools/call}}, group-by: actor, timespan: 1h, condition: {gte: 11}}]',
    );
    const alerts: Alert[] = [];
    const engine = new Engine(rules, (alert) => alerts.push(alert));
    for (let at = 0; at < 50_000; at++) engine.take(event(at * 1_000, { ...a, tool_name: `tool-${at % 10}` }));
    expect(engine.bytes).toBeLessThan(5_000);
    expect(alerts).toEqual([]);
    engine.take(event(minute, { ...a, tool_name: 'eleventh' }));
    expect(alerts).toMatchObject([{ values: { distinct: 11 } }]);
  });

  test('patterns are set up with work that grows as they do (Esper: 35 s for 1,000)', () => {
    const steps = (count: number): number => {
      const texts = Array.from(
        { length: count },
        (_, at) =>
          `- {id: re-${at}, detection: {s: {arguments|re: "word${at}[a-z]+end"}, t: {tool|contains: name-${at}}, condition: 1 of *}}`,
      );
      const compiling = compilingRules([{ path: 'rules.yaml', text: `rules:\n${texts.join('\n')}\n`, layer: 1 }]);
      let done = 0;
      let compiled = compiling.next();
      for (; compiled.done !== true; compiled = compiling.next()) done++;
      const alerts: Alert[] = [];
      const making = Engine.making(compiled.value.set, (alert) => alerts.push(alert));
      let made = making.next();
      for (; made.done !== true; made = making.next()) done++;
      made.value.take(event(0, { ...a, arguments: `word${count - 1}xyend` }));
      expect(alerts).toMatchObject([{ rule_id: `re-${count - 1}` }]);
      return done;
    };
    expect(steps(400)).toBeLessThan(steps(100) * 4.5);
  });

  test('a pattern that explodes elsewhere has its answer (Esper regexp: 1,400 events/s)', () => {
    const rules = rulesOf(`rules: [{id: odd, detection: {s: {arguments|re: '(a+)+$'}}, group-by: actor}]`);
    expect(replay(rules, [event(0, { ...a, arguments: `${'a'.repeat(50_000)}!` })])).toEqual([]);
    expect(firing(replay(rules, [event(0, { ...a, arguments: 'aaa' })]))).toHaveLength(1);
  });
});

describe('silence', () => {
  test('an unknown rule type is an error of the file (RSigma: a warning, exit 0, and the rule is not there)', () => {
    const text = 'rules: [{id: x, type: event_cuont, detection: {s: {method: tools/call}}}]';
    const { problems } = compileRules([{ path: 'rules.yaml', text, layer: 1 }]);
    expect(problems).toMatchObject([{ file: 'rules.yaml', line: 1 }]);
    expect(problems[0]?.message).toContain('event_count');
  });

  test('what a limit drops is an alert (RSigma, falco #1333)', () => {
    const rules = rulesOf(
      'rules: [{id: few, type: event_count, detection: {s: {method: tools/call}}, group-by: actor, timespan: 1m, condition: {gte: 3}, max_keys: 10}]',
    );
    const events = Array.from({ length: 50 }, (_, at) => event(at, { actor_id: `actor-${at}` }));
    expect(firing(replay(rules, events))).toMatchObject([{ rule_id: 'mcp-auditd.limit' }]);
  });

  test('an alert says when and for whom, in a backtest too (RSigma: a number for each rule)', () => {
    const [alert] = replay(
      threeIn('1m'),
      [0, 1, 2].map((each) => event(each * second, a)),
    );
    expect(alert).toMatchObject({ at: '2026-01-05T09:00:02.000000Z', group: { actor_id: 'a' }, rule_id: 'three' });
  });
});
