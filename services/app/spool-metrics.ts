import { Gauge, type Registry } from 'prom-client';
import { spoolStates } from '../query/disk.js';

/** Spools of the emitters that share this process's data directory, looked at when the metrics are asked for. */
export function spoolMetrics(registry: Registry, data: string): void {
  const registers = [registry];
  new Gauge({
    name: 'mcp_auditd_spools',
    help: 'Spools of emitters on this machine: living (their process delivers them) and orphaned (the daemon does).',
    labelNames: ['owner'],
    registers,
    collect() {
      const spools = spoolStates(data);
      const living = spools.filter(({ pid }) => pid !== null).length;
      this.set({ owner: 'living' }, living);
      this.set({ owner: 'orphaned' }, spools.length - living);
    },
  });
  new Gauge({
    name: 'mcp_auditd_spool_bytes',
    help: 'Bytes of those spools: what waits for delivery, and for each spool at most one file of delivered events more.',
    registers,
    collect() {
      this.set(spoolStates(data).reduce((sum, { bytes }) => sum + bytes, 0));
    },
  });
}
