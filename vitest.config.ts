import { relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** Take the longest (half a minute and more): begun first, so that none of them is what everything waits for at the end. */
const longest = [
  'test/docs.test.ts',
  'test/commands/demo.test.ts',
  'test/commands/commands.test.ts',
  'test/fault/cluster.test.ts',
  'test/dashboard/dashboard.test.ts',
  'test/deploy/start.test.ts',
  'test/fault/rounds.test.ts',
  'test/commands/throttles.test.ts',
  'test/commands/alerts.test.ts',
  'test/commands/rules.test.ts',
  'test/store/chdb.test.ts',
  'test/fault/throttle.test.ts',
  'test/stream/kafka-faults.test.ts',
];

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const place = ({ moduleId }: TestSpecification): number => {
      const found = longest.indexOf(relative(import.meta.dirname, moduleId));
      return found === -1 ? longest.length : found;
    };
    return (await super.sort(files)).sort((a, b) => place(a) - place(b));
  }
}

export default defineConfig({
  resolve: {
    alias: { '@mcp-auditd/emitter': fileURLToPath(new URL('./services/emitter/index.ts', import.meta.url)) },
  },
  test: {
    globalSetup: ['./test/build.ts'],
    // chDB binds one data directory to one process and dies with a worker thread: forks, never threads.
    pool: 'forks',
    maxWorkers: 2,
    sequence: { sequencer: LongestFirst },
    include: ['test/**/*.test.ts'],
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});
