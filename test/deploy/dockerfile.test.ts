import { execFileSync, spawnSync } from 'node:child_process';
import { copyFileSync, cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { validate } from 'dockerfile-utils';
import { afterAll, describe, expect, test } from 'vitest';
import { root } from './compose.js';

const text = readFileSync(join(root, 'deploy', 'Dockerfile'), 'utf8');
const instructions = text
  .replaceAll('\\\n', ' ')
  .split('\n')
  .filter((line) => line !== '' && !line.startsWith('#'))
  .map((line) => {
    const [keyword = '', ...words] = line.split(/\s+/);
    return { keyword, words };
  });
const stages = instructions.reduce<(typeof instructions)[]>((found, each) => {
  if (each.keyword === 'FROM') found.push([]);
  found.at(-1)!.push(each);
  return found;
}, []);
const of = (stage: number, keyword: string) => stages[stage]!.filter((each) => each.keyword === keyword);

describe('deploy/Dockerfile', () => {
  test('the linter has nothing to say', () => {
    expect(validate(text).map(({ message, range }) => `${range.start.line + 1}: ${message}`)).toEqual([]);
    expect(validate('FROM node\nCOPY a\n').length).toBeGreaterThan(0);
  });

  test('builds in one stage and runs in another, by number not as root, from images with a tag', () => {
    expect(stages).toHaveLength(2);
    for (const stage of stages) expect(stage[0]!.words[0]).toMatch(/^node:20-[a-z-]+$/);
    const last = stages[1]!.map(({ keyword }) => keyword);
    expect(of(1, 'USER').map(({ words }) => words)).toEqual([['1000:1000']]);
    expect(last.lastIndexOf('USER')).toBeGreaterThan(last.lastIndexOf('RUN'));
  });

  test('takes nothing from outside into the last stage, and no secret into any', () => {
    for (const { words } of of(1, 'COPY')) expect(words[0]).toBe('--from=build');
    expect(instructions.filter(({ keyword }) => keyword === 'ADD' || keyword === 'ARG')).toEqual([]);
    const ignored = readFileSync(join(root, '.dockerignore'), 'utf8').split('\n');
    expect(ignored).toEqual(expect.arrayContaining(['.git', 'deploy/secrets', '**/node_modules']));
  });
});

describe('its steps, without a container', () => {
  const home = mkdtempSync(join(tmpdir(), 'mcp-auditd-image-'));
  afterAll(() => rmSync(home, { recursive: true, force: true }));

  test('leave a program that runs without compiler and engine', { timeout: 180_000 }, () => {
    for (const { words } of of(0, 'COPY')) {
      const [target, ...sources] = [words.at(-1)!, ...words.slice(0, -1)];
      for (const source of sources) {
        const to =
          target === './' || target.endsWith('/') ? join(home, target, source.split('/').at(-1)!) : join(home, target);
        cpSync(join(root, source), to, {
          recursive: true,
          filter: (path) => !/\/(node_modules|dist)(\/|$)/.test(path.slice(root.length)),
        });
      }
    }
    const [install, ...steps] = of(0, 'RUN').map(({ words }) => words.join(' '));
    // What it does was done here by whoever runs this test; the files are linked, and npm's note of them is copied.
    expect(install).toMatch(/^npm ci /);
    execFileSync('cp', ['-al', join(root, 'node_modules'), home]);
    const note = join('node_modules', '.package-lock.json');
    rmSync(join(home, note));
    copyFileSync(join(root, note), join(home, note));
    for (const step of steps) execFileSync('sh', ['-ec', step], { cwd: home, stdio: ['ignore', 'ignore', 'inherit'] });

    for (const { words } of of(1, 'COPY'))
      expect(existsSync(join(home, words[1]!.replace('/app/', ''))), words[1]).toBe(true);
    for (const name of [
      'chdb',
      ...readdirSync(join(root, 'node_modules', '@chdb')).map((each) => `@chdb/${each}`),
      'typescript',
      'vitest',
    ])
      expect(existsSync(join(home, 'node_modules', name)), name).toBe(false);
    expect(existsSync(join(root, 'node_modules', 'chdb'))).toBe(true);

    const entry = JSON.parse(of(1, 'ENTRYPOINT')[0]!.words.join(' ')) as string[];
    const program = (words: readonly string[]) =>
      spawnSync(entry[0]!, [...entry.slice(1).map((word) => word.replace('/app/', `${home}/`)), ...words], {
        encoding: 'utf8',
        env: {
          PATH: process.env.PATH,
          MCP_AUDITD_DATA: join(home, 'data'),
          MCP_AUDITD_STREAM__KAFKA__BROKERS: '127.0.0.1:1',
          MCP_AUDITD_STORE__CLICKHOUSE__URL: 'http://127.0.0.1:1',
          MCP_AUDITD_START_TIMEOUT_MS: '1',
        },
      });
    expect(program(['--version'])).toMatchObject({ status: 0, stderr: '' });
    for (const [role, missing] of [
      ['gateway', 'connecting to 127.0.0.1:1'],
      ['ingest', 'connecting to http://127.0.0.1:1'],
    ] as const)
      expect(program([role])).toMatchObject({ status: 1, stderr: expect.stringContaining(missing) });
    expect(dirname(entry[1]!)).toBe('/app/dist/services');
  });
});
