import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Session } from 'chdb';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { cut } from '../../services/commands/export/slices.js';
import { event, type Running, Sandbox } from './run.js';

const sandbox = new Sandbox();
let daemon: Running;
const calls = 400;

beforeAll(async () => {
  // Limits so tight that the slices of the plan must be halved: in bytes, which the plan does not count.
  mkdirSync(sandbox.data, { mode: 0o700 });
  writeFileSync(join(sandbox.data, 'config.yaml'), 'query:\n  result_rows: 1000\n  result_bytes: 60000\n');
  daemon = await sandbox.up();
  const events = Array.from({ length: calls }, (_, index) =>
    event({
      occurred_at: new Date(Date.UTC(2026, 10, 20) + index * 500_000).toISOString(),
      actor_id: ['alice', '=HYPERLINK("http://x")', '@sum', '-1', '＝1', 'plain, "quoted"\nand more'][index % 6],
      arguments: { number: index, text: 'x'.repeat(index % 7 === 0 ? 3_000 : 10) },
    }),
  );
  await sandbox.send(daemon.url, events);
  await sandbox.until(daemon.url, 'SELECT count() FROM calls', String(calls));
});
afterAll(() => sandbox.dispose());

const to = (name: string) => join(sandbox.home, name);
const exported = (words: readonly string[]) => sandbox.run(['export', '--from', '2026-11-01', ...words]);

test('JSONL: each row of the range once and in order, whatever the limits of a question', async () => {
  const result = await exported(['--format', 'jsonl', '--output', to('all.jsonl')]);
  expect(result).toMatchObject({ code: 0 });
  expect(result.stderr).toContain(`${calls} rows`);
  const rows = readFileSync(to('all.jsonl'), 'utf8').trimEnd().split('\n');
  const numbers = rows.map((row) => JSON.parse((JSON.parse(row) as { arguments: string }).arguments).number as number);
  expect(numbers).toEqual(Array.from({ length: calls }, (_, index) => index));
  expect(statSync(to('all.jsonl')).mode & 0o777).toBe(0o600);
  expect(readdirSync(sandbox.home).filter((name) => name.includes('partial'))).toEqual([]);
  // They are on record a moment after they were answered; these questions of ours are none of them.
  const asked = `SELECT count() AS asked FROM queries WHERE format = 'JSONEachRow' AND statement NOT LIKE '%AS asked%'`;
  await expect
    .poll(async () => Number((await sandbox.ask(daemon.url, asked))[0]!.asked), { timeout: 30_000 })
    .toBeGreaterThan(4);
});

test('CSV: what a spreadsheet would run is text, unless it is asked for', async () => {
  const words = ['--format', 'csv', '--where', "actor_id != 'alice' -- all others", '--to', '2026-11-21'];
  expect(await exported([...words, '--output', to('safe.csv')])).toMatchObject({ code: 0 });
  expect(await exported([...words, '--output', to('raw.csv'), '--formulas'])).toMatchObject({ code: 0 });
  const safe = readFileSync(to('safe.csv'), 'utf8');
  const raw = readFileSync(to('raw.csv'), 'utf8');
  expect(safe.split('\n')[0]).toMatch(/^"event_id","schema_version",/);
  for (const text of ['=HYPERLINK(""http://x"")', '@sum', '-1', '＝1']) {
    expect(raw).toContain(`"${text}"`);
    expect(safe).not.toContain(`"${text}"`);
    expect(safe).toContain(`"'${text}"`);
  }
  expect(safe).toContain('"plain, ""quoted""\nand more"');
  expect(safe.replaceAll(`"'`, '"')).toBe(raw);
});

test('Parquet: parts of a directory that an engine reads as one table', async () => {
  const single = await exported(['--format', 'parquet', '--output', to('calls.parquet')]);
  expect(single).toMatchObject({ code: 1 });
  expect(single.stderr).toContain('give a directory');
  expect(existsSync(to('calls.parquet'))).toBe(false);
  expect(await exported(['--format', 'parquet', '--output', `${to('calls')}/`])).toMatchObject({ code: 0 });
  expect(readdirSync(to('calls')).length).toBeGreaterThan(1);
  const directory = mkdtempSync(join(tmpdir(), 'mcp-auditd-parquet-'));
  const session = new Session(directory);
  try {
    const read = await session.queryAsync(
      `SELECT count(), uniqExact(event_id), toTypeName(any(occurred_at)), max(toString(occurred_at)) FROM file('${to('calls')}/*.parquet', Parquet)`,
      { format: 'TSV' },
    );
    expect(read.text()).toMatch(/^400\t400\tDateTime64\(6, \\'UTC\\'\)\t2026-11-22 07:25:00/);
  } finally {
    session.close();
    rmSync(directory, { recursive: true, force: true });
  }
});

test('a range without rows is an empty file; what is there stays; wrong use is told', async () => {
  const empty = ['export', '--from', '2020-01-01', '--to', '2020-01-02', '--format', 'jsonl', '--output'];
  expect(await sandbox.run([...empty, '-'])).toMatchObject({ code: 0, stdout: '' });
  writeFileSync(to('mine'), 'mine');
  expect(await sandbox.run([...empty, to('mine')])).toMatchObject({ code: 2 });
  expect(readFileSync(to('mine'), 'utf8')).toBe('mine');
  expect(await sandbox.run([...empty, to('mine'), '--force'])).toMatchObject({ code: 0 });
  // --force replaces an export, and no directory of anybody's.
  mkdirSync(to('home'));
  writeFileSync(to('home/letter'), '');
  expect(await sandbox.run([...empty, `${to('home')}/`, '--force'])).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('"letter", which is no part of an export'),
  });
  expect(existsSync(to('home/letter'))).toBe(true);
  expect(readFileSync(to('mine'), 'utf8')).toBe('');
  const failed = await sandbox.run([...empty, to('failed'), '--where', 'nope = 1']);
  expect(failed).toMatchObject({ code: 1 });
  expect(failed.stderr).toContain('nope');
  for (const words of [
    ['--format', 'xlsx', '--output', '-'],
    ['--format', 'csv', '--output', '-', '--table', 'ingest_owners'],
    ['--format', 'csv', '--output', '-', '--to', '2020-01-01'],
    ['--format', 'csv', '--output', '-', '--to', 'tomorrow'],
  ])
    expect((await exported(words)).code, words.join(' ')).toBe(2);
  expect(readdirSync(sandbox.home).filter((name) => /partial|failed/.test(name))).toEqual([]);
});

test('an interrupted export leaves nothing that looks whole', async () => {
  const { child, ended } = sandbox.follow([
    'export',
    '--from',
    '2026-11-01',
    '--format',
    'jsonl',
    '--output',
    to('half.jsonl'),
    '--where',
    '(SELECT count() FROM numbers(1000000000000) WHERE sipHash64(number) = 1) = 0',
  ]);
  while (!readdirSync(sandbox.home).some((name) => name.startsWith('half.jsonl.partial')))
    await new Promise((resolve) => setTimeout(resolve, 20));
  child.kill('SIGINT');
  expect((await ended).code).toBe(130);
  expect(readdirSync(sandbox.home).filter((name) => name.startsWith('half'))).toEqual([]);
});

test('a slice is cut into parts without gap or overlap, never shorter than a millisecond', () => {
  expect(cut({ fromMs: 0, toMs: 7, rows: 9 }, 3)).toEqual([
    { fromMs: 0, toMs: 2, rows: 3 },
    { fromMs: 2, toMs: 4, rows: 3 },
    { fromMs: 4, toMs: 7, rows: 3 },
  ]);
  expect(cut({ fromMs: 5, toMs: 7, rows: 9 }, 4)).toHaveLength(2);
});
