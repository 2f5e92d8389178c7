import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { compileRules } from '../../services/detector/compile.js';
import { spell } from '../../services/detector/expression.js';
import { loadRules } from '../../services/detector/load.js';
import type { Rule } from '../../services/detector/rule.js';

const mistakes = join(import.meta.dirname, 'mistakes');
const directory = mkdtempSync(join(tmpdir(), 'mcp-auditd-rules-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

function compile(...texts: string[]): ReturnType<typeof compileRules> {
  return compileRules(texts.map((text, index) => ({ path: `${index + 1}.yaml`, text, layer: 1 })));
}

/** The one rule of a text that has no mistakes. */
function rule(text: string): Rule {
  const { set, problems } = compile(text);
  expect(problems).toEqual([]);
  expect(set.rules).toHaveLength(1);
  return set.rules[0]!;
}

const meaning = (detection: string, before = ''): string =>
  spell(rule(`${before}\nrules: [{id: a, detection: ${detection}}]`).roles[0]!.expression);
const version = (keys: string, before = ''): string => rule(`${before}\nrules: [{id: a, ${keys}}]`).version;

describe('a file with one mistake', () => {
  test.each(readdirSync(mistakes).filter((file) => file.endsWith('.yaml')))('%s', (file) => {
    const text = readFileSync(join(mistakes, file), 'utf8');
    const { problems } = compileRules([{ path: file, text, layer: 1 }]);
    const lines = problems.map((each) => `${each.file}:${each.line}:${each.column}: ${each.message}\n`).join('');
    expect(lines).toBe(readFileSync(join(mistakes, file.replace(/yaml$/, 'expected')), 'utf8'));
    expect(lines).not.toBe('');
  });

  test('all mistakes of all files are told at once, and the rules that are right are kept', () => {
    const { set, problems } = compile(
      'rules: [{id: a, detecton: {s: {tool: x}}}, {id: b, detection: {s: {toool: x}}, level: hi}]',
      'lists: {x: 1}',
      'rules: [{id: c, detection: {s: {tool: x}}}]',
    );
    expect(problems.map(({ file }) => file)).toEqual(['2.yaml', '1.yaml', '1.yaml', '1.yaml']);
    expect(set.rules.map(({ id }) => id)).toEqual(['c']);
  });
});

describe('one meaning has one version', () => {
  test.each([
    [
      'order of selections',
      'detection: {a: {tool: x}, b: {actor: y}, condition: a and b}',
      'detection: {a: {tool: x, actor: y}}',
    ],
    ['aliases of fields', 'detection: {a: {tool_name: x}}', 'detection: {a: {tool: X}}'],
    ['order of values', 'detection: {a: {tool: [x, y]}}', 'detection: {a: {tool: [y, x, y]}}'],
    ['wildcards', 'detection: {a: {tool: "x*"}}', 'detection: {a: {tool|startswith: x}}'],
    [
      'not over or',
      'detection: {a: {tool: x}, b: {tool: y}, condition: not (a or b)}',
      'detection: {a: {tool: x}, b: {tool: y}, condition: not b and not a}',
    ],
    [
      'units',
      'type: event_count, detection: {a: {tool: x}}, window: {size: 5m}, condition: {gte: 10}',
      'type: event_count, detection: {a: {tool: x}}, timespan: 300s, condition: {gt: 9}',
    ],
    [
      'order of groups',
      'detection: {a: {tool: x}}, group-by: [actor, session]',
      'detection: {a: {tool: x}}, group-by: [session_id, actor_id]',
    ],
    [
      'steps of an unordered type',
      'type: temporal, timespan: 5m, steps: [{tool: x}, {tool: y}]',
      'type: temporal, timespan: 5m, steps: [{tool: y}, {tool: x}]',
    ],
    [
      'text around it',
      'detection: {a: {tool: x}}',
      'detection: {a: {tool: x}}, title: T, level: low, runbook: R, enabled: false, dry_run: true, realert: {every: 1h}',
    ],
  ])('%s', (_, one, other) => expect(version(one)).toBe(version(other)));

  test.each([
    ['another value', 'detection: {a: {tool: x}}', 'detection: {a: {tool: y}}'],
    ['case that counts', 'detection: {a: {tool: x}}', 'detection: {a: {tool|cased: x}}'],
    [
      'order of steps',
      'type: temporal_ordered, timespan: 5m, steps: [{tool: x}, {tool: y}]',
      'type: temporal_ordered, timespan: 5m, steps: [{tool: y}, {tool: x}]',
    ],
    ['a group', 'detection: {a: {tool: x}}', 'detection: {a: {tool: x}}, group-by: actor'],
    [
      'an exception',
      'detection: {a: {tool: x}}',
      'detection: {a: {tool: x}}, exceptions: [{name: n, fields: actor, values: [etl]}]',
    ],
    [
      'the end of an exception',
      'detection: {a: {tool: x}}, exceptions: [{name: n, fields: actor, values: [etl], expires: 2027-01-01}]',
      'detection: {a: {tool: x}}, exceptions: [{name: n, fields: actor, values: [etl], expires: 2027-01-02}]',
    ],
    [
      'lateness',
      'type: event_count, detection: {a: {tool: x}}, timespan: 5m, condition: {gt: 9}',
      'type: event_count, detection: {a: {tool: x}}, timespan: 5m, condition: {gt: 9}, lateness: 1h',
    ],
  ])('%s is another meaning', (_, one, other) => expect(version(one)).not.toBe(version(other)));

  test('a list or a calendar that changes is another meaning', () => {
    const listed = 'detection: {a: {tool: $tools}}';
    expect(version(listed, 'lists: {tools: [x]}')).toBe(version('detection: {a: {tool: x}}'));
    expect(version(listed, 'lists: {tools: [x, y]}')).not.toBe(version(listed, 'lists: {tools: [x]}'));
    const timed = 'detection: {a: {tool: x}}, when: {calendar: c, is: closed}';
    const calendar = (hours: string): string => `calendars: {c: {tz: UTC, open: mon-fri ${hours}}}`;
    expect(version(timed, calendar('08:00-18:00'))).not.toBe(version(timed, calendar('08:00-17:00')));
  });
});

describe('macros, lists, exceptions, tuning', () => {
  test('a macro stands for its detection, in conditions, steps and other macros, wherever it is defined', () => {
    expect(
      meaning('{s: {actor: y}, condition: s and risky}', 'macros: {risky: risky_tools, risky_tools: {tool: x}}'),
    ).toBe(meaning('{s: {actor: y, tool: x}}'));
    const { set, problems } = compile(
      'rules: [{id: a, type: temporal_ordered, timespan: 5m, steps: [reads, "sends and not reads"]}]',
      'macros: {reads: {tool: x}, sends: {a: {tool: y}, b: {tool: z}, condition: 1 of them}}',
    );
    expect(problems).toEqual([]);
    expect(set.rules[0]?.roles.map(({ expression }) => spell(expression))).toEqual([
      meaning('{s: {tool: x}}'),
      meaning('{a: {tool: [y, z]}, b: {tool: x}, condition: a and not b}'),
    ]);
  });

  test('macros are not part of "them"', () => {
    expect(meaning('{s: {tool: y}, condition: 1 of them}', 'macros: {m: {tool: x}}')).toBe(meaning('{s: {tool: y}}'));
  });

  test('an exception of several fields is taken out row by row', () => {
    const written =
      'detection: {a: {tool: x}}, exceptions: [{name: n, fields: [actor, session|startswith], values: [[etl, s], [[b, c], t]]}]';
    const expected = `detection: {a: {tool: x}, e: {actor: etl, session|startswith: s}, f: {actor: [b, c], session|startswith: t}, condition: a and not (e or f)}`;
    expect(version(written)).toBe(version(expected));
  });

  test('volume leaves refused calls out unless it is told to count them, or asks for the outcome itself', () => {
    const counted = (rest: string, detection = '{a: {tool: x}}'): string =>
      spell(
        rule(`rules: [{id: a, type: event_count, timespan: 5m, condition: {gte: 3}, detection: ${detection}${rest}}]`)
          .roles[0]!.expression,
      );
    expect(counted('')).toBe(counted('', '{a: {tool: x}, b: {outcome: [denied, throttled]}, condition: a and not b}'));
    expect(counted(', count_refused: true')).toBe(meaning('{a: {tool: x}}'));
    expect(counted('', '{a: {outcome: denied}}')).toBe(meaning('{a: {outcome: denied}}'));
  });

  test('of several calendars the first whose selection matches decides', () => {
    const calendars =
      'calendars: {nl: {tz: Europe/Amsterdam, open: daily 08:00-18:00}, us: {tz: America/New_York, open: daily 08:00-18:00}}';
    const { roles } = rule(
      `${calendars}\nrules: [{id: a, detection: {s: {tool: x}}, when: [{calendar: nl, is: closed, for: {actor: jan}}, {calendar: us, is: closed}]}]`,
    );
    const [jan, nl, us] = ['["actor_id",', '["calendar","nl","closed"]', '["calendar","us","closed"]'];
    const text = spell(roles[0]!.expression);
    for (const part of [jan, nl, us, '"not"']) expect(text).toContain(part);
  });

  test("a later layer replaces rules and lists of an earlier one by name, and tunes rules; the tuned rule's tests are gone", () => {
    const shipped = `
lists: {tools: [x]}
rules:
  - {id: a, detection: {s: {tool: $tools}}, level: low, exceptions: [{name: one, fields: actor, values: [etl]}], tests: [{name: t, events: [], expect: []}]}
  - {id: b, detection: {s: {tool: x}}}`;
    const own = `
lists: {tools: [y]}
tune: {a: {level: high, dry_run: true, exceptions: [{name: two, fields: actor, values: [bot]}]}}
rules: [{id: b, detection: {s: {tool: z}}}]`;
    const { set, problems } = compileRules([
      { path: 'own.yaml', text: own, layer: 1 },
      { path: 'shipped.yaml', text: shipped, layer: 0 },
    ]);
    expect(problems).toEqual([]);
    const [a, b] = ['a', 'b'].map((id) => set.rules.find((each) => each.id === id)!);
    expect(a).toMatchObject({ level: 'high', dryRun: true, tests: [] });
    expect(spell(a!.roles[0]!.expression)).toBe(
      meaning('{s: {tool: y}, e: {actor: [etl, bot]}, condition: s and not e}'),
    );
    expect(spell(b!.roles[0]!.expression)).toBe(meaning('{s: {tool: z}}'));
    expect(set.rules).toHaveLength(2);
  });
});

describe('hostile files', () => {
  const messages = (...texts: string[]): string[] => compile(...texts).problems.map(({ message }) => message);

  test('a file of 100 MB is refused by its size, unread', () => {
    const file = join(directory, 'large.yaml');
    writeFileSync(file, '');
    truncateSync(file, 100_000_000);
    expect(loadRules({ pack: false, paths: [file] }).problems).toMatchObject([
      {
        file,
        line: 1,
        message: 'the file has 100000000 bytes; at most 1048576 are read. Split it into several files.',
      },
    ]);
  });

  test('anchors that unfold into billions of values', () => {
    const levels = Array.from(
      { length: 12 },
      (_, level) => `a${level}: &a${level} [${Array(9).fill(level ? `*a${level - 1}` : 'x')}]`,
    );
    expect(messages(levels.join('\n'))).toEqual([expect.stringMatching(/^the file uses more than 1000 aliases$/)]);
  });

  test('macros that unfold into billions of tests', () => {
    const macros = Array.from({ length: 15 }, (_, level) =>
      level
        ? `  m${level}: ${Array(9)
            .fill(`m${level - 1}`)
            .join(' or ')}`
        : '  m0: {tool: [a, b]}',
    );
    expect(messages(`macros:\n${macros.join('\n')}`)).toContain(
      'the condition unfolds into 118098 tests; at most 100000 are taken',
    );
  });

  test('a condition that unfolds', () => {
    const values = Array.from({ length: 5_000 }, (_, index) => `v${index}`);
    const condition = Array(400).fill('s').join(' and ');
    expect(messages(`rules: [{id: a, detection: {s: {tool: [${values}]}, condition: ${condition}}}]`)).toEqual([
      'the condition unfolds into 2000000 tests; at most 100000 are taken',
    ]);
  });

  test('many rules over one long list', () => {
    const values = Array.from({ length: 9_000 }, (_, index) => `v${index}`);
    const rules = Array.from({ length: 120 }, (_, index) => `  - {id: r${index}, detection: {s: {tool: $l}}}`);
    expect(messages(`lists: {l: [${values}]}\nrules:\n${rules.join('\n')}`)).toEqual([
      'the rules up to here unfold into more than 1000000 tests',
    ]);
  });

  test('100,000 rules', () => {
    const file = join(directory, 'many');
    mkdirSync(file);
    for (let part = 0; part < 100; part++) {
      const rules = Array.from(
        { length: 1_000 },
        (_, index) => `- {id: r${part}-${index}, title: ${'t'.repeat(200)}, detection: {s: {tool: x}}}`,
      );
      writeFileSync(join(file, `${part}.yaml`), `rules:\n${rules.join('\n')}\n`);
    }
    const { problems } = loadRules({ pack: false, paths: [file] });
    expect(problems[0]?.message).toBe(
      'the rule files up to here are more than 10000 or longer than 16777216 bytes together',
    );
  }, 60_000);

  test('nesting, by brackets and by indentation', () => {
    expect(messages('['.repeat(1_000_000))).toEqual(['brackets nest deeper than 160 levels']);
    expect(messages(Array.from({ length: 1_000 }, (_, depth) => `${' '.repeat(depth)}a:`).join('\n'))).toEqual([
      expect.stringMatching(/^the (YAML nests too deeply to be read|file nests deeper than 40 levels at line 4\d)$/),
    ]);
  });

  test('brackets in patterns are no nesting', () => {
    const values = Array.from({ length: 500 }, (_, index) => `"{{[${index}"`);
    expect(rule(`rules: [{id: a, detection: {s: {arguments|contains: [${values}]}}}]`).id).toBe('a');
  });

  test('a binary file', () => {
    const { problems } = compile('\u0000\u0001%PDF-1.4\n%\u00e2\u00e3: [');
    expect(problems.length).toBeGreaterThan(0);
  });

  test('keys that are names of the language', () => {
    expect(messages('__proto__: {x: 1}\nconstructor: 1')).toEqual([
      expect.stringContaining('there is no key "__proto__"'),
      expect.stringContaining('there is no key "constructor"'),
    ]);
  });

  test('a directory that holds itself, hidden files and other files', () => {
    const file = join(directory, 'loop');
    mkdirSync(join(file, '..data'), { recursive: true });
    writeFileSync(join(file, '..data', 'a.yaml'), 'rulez: []');
    writeFileSync(join(file, 'README.md'), 'text');
    writeFileSync(join(file, 'a.yml'), 'rules: [{id: a, detection: {s: {tool: x}}}]');
    symlinkSync(file, join(file, 'again'));
    const { set, problems } = loadRules({ pack: false, paths: [file, join(directory, 'nowhere')] });
    expect(set.rules.map(({ id }) => id)).toEqual(['a']);
    expect(problems.map(({ message }) => message)).toEqual(['there is no such file or directory']);
  });
});
