import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Registry } from 'prom-client';
import { afterEach, expect, test } from 'vitest';
import { spoolMetrics } from '../../services/app/spool-metrics.js';
import { spoolStates } from '../../services/query/disk.js';

const data = mkdtempSync(join(tmpdir(), 'auditd-spools-'));
afterEach(() => rmSync(data, { recursive: true, force: true }));

function makeSpool(name: string, pid: number, bytes: number): void {
  const directory = join(data, 'spool', name);
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, 'owner.json'), JSON.stringify({ pid }).padEnd(20));
  writeFileSync(join(directory, '0.segment'), Buffer.alloc(bytes));
}

test('depth of the spools is told when it is asked for, and whose they are', async () => {
  const registry = new Registry();
  spoolMetrics(registry, data);
  const of = async (name: string) =>
    ((await registry.getMetricsAsJSON()).find((metric) => metric.name === name)?.values ?? []).map(
      ({ labels, value }) => [labels.owner, value],
    );
  expect(await of('mcp_auditd_spool_bytes')).toEqual([[undefined, 0]]);
  makeSpool('everything-1', process.pid, 100);
  // No process has this number: the greatest that Linux gives is 2^22.
  makeSpool('everything-2@released', 2 ** 22 + 1, 1000);
  expect(await of('mcp_auditd_spools')).toEqual([
    ['living', 1],
    ['orphaned', 1],
  ]);
  expect(await of('mcp_auditd_spool_bytes')).toEqual([[undefined, 1100 + 2 * 20]]);
  expect(spoolStates(data).map(({ producer_id }) => producer_id)).toEqual(['everything-1', 'everything-2']);
});
