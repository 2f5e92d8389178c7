/**
 * What is known of the groups of a batch's events, brought near before the first of them is taken. With 10,000 groups and
 * more it lies far apart in memory, each level of it behind the one before: value, group, numbers, state, events. Taken
 * one by one, every event waits for each level; asked for in a row, the waits of a level overlap. It only reads: what
 * happens with the events does not depend on it.
 */
import type { EventReader } from './event-reader.js';
import type { KnownValue } from './field-values.js';
import type { RecentIds } from './recent-ids.js';
import type { RuleRun } from './rule-run.js';

/** Records that are read before the first of them is taken. */
export const batchLength = 16;
/** Rules whose groups are fetched: each of them looks at a tenth of the events at least. */
const mostBusy = 8;
const busyShare = 0.1;

export class FetchAhead {
  private readonly values: (KnownValue | undefined)[] = new Array(batchLength).fill(undefined);
  private readonly states: unknown[] = new Array(batchLength).fill(undefined);
  /** By the field that names their groups, the rules that most events are for. */
  private busy: readonly (readonly [slot: number, runs: readonly RuleRun[]])[] = [];
  /** Of what was read only to have it near, so that reading is not left out. */
  private fetched = 0;

  constructor(private readonly readers: readonly EventReader[]) {}

  /** Chooses the rules that are worth it, from what they saw so far. */
  choose(rules: readonly RuleRun[], records: number): void {
    const bySlot = new Map<number, RuleRun[]>();
    const busy = rules.filter(
      ({ counts, groupSlot }) => counts.matched > records * busyShare && groupSlot !== undefined,
    );
    for (const run of busy.slice(0, mostBusy)) {
      const slot = run.groupSlot as number;
      bySlot.set(slot, [...(bySlot.get(slot) ?? []), run]);
    }
    this.busy = [...bySlot];
  }

  /** The places of the events' ids among those that are remembered. */
  ids(ids: RecentIds, count: number, readable: readonly boolean[]): void {
    for (let at = 0; at < count; at++) {
      const reader = this.readers[at] as EventReader;
      if (readable[at] && reader.hasId) ids.fetch(reader.idWords, reader.tenant);
    }
  }

  groups(count: number, readable: readonly boolean[]): void {
    const { readers, values, states } = this;
    for (const [slot, runs] of this.busy) {
      for (let at = 0; at < count; at++)
        values[at] = readable[at] ? (readers[at] as EventReader).fetch(slot) : undefined;
      for (let at = 0; at < count; at++) this.fetched ^= values[at]?.group?.size ?? 0;
      for (const run of runs) {
        for (let at = 0; at < count; at++) {
          const group = values[at]?.group;
          states[at] = group === undefined ? undefined : run.fetchState(group);
        }
        for (let at = 0; at < count; at++) {
          const state = states[at];
          if (state !== undefined) this.fetched += run.fetchEvents(state);
        }
      }
    }
  }
}
