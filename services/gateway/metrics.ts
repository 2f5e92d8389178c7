import { Counter, Gauge, Histogram, type Registry } from 'prom-client';

/** The gateway's metrics. No label holds a name that a producer chose, so their number is bounded. */
export function gatewayMetrics(registry: Registry) {
  const registers = [registry];
  return {
    accepted: new Counter({
      name: 'mcp_auditd_gateway_accepted_total',
      help: 'Events that were made durable.',
      registers,
    }),
    rejected: new Counter({
      name: 'mcp_auditd_gateway_rejected_total',
      help: 'Lines that were refused, by code.',
      labelNames: ['code'],
      registers,
    }),
    refusedRequests: new Counter({
      name: 'mcp_auditd_gateway_refused_requests_total',
      help: 'Requests of which nothing was accepted, by code.',
      labelNames: ['code'],
      registers,
    }),
    duration: new Histogram({
      name: 'mcp_auditd_gateway_request_seconds',
      help: 'From the header of POST /v1/events to its answer.',
      buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60],
      registers,
    }),
    bytesInFlight: new Gauge({
      name: 'mcp_auditd_gateway_in_flight_bytes',
      help: 'Bytes of bodies that are held.',
      registers,
    }),
    requestsInFlight: new Gauge({
      name: 'mcp_auditd_gateway_in_flight_requests',
      help: 'Requests that are being read or appended.',
      registers,
    }),
  };
}
