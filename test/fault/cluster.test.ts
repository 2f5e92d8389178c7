import { expect, test } from 'vitest';
import { namedBrokers } from '../kafka/broker.js';
import { type ClusterFault, runClusterFaults } from './cluster.js';
import { runStoreAway } from './cluster-away.js';

/** One of each kind that differs; `npm run faults -- --cluster` draws from all of them. */
const only: ClusterFault[] = [
  'ingestor_killed',
  'store_fails',
  'ingestor_frozen',
  'gateway_killed',
  'store_killed',
  'broker_killed',
];

const named = namedBrokers() !== undefined;

test.skipIf(named)(
  'roles, broker and store killed, frozen and failing lose nothing and double nothing (skipped with KAFKA_BROKERS: it kills the broker)',
  { timeout: 240_000 },
  async () => {
    const seed = Number(process.env.MCP_AUDITD_FAULT_SEED ?? Date.now() % 1_000_000);
    console.log(`seed ${seed}`);
    const said: string[] = [];
    const report = await runClusterFaults({ seed, rounds: only.length, only, progress: (line) => said.push(line) });
    const what = `seed ${seed}\n${said.join('\n')}`;
    expect(report.acknowledged, what).toBeGreaterThan(500);
    expect({ lost: report.lost, duplicated: report.duplicated, gaps: report.gaps }, what).toEqual({
      lost: 0,
      duplicated: 0,
      gaps: 0,
    });
  },
);

test.skipIf(named)(
  'a store that is away: nothing is lost, the lag is told, memory stays flat, and all is caught up with (skipped with KAFKA_BROKERS)',
  { timeout: 180_000 },
  async () => {
    const away = await runStoreAway({ awayMs: 6_000, callsPerSecond: 800 });
    expect(away).toMatchObject({ lost: 0, duplicated: 0, gaps: 0 });
    expect(away.lag).toBeGreaterThan(1_000);
    // What both hold of the stream is bounded; a process that is busy for the first time takes some memory anyway.
    expect(away.memoryHighestMiB - away.memoryBeforeMiB).toBeLessThan(200);
  },
);
