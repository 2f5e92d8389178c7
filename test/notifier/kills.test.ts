import { expect, test } from 'vitest';
import { killNotifiers } from './kills.js';

test('a notifier that is killed between the steps of a delivery loses nothing', { timeout: 180_000 }, async () => {
  const seed = Number(process.env.MCP_AUDITD_FAULT_SEED ?? Date.now() % 1_000_000);
  console.log(`seed ${seed}`);
  const { lost, duplicates, alerts } = await killNotifiers({ seed, kills: 7 });
  expect(alerts, `seed ${seed}`).toBe(7);
  expect(lost, `seed ${seed}`).toEqual([]);
  // Slack can be asked whether it has a message; the others get it again under the same id where nobody can know.
  expect(duplicates.bot, `seed ${seed}`).toBe(0);
});
