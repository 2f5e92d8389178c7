import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import type { Engine } from './engine.js';

/** Where the figures are when a scrape asks for them. */
export interface MetricSources {
  readonly engine: () => Engine;
  readonly lags: () => readonly { readonly partition: number; readonly lag: number }[];
  readonly problems: () => number;
  readonly checkpointAtMs: () => number | undefined;
}

/** The detector's metrics. Rules and partitions are the operator's own, so the number of labels is bounded. */
export function detectorMetrics(registry: Registry, sources: MetricSources) {
  const registers = [registry];
  const name = (rest: string): string => `mcp_auditd_detector_${rest}`;
  const gauge = (rest: string, help: string, labelNames: string[], collect: (gauge: Gauge) => void): Gauge =>
    new Gauge({
      name: name(rest),
      help,
      labelNames,
      registers,
      collect() {
        this.reset();
        collect(this);
      },
    });
  const perRule = (rest: string, help: string, figure: 'matched' | 'late' | 'evicted' | 'groups' | 'bytes'): void => {
    gauge(rest, help, ['rule'], (each) => {
      for (const status of sources.engine().status()) each.set({ rule: status.id }, status[figure]);
    });
  };
  perRule('rule_matched', 'Events of which a selection of the rule held, since the rule was loaded.', 'matched');
  perRule('rule_late', 'Events that came too late for their window, since the rule was loaded.', 'late');
  perRule('rule_evicted_groups', 'Groups that had to go for a limit, since the rule was loaded.', 'evicted');
  perRule('rule_groups', 'Groups that are remembered.', 'groups');
  perRule('rule_state_bytes', 'Bytes of state, roughly.', 'bytes');
  gauge('rules', 'Rules in force.', [], (each) => each.set(sources.engine().status().length));
  gauge(
    'rule_file_problems',
    'Mistakes in the rule files; while there are any, the rules of before are in force.',
    [],
    (each) => each.set(sources.problems()),
  );
  gauge('lag_records', 'Calls that were not looked at yet.', ['partition'], (each) => {
    for (const { partition, lag } of sources.lags()) each.set({ partition }, lag);
  });
  gauge(
    'checkpoint_timestamp_seconds',
    'When the last checkpoint was written, seconds since the epoch.',
    [],
    (each) => {
      const atMs = sources.checkpointAtMs();
      if (atMs !== undefined) each.set(atMs / 1000);
    },
  );
  new Counter({
    name: name('records_total'),
    help: 'Records that were looked at, by what they were.',
    labelNames: ['kind'],
    registers,
    collect() {
      this.reset();
      const { records, repeated, unreadable } = sources.engine().counts;
      this.inc({ kind: 'event' }, records - repeated - unreadable);
      this.inc({ kind: 'repeated' }, repeated);
      this.inc({ kind: 'unreadable' }, unreadable);
    },
  });
  return {
    alerts: new Counter({
      name: name('alerts_total'),
      help: 'Alert records that were appended, by rule and state.',
      labelNames: ['rule', 'state'],
      registers,
    }),
    reloads: new Counter({
      name: name('reloads_total'),
      help: 'Times that changed rule files were read, by result.',
      labelNames: ['result'],
      registers,
    }),
    checkpointSeconds: new Histogram({
      name: name('checkpoint_seconds'),
      help: 'Time to write a checkpoint.',
      buckets: [0.01, 0.1, 0.5, 1, 5, 30],
      registers,
    }),
  };
}
