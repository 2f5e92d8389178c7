import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { expect, test } from 'vitest';
import { SegmentLog } from '../../services/segments/segments.js';

const kills = 6;

test(`${kills} times SIGKILL: what was acknowledged is stored, in order, once`, async () => {
  const directory = mkdtempSync(join(tmpdir(), 'segments-kill-'));
  const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31));
  console.log(`SEED=${seed}`);
  let acknowledged = 0;
  try {
    for (let round = 0; round < kills; round++) {
      const child = spawn(
        process.execPath,
        ['--import', 'tsx', join(import.meta.dirname, 'appending-child.ts'), directory, String(seed + round)],
        { stdio: ['ignore', 'pipe', 'inherit'] },
      );
      const ended = once(child, 'close');
      const killAfter = 1 + ((seed >>> round) % 211);
      let lines = 0;
      for await (const line of createInterface({ input: child.stdout })) {
        // A kill may cut the last line.
        const match = /^(\d+),(\d+)$/.exec(line);
        if (match === null) continue;
        acknowledged = Math.max(acknowledged, Number(match[1]) + Number(match[2]));
        if (++lines === killAfter) child.kill('SIGKILL');
      }
      await ended;
      expect(lines).toBeGreaterThanOrEqual(killAfter);

      const log = SegmentLog.open(directory, { maxSegmentBytes: 200_000 });
      expect(log.nextIndex).toBeGreaterThanOrEqual(acknowledged);
      let index = 0;
      while (index < log.nextIndex) {
        const { records, firstIndex, nextIndex } = log.read(index, 1_000_000);
        expect(firstIndex).toBe(index);
        for (const [at, record] of records.entries()) {
          expect(record.toString('latin1', 0, 12).split(':')[0]).toBe(String(index + at));
        }
        index = nextIndex;
      }
      expect(log.damages).toEqual([]);
      log.close();
    }
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});
