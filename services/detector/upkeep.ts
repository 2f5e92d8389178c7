/** What is done beside the events: groups that are over go, states are weighed, and bytes in total are held. */
import type { RuleRun } from './rule-run.js';

/** Records between two looks at some groups of one rule, to weigh them and to drop what is over; and how many those are. */
const recordsPerSweep = 32;
const sweptAtOnce = 32;
/** Sweeps between two looks at the total of bytes. */
const sweepsPerCheck = 16;

export class Upkeep {
  /** Rules that have a share, in their order: of thousands of rules few. */
  readonly active: RuleRun[] = [];
  /** Index of the rule that was looked at last. */
  swept = 0;

  constructor(private readonly maxBytes: number) {}

  /** The rule has its first share. */
  begin(rule: RuleRun): void {
    const at = this.active.findIndex(({ index }) => index > rule.index);
    this.active.splice(at < 0 ? this.active.length : at, 0, rule);
  }

  /** Looks at some groups of the next rule now and then; true when all were looked at together. */
  look(records: number, clock: number): boolean {
    if (records % recordsPerSweep !== 0) return false;
    const { active, swept } = this;
    const next = active.find(({ index }) => index > swept) ?? active[0];
    if (next !== undefined) {
      this.swept = next.index;
      for (const { groups } of next.shares.values()) groups.sweep(sweptAtOnce, clock);
    }
    if (records % (recordsPerSweep * sweepsPerCheck) !== 0) return false;
    this.holdBytes(clock);
    return true;
  }

  /** Bytes of state, roughly. */
  get bytes(): number {
    let bytes = 0;
    for (const { shares } of this.active) for (const { groups } of shares.values()) bytes += groups.bytes;
    return bytes;
  }

  /** While there is too much, the largest share of all gives. */
  private holdBytes(clock: number): void {
    let { bytes } = this;
    while (bytes > this.maxBytes) {
      const [rule, share] = this.active
        .flatMap((each) => [...each.shares.values()].map((its) => [each, its] as const))
        .reduce((most, each) => (each[1].groups.bytes > most[1].groups.bytes ? each : most));
      if (share.groups.size === 0) return;
      // A twentieth at a time, so that the largest is not looked for at each group.
      const goal = share.groups.bytes * 0.95;
      const before = share.groups.evicted;
      while (share.groups.size > 0 && share.groups.bytes > goal) bytes -= share.groups.makeRoom(clock);
      rule.evicted(share.tenant, share.groups.evicted - before);
    }
  }
}
