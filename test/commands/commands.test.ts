import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { commandsDocumentation, makeProgram } from '../../services/commands/program.js';
import { cli, event, type Running, root, Sandbox } from './run.js';

describe('with a daemon', () => {
  const sandbox = new Sandbox();
  let daemon: Running;
  beforeAll(async () => {
    daemon = await sandbox.up();
    await sandbox.send(daemon.url, [
      event({ arguments: { a: 1 } }),
      event({ tool_name: 'divide', outcome: 'tool_error', actor_id: 'bob' }),
      event({ tool_name: 'esc\u001b]0;owned\u0007\u202e', actor_id: '日本語' }),
    ]);
    await sandbox.until(daemon.url, 'SELECT count() FROM calls', '3');
  });
  afterAll(() => sandbox.dispose());

  test.each([
    ['tsv', 'tool_name\tcalls\nadd\t1\n'],
    ['csv', '"tool_name","calls"\n"add",1\n'],
    ['jsonl', '{"tool_name":"add","calls":1}\n'],
    ['markdown', '| tool_name | calls |\n|:-|-:|\n| add | 1 |\n'],
    ['vertical', 'Row 1:\n──────\ntool_name: add\ncalls:     1\n'],
    ['TSVRaw', 'add\t1\n'],
    ['table', 'tool_name  calls\nadd            1\n'],
  ])('query --format %s', async (format, expected) => {
    const sql =
      'SELECT tool_name, toUInt32(count()) AS calls FROM calls WHERE tool_name = {tool:String} GROUP BY tool_name';
    const { stdout, code } = await sandbox.run(['query', sql, '--format', format, '--param', 'tool=add']);
    expect(stdout).toBe(expected);
    expect(code).toBe(0);
  });

  test('query reads the statement from standard input and from a file; a pipe gets tsv', async () => {
    const piped = await sandbox.run(['query', '-'], { input: 'SELECT 1 AS one' });
    expect(piped).toMatchObject({ code: 0, stdout: 'one\n1\n' });
    const file = join(sandbox.home, 'question.sql');
    writeFileSync(file, "SELECT 'x' AS letter");
    expect(await sandbox.run(['query', '--file', file])).toMatchObject({ code: 0, stdout: 'letter\nx\n' });
  });

  test.each([
    [['query', 'DROP TABLE calls'], 1, 'does more than read'],
    [['query', 'SELECT nothing_like_it FROM calls'], 1, 'nothing_like_it'],
    [['query'], 2, 'Expected one statement'],
    [['query', 'SELECT 1', '--param', 'novalue'], 2, 'expected NAME=VALUE'],
    [['keys', 'create', 'x', '--role', 'owner'], 2, 'expected one of emit, read, respond'],
    [['keys', 'create', 'x', '--role', 'emit', '--tenant', '*'], 1, 'is not 1 to 256 letters'],
    [['keys', 'revoke', 'nobody'], 1, 'nobody'],
    [['dead', 'show', 'first'], 2, 'expected PARTITION:OFFSET'],
    [['frobnicate'], 2, "unknown command 'frobnicate'"],
    [['query', '--nonsense'], 2, "unknown option '--nonsense'"],
  ])('%j is refused with %i and the reason', async (words, code, message) => {
    const result = await sandbox.run(words);
    expect(result.stderr).toContain(message);
    expect(result.stderr).not.toMatch(/\n\s+at /);
    expect(result.code).toBe(code);
  });

  test('an error shows its stack with --verbose only', async () => {
    const { stderr } = await sandbox.run(['query', 'DROP TABLE calls', '--verbose']);
    expect(stderr).toMatch(/\n\s+at /);
  });

  test('a table shows what would steer the terminal as text', async () => {
    const { stdout } = await sandbox.run([
      'query',
      "SELECT tool_name FROM calls WHERE actor_id = '日本語'",
      '--format',
      'table',
    ]);
    expect(stdout).toBe('tool_name\nesc\\x1b]0;owned\\x07\\u{202e}\n');
  });

  test('tail shows calls as they come, filtered and harmless', async () => {
    const all = sandbox.follow(['tail']);
    const some = sandbox.follow(['tail', '--json', '--outcome', 'denied', 'tool_error', '--actor', 'mallory']);
    await sandbox.until(daemon.url, 'SELECT 1', '1');
    for (;;) {
      const response = await fetch(`${daemon.url}/v1/status`, {
        headers: { authorization: `Bearer ${sandbox.key('reader')}` },
      });
      if (((await response.json()) as { tail_clients: number }).tail_clients === 2) break;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    await sandbox.send(daemon.url, [
      event({
        tool_name: 'rm\u001b[2J',
        outcome: 'denied',
        actor_id: 'mallory',
        arguments: { path: '\u001b[31m\u202e' },
      }),
      event({ tool_name: 'fine', actor_id: 'mallory' }),
    ]);
    const first = String((await all.lines.next()).value);
    expect(first).toContain('rm\\x1b[2J');
    expect(first).toContain('denied');
    // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not be there
    expect(first).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u202e]/);
    expect(String((await all.lines.next()).value)).toContain('fine');
    expect(JSON.parse(String((await some.lines.next()).value))).toMatchObject({ outcome: 'denied', tenant: 'default' });
    all.child.kill('SIGINT');
    some.child.kill('SIGTERM');
    expect((await all.ended).code).toBe(0);
    expect((await some.ended).code).toBe(0);
  });

  test('status tells lag, rows and disk', async () => {
    const { stdout } = await sandbox.run(['status', '--json']);
    expect(JSON.parse(stdout)).toMatchObject({
      running: true,
      url: daemon.url,
      pid: daemon.child.pid,
      ingestor: { lag: 0 },
    });
    expect((await sandbox.run(['status'])).stdout).toMatch(/^daemon +process \d+ for .*\naddress +http:/);
  });

  test('status tells the rules in force, and what is wrong with a file', async () => {
    const file = join(sandbox.data, 'rules', 'broken.yaml');
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, 'rules:\n- {id: x, detection: {s: {toool: a}}}\n');
    let text = '';
    while (!text.includes('broken.yaml')) text = (await sandbox.run(['status'])).stdout;
    rmSync(file);
    expect(text).toMatch(/^rules +\d\d in force, \d+ alerts open/m);
    expect(text).toContain('broken.yaml:2:27: events have no field "toool". Did you mean "tool"?');
  });

  test('a second up says who holds the directory', async () => {
    const { code, stderr } = await sandbox.run(['up', '--listen', '127.0.0.1:0']);
    expect(code).toBe(1);
    expect(stderr).toMatch(
      new RegExp(`is held by process ${daemon.child.pid} since \\S+Z, listening on ${daemon.url}\\.\n`),
    );
  });

  test('keys are made, listed without secrets, and revoked', async () => {
    const made = await sandbox.run(['keys', 'create', 'web-1', '--role', 'read']);
    expect(made.stdout).toMatch(/^mca_read_\S{40,}\n$/);
    const listed = JSON.parse((await sandbox.run(['keys', 'list', '--json'])).stdout) as { name: string }[];
    expect(listed.map((key) => key.name)).toEqual(['emitter', 'reader', 'responder', 'web-1']);
    expect(JSON.stringify(listed)).not.toContain('hash');
    expect((await sandbox.run(['keys', 'revoke', 'web-1'])).stdout).toBe('revoked web-1\n');
  });
});

describe('up', () => {
  test('is asked while it runs and after it ended, and leaves nothing behind', async () => {
    const sandbox = new Sandbox();
    try {
      const daemon = await sandbox.up();
      await sandbox.send(daemon.url, [event()]);
      // SIGTERM right after the answer: what was accepted is stored by the stop, or by the next start.
      const stopped = await daemon.stop();
      expect(stopped.code).toBe(0);
      expect(existsSync(join(sandbox.data, 'daemon.json'))).toBe(false);
      const again = await sandbox.up();
      await sandbox.until(again.url, 'SELECT count() FROM calls', '1');
      expect((await again.stop('SIGINT')).code).toBe(0);
      const down = await sandbox.run(['query', 'SELECT toUInt32(count()) AS calls FROM calls']);
      expect(down).toMatchObject({ code: 0, stdout: 'calls\n1\n' });
      const refused = await sandbox.run(['query', 'TRUNCATE TABLE calls']);
      expect(refused.code).toBe(1);
      expect(JSON.parse((await sandbox.run(['status', '--json'])).stdout)).toMatchObject({ running: false, calls: 1 });
      expect((await sandbox.run(['tail'])).stderr).toContain('No daemon runs on');
    } finally {
      await sandbox.dispose();
    }
  });

  test('of several that start at once one holds the directory, and a damaged daemon.json does not let in another', async () => {
    const sandbox = new Sandbox();
    try {
      const starts = await Promise.allSettled(Array.from({ length: 3 }, () => sandbox.up()));
      const [running, ...others] = starts.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []));
      expect(others).toEqual([]);
      for (const each of starts)
        if (each.status === 'rejected') expect(String(each.reason)).toMatch(/is (held by process \d+|being taken)/);
      writeFileSync(join(sandbox.data, 'daemon.json'), '{"pid":');
      // The store's own lock is what stands behind the file; the daemon writes the file anew after a moment.
      await expect(sandbox.up()).rejects.toThrow(new RegExp(`process ${running!.child.pid} `));
      const holder = (): string => readFileSync(join(sandbox.data, 'daemon.json'), 'utf8');
      await expect.poll(holder, { timeout: 30_000 }).toContain(running!.url);
      expect(await sandbox.run(['query', 'SELECT 1 AS one'])).toMatchObject({ code: 0 });
      expect((await running!.stop()).code).toBe(0);
    } finally {
      await sandbox.dispose();
    }
  });

  test('a client that does not read, and one that asks nothing, do not keep it from ending', async () => {
    const sandbox = new Sandbox();
    const sockets: Socket[] = [];
    try {
      const daemon = await sandbox.up();
      const { port } = new URL(daemon.url);
      const open = async (text: string): Promise<void> => {
        const socket = connect(Number(port), '127.0.0.1');
        sockets.push(socket);
        await once(socket, 'connect');
        socket.pause();
        socket.write(text);
      };
      const authorization = `host: x\r\nauthorization: Bearer ${sandbox.key('reader')}\r\n`;
      const body = JSON.stringify({ sql: "SELECT repeat('x', 1000) FROM numbers(500000)", format: 'TSV' });
      await open('');
      await open(`GET /v1/tail HTTP/1.1\r\n${authorization}\r\n`);
      await open(
        `POST /v1/query HTTP/1.1\r\n${authorization}content-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
      );
      await sandbox.until(daemon.url, 'SELECT 1', '1');
      expect((await daemon.stop()).code).toBe(0);
    } finally {
      for (const socket of sockets) socket.destroy();
      await sandbox.dispose();
    }
  });

  test('takes over from a killed daemon', async () => {
    const sandbox = new Sandbox();
    try {
      const killed = await sandbox.up();
      await sandbox.send(killed.url, [event()]);
      await killed.stop('SIGKILL');
      expect(existsSync(join(sandbox.data, 'daemon.json'))).toBe(true);
      const next = await sandbox.up();
      await sandbox.until(next.url, 'SELECT count() FROM calls', '1');
      const holder = JSON.parse(readFileSync(join(sandbox.data, 'daemon.json'), 'utf8')) as { pid: number };
      expect(holder.pid).toBe(next.child.pid);
    } finally {
      await sandbox.dispose();
    }
  });

  test('without a directory status and query say so', async () => {
    const sandbox = new Sandbox();
    try {
      expect((await sandbox.run(['query', 'SELECT 1'])).stderr).toContain('holds no calls yet');
      expect((await sandbox.run(['status'])).stdout).toContain('does not run');
      expect(existsSync(sandbox.data)).toBe(false);
    } finally {
      await sandbox.dispose();
    }
  });
});

describe('config', () => {
  const sandbox = new Sandbox();
  afterAll(() => sandbox.dispose());

  test('show prints what is in force, by file, variable and default', async () => {
    mkdirSync(sandbox.data, { recursive: true });
    writeFileSync(join(sandbox.data, 'config.yaml'), 'query:\n  time_ms: 5\n');
    const { stdout } = await sandbox.run(['config', 'show'], { environment: { MCP_AUDITD_QUERY__RESULT_ROWS: '7' } });
    expect(stdout).toContain('time_ms: 5\n');
    expect(stdout).toContain('result_rows: 7\n');
    expect(stdout).toContain('listen: 127.0.0.1:7467\n');
  });

  test('check names file, line and column, and leaves with 1', async () => {
    const file = join(sandbox.home, 'wrong.yaml');
    writeFileSync(file, 'gateway:\n  max_body_byte: 1\n');
    const { code, stderr } = await sandbox.run(['config', 'check', '--config', file]);
    expect(stderr).toContain(`${file}:2:3: there is no key max_body_byte in gateway, did you mean max_body_bytes?`);
    expect(code).toBe(1);
  });
});

describe('what describes the commands', () => {
  test('docs/commands.md follows from them (vitest -u writes it)', async () => {
    await expect(commandsDocumentation(await makeProgram())).toMatchFileSnapshot('../../docs/commands.md');
  });

  test('every command explains itself, and is there alone when it is named', async () => {
    for (const command of (await makeProgram()).commands) {
      const alone = (await makeProgram(command.name())).commands.find((each) => each.name() === command.name());
      expect(alone?.commands.map((each) => each.name())).toEqual(command.commands.map((each) => each.name()));
      expect(command.description(), command.name()).not.toBe('');
    }
  });

  test('the completion scripts are scripts, and complete', async () => {
    const sandbox = new Sandbox();
    try {
      const scripts = await Promise.all(['bash', 'zsh', 'fish'].map((shell) => sandbox.run(['completion', shell])));
      for (const { code, stdout } of scripts) {
        expect(code).toBe(0);
        for (const word of ['query', 'replay', 'fail-closed']) expect(stdout).toContain(word);
      }
      const file = join(sandbox.home, 'completion.bash');
      writeFileSync(file, scripts[0]!.stdout);
      execFileSync('bash', ['-n', file]);
      const complete = (words: string): string =>
        execFileSync(
          'bash',
          [
            '-c',
            `source ${file}; COMP_WORDS=(mcp-auditd ${words}); COMP_CWORD=$((\${#COMP_WORDS[@]} - 1)); _mcp_auditd; echo "\${COMPREPLY[*]}"`,
          ],
          { encoding: 'utf8' },
        ).trim();
      expect(complete('qu')).toBe('query');
      expect(complete('dead re')).toBe('replay');
      expect(complete('query --form')).toBe('--format');
      expect((await sandbox.run(['completion', 'tcsh'])).code).toBe(2);
    } finally {
      await sandbox.dispose();
    }
  });

  test('help is there without loading the engine', async () => {
    const help = execFileSync(process.execPath, [...cli, '--help'], {
      cwd: root,
      encoding: 'utf8',
    });
    for (const command of (await makeProgram()).commands) expect(help).toContain(command.name());
  });
});
