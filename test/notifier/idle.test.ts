import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Registry } from 'prom-client';
import { expect, test } from 'vitest';
import { notifierSection } from '../../schemas/notification.js';
import { startNotifier } from '../../services/notifier/notifier.js';
import { openLocalStream } from '../../services/stream/local.js';

test('without a channel the notifier reads nothing, and stays ready for ever', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'mcp-auditd-notifier-'));
  const stream = openLocalStream({ directory, durability: 'kernel' });
  let now = Date.now();
  const notifier = await startNotifier({
    stream,
    section: notifierSection.parse({}),
    secrets: { directory, environment: {} },
    metrics: new Registry(),
    shared: false,
    onFault: (error) => {
      throw error;
    },
    clock: () => now,
  });
  expect(notifier.health()).toEqual({ state: 'ready' });
  now += 3_600_000;
  expect(notifier.health()).toEqual({ state: 'ready' });
  await notifier.close();
  await stream.close();
  rmSync(directory, { recursive: true, force: true });
});
