import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { mostRules } from '../../services/detector/compile.js';
import { loadRules } from '../../services/detector/load.js';
import { RuleDirectory } from '../../services/detector/rule-directory.js';
import { inTurns } from '../../services/detector/turns.js';

const ruleText = (from: number, count: number): string =>
  Array.from({ length: count }, (_, at) => `- {id: r-${from + at}, detection: {s: {tool: t-${from + at}}}}`).join('\n');

function inDirectory<T>(files: number, rulesEach: number, use: (directory: string) => T): T {
  const directory = mkdtempSync(join(tmpdir(), 'rules-'));
  for (let file = 0; file < files; file++) {
    const path = join(directory, `${String(file).padStart(5, '0')}.yaml`);
    writeFileSync(path, `rules:\n${ruleText(file * rulesEach, rulesEach)}\n`);
  }
  const clean = () => rmSync(directory, { recursive: true, force: true });
  const result = use(directory);
  if (result instanceof Promise) return result.finally(clean) as T;
  clean();
  return result;
}

test('many rules are read in turns with the rest of the process, and are the same rules', async () => {
  await inDirectory(40, 10, async (directory) => {
    const sources = { pack: false, paths: [directory] };
    let turns = 0;
    const found = await new RuleDirectory(sources).changedInTurns(async () => {
      turns++;
    });
    expect(turns).toBeGreaterThan(0);
    expect(found?.set).toEqual(loadRules(sources).set);
    expect(found?.set.rules).toHaveLength(400);
  });
});

test('a turn ends when its time is over, however many steps there are', async () => {
  let done = 0;
  const work = function* (): Generator<void, string> {
    for (; done < 100; done++) yield;
    return 'all';
  };
  const seen: number[] = [];
  const pause = async (): Promise<void> => void seen.push(done);
  // Turns of no time: one step each.
  expect(await inTurns(work(), pause, 0)).toBe('all');
  expect(seen).toHaveLength(100);
});

test('100,000 rules are refused with the place of the first that is too many', () => {
  inDirectory(100, 1_000, (directory) => {
    const { problems, set } = loadRules({ pack: false, paths: [directory] });
    expect(problems).toMatchObject([
      {
        file: join(directory, '00010.yaml'),
        line: 2,
        message: `at most ${mostRules} rules are taken, and there are more`,
      },
    ]);
    expect(set.rules).toHaveLength(mostRules);
  });
});
