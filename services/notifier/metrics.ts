import { Counter, Gauge, Histogram, type Registry } from 'prom-client';

/** The notifier's metrics. Labels are names of channels and words of ours, so their number is bounded. */
export function notifierMetrics(registry: Registry) {
  const registers = [registry];
  const counter = (name: string, help: string, labelNames: string[]): Counter =>
    new Counter({ name: `mcp_auditd_notifier_${name}`, help, labelNames, registers });
  return {
    alerts: counter('alerts_total', 'Records of alerts that were read.', []),
    unreadable: counter('unreadable_records_total', 'Records that are none of their topic.', ['topic']),
    evicted: counter('evicted_total', 'Alerts and silences that were forgotten because too many are held.', []),
    deliveries: counter('deliveries_total', 'Records of deliveries by channel and state.', ['channel', 'state']),
    failures: counter('failures_total', 'Failed attempts by channel and kind.', ['channel', 'kind']),
    repeated: counter(
      'possible_duplicates_total',
      'Messages sent again because nobody could tell whether they arrived.',
      ['channel'],
    ),
    templateFailures: counter('template_failures_total', 'Templates that failed, by channel and name.', [
      'channel',
      'template',
    ]),
    inHand: new Gauge({
      name: 'mcp_auditd_notifier_deliveries_in_hand',
      help: 'Deliveries that are planned and neither sent nor given up.',
      labelNames: ['channel'],
      registers,
    }),
    sendSeconds: new Histogram({
      name: 'mcp_auditd_notifier_send_seconds',
      help: 'Duration of an attempt.',
      labelNames: ['channel'],
      buckets: [0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
      registers,
    }),
  };
}

export type NotifierMetrics = ReturnType<typeof notifierMetrics>;
