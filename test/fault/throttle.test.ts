import { expect, test } from 'vitest';
import { startBroker } from '../kafka/broker.js';
import { killThrottle } from './throttle.js';
import { killThrottleCluster } from './throttle-cluster.js';

const seed = Number(process.env.MCP_AUDITD_FAULT_SEED ?? Date.now() % 1_000_000);

test('SIGKILLs of daemon and emitter lose no signal, and none outlives its end', { timeout: 180_000 }, async () => {
  console.log(`seed ${seed}`);
  const { throttles, lost, duplicated, gaps, faults } = await killThrottle({ seed, rounds: 2 });
  expect(throttles, `seed ${seed}`).toBeGreaterThan(1);
  expect({ lost, duplicated, gaps, faults }, `seed ${seed}`).toEqual({ lost: 0, duplicated: 0, gaps: 0, faults: [] });
});

test('SIGKILLs of throttler, gateway and emitter on Kafka lose no signal, none outlives its end, none is applied twice', {
  timeout: 240_000,
}, async () => {
  const broker = await startBroker();
  const said: string[] = [];
  try {
    const { refused, lost, outlived, twice, gaps, faults } = await killThrottleCluster({
      seed,
      rounds: 2,
      brokers: broker.brokers,
      kill: ['throttler', 'gateway', 'emitter'],
      progress: (line) => said.push(line),
    });
    const what = `seed ${seed}\n${said.join('\n')}`;
    expect(refused, what).toBeGreaterThan(1);
    expect({ lost, outlived, twice, gaps, faults }, what).toEqual({
      lost: 0,
      outlived: 0,
      twice: 0,
      gaps: 0,
      faults: [],
    });
  } finally {
    await broker.stop();
  }
});
