import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  resolve: {
    alias: { '@mcp-auditd/emitter': fileURLToPath(new URL('./services/emitter/index.ts', import.meta.url)) },
  },
  test: {
    globalSetup: ['./test/build.ts'],
    // chDB binds one data directory to one process and dies with a worker thread: forks, never threads.
    pool: 'forks',
    maxWorkers: 2,
    include: ['test/**/*.test.ts'],
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});
