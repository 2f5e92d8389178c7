/** Sigma's rules as they are: single events against pySigma's reading of them, correlations against what the specification says. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { parse, stringify } from 'yaml';
import type { Alert } from '../../schemas/alert.js';
import { compileRules } from '../../services/detector/compile.js';
import { replay, UnrecordedEvents } from '../../services/detector/replay.js';
import type { RuleSet } from '../../services/detector/rule.js';

const folder = join(import.meta.dirname, 'sigma');
const read = (file: string): string => readFileSync(join(folder, file), 'utf8');

function sound(text: string): RuleSet {
  const { set, problems } = compileRules([{ path: 'sigma.yml', text, layer: 1 }]);
  expect(problems).toEqual([]);
  return set;
}

function alerts(set: RuleSet, events: readonly object[]): Alert[] {
  const unrecorded = new UnrecordedEvents();
  return replay(
    set,
    events.map((event) => unrecorded.next(Buffer.from(JSON.stringify(event)))),
  );
}

describe('single events, as pySigma reads the rule', () => {
  const events = read('events.jsonl')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { event_id: string });
  const detections = parse(read('detections.yaml')) as object[];
  const expected = JSON.parse(read('expected.json')) as number[][];

  test('every detection has its answer, and few match nothing', () => {
    expect(expected.length).toBe(detections.length);
    expect(expected.filter((each) => each.length === 0).length).toBeLessThan(expected.length / 8);
  });

  test.each(detections.map((detection, index) => [JSON.stringify(detection), detection, index] as const))(
    '%s',
    (_, detection, index) => {
      const set = sound(stringify({ title: 'T', logsource: { product: 'mcp' }, detection }));
      const matched = alerts(set, events).map((alert) =>
        events.findIndex((each) => each.event_id === alert.evidence[0]),
      );
      expect(matched).toEqual(expected[index]);
    },
  );
});

describe('modifiers that pySigma has not', () => {
  const matches = (selection: object, event: object): boolean => {
    const set = sound(
      stringify({ title: 'T', logsource: { product: 'mcp' }, detection: { sel: selection, condition: 'sel' } }),
    );
    return alerts(set, [{ occurred_at: '2026-01-05T09:00:00Z', method: 'tools/call', ...event }]).length === 1;
  };

  test.each([
    [{ 'error_message|utf16le|base64|contains': 'foo' }, { error_message: 'x ZgBvAG8A' }, true],
    [{ 'error_message|utf16be|base64': 'foo' }, { error_message: 'AGYAbwBv' }, true],
    [{ 'error_message|utf16|base64': 'foo' }, { error_message: '//5mAG8AbwA=' }, true],
    [{ 'result_bytes|eq': 7 }, { result_bytes: 7 }, true],
    [{ 'result_bytes|neq': 7 }, { result_bytes: 7 }, false],
    [{ 'tool_name|neq': 'x' }, { tool_name: 'y' }, true],
    [{ 'tool_name|re|ignorecase': '^X' }, { tool_name: 'x' }, true],
    [{ 'tool_name|in': ['x', 'y'] }, { tool_name: 'y' }, true],
  ] as const)('%j over %j', (selection, event, expected) => expect(matches(selection, event)).toBe(expected));
});

test('placeholders stand for the values of lists', () => {
  const rule = {
    title: 'T',
    logsource: { product: 'mcp' },
    detection: { sel: { 'actor_id|expand': 'x-%who%@%where%' }, condition: 'sel' },
  };
  const { set, problems } = compileRules([
    { path: 'own.yml', text: 'lists: {who: [ann, bob], where: [here]}', layer: 1 },
    { path: 'sigma.yml', text: stringify(rule), layer: 1 },
  ]);
  expect(problems).toEqual([]);
  const events = ['x-ann@here', 'x-bob@here', 'ann', '%who%'].map((actor_id) => ({
    occurred_at: '2026-01-05T09:00:00Z',
    actor_id,
  }));
  expect(alerts(set, events)).toHaveLength(2);
});

test('tune changes what stands around a rule of Sigma, not what it looks for', () => {
  const sigma = stringify({
    title: 'T',
    id: 'r',
    logsource: { product: 'mcp' },
    detection: { sel: { tool_name: 'x' }, condition: 'sel' },
  });
  const tuned = (text: string): ReturnType<typeof compileRules> =>
    compileRules([
      { path: 'own.yml', text, layer: 1 },
      { path: 'sigma.yml', text: sigma, layer: 1 },
    ]);
  const { set, problems } = tuned(
    'tune: {r: {level: high, dry_run: true, actions: [{notify: ops}], exceptions: [{name: n, fields: actor, values: [etl]}]}}',
  );
  expect(problems).toEqual([]);
  expect(set.rules).toMatchObject([{ level: 'high', dryRun: true, actions: [{ notify: 'ops' }] }]);
  const events = ['etl', 'ann'].map((actor_id) => ({ occurred_at: '2026-01-05T09:00:00Z', actor_id, tool_name: 'x' }));
  expect(alerts(set, events)).toHaveLength(1);
  const messages = (text: string): string[] => tuned(text).problems.map(({ message }) => message);
  expect(messages('tune: {r: {detection: {sel: {tool: y}}}}')).toEqual([
    expect.stringContaining('there is no key "detection"'),
  ]);
  expect(messages('tune: {rr: {level: high}}')).toEqual(['there is no rule "rr" to tune. Did you mean "r"?']);
});

describe('log sources', () => {
  const rule = (logsource: object, selection: object): string =>
    stringify({ title: 'T', logsource, detection: { sel: selection, condition: 'sel' } });
  const event = (fields: object): object => ({ occurred_at: '2026-01-05T09:00:00Z', method: 'tools/call', ...fields });

  test('the service of product mcp is the server', () => {
    const set = sound(rule({ product: 'mcp', service: 'Files' }, { tool_name: 'x' }));
    expect(
      alerts(set, [event({ tool_name: 'x', server_name: 'files' }), event({ tool_name: 'x', server_name: 'mail' })]),
    ).toHaveLength(1);
  });

  test('fields of web servers and proxies have their places', () => {
    const set = sound(rule({ category: 'webserver' }, { 'c-ip|cidr': '10.0.0.0/8', 'cs-uri-query|contains': 'union' }));
    expect(alerts(set, [event({ client_address: '10.1.1.1', arguments: '{"q":"1 UNION"}' })])).toHaveLength(1);
  });

  test('fields are mapped by a file of ours; another log source and unknown fields are warned of', () => {
    const sigma = rule(
      { product: 'windows', category: 'process_creation' },
      { 'CommandLine|contains': ' -enc', Image: 'x' },
    );
    const { set, problems, warnings } = compileRules([
      { path: 'sigma.yml', text: sigma, layer: 1 },
      { path: 'own.yml', text: 'fields: {CommandLine: arguments.command}', layer: 1 },
    ]);
    expect(problems).toEqual([]);
    expect(warnings.map(({ message }) => message)).toEqual([
      expect.stringContaining('logsource product "windows"'),
      expect.stringContaining('logsource category "process_creation"'),
      'events have no field "Image"; it is looked for in their attributes',
    ]);
    expect(alerts(set, [event({ arguments: { command: 'powershell -enc aa' }, Image: 'X' })])).toHaveLength(1);
  });

  test('a rule that is refused has its mistake told and nothing that follows from it', () => {
    const text = 'title: t\nlogsource: {product: mcp}\ndetection: {s: {tool_name: x}, condition: s | count() > 5}\n';
    const { problems, warnings } = compileRules([{ path: 'sigma.yml', text, layer: 1 }]);
    expect([problems.length, warnings]).toEqual([1, []]);
  });

  test("keys of one's own are allowed, and a slip is warned of", () => {
    const { problems, warnings } = compileRules([
      {
        path: 'sigma.yml',
        text: `${rule({ product: 'mcp' }, { tool_name: 'x' })}\nteam: red\nfalsepositive: [x]\n`,
        layer: 1,
      },
    ]);
    expect(problems).toEqual([]);
    expect(warnings.map(({ message }) => message)).toEqual([
      '"team" is no key of Sigma\'s and says nothing here.',
      '"falsepositive" is no key of Sigma\'s and says nothing here. Did you mean "falsepositives"?',
    ]);
  });
});

describe('correlations', () => {
  const base = (name: string, tool: string, more = ''): string => `
title: ${name}
name: ${name}
logsource: {product: mcp}
detection: {sel: {tool_name: ${tool}}, condition: sel}
${more}`;
  const correlation = (text: string): string => `\ntitle: C\nid: c\nlevel: high\ncorrelation: ${text}\n`;
  const files = (...documents: string[]): RuleSet => sound(documents.join('\n---\n'));
  const at = (seconds: number, fields: object): object => ({
    occurred_at: new Date(Date.UTC(2026, 0, 5, 9) + seconds * 1_000).toISOString(),
    method: 'tools/call',
    ...fields,
  });
  const fired = (set: RuleSet, events: readonly object[]): [string, string, object][] =>
    alerts(set, events)
      .filter(({ state }) => state === 'firing')
      .map(({ rule_id, at: time, group }) => [rule_id, time.slice(14, 19), group]);

  test('event_count, with the groups of the rule', () => {
    const set = files(
      base('a', 'x'),
      correlation('{type: event_count, rules: a, group-by: [actor_id], timespan: 1m, condition: {gt: 2}}'),
    );
    const events = [0, 10, 20, 30].map((second) =>
      at(second, { tool_name: 'x', actor_id: second === 10 ? 'bob' : 'ann' }),
    );
    expect(fired(set, events)).toEqual([['c', '00:30', { actor_id: 'ann' }]]);
  });

  test('over several rules, whose own alerts appear only when they are asked for', () => {
    const text = '{type: event_count, rules: [a, b], timespan: 1m, condition: {gte: 2}';
    const events = [at(0, { tool_name: 'x' }), at(1, { tool_name: 'y' })];
    expect(fired(files(base('a', 'x'), base('b', 'y'), correlation(`${text}}`)), events)).toEqual([['c', '00:01', {}]]);
    const loud = files(base('a', 'x'), base('b', 'y'), correlation(`${text}, generate: true}`));
    expect(fired(loud, events).map(([id]) => id)).toEqual(['a', 'b', 'c']);
  });

  test('value_count', () => {
    const set = files(
      base('a', 'x'),
      correlation('{type: value_count, rules: a, timespan: 1m, condition: {field: actor_id, gte: 3}}'),
    );
    const events = ['ann', 'bob', 'ann', 'cem'].map((actor_id, second) => at(second, { tool_name: 'x', actor_id }));
    expect(fired(set, events)).toEqual([['c', '00:03', {}]]);
  });

  test.each([
    ['value_sum', '{field: result_bytes, gt: 50}', '00:02'],
    ['value_avg', '{field: result_bytes, gte: 20}', '00:02'],
    ['value_median', '{field: result_bytes, gte: 20}', '00:02'],
    ['value_percentile', '{field: result_bytes, percentile: 90, gt: 25}', '00:02'],
  ])('%s', (type, condition, time) => {
    const set = files(base('a', 'x'), correlation(`{type: ${type}, rules: a, timespan: 1m, condition: ${condition}}`));
    const events = [10, 20, 30].map((result_bytes, second) => at(second, { tool_name: 'x', result_bytes }));
    expect(fired(set, events)).toEqual([['c', time, {}]]);
  });

  test('temporal in any order, temporal_ordered in its own', () => {
    const of = (type: string): RuleSet =>
      files(
        base('a', 'x'),
        base('b', 'y'),
        correlation(`{type: ${type}, rules: [a, b], group-by: [actor_id], timespan: 1m}`),
      );
    const backwards = [at(0, { tool_name: 'y', actor_id: 'ann' }), at(30, { tool_name: 'x', actor_id: 'ann' })];
    expect(fired(of('temporal'), backwards)).toEqual([['c', '00:30', { actor_id: 'ann' }]]);
    expect(fired(of('temporal_ordered'), backwards)).toEqual([]);
    const forwards = [at(0, { tool_name: 'x', actor_id: 'ann' }), at(30, { tool_name: 'y', actor_id: 'ann' })];
    expect(fired(of('temporal_ordered'), forwards)).toEqual([['c', '00:30', { actor_id: 'ann' }]]);
    const apart = [at(0, { tool_name: 'x', actor_id: 'ann' }), at(61, { tool_name: 'y', actor_id: 'ann' })];
    expect(fired(of('temporal'), apart)).toEqual([]);
  });

  test('aliases join fields of different names', () => {
    const set = files(
      base('a', 'x'),
      base('b', 'y'),
      correlation(
        '{type: temporal, rules: [a, b], group-by: [who], timespan: 1m, aliases: {who: {a: actor_id, b: client_id}}}',
      ),
    );
    const events = [
      at(0, { tool_name: 'x', actor_id: 'ann' }),
      at(1, { tool_name: 'y', client_id: 'bob' }),
      at(2, { tool_name: 'y', client_id: 'ann' }),
    ];
    expect(fired(set, events)).toEqual([['c', '00:02', { who: 'ann' }]]);
  });

  test('rules are named by id as well, from another file, in any order', () => {
    const id = '5a0a8a2c-0c8e-4a39-8a9d-3b7a3a1f0001';
    const { set, problems } = compileRules([
      {
        path: 'c.yml',
        text: correlation(`{type: event_count, rules: ['${id}'], timespan: 1m, condition: {gte: 1}}`),
        layer: 1,
      },
      { path: 'r.yml', text: base('a', 'x', `id: ${id}`), layer: 1 },
    ]);
    expect(problems).toEqual([]);
    expect(fired(set, [at(0, { tool_name: 'x' })]).map(([rule]) => rule)).toEqual(['c']);
  });
});
