/** What a detector says of itself, in figures. */
import type { Engine } from './engine.js';
import type { Problem } from './yaml.js';

export interface DetectorStatus {
  readonly rules: number;
  /** What is wrong with the rule files now; the rules in force are those of before. */
  readonly problems: readonly Problem[];
  readonly records: number;
  readonly alerts: number;
  readonly firing: number;
  readonly late: number;
  readonly repeated: number;
  readonly unreadable: number;
  readonly evicted_groups: number;
  readonly groups: number;
  readonly state_bytes: number;
  /** Calls that were not looked at yet. */
  readonly lag: number;
  /** RFC 3339; absent before the first one. */
  readonly checkpoint_at?: string;
}

export function statusOf(
  engine: Engine,
  around: { readonly problems: readonly Problem[]; readonly lag: number; readonly checkpointAtMs: number | undefined },
): DetectorStatus {
  const rules = engine.status();
  const sum = (figure: 'firing' | 'late' | 'evicted' | 'groups' | 'bytes'): number =>
    rules.reduce((total, status) => total + status[figure], 0);
  const { records, alerts, repeated, unreadable } = engine.counts;
  const { problems, lag, checkpointAtMs } = around;
  return {
    rules: rules.length,
    problems,
    records,
    alerts,
    firing: sum('firing'),
    late: sum('late'),
    repeated,
    unreadable,
    evicted_groups: sum('evicted'),
    groups: sum('groups'),
    state_bytes: sum('bytes'),
    lag,
    ...(checkpointAtMs !== undefined && { checkpoint_at: new Date(checkpointAtMs).toISOString() }),
  };
}
