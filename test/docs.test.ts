/**
 * What the documentation tells a person to type works. Blocks by their language:
 *
 * - `sh`: run in order, document by document, in a fresh home with a daemon running. `npx mcp-auditd up` and
 *   `npm …` are what the set-up of this test (or of CI) itself does and are not run again.
 * - `sql`: asked as `mcp-auditd query` asks the daemon, without a process for each statement.
 * - `ts`: checked by the compiler, all of them at once. `json`: parsed.
 * - `yaml`: rules by `rules test`, which checks them first; anything else as configuration by `config check`. Both run in
 *   this process.
 */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { request } from '../services/commands/context.js';
import { makeProgram } from '../services/commands/program.js';

const root = resolve(import.meta.dirname, '..');
const documents = ['README.md', ...readdirSync(join(root, 'docs')).map((file) => join('docs', file))].filter((file) =>
  file.endsWith('.md'),
);

interface Block {
  readonly language: string;
  readonly text: string;
  readonly place: string;
}

function blocks(document: string): Block[] {
  const lines = readFileSync(join(root, document), 'utf8').split('\n');
  const found: Block[] = [];
  for (let index = 0; index < lines.length; index++) {
    const open = /^```(\w+)\s*$/.exec(lines[index]!);
    if (open === null) continue;
    const end = lines.indexOf('```', index + 1);
    expect(end, `${document}:${index + 1}: the block does not end`).toBeGreaterThan(index);
    found.push({ language: open[1]!, text: lines.slice(index + 1, end).join('\n'), place: `${document}:${index + 1}` });
    index = end;
  }
  return found;
}

const home = mkdtempSync(join(tmpdir(), 'mcp-auditd-docs-'));
const data = join(home, 'data');
const environment = {
  ...process.env,
  HOME: home,
  MCP_AUDITD_DATA: data,
  NO_COLOR: '1',
  PATH: `${join(home, 'bin')}:${process.env.PATH}`,
};
let daemon: ChildProcess;
let daemonUrl: string;

beforeAll(async () => {
  mkdirSync(join(home, 'bin'));
  // What the examples of configuration name.
  mkdirSync(join(home, 'secrets'));
  for (const name of ['kafka_password', 'clickhouse_password']) writeFileSync(join(home, 'secrets', name), 'x\n');
  const cli = `#!/bin/sh\n[ "$1" = mcp-auditd ] && shift\nexec '${process.execPath}' '${join(root, 'dist/services/cli.js')}' "$@"\n`;
  for (const name of ['npx', 'mcp-auditd']) writeFileSync(join(home, 'bin', name), cli, { mode: 0o755 });
  daemon = spawn(join(home, 'bin', 'mcp-auditd'), ['up', '--listen', '127.0.0.1:0'], {
    env: environment,
    cwd: home,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let errors = '';
  daemon.stderr!.on('data', (chunk: Buffer) => {
    errors = (errors + chunk.toString()).slice(-10_000);
  });
  for (;;) {
    if (daemon.exitCode !== null) throw new Error(`the daemon ended: ${errors}`);
    if (existsSync(join(data, 'daemon.json'))) {
      const { url } = JSON.parse(readFileSync(join(data, 'daemon.json'), 'utf8')) as { url?: string };
      const ready = url === undefined ? undefined : await fetch(`${url}/readyz`).catch(() => undefined);
      if (ready?.ok === true) {
        daemonUrl = url!;
        break;
      }
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  Object.assign(process.env, environment);
  process.chdir(home);
});

afterAll(async () => {
  daemon.kill('SIGTERM');
  if (daemon.exitCode === null) await once(daemon, 'exit');
  process.chdir(root);
  rmSync(home, { recursive: true, force: true });
});

function run(command: string, args: readonly string[], place: string): void {
  try {
    execFileSync(command, args, { cwd: home, env: environment, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  } catch (error) {
    const { stdout, stderr } = error as { stdout: string; stderr: string };
    throw new Error(`${place}: ${[command, ...args].join(' ')}\n${stdout}${stderr}`);
  }
}

/** A command as `run` has it, in this process: it must neither throw nor leave with a code. */
async function runHere(words: readonly string[], place: string): Promise<void> {
  let output = '';
  const write = vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
    output += String(text);
    return true;
  });
  const before = process.exitCode;
  process.exitCode = undefined;
  try {
    const program = await makeProgram(words[0]);
    await program.parseAsync(words, { from: 'user' });
    expect(process.exitCode, `${place}: ${words.join(' ')}\n${output}`).toBeUndefined();
  } finally {
    process.exitCode = before;
    write.mockRestore();
  }
}

/** What the compiler says of each example, by its place; one run for all, since most of it is to read the types. */
function compileExamples(): ReadonlyMap<string, string> {
  const folder = mkdtempSync(join(root, 'test', '.docs-'));
  try {
    const examples = documents.flatMap(blocks).filter(({ language }) => language === 'ts');
    for (const [index, { text }] of examples.entries()) writeFileSync(join(folder, `example-${index}.ts`), text);
    const configuration = {
      extends: '../../tsconfig.json',
      compilerOptions: {
        rootDir: '../..',
        noUnusedLocals: false,
        moduleDetection: 'force',
        paths: {
          '@mcp-auditd/emitter': ['../../services/emitter/index.ts'],
          '@mcp-auditd/emitter/kafka': ['../../services/emitter/kafka-sink.ts'],
        },
      },
      include: ['*.ts'],
    };
    writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(configuration));
    const words = ['-p', folder, '--pretty', 'false'];
    const { status, stdout } = spawnSync(join(root, 'node_modules', '.bin', 'tsc'), words, { encoding: 'utf8' });
    const lines = stdout.split('\n');
    const said = examples.map(({ place }, index) => {
      const own = lines.filter((line) => line.includes(`example-${index}.ts(`)).join('\n');
      return [place, own] as const;
    });
    if (status !== 0 && said.every(([, own]) => own === '')) throw new Error(`tsc left with ${status}: ${stdout}`);
    return new Map(said);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
let compiled: ReadonlyMap<string, string> | undefined;

/** Commands that this test's own set-up, CI around it, or test/e2e/proxy.test.ts runs. */
const runElsewhere = /^(npm (run|ci|test)\b|mcp-auditd proxy\b|npx mcp-auditd up\s*$|docker compose\b)/;

/** Keys at the top of a file of rules, ours or Sigma's; other YAML is configuration. */
const ruleFile = /^(lists|macros|calendars|tune|detection):|^rules:\n +- /m;

describe.each(documents)('%s', (document) => {
  const all = blocks(document);

  test('every block has a language that is tested or is plain text', () => {
    for (const block of all) expect(['sh', 'sql', 'ts', 'json', 'yaml', 'text'], block.place).toContain(block.language);
  });

  for (const block of all) {
    if (block.language === 'text') continue;
    test(`${block.place} ${block.language}`, { timeout: 60_000 }, async () => {
      if (block.language === 'json') expect(JSON.parse(block.text)).toBeTypeOf('object');
      if (block.language === 'sql') {
        const key = readFileSync(join(data, 'keys', 'reader.key'), 'utf8').trim();
        const headers = { 'content-type': 'application/json' };
        const body = JSON.stringify({ sql: block.text, format: 'JSONEachRow' });
        await (await request({ url: daemonUrl, key }, '/v1/query', { method: 'POST', headers, body })).text();
      }
      if (block.language === 'yaml') {
        // A block of rules may name the file that later commands use.
        const file = join(home, /^# (\S+\.yaml)\n/.exec(block.text)?.[1] ?? 'example.yaml');
        mkdirSync(dirname(file), { recursive: true });
        writeFileSync(file, block.text);
        if (!ruleFile.test(block.text)) await runHere(['config', 'check', '--config', file], block.place);
        else await runHere(['rules', 'test', file], block.place);
      }
      if (block.language === 'sh') {
        const commands = block.text
          .replaceAll('\\\n', ' ')
          .split('\n')
          .filter((line) => line !== '' && !line.startsWith('#'));
        expect(commands.length, block.place).toBeGreaterThan(0);
        for (const command of commands) if (!runElsewhere.test(command)) run('sh', ['-ec', command], block.place);
      }
      if (block.language === 'ts') {
        compiled ??= compileExamples();
        expect(compiled.get(block.place)).toBe('');
      }
    });
  }
});
