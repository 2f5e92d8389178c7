import { execFileSync } from 'node:child_process';
import { readFileSync, readlinkSync } from 'node:fs';
import { hostname } from 'node:os';

/** Which process this is, so that another one can tell whether it still lives although pids are given out again. */
export interface ProcessIdentity {
  readonly pid: number;
  /** Linux: clock ticks since boot (`/proc/<pid>/stat`, field 22); elsewhere milliseconds since the epoch. */
  readonly process_start: string;
  /** Linux: the kernel's boot id; elsewhere the machine's name. */
  readonly boot_id: string;
  /** Linux: inode of the pid namespace; elsewhere empty. */
  readonly pid_namespace: string;
}

let own: ProcessIdentity | undefined;

/** This process's identity; read once. */
export function ownIdentity(): ProcessIdentity {
  own ??= {
    pid: process.pid,
    process_start: linuxStart('self') ?? String(Math.round(Date.now() - process.uptime() * 1000)),
    boot_id: attempt(() => readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim()) ?? hostname(),
    pid_namespace: attempt(() => /\d+/.exec(readlinkSync('/proc/self/ns/pid'))?.[0]) ?? '',
  };
  return own;
}

/** `ps` tells whole seconds, and our own start is computed from the uptime. */
const startToleranceMs = 3000;

/**
 * Whether a process lives. `elsewhere`: it ran under another boot or in another pid namespace (a container, another
 * machine on a shared disk), and only its heartbeat can tell.
 */
export function lifeOf(identity: ProcessIdentity): 'alive' | 'dead' | 'elsewhere' {
  const self = ownIdentity();
  if (identity.boot_id !== self.boot_id || identity.pid_namespace !== self.pid_namespace) return 'elsewhere';
  if (self.pid_namespace !== '') {
    return linuxStart(String(identity.pid)) === identity.process_start ? 'alive' : 'dead';
  }
  try {
    process.kill(identity.pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return 'dead';
  }
  const started = attempt(() =>
    Date.parse(execFileSync('ps', ['-o', 'lstart=', '-p', String(identity.pid)], { encoding: 'latin1' })),
  );
  // Without an answer of ps the pid alone decides: a spool that is adopted late is better than one taken away.
  if (started === undefined || Number.isNaN(started)) return 'alive';
  return Math.abs(started - Number(identity.process_start)) <= startToleranceMs ? 'alive' : 'dead';
}

/** Start time of a running process. A zombie has ended, although its entry is still there. */
function linuxStart(pid: string): string | undefined {
  const stat = attempt(() => readFileSync(`/proc/${pid}/stat`, 'latin1'));
  if (stat === undefined) return undefined;
  // The program's name, in parentheses, may hold spaces and parentheses of its own.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields[0] === 'Z' || fields[0] === 'X' ? undefined : fields[19];
}

function attempt<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
