import { Counter, type Registry } from 'prom-client';

export interface ThrottlerMetrics {
  readonly written: Counter<'state' | 'origin'>;
  readonly foreign: Counter;
}

export function throttlerMetrics(register: Registry): ThrottlerMetrics {
  return {
    written: new Counter({
      name: 'mcp_auditd_throttler_signals_total',
      help: 'Throttle signals written, by state and origin.',
      labelNames: ['state', 'origin'],
      registers: [register],
    }),
    foreign: new Counter({
      name: 'mcp_auditd_throttler_foreign_signals_total',
      help: 'Records on the topic throttle that are no signal of ours: malformed, or signed by nobody we know.',
      registers: [register],
    }),
  };
}
