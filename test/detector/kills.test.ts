import { expect, test } from 'vitest';
import { killDetectors } from './kills.js';

// 100 kills: npm run faults -- --detector
test('SIGKILL at random moments: the alerts are those of a process that was never killed', async () => {
  const seed = Number(process.env.SEED ?? Date.now() % 1_000_000);
  console.log(`seed ${seed}`);
  const report = await killDetectors({ seed, kills: 5, records: 20_000 });
  expect(report.faults).toEqual([]);
  expect(report.alerts).toBeGreaterThan(100);
  expect(report).toMatchObject({ missing: [], unexpected: [], different: [] });
}, 180_000);
