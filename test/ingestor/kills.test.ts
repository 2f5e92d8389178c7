import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { readRows } from '../../services/ingestor/calls.js';
import { listDead, replayDead, showDead } from '../../services/ingestor/dead.js';
import { openChdbStore } from '../../services/store/chdb.js';
import { openLocalStream } from '../../services/stream/local.js';
import { seededRandom } from '../traffic.js';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'kills-'));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const rounds = 5;

interface Round {
  readonly lines: string[];
  readonly child: ChildProcess;
  readonly ready: Promise<unknown>;
  readonly ended: Promise<unknown>;
}

function start(round: number, mode: 'append' | 'finish'): Round {
  const script = join(import.meta.dirname, 'child.ts');
  const child = spawn(process.execPath, ['--import', 'tsx', script, directory, String(round), String(rounds), mode], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const lines: string[] = [];
  const ended = once(child.stdout!, 'close');
  const ready = new Promise((resolve) => {
    createInterface({ input: child.stdout! }).on('line', (line) => {
      lines.push(line);
      if (line === 'ready') resolve(line);
    });
  });
  return { lines, child, ready: Promise.race([ready, ended]), ended };
}

test('SIGKILL at random moments: every acknowledged record is stored once, every malformed one is one dead letter', async () => {
  const seed = Number(process.env.SEED ?? Date.now() % 1_000_000);
  console.log(`seed ${seed}`);
  const random = seededRandom(seed);
  const acknowledged: string[] = [];
  for (let round = 0; round < rounds; round++) {
    const { lines, child, ready, ended } = start(round, 'append');
    await ready;
    // The moment of the kill is the randomness that this test is about.
    const timer = setTimeout(() => child.kill('SIGKILL'), random() * 600);
    await ended;
    clearTimeout(timer);
    expect(lines[0]).toBe('ready');
    acknowledged.push(...lines.slice(1));
  }
  const last = start(rounds, 'finish');
  await last.ended;
  expect(last.lines.at(-1)).toBe(`done ${rounds}`);
  expect([...acknowledged, ...last.lines].filter((line) => line.startsWith('fault'))).toEqual([]);

  const store = await openChdbStore({ directory: join(directory, 'store') });
  const stream = openLocalStream({ directory: join(directory, 'stream') });
  try {
    const stored: string[] = [];
    for await (const { name } of readRows<{ name: string }>(store, 'SELECT request_id AS name FROM calls'))
      stored.push(name);
    const answered = new Set(acknowledged.filter((line) => line.startsWith('good ')).map((line) => line.slice(5)));
    const storedOnce = new Set(stored);
    expect(answered.size).toBeGreaterThan(0);
    expect([...answered].filter((name) => !storedOnce.has(name))).toEqual([]);
    expect(stored.length - storedOnce.size).toBe(0);

    const letters = await listDead(store, { limit: 10_000 });
    expect(new Set(letters.map(({ id }) => id)).size).toBe(letters.length);
    const bad = acknowledged.filter((line) => line.startsWith('bad '));
    expect(letters.length).toBeGreaterThanOrEqual(bad.length);
    expect(await listDead(store, { reason: "x' OR 1" })).toEqual([]);

    const letter = await showDead(store, letters[0]!.id);
    expect(letter.raw.toString()).toMatch(/^broken \d+\/\d+\/\d+$/);
    expect(letter).toMatchObject({ reason: 'invalid_json', headers: { tenant: 'default', producer_key: 'emitter' } });
    await expect(showDead(store, 'calls/0/1;DROP')).rejects.toMatchObject({ code: 'dead_letter_unknown' });
    const ends = async (): Promise<number> =>
      (await stream.partitions('calls')).reduce((sum, { endOffset }) => sum + endOffset, 0);
    const before = await ends();
    expect(await replayDead(stream, store, [letter.id])).toEqual([letter.id]);
    expect(await ends()).toBe(before + 1);
  } finally {
    await stream.close();
    await store.close();
  }
}, 180_000);
