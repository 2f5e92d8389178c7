import { Counter, Gauge, Histogram, type Registry } from 'prom-client';

/** The lag of one partition. */
export interface PartitionLag {
  readonly topic: string;
  readonly partition: number;
  readonly lag: number;
}

/** The ingestor's metrics. Labels are topics, partitions and codes of ours, so their number is bounded. */
export function ingestorMetrics(registry: Registry, lags: () => readonly PartitionLag[] = () => []) {
  const registers = [registry];
  const counter = (name: string, help: string, labelNames: string[]): Counter =>
    new Counter({ name: `mcp_auditd_ingestor_${name}`, help, labelNames, registers });
  const gauge = (name: string, help: string): Gauge =>
    new Gauge({ name: `mcp_auditd_ingestor_${name}`, help, labelNames: ['topic', 'partition'], registers });
  return {
    records: counter('records_total', 'Records that were read from the stream.', ['topic']),
    rows: counter('rows_total', 'Rows that were stored and verified.', ['topic']),
    duplicates: counter('duplicates_total', 'Repeated deliveries that were not stored again.', ['topic']),
    deadLetters: counter('dead_letters_total', 'Records that were sent to the dead topic, by reason.', ['reason']),
    retries: counter('retries_total', 'Attempts that failed and are made again, by step.', ['step']),
    asked: counter('ids_asked_total', 'Event ids that memory could not decide and the table was asked for.', []),
    batchRows: new Histogram({
      name: 'mcp_auditd_ingestor_batch_rows',
      help: 'Rows of a stored block.',
      labelNames: ['topic'],
      buckets: [1, 10, 100, 1_000, 5_000, 10_000, 20_000, 50_000],
      registers,
    }),
    insertSeconds: new Histogram({
      name: 'mcp_auditd_ingestor_insert_seconds',
      help: 'Time to store and verify a block.',
      labelNames: ['topic'],
      buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60],
      registers,
    }),
    lag: new Gauge({
      name: 'mcp_auditd_ingestor_lag_records',
      help: 'Records of the partitions of this process that are not stored yet.',
      labelNames: ['topic', 'partition'],
      registers,
      collect() {
        // Partitions that are another process's by now must not be told here any more.
        this.reset();
        for (const { topic, partition, lag } of lags()) this.set({ topic, partition }, lag);
      },
    }),
    lastProgress: gauge('last_progress_timestamp_seconds', 'When the partition last went on, seconds since the epoch.'),
  };
}

export type IngestorMetrics = ReturnType<typeof ingestorMetrics>;
