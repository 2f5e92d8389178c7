import { expect, test } from 'vitest';
import { runFaults } from './rounds.js';

test('random SIGKILLs of server and daemon lose nothing and double nothing', { timeout: 180_000 }, async () => {
  const seed = Number(process.env.MCP_AUDITD_FAULT_SEED ?? Date.now() % 1_000_000);
  console.log(`seed ${seed}`);
  const report = await runFaults({ seed, rounds: 5 });
  expect(report.answered, `seed ${seed}`).toBeGreaterThan(100);
  expect({ lost: report.lost, duplicated: report.duplicated, gaps: report.gaps }, `seed ${seed}`).toEqual({
    lost: 0,
    duplicated: 0,
    gaps: 0,
  });
});
