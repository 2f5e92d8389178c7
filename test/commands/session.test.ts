import { execFile, execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { History } from '../../services/commands/session/history.js';
import { complete, type Names } from '../../services/commands/session/names.js';
import { Statements, withoutFormat } from '../../services/commands/session/statements.js';
import { cli, event, type Running, Sandbox } from './run.js';

describe('statements', () => {
  test.each<[lines: string[], statements: string[], rest: string]>([
    [['SELECT 1;'], ['SELECT 1'], ''],
    [['SELECT 1', 'FROM x;'], ['SELECT 1\nFROM x'], ''],
    [['SELECT 1; SELECT 2; SELECT'], ['SELECT 1', 'SELECT 2'], ' SELECT'],
    [["SELECT 'a;b', 'it''s;', 'x\\';';"], ["SELECT 'a;b', 'it''s;', 'x\\';'"], ''],
    [["SELECT 'two", "lines; still' ;"], ["SELECT 'two\nlines; still'"], ''],
    [['SELECT `a;b`, "c;d\\";";'], ['SELECT `a;b`, "c;d\\";"'], ''],
    [['SELECT 1 -- no; end', ';'], ['SELECT 1 -- no; end'], ''],
    [['SELECT 1 # no; end', '#! nor; here', ';'], ['SELECT 1 # no; end\n#! nor; here'], ''],
    [['SELECT 1 /* no;', 'end; */;'], ['SELECT 1 /* no;\nend; */'], ''],
    [['SELECT $a$ ; $b$ ; $a$, a$b$c;'], ['SELECT $a$ ; $b$ ; $a$, a$b$c'], ''],
    [['SELECT ‘a;’, “b;”;'], ['SELECT ‘a;’, “b;”'], ''],
    [[';;  ;', ''], [], ''],
    [['-- only this;', 'SELECT 1;'], ['-- only this;\nSELECT 1'], ''],
  ])('%j', (lines, expected, rest) => {
    const statements = new Statements();
    expect(lines.flatMap((line) => statements.add(line))).toEqual(expected);
    expect(statements.rest).toBe(rest);
  });

  test('what is open is told, and a FORMAT at the end is taken off', () => {
    const openAfter = (text: string) => {
      const statements = new Statements();
      statements.add(text);
      return statements.open;
    };
    expect(['', '-- x', 'SELECT', "SELECT '", 'SELECT "', 'SELECT `', '/* x', 'SELECT $x$ a'].map(openAfter)).toEqual([
      undefined,
      undefined,
      'statement',
      "'",
      '"',
      '`',
      '/*',
      '$',
    ]);
    expect(withoutFormat('SELECT 1\nformat Vertical')).toEqual({ sql: 'SELECT 1', format: 'Vertical' });
    expect(withoutFormat("SELECT 'x FORMAT y'")).toEqual({ sql: "SELECT 'x FORMAT y'" });
  });
});

test('completion knows tables, their columns by alias, functions, keywords and formats, and nothing inside a text', () => {
  const names: Names = {
    tables: new Map([
      ['calls', ['actor_id', 'arguments', 'outcome']],
      ['alerts', ['alert_id', 'level']],
    ]),
    functions: ['arrayJoin', 'toString'],
    keywords: ['GROUP BY', 'SELECT'],
    formats: ['JSON', 'Vertical'],
  };
  expect(complete('SELECT x FROM ', names)).toEqual([['alerts', 'calls'], '']);
  expect(complete('SELECT a FROM calls WHERE a', names)[0]).toEqual(['actor_id', 'alerts', 'arguments', 'arrayJoin(']);
  expect(complete('SELECT * FROM calls AS c JOIN alerts b ON c.', names)).toEqual([
    ['actor_id', 'arguments', 'outcome'],
    '',
  ]);
  expect(complete('SELECT * FROM calls AS c JOIN alerts b ON b.LE', names)).toEqual([['level'], 'LE']);
  expect(complete('SELECT tostr', names)).toEqual([['toString('], 'tostr']);
  expect(complete('sel', names)[0]).toEqual(['select']);
  expect(complete('SELECT 1 FORMAT v', names)).toEqual([['Vertical'], 'v']);
  expect(complete("SELECT 'a", names)).toEqual([[], '']);
  expect(complete('SELECT 1 -- a', names)[0]).toEqual([]);
});

test('the history is bounded, of its owner, and survives a line that is none', () => {
  const directory = mkdtempSync(join(tmpdir(), 'mcp-auditd-history-'));
  try {
    const file = join(directory, 'query-history');
    const lines = Array.from({ length: 2_500 }, (_, index) => JSON.stringify(`SELECT ${index};`));
    writeFileSync(file, `${lines.join('\n')}\n{"half\n`, { mode: 0o644 });
    const history = new History(directory);
    const entries = history.read();
    expect([entries.length, entries[0]]).toEqual([1_000, 'SELECT 2499;']);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(readFileSync(file, 'utf8').split('\n')).toHaveLength(1_001);
    history.add('SELECT\n1;');
    history.add('x'.repeat(100_000));
    expect(new History(directory).read().slice(0, 2)).toEqual(['SELECT\n1;', 'SELECT 2499;']);
    const nowhere = new History(file);
    expect(nowhere.read()).toEqual([]);
    nowhere.add('x');
    expect(nowhere.trouble).toContain('not kept');
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});

const python = (() => {
  try {
    execFileSync('python3', ['-c', 'import pty']);
    return true;
  } catch {
    return false;
  }
})();

describe.skipIf(!python)('on a terminal (needs python3, whose pty module makes one)', () => {
  const sandbox = new Sandbox();
  let daemon: Running;
  beforeAll(async () => {
    daemon = await sandbox.up();
    await sandbox.send(daemon.url, [event({ tool_name: 'esc\u001b]0;owned\u0007\u202e' })]);
    await sandbox.until(daemon.url, 'SELECT count() FROM calls', '1');
  });
  afterAll(() => sandbox.dispose());

  type Step = { send: string } | { until: string };
  async function onTerminal(words: readonly string[], steps: readonly Step[], environment: NodeJS.ProcessEnv = {}) {
    const order = { program: [process.execPath, ...cli, ...words], steps };
    const { stdout } = await promisify(execFile)(
      'python3',
      [join(import.meta.dirname, 'terminal.py'), JSON.stringify(order)],
      {
        env: { ...process.env, MCP_AUDITD_DATA: sandbox.data, NO_COLOR: '1', TERM: 'xterm', ...environment },
        cwd: sandbox.home,
        maxBuffer: 64 * 1024 * 1024,
      },
    );
    const result = JSON.parse(stdout) as { shown: string; code: number; missing: string | null };
    expect(result.missing, result.shown).toBeNull();
    return result;
  }

  test('statements, completion, commands, the pager, Ctrl-C and Ctrl-D', async () => {
    const { shown, code } = await onTerminal(
      ['query'],
      [
        { until: 'auditd> ' },
        { send: 'SELECT tool_name\r' },
        { until: '     -> ' },
        { send: 'FROM calls;\r' },
        { until: 'esc\\x1b]0;owned\\x07\\u{202e}' },
        { until: '1 row' },
        { send: 'SELECT actor_i\t' },
        { until: 'actor_id' },
        { send: ' FROM calls;\r' },
        { until: 'alice' },
        { until: '1 row' },
        { send: " SELECT 'not kept';\r" },
        { until: '1 row' },
        { send: "\\set who it's alice\r" },
        { until: "it's alice" },
        { send: "SELECT {who:String} || '!' AS told;\r" },
        { until: "it's alice!" },
        { until: '1 row' },
        { send: '\\set 1x y\r' },
        { until: 'no name of a placeholder' },
        { send: '\\set who\r' },
        { until: 'No values are set' },
        { send: '\\x\r\\d queries\r' },
        { until: 'paged' },
        { send: '\\x\r\\pager\rSELECT 1 +;\r' },
        { until: 'Syntax error' },
        // Ctrl-C empties the line, ends what runs, and leaves neither time.
        { until: 'auditd> ' },
        { send: "SELECT 'half\r" },
        { until: "     '> " },
        { send: '\u0003' },
        { until: 'auditd> ' },
        { send: 'SELECT count() FROM numbers(2000000000000) WHERE sipHash64(number) = 1;\r' },
        { until: '= 1;\r' },
        { send: '\u0003' },
        { until: 'Ended.' },
        { until: 'auditd> ' },
        { send: 'SELECT 40 + 2 AS answer;\r' },
        { until: '42' },
        { until: 'auditd> ' },
        { send: '\u0004' },
      ],
      { PAGER: 'head -n 1; cat > /dev/null; echo paged' },
    );
    expect(code).toBe(0);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not be there
    expect(shown).not.toMatch(/\u001b\]|\u0007|\u202e/);
    await sandbox.until(
      daemon.url,
      "SELECT count() FROM system.processes WHERE query LIKE '%sip' || 'Hash64(number)%'",
      '0',
    );
    const file = join(sandbox.data, 'query-history');
    expect(statSync(file).mode & 0o777).toBe(0o600);
    const kept = readFileSync(file, 'utf8');
    expect(kept).toContain(JSON.stringify('SELECT tool_name\nFROM calls;'));
    expect(kept).not.toContain('not kept');
  });

  test('a statement is kept under a name, asked by it, shared with the API, and forgotten', async () => {
    const { shown, code } = await onTerminal(
      ['query', '--param', 'factor=7'],
      [
        { until: 'auditd> ' },
        { send: '\\saved\r' },
        { until: 'None is kept yet' },
        { send: '\\save early\r' },
        { until: 'Ask a statement first' },
        { send: 'SELECT 6 * {factor:UInt8} AS product;\r' },
        { until: 'auditd> ' },
        { send: '\\save times\r' },
        { until: 'Kept as times.' },
        { send: '\\run ti\t' },
        { until: 'times' },
        { send: '\r' },
        { until: '42' },
        { send: '\\save ../x\r' },
        { until: 'expected up to 80 letters' },
        { send: '\\run time\r' },
        { until: 'did you mean times?' },
        { send: '\\q\r' },
      ],
      { PAGER: '' },
    );
    expect(code, shown).toBe(0);
  });

  test('--save, --saved and --forget do the same for scripts, and a reader may not keep', async () => {
    const run = (...words: string[]) => sandbox.run(['query', ...words]);
    expect(await run('--saved', 'times', '--param', 'factor=3')).toMatchObject({ code: 0, stdout: 'product\n18\n' });
    expect((await run('--save', 'times', 'SELECT {factor:UInt8} + 1')).code).toBe(0);
    expect(await run('--saved', 'times', '--param', 'factor=3')).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/\n4\n$/),
    });
    const reader = readFileSync(join(sandbox.data, 'keys/reader.key'), 'utf8').trim();
    const headers = { authorization: `Bearer ${reader}`, 'content-type': 'application/json' };
    const saved = `${daemon.url}/api/v1/saved`;
    const refused = await fetch(`${saved}/x`, { method: 'PUT', headers, body: '{"statement":"SELECT 1"}' });
    expect(refused.status).toBe(403);
    const { queries } = (await (await fetch(saved, { headers })).json()) as { queries: object[] };
    expect(queries).toMatchObject([{ name: 'times', statement: 'SELECT {factor:UInt8} + 1' }]);
    expect((await run('--forget', 'times')).code).toBe(0);
    const gone = await run('--saved', 'times');
    expect(gone.code).not.toBe(0);
    expect(gone.stderr).toContain('No query is kept as "times"');
    expect((await run('--forget', 'times')).stderr).toContain('No query is kept as times');
    expect((await run('--save', 'x', '--saved', 'y', 'SELECT 1')).stderr).toContain('Expected one statement');
  });

  test('a pager that is left early ends the statement, and one that does not run is done without', async () => {
    const steps = [
      { until: 'auditd> ' },
      { send: '\\format jsonl\rSELECT number FROM numbers(100000000);\r' },
      { until: 'left early' },
      { until: 'does not run' },
      { until: 'auditd> ' },
      { send: 'SELECT 6 * 7;\r' },
      { until: '42' },
      { send: 'exit\r' },
    ];
    // A shell that finds no command ends with 127.
    const { code, shown } = await onTerminal(['query'], steps, { PAGER: 'head -n 1; echo left early; exit 127' });
    expect(code).toBe(0);
    expect(shown).toContain('{"number":5}');
  });
});
