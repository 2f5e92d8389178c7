import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { event, type Running, Sandbox } from './run.js';

const sandbox = new Sandbox();
afterAll(() => sandbox.dispose());

const file = (name: string, text: string): string => {
  const path = join(sandbox.home, name);
  writeFileSync(path, text);
  return path;
};

const burst = `
rules:
  - id: burst
    title: Three in a minute
    type: event_count
    detection: {calls: {tool: add}}
    group-by: actor
    timespan: 1m
    condition: {gte: 3}
    tests:
      - {name: three, events: [{at: 0s, repeat: 3, actor: ann, tool: add}], expect: [{at: 2s, actor: ann}]}
      - {name: two & a half, events: [{at: 0s, repeat: 2, actor: ann, tool: add}], expect: []}
`;
const at = (seconds: number): string => new Date(Date.UTC(2026, 0, 5, 9, 0, seconds)).toISOString();
const lines = (count: number): string =>
  Array.from({ length: count }, (_, index) =>
    JSON.stringify({ occurred_at: at(index), actor_id: 'ann', tool_name: 'add' }),
  ).join('\n');

describe('rules check', () => {
  test('names every mistake with its place, and leaves with 1', async () => {
    file(
      'wrong.yaml',
      'rules:\n  - id: a\n    detection: {s: {toool: x}}\n  - id: b\n    lvel: high\n    detection: {s: {tool: x}}\n',
    );
    const result = await sandbox.run(['rules', 'check', 'wrong.yaml']);
    expect(result.code).toBe(1);
    expect(result.stderr).toContain('wrong.yaml:3:21: events have no field "toool". Did you mean "tool"?');
    expect(result.stderr).toContain('wrong.yaml:5:5: there is no key "lvel". Did you mean "level"?');
    const json = await sandbox.run(['rules', 'check', 'wrong.yaml', '--no-pack', '--json']);
    expect(json.code).toBe(1);
    expect(JSON.parse(json.stdout)).toMatchObject({ rules: [], problems: [{ line: 3 }, { line: 5 }], warnings: [] });
  });

  test('looks at what the configuration has in force, and warns of exceptions that are over', async () => {
    mkdirSync(join(sandbox.data, 'rules'), { recursive: true });
    writeFileSync(
      join(sandbox.data, 'rules', 'own.yaml'),
      'tune: {volume-actor: {exceptions: [{name: old, fields: actor, values: [etl], expires: 2026-01-31}]}}\nrules: [{id: mine, detection: {s: {tool: x}}}]\n',
    );
    const result = await sandbox.run(['rules', 'check']);
    expect(result.code).toBe(0);
    expect(result.stdout).toMatch(/^the shipped rules and .*\/data\/rules: \d+ rules, correct\n$/);
    expect(result.stderr).toMatch(/rule "volume-actor": an exception expired on 2026-01-31 \(warning\)/);
    const { stdout } = await sandbox.run(['rules', 'list', '--json'], {
      environment: { MCP_AUDITD_RULES__PACK: 'false' },
    });
    expect(stdout).toBe('');
    const whole = await sandbox.run(['rules', 'list', '--json']);
    const ids = whole.stdout
      .trim()
      .split('\n')
      .map((line) => (JSON.parse(line) as { id: string }).id);
    expect(ids).toEqual(expect.arrayContaining(['mine', 'volume-actor']));
  });
});

describe('rules test', () => {
  test('as text, TAP and JUnit; a test that fails says what came instead', async () => {
    file('burst.yaml', burst);
    file('failing.yaml', burst.replace('expect: []', 'expect: [{at: 1s}]').replaceAll('burst', 'failing'));
    const text = await sandbox.run(['rules', 'test', 'burst.yaml']);
    expect(text).toMatchObject({
      code: 0,
      stdout: 'ok   burst: three\nok   burst: two & a half\n2 passed, 0 failed\n',
    });
    const tap = await sandbox.run(['rules', 'test', 'failing.yaml', '--format', 'tap']);
    expect(tap.code).toBe(1);
    expect(tap.stdout).toBe(`TAP version 14
1..2
ok 1 - failing: three
not ok 2 - failing: two & a half
  ---
  file: "failing.yaml"
  line: 12
  messages:
    - "expected firing at 1s, and there was no alert"
  ...
`);
    const junit = await sandbox.run(['rules', 'test', 'failing.yaml', '--format', 'junit']);
    expect(junit.code).toBe(1);
    expect(junit.stdout).toContain('<testsuite name="failing" tests="2" failures="1"');
    expect(junit.stdout).toContain('name="two &amp; a half" file="failing.yaml" line="12"');
    expect(junit.stdout).toContain('<failure message="expected firing at 1s, and there was no alert">');
  });

  test('an unknown format or rule is refused', async () => {
    expect(await sandbox.run(['rules', 'test', '--format', 'xml'])).toMatchObject({ code: 2 });
    const unknown = await sandbox.run(['rules', 'test', '--rule', 'volume-acter']);
    expect(unknown.stderr).toContain('Did you mean "volume-actor"?');
  });
});

describe('rules run', () => {
  test('reads JSON lines, writes alerts as JSON lines, and only of the rules it was given', async () => {
    file('burst.yaml', burst);
    const { code, stdout } = await sandbox.run(['rules', 'run', 'burst.yaml', '--events', '-'], {
      input: `${lines(5)}\n`,
    });
    expect(code).toBe(0);
    const alerts = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(alerts).toMatchObject([
      { rule_id: 'burst', state: 'firing', group: { actor_id: 'ann' }, at: '2026-01-05T09:00:02.000000Z' },
    ]);
  });

  test('a line that cannot be read is named, and the others count', async () => {
    file('burst.yaml', burst);
    file('events.jsonl', `${lines(2)}\nnonsense\n\n${lines(3).split('\n')[2]}`);
    const result = await sandbox.run([
      'rules',
      'run',
      'burst.yaml',
      '--events',
      'events.jsonl',
      '--until',
      '2026-01-05T10:00:00Z',
    ]);
    expect(result.code).toBe(1);
    expect(result.stderr).toContain('events.jsonl:3: no JSON object');
    const states = result.stdout
      .trim()
      .split('\n')
      .map((line) => (JSON.parse(line) as { state: string }).state);
    expect(states).toEqual(['firing', 'resolved']);
  });

  test('what is not there is told', async () => {
    file('burst.yaml', burst);
    expect((await sandbox.run(['rules', 'run', 'burst.yaml', '--events', 'nowhere'])).stderr).toContain(
      'nowhere: cannot be read',
    );
    expect((await sandbox.run(['rules', 'run', 'burst.yaml', '--events', '-', '--until', 'soon'])).code).toBe(2);
  });
});

describe('rules explain, show, schema', () => {
  test('explain tells each test, the group, the window and the alert', async () => {
    file('burst.yaml', burst);
    const words = ['rules', 'explain', 'burst', '-', '--rules', 'burst.yaml'];
    const { code, stdout } = await sandbox.run(words, { input: lines(3) });
    expect(code).toBe(0);
    expect(stdout).toContain('✓ tool_name equals "add"  (is add)');
    expect(stdout).toContain('group  actor_id=ann');
    expect(stdout).toContain('3 matching events of the group in the 1m up to this one');
    expect(stdout).toMatch(/firing {2}count 3 ≥ 3 in 1m {2}\(alert [0-9a-f]{32}\)/);
    const other = { occurred_at: at(9), actor_id: 'ann', tool_name: 'sub' };
    const json = await sandbox.run([...words, '--json'], { input: `${lines(3)}\n${JSON.stringify(other)}` });
    expect(JSON.parse(json.stdout)).toMatchObject({
      group: null,
      selections: [{ holds: false }],
      alerts: [],
      open_alert: null,
    });
  });

  test('show tells what to do, and nothing of it steers the terminal', async () => {
    const { stdout } = await sandbox.run(['rules', 'show', 'read-private-then-send']);
    for (const text of ['What to do', 'step 1', 'step 2', 'group by   session_id', '2 steps in 15m'])
      expect(stdout).toContain(text);
    file('evil.yaml', 'rules: [{id: evil, title: "a\\e]0;owned\\a", detection: {s: {tool: x}}}]');
    const evil = await sandbox.run(['rules', 'show', 'evil', 'evil.yaml']);
    expect(evil.stdout).toContain('a\\x1b]0;owned\\x07');
  });

  test('schema prints what the package holds', async () => {
    const { stdout } = await sandbox.run(['rules', 'schema']);
    expect(JSON.parse(stdout)).toMatchObject({ title: 'Rules of mcp-auditd', additionalProperties: false });
  });
});

describe('with a daemon', () => {
  let daemon: Running;
  beforeAll(async () => {
    daemon = await sandbox.up();
  });
  afterAll(() => daemon.stop());

  test('explain fetches a stored event and those of its group', async () => {
    file('burst.yaml', burst);
    const events = [1, 2, 3].map((second) =>
      event({
        tool_name: 'add',
        actor_id: 'ann',
        occurred_at: new Date(Date.now() - 5_000 + second * 1_000).toISOString().replace('Z', '000Z'),
      }),
    );
    await sandbox.send(daemon.url, [...events, event({ tool_name: 'add', actor_id: 'bob' })]);
    await sandbox.until(daemon.url, 'SELECT count() FROM calls', '4');
    const last = (events[2] as { event_id: string }).event_id;
    const { stdout, stderr } = await sandbox.run([
      'rules',
      'explain',
      'burst',
      last,
      '--rules',
      'burst.yaml',
      '--json',
    ]);
    expect(stderr).toBe('');
    expect(JSON.parse(stdout)).toMatchObject({
      event_id: last,
      group: { actor_id: 'ann' },
      window: [{}, {}, {}],
      alerts: [{ state: 'firing' }],
    });
    const nowhere = await sandbox.run([
      'rules',
      'explain',
      'burst',
      '00000000-0000-7000-8000-000000000000',
      '--rules',
      'burst.yaml',
    ]);
    expect(nowhere.stderr).toContain('There is no stored event');
  });

  test('backtest tells what would have fired, when and for whom, and what another version would have done', async () => {
    file('burst.yaml', burst);
    file('stricter.yaml', burst.replace('gte: 3', 'gte: 4'));
    const { code, stdout } = await sandbox.run([
      'rules',
      'backtest',
      'burst.yaml',
      '--from',
      '1h',
      '--against',
      'stricter.yaml',
    ]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/: 4 events in /);
    expect(stdout).toMatch(/^burst +1 +1 +\+1 −0 +20/m);
    expect(stdout).toContain('actor_id=ann');
    const json = await sandbox.run(['rules', 'backtest', 'burst.yaml', '--from', '1h', '--json']);
    const result = JSON.parse(json.stdout) as { events: number; rules: { alerts: number; histogram: number[] }[] };
    expect(result).toMatchObject({
      events: 4,
      rules: [{ id: 'burst', alerts: 1, keys: 1 }],
      noisiest: [{ alerts: 1, group: { actor_id: 'ann' } }],
    });
    expect(result.rules[0]?.histogram.reduce((sum, count) => sum + count, 0)).toBe(1);
    const lines = await sandbox.run(['rules', 'backtest', 'burst.yaml', '--from', '1h', '--alerts']);
    expect(JSON.parse(lines.stdout.split('\n')[0] ?? '')).toMatchObject({ rule_id: 'burst', state: 'firing' });
    expect(await sandbox.run(['rules', 'backtest', '--from', 'yesterday'])).toMatchObject({ code: 2 });
  });
});
