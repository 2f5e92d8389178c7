import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { collectDefaultMetrics, Registry } from 'prom-client';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { gatewayMetrics } from '../../services/gateway/metrics.js';
import { ingestorMetrics } from '../../services/ingestor/metrics.js';
import { root } from './compose.js';

interface Dashboard {
  readonly panels: readonly { readonly title: string; readonly targets: readonly { readonly expr: string }[] }[];
}
interface Rules {
  readonly groups: readonly { readonly rules: readonly { readonly alert: string; readonly expr: string }[] }[];
}

const deploy = (path: string) => readFileSync(join(root, 'deploy', path), 'utf8');
const dashboard = JSON.parse(deploy('grafana/mcp-auditd.json')) as Dashboard;
const rules = parse(deploy('prometheus/alerts.yaml')) as Rules;

const registry = new Registry();
collectDefaultMetrics({ register: registry });
ingestorMetrics(registry);
gatewayMetrics(registry);
const known = new Set(registry.getMetricsAsArray().flatMap(({ name }) => [name, `${name}_bucket`]));
// services/app.ts makes it.
known.add('mcp_auditd_stream_events_total');

const expressions = [
  ...dashboard.panels.flatMap(({ title, targets }) => targets.map(({ expr }) => [title, expr] as const)),
  ...rules.groups.flatMap((group) => group.rules.map(({ alert, expr }) => [alert, expr] as const)),
];

test.each(expressions)('%s: %s asks for metrics that are there', (_name, expression) => {
  const names = expression.match(/\b(mcp_auditd|process)_\w+/g) ?? [];
  expect(names.length).toBeGreaterThan(0);
  for (const name of names) expect(known).toContain(name);
  // Brackets pair up.
  for (const [open, close] of ['()', '[]', '{}'])
    expect(expression.split(open!).length).toBe(expression.split(close!).length);
});

test('the metric of services/app.ts is made there', () => {
  expect(readFileSync(join(root, 'services', 'app.ts'), 'utf8')).toContain("name: 'mcp_auditd_stream_events_total'");
});
