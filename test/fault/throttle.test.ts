import { expect, test } from 'vitest';
import { killThrottle } from './throttle.js';

test('SIGKILLs of daemon and emitter lose no signal, and none outlives its end', { timeout: 180_000 }, async () => {
  const seed = Number(process.env.MCP_AUDITD_FAULT_SEED ?? Date.now() % 1_000_000);
  console.log(`seed ${seed}`);
  const { throttles, lost, duplicated, gaps, faults } = await killThrottle({ seed, rounds: 4 });
  expect(throttles, `seed ${seed}`).toBeGreaterThan(2);
  expect({ lost, duplicated, gaps, faults }, `seed ${seed}`).toEqual({ lost: 0, duplicated: 0, gaps: 0, faults: [] });
});
