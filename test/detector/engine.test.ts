import { describe, expect, test } from 'vitest';
import type { Alert } from '../../schemas/alert.js';
import { parseTimeMicros } from '../../schemas/time.js';
import { Engine } from '../../services/detector/engine.js';
import { handLimits, replay, UnrecordedEvents } from '../../services/detector/replay.js';
import { seededRandom } from '../traffic.js';
import { event, minute, newId, rulesOf, second, start } from './rules.js';
import { traffic, trafficRules } from './traffic.js';

/** State, seconds after the start, and group. */
const short = (alerts: readonly Alert[]): string[] =>
  alerts.map(({ state, at, group, count }) => {
    const seconds = (parseTimeMicros(at) - start) / second;
    return `${state} ${seconds}s ${Object.values(group).join()} ${count}`.trim();
  });

const volume = rulesOf(`rules:
- {id: volume, type: event_count, detection: {s: {method: tools/call}}, group-by: actor, timespan: 1m, condition: {gte: 3}}`);

describe('an episode', () => {
  test('begins when the condition holds, goes on while it does, and ends when it no longer did', () => {
    const events = [0, 10, 20, 30, 200].map((at) => event(at * second, { actor_id: 'a' }));
    expect(short(replay(volume, events, { untilMicros: start + 10 * minute }))).toEqual([
      'firing 20s a 1',
      'resolved 90s a 2',
    ]);
  });

  test('has one id in all its records, which names the rule, its version, tenant, group and start', () => {
    const run = (actor: string, at: number): string[] =>
      replay(
        volume,
        [0, 1, 2].map((each) => event(at + each, { actor_id: actor })),
        { untilMicros: start + 20 * minute },
      ).map(({ alert_id }) => alert_id);
    const [fired, resolved] = run('a', 0);
    expect(fired).toBe(resolved);
    expect(run('a', 0)).toEqual([fired, resolved]);
    expect(new Set([fired, ...run('b', 0), ...run('a', 1)]).size).toBe(3);
  });

  test('is told of again after `every`, then after `factor` times as long, at most `max`', () => {
    const rules = rulesOf(`rules:
- {id: v, type: event_count, detection: {s: {method: tools/call}}, timespan: 1m, condition: {gte: 1}, realert: {every: 1m, factor: 3, max: 5m}}`);
    const events = Array.from({ length: 16 * 60 }, (_, at) => event(at * second));
    expect(short(replay(rules, events)).map((each) => each.split(' ').slice(0, 2).join(' '))).toEqual([
      'firing 0s',
      'updated 60s',
      'updated 240s',
      'updated 540s',
      'updated 840s',
    ]);
  });

  test('carries at most twenty ids, and SQL in which an attacker cannot write', () => {
    const actor = "x' OR 1=1 --\\";
    const events = Array.from({ length: 40 }, (_, at) => event(at, { actor_id: actor }));
    const [alert] = replay(volume, events, { untilMicros: start + 10 * minute }).slice(-1);
    expect(alert?.evidence).toHaveLength(20);
    expect(alert?.evidence_sql).toContain("toString(actor_id) = 'x\\' OR 1=1 --\\\\'");
    expect(alert?.count).toBe(38);
  });
});

describe('time', () => {
  test('an event that is late within the lateness is counted into its window', () => {
    const events = [event(0, { actor_id: 'a' }), event(50 * second, { actor_id: 'a' }), event(119 * second, {})];
    const late = event(30 * second, { actor_id: 'a' }, 120 * second);
    expect(short(replay(volume, [...events, late]))).toEqual(['firing 50s a 1']);
  });

  test('a later one is kept out, and counted', () => {
    const alerts: Alert[] = [];
    const engine = new Engine(volume, (alert) => alerts.push(alert));
    const now = [10 * minute, 10 * minute + 1].map((at) => event(at, { actor_id: 'a' }));
    for (const each of [...now, event(0, { actor_id: 'a' }, 10 * minute + 2)]) engine.take(each);
    expect(alerts).toEqual([]);
    expect(engine.status()).toMatchObject([{ id: 'volume', matched: 3, late: 1 }]);
  });

  test('a producer whose clock is ahead moves no window, and its event is flagged', () => {
    const events = [
      event(0, { actor_id: 'a' }),
      event(1 * second, { actor_id: 'a' }),
      event(9_000 * minute, { actor_id: 'a' }, 2 * second),
      event(9_000 * minute, { actor_id: 'b' }, 3 * second),
    ];
    const alerts = replay(volume, events);
    expect(short(alerts)).toEqual(['firing 2s a 1']);
    expect(alerts[0]?.flags).toEqual(['future_time']);
  });

  test('a producer that delivers an hour of backlog is late for nobody but groups that went on without it', () => {
    const backlog = Array.from({ length: 9 }, (_, at) => event(at * 20 * second, { actor_id: 'offline' }, 60 * minute));
    const alerts = replay(volume, [event(60 * minute, { actor_id: 'online' }), ...backlog]);
    expect(short(alerts)).toEqual(['firing 40s offline 1']);
  });

  test('an idle stream tells what waits for time as soon as time passes', () => {
    const silence = rulesOf('rules: [{id: s, type: absence, group-by: server, timespan: 10m}]');
    const alerts: Alert[] = [];
    const engine = new Engine(silence, (alert) => alerts.push(alert));
    engine.take(event(0, { server_name: 'files' }));
    engine.passTime(start + 12 * minute);
    expect(alerts).toEqual([]);
    engine.passTime(start + 12 * minute + 1);
    expect(short(alerts)).toEqual(['firing 600s files 1']);
    engine.take(event(30 * minute, { server_name: 'files' }));
    expect(short(alerts).slice(1)).toEqual(['resolved 1800s files 1']);
  });
});

describe('repetitions', () => {
  test('an event that comes twice counts once', () => {
    const twice = event(1, { actor_id: 'a' });
    const engine = new Engine(volume, () => expect.unreachable('two events are no three'));
    for (const each of [event(0, { actor_id: 'a' }), twice, twice]) engine.take(each);
    expect(engine.counts.repeated).toBe(1);
  });

  test('two tenants do not know each other’s ids', () => {
    const alerts: Alert[] = [];
    const engine = new Engine(volume, (alert) => alerts.push(alert));
    for (const at of [0, 1, 2]) {
      const one = event(at, { actor_id: 'a' });
      for (const tenant of ['red', 'blue']) engine.take({ ...one, tenant });
    }
    expect(alerts.map(({ tenant }) => tenant)).toEqual(['red', 'blue']);
  });

  test('what may be a repetition of something forgotten is late', () => {
    const alerts: Alert[] = [];
    const engine = new Engine(volume, (alert) => alerts.push(alert), { rememberedIds: 1_024 });
    const old = event(0, { actor_id: 'a' });
    engine.take(old);
    for (let at = 1; at <= 2_000; at++) engine.take(event(at * 1000, { actor_id: `b${at}` }));
    engine.take({ ...old, recordedAtMicros: start + 3 * second });
    engine.take(event(4 * second, { actor_id: 'a' }));
    engine.take(event(5 * second, { actor_id: 'a' }));
    expect(short(alerts)).toEqual(['firing 5s a 1']);
    expect(engine.status()).toMatchObject([{ late: 1 }]);
  });
});

describe('a saved state', () => {
  test('goes on as if nothing had happened', () => {
    const rules = rulesOf(`rules:
- {id: volume, type: event_count, detection: {s: {method: tools/call}}, group-by: actor, timespan: 1m, condition: {gte: 3}}
- {id: silent, type: absence, group-by: actor, timespan: 10s, lateness: 1s}
- {id: new, type: new_value, field: tool, group-by: actor, warmup: {events: 2}, learn: 1s}`);
    const events = Array.from({ length: 300 }, (_, at) =>
      event(at * 7 * second, { actor_id: `a${(at * at) % 7}`, tool_name: `t${at % 11}` }),
    );
    const whole = replay(rules, events);
    const alerts: Alert[] = [];
    let engine = new Engine(rules, (alert) => alerts.push(alert));
    for (const [index, each] of events.entries()) {
      if (index % 37 === 36) {
        const pieces = structuredClone([...engine.save()]);
        engine = new Engine(rules, (alert) => alerts.push(alert));
        expect(engine.load(pieces)).toEqual(new Set(['volume', 'silent', 'new']));
      }
      engine.take(each);
    }
    expect(alerts).toEqual(whole);
    expect(new Set(whole.map(({ rule_id }) => rule_id))).toEqual(new Set(['volume', 'silent', 'new']));
  });

  test('is not taken by a rule that changed', () => {
    const engine = new Engine(volume, () => undefined);
    engine.take(event(0, { actor_id: 'a' }));
    const changed = rulesOf(`rules:
- {id: volume, type: event_count, detection: {s: {method: tools/call}}, group-by: actor, timespan: 1m, condition: {gte: 2}}`);
    const next = new Engine(changed, () => undefined);
    expect(next.load(engine.save())).toEqual(new Set());
    expect(next.status()).toMatchObject([{ groups: 0 }]);
  });
});

describe('limits', () => {
  const few = rulesOf(`rules:
- {id: slow, type: event_count, detection: {s: {method: tools/call}}, group-by: actor, timespan: 10m, condition: {gte: 4}, max_keys: 1000}`);

  test('a flood of fresh keys does not push out the key of a slow attack', () => {
    const alerts: Alert[] = [];
    const engine = new Engine(few, (alert) => alerts.push(alert));
    for (let at = 0; at < 60_000; at++) {
      engine.take(event(at * 10_000, { actor_id: `flood-${at}` }));
      // One call in two minutes: between two of them the flood brings twelve times the keys that are kept.
      if (at % 12_000 === 0) engine.take(event(at * 10_000, { actor_id: 'attacker' }));
    }
    expect(alerts.filter(({ rule_id }) => rule_id === 'slow').map(({ group }) => group)).toEqual([
      { actor_id: 'attacker' },
    ]);
    const [{ groups, evicted } = { groups: 0, evicted: 0 }] = engine.status();
    expect(groups).toBe(1_000);
    expect(evicted).toBeGreaterThan(50_000);
    expect(alerts.filter(({ rule_id }) => rule_id === 'mcp-auditd.limit')[0]).toMatchObject({
      state: 'firing',
      group: { limit: 'groups', rule: 'slow' },
      level: 'high',
    });
  });

  test('bytes in total are held', () => {
    const engine = new Engine(volume, () => undefined, { maxBytes: 1024 * 1024 });
    for (let at = 0; at < 20_000; at++) engine.take(event(at, { actor_id: `a${at}` }));
    expect(engine.bytes).toBeLessThan(1.2 * 1024 * 1024);
    expect(engine.status()[0]?.evicted).toBeGreaterThan(0);
  });

  test('a rule that fires too often leaves alerts out and says so', () => {
    const all = rulesOf('rules: [{id: all, detection: {s: {method: tools/call}}}]');
    const alerts: Alert[] = [];
    const engine = new Engine(all, (alert) => alerts.push(alert), { alertsPerMinute: 10 });
    for (let at = 0; at < 25; at++) engine.take(event(at));
    expect(engine.counts.alertsLeftOut).toBe(15);
    expect(alerts.filter(({ rule_id }) => rule_id === 'all')).toHaveLength(10);
    expect(alerts.filter(({ rule_id }) => rule_id !== 'all')).toMatchObject([
      { group: { limit: 'alerts', rule: 'all' } },
    ]);
  });

  test('a record that is no JSON object is counted and harms nothing', () => {
    const engine = new Engine(volume, () => undefined);
    for (const text of ['', '{', '[]', 'null', '"x"', '{"method":'])
      engine.take({ ...event(0), value: Buffer.from(text) });
    expect(engine.counts).toMatchObject({ records: 6, unreadable: 6 });
  });
});

test('records that are taken together raise what they raise one by one', () => {
  const seed = Number(process.env.SEED ?? Date.now() % 1_000_000);
  console.log(`seed ${seed}`);
  const random = seededRandom(seed);
  const records = traffic(random, 5_000, start / 1000).map(({ record: { value }, recordedMs }, offset) => ({
    // Now and then one that cannot be read.
    value: random() < 0.01 ? Buffer.from('{"half') : value,
    partition: 0,
    offset,
    recordedAtMicros: recordedMs * 1000,
  }));
  const rules = rulesOf(trafficRules);
  const together: Alert[] = [];
  const engine = new Engine(rules, (alert) => together.push(alert), handLimits);
  for (let from = 0; from < records.length; ) {
    const count = Math.floor(random() * 70);
    engine.takeAll(records.slice(from, from + count));
    from += count;
  }
  expect(together).toEqual(replay(rules, records));
  expect(together.length).toBeGreaterThan(20);
});

test('events that no stream recorded are recorded when they occurred, and never before the event ahead of them', () => {
  const events = new UnrecordedEvents();
  const line = (fields: object): Buffer => Buffer.from(JSON.stringify(fields));
  const at = (seconds: number): string => new Date(start / 1000 + seconds * 1000).toISOString();
  const records = [
    line({ occurred_at: at(10), actor_id: 'a' }),
    line({ occurred_at: at(5), event_id: newId() }),
    line({ occurred_at: at(11), recorded_at: at(60) }),
    line({}),
  ].map((each) => (events.next(each).recordedAtMicros - start) / second);
  expect(records).toEqual([10, 10, 60, 60]);
});
