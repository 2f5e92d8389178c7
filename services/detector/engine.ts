/**
 * The engine: a pure function of records and rules. No clock, no input or output, and nothing random that changes a
 * result. Time passes by the records themselves.
 *
 * **Time.** An event's own time decides in which window it is; one that lies ahead of the stream's time of its record is
 * set back to that, and flagged. So a producer with a wrong clock moves nobody's windows. The stream's time, which only
 * rises, decides how long is waited. An event is late when its own group has seen one that is newer by more than the
 * rule's lateness: each group has a watermark of its own, so that a producer that delivers a backlog after an outage is
 * late for nobody but groups that went on without it. Late events are counted and kept out.
 *
 * **Repetitions.** An event that comes twice counts once: the ids of the newest events are remembered. An event that
 * occurred before anything that is remembered cannot be told from a repetition, and is late.
 *
 * **Limits.** Groups for each rule and tenant (`max_keys`), bytes in total (`maxBytes`), remembered ids, alerts of one
 * rule and tenant in a minute. What a limit drops is counted, and raises an alert of `mcp-auditd.limit`.
 */
import type { Alert } from '../../schemas/alert.js';
import type { Emit } from './episodes.js';
import { type EngineRecord, EventReader } from './event-reader.js';
import { batchLength, FetchAhead } from './fetch-ahead.js';
import { GroupIndex } from './group-index.js';
import { groupKey } from './group-key.js';
import { Matcher, Slots, type Wanted } from './matcher.js';
import { Memory } from './memory.js';
import type { OpenAlert } from './open-alerts.js';
import { Outlet } from './outlet.js';
import { RecentIds } from './recent-ids.js';
import type { Rule, RuleSet } from './rule.js';
import { type Moment, type RuleCounts, RuleRun } from './rule-run.js';
import type { SavedPiece } from './saved-piece.js';
import { Timers } from './timers.js';
import { atOnce } from './turns.js';
import { Upkeep } from './upkeep.js';

export interface EngineLimits {
  /** Bytes of state of all rules, as counted by each type. */
  readonly maxBytes: number;
  /** Ids that are remembered, a power of two: 32 bytes each. At 1,000 events a second 2^21 are 35 minutes. */
  readonly rememberedIds: number;
  /** Alert records of one rule and tenant in one minute of the stream's time; more are counted and left out. */
  readonly alertsPerMinute: number;
}

export const defaultEngineLimits: EngineLimits = {
  maxBytes: 512 * 1024 ** 2,
  rememberedIds: 2 ** 21,
  alertsPerMinute: 1_000,
};

export interface EngineCounts {
  records: number;
  /** No JSON objects. The ingestor keeps them as dead letters. */
  unreadable: number;
  repeated: number;
  /** Own time ahead of the stream's by more than a clock may be. */
  fromTheFuture: number;
  alerts: number;
  /** Left out because their rule had too many in one minute. */
  alertsLeftOut: number;
}

export interface RuleStatus extends RuleCounts {
  readonly id: string;
  readonly version: string;
  readonly groups: number;
  readonly bytes: number;
  readonly firing: number;
}

/** Clocks of machines that are kept differ by less; a greater difference is worth a flag. */
const clockToleranceMicros = 5e6;

export class Engine {
  readonly counts: EngineCounts = {
    records: 0,
    unreadable: 0,
    repeated: 0,
    fromTheFuture: 0,
    alerts: 0,
    alertsLeftOut: 0,
  };
  private readonly rules: RuleRun[] = [];
  private matcher!: Matcher;
  /** One for each record of a batch; `reader` is that of the record in hand. */
  private readers!: readonly EventReader[];
  private reader!: EventReader;
  private readonly moment: Moment;
  private readonly indexes = new Map<string, GroupIndex>();
  private readonly timers = new Timers();
  private readonly slots = new Slots();
  private ids: RecentIds;
  private readonly outlet: Outlet;
  private readonly upkeep: Upkeep;
  /** Of each record of the batch: whether it is an event. */
  private readonly readable: boolean[] = new Array(batchLength).fill(false);
  private ahead!: FetchAhead;
  /** The stream's time. */
  clock = Number.NEGATIVE_INFINITY;

  /** An engine in steps: for rules by the thousand the constructor takes a while. */
  static *making(
    ruleSet: RuleSet,
    emit: (alert: Alert) => void,
    limits: Partial<EngineLimits> = {},
  ): Generator<void, Engine> {
    const engine = new Engine(ruleSet, emit, limits, false);
    yield* engine.prepare();
    return engine;
  }

  /**
   * @param emit Called with each alert, in order.
   * @param isReady False: of no use before `prepare` has ended.
   */
  constructor(
    readonly ruleSet: RuleSet,
    emit: (alert: Alert) => void,
    limits: Partial<EngineLimits> = {},
    isReady = true,
  ) {
    const { maxBytes, rememberedIds, alertsPerMinute } = { ...defaultEngineLimits, ...limits };
    this.ids = new RecentIds(rememberedIds);
    this.outlet = new Outlet(emit, this.counts, this.timers, alertsPerMinute);
    this.upkeep = new Upkeep(maxBytes);
    const id = (): string => this.reader.eventId || this.reader.position;
    this.moment = {
      time: 0,
      recorded: 0,
      forgottenThrough: 0,
      flags: noFlags,
      get eventId() {
        return id();
      },
    };
    if (isReady) atOnce(this.prepare());
  }

  private *prepare(): Generator<void> {
    const { slots, rules, ruleSet } = this;
    const around = {
      timers: this.timers,
      memory: new Memory(),
      slots,
      moment: this.moment,
      indexOf: (tenant: string, fields: string) => this.indexOf(tenant, fields),
      began: (rule: RuleRun) => this.upkeep.begin(rule),
      emit: ({ rule }: RuleRun, tenant: string, ...[state, make]: Parameters<Emit>) =>
        this.outlet.alert(rule.id, tenant, state, make, this.clock),
      limited: ({ rule }: RuleRun, tenant: string, limit: string, count: number) =>
        this.outlet.limited(rule.id, tenant, limit, count, this.clock),
    };
    const wanted: Wanted[] = [];
    for (const rule of ruleSet.rules) {
      if (!rule.enabled) continue;
      const index = rules.length;
      rules.push(new RuleRun(rule, index, around));
      for (const [role, { expression }] of rule.roles.entries()) wanted.push({ rule: index, role, expression });
      yield;
    }
    // The fields that a rule groups by have their number by now.
    this.matcher = yield* Matcher.making(wanted, rules.length, slots, ruleSet.calendars);
    this.readers = Array.from({ length: batchLength }, () => new EventReader(slots.fields, this.matcher.fieldValues));
    this.reader = this.readers[0] as EventReader;
    this.ahead = new FetchAhead(this.readers);
  }

  /**
   * Takes records in order, as `take` does one by one, and cheaper: what is known of their groups lies far apart in
   * memory, and is asked for all records together before the first one needs it, so that the waits overlap.
   */
  takeAll(records: readonly EngineRecord[]): void {
    const { readers } = this;
    for (let from = 0; from < records.length; from += batchLength) {
      const count = Math.min(batchLength, records.length - from);
      for (let at = 0; at < count; at++)
        this.readable[at] = (readers[at] as EventReader).read(records[from + at] as EngineRecord);
      this.ahead.ids(this.ids, count, this.readable);
      this.ahead.groups(count, this.readable);
      for (let at = 0; at < count; at++) this.takeRead(records[from + at] as EngineRecord, at);
    }
  }

  /** Takes the next record of the stream. */
  take(record: EngineRecord): void {
    this.readable[0] = (this.readers[0] as EventReader).read(record);
    this.takeRead(record, 0);
  }

  private takeRead(record: EngineRecord, at: number): void {
    this.counts.records++;
    this.passTime(record.recordedAtMicros);
    if (this.upkeep.look(this.counts.records, this.clock)) this.ahead.choose(this.upkeep.active, this.counts.records);
    const { matcher } = this;
    const reader = this.readers[at] as EventReader;
    this.reader = reader;
    if (!this.readable[at]) {
      this.counts.unreadable++;
      return;
    }
    const { tenant } = reader;
    // Without an id it cannot be known again.
    if (reader.hasId && !this.ids.see(reader.idWords, tenant, record.recordedAtMicros)) {
      this.counts.repeated++;
      return;
    }
    const future = reader.aheadMicros > clockToleranceMicros;
    if (future) this.counts.fromTheFuture++;
    matcher.match(reader);
    const { matched, roles, count } = matcher;
    if (count === 0) return;
    const { moment } = this;
    moment.time = reader.timeMicros;
    moment.recorded = this.clock;
    moment.forgottenThrough = this.ids.forgottenThrough;
    moment.flags = future ? futureFlags : noFlags;
    for (let at = 0; at < count; at++) {
      const index = matched[at] as number;
      (this.rules[index] as RuleRun).event(tenant, roles[index] as number, reader);
    }
  }

  /** The stream's time is at least this, as a record of another topic or of an idle partition says. Microseconds. */
  passTime(clock: number): void {
    if (clock <= this.clock) return;
    while (this.timers.next <= clock) {
      const { at, rule, tenant, key, of } = this.timers.take() as NonNullable<ReturnType<Timers['take']>>;
      this.clock = Math.max(this.clock, at);
      if (rule >= 0) (this.rules[rule] as RuleRun).due(tenant, key, of, this.clock);
      else this.outlet.due(tenant, key, this.clock);
    }
    this.clock = clock;
  }

  private indexOf(tenant: string, fields: string): GroupIndex {
    const key = groupKey([fields, tenant]);
    const index = this.indexes.get(key) ?? new GroupIndex();
    this.indexes.set(key, index);
    return index;
  }

  /** Bytes of state, roughly. */
  get bytes(): number {
    return this.upkeep.bytes;
  }

  /** How each rule stands. */
  status(): RuleStatus[] {
    return this.rules.map(({ rule, counts, shares }) => {
      let groups = 0;
      let bytes = 0;
      let firing = 0;
      for (const share of shares.values()) {
        groups += share.groups.size;
        bytes += share.groups.bytes;
        firing += share.episodes.size;
      }
      return { id: rule.id, version: rule.version, ...counts, groups, bytes, firing };
    });
  }

  /** Columns of the table `calls` that the rules look at. */
  get columns(): string[] {
    const roots = this.slots.fields.map(({ root }) => root);
    return [...new Set(roots)].filter((root) => root !== 'ahead_ms' && root !== 'late_ms');
  }

  /** How long each rule remembers a group, in microseconds of the stream's time. */
  memories(): { readonly rule: Rule; readonly keepMicros: number }[] {
    return this.rules.map(({ rule, keepMicros }) => ({ rule, keepMicros }));
  }

  /** Lets go of all open alerts without a word. */
  forgetEpisodes(): void {
    for (const { shares } of this.rules) for (const { episodes } of shares.values()) episodes.clear();
    this.outlet.forgetEpisodes();
  }

  /** Goes on with the alerts that another engine has told, and lets go of all others without a word. */
  goOn(told: readonly OpenAlert[]): void {
    this.outlet.forgetEpisodes();
    const byRule = new Map<string, OpenAlert[]>();
    for (const alert of told) {
      const some = byRule.get(alert.ruleId);
      if (some === undefined) byRule.set(alert.ruleId, [alert]);
      else some.push(alert);
    }
    for (const run of this.rules) {
      const byTenant = new Map([...run.shares.keys()].map((tenant) => [tenant, new Map<string, OpenAlert>()]));
      for (const alert of byRule.get(run.rule.id) ?? [])
        byTenant.set(alert.tenant, (byTenant.get(alert.tenant) ?? new Map()).set(alert.key, alert));
      for (const [tenant, alerts] of byTenant) run.share(tenant).episodes.goOn(alerts);
    }
  }

  /**
   * The whole state in pieces that `structuredClone` takes. Nothing may be taken in before the last piece was read.
   * @param withIds Without them `ids` is undefined.
   */
  *save(withIds = true): Generator<SavedPiece> {
    yield {
      of: 'engine',
      rules: this.rules.map(({ rule }) => [rule.id, rule.version] as const),
      clock: this.clock,
      swept: this.upkeep.swept,
      records: this.counts.records,
      ids: withIds ? this.ids.save() : undefined,
      ...this.outlet.save(),
    };
    for (const { rule, shares } of this.rules) {
      for (const { tenant, groups, episodes, watchedSince } of shares.values()) {
        yield {
          of: 'share',
          id: rule.id,
          version: rule.version,
          tenant,
          watchedSince,
          groups: groups.save(),
          episodes: episodes.save(),
        };
        for (let from = 0; from < groups.size; from += groupsPerPiece) {
          const until = Math.min(groups.size, from + groupsPerPiece);
          const saved = [];
          for (let place = from; place < until; place++) saved.push(groups.saveGroup(place));
          yield { of: 'groups', saved };
        }
      }
    }
  }

  /** Takes over the groups of another engine's rules, as `load` does, and nothing else of it. In steps. */
  *adopting(other: Engine): Generator<void> {
    const shares = function* (): Generator<SavedPiece> {
      for (const piece of other.save(false)) if (piece.of !== 'engine') yield piece;
    };
    yield* this.loading(shares());
  }

  /** Takes over what another engine knows, which is not used any more. In steps; returns what `load` returns. */
  *succeeding(other: Engine): Generator<void, Set<string>> {
    this.ids = other.ids;
    Object.assign(this.counts, other.counts);
    return yield* this.loading(other.save(false));
  }

  /**
   * Takes in what `save` of an engine gave, for the rules that this engine has in the same version; the others begin anew.
   * Returns the ids of the rules that found their state.
   */
  load(pieces: Iterable<SavedPiece>): Set<string> {
    return atOnce(this.loading(pieces));
  }

  private *loading(pieces: Iterable<SavedPiece>): Generator<void, Set<string>> {
    const found = new Set<string>();
    const byId = new Map(this.rules.map((each) => [each.rule.id, each]));
    let current: RuleRun['shares'] extends Map<string, infer S> ? S | undefined : never;
    for (const piece of pieces) {
      if (piece.of === 'engine') {
        for (const [id, version] of piece.rules) if (byId.get(id)?.rule.version === version) found.add(id);
        this.clock = piece.clock;
        this.upkeep.swept = piece.swept % Math.max(1, this.rules.length);
        this.counts.records = piece.records;
        this.outlet.load(piece);
        if (piece.ids !== undefined) this.ids.load(piece.ids);
      } else if (piece.of === 'share') {
        const run = byId.get(piece.id);
        current = run?.rule.version === piece.version ? run.share(piece.tenant) : undefined;
        if (current === undefined) continue;
        current.watchedSince = piece.watchedSince;
        current.groups.load(piece.groups);
        current.episodes.load(piece.episodes);
      } else if (current !== undefined) for (const group of piece.saved) current.groups.loadGroup(group);
      yield;
    }
    this.timers.clear();
    for (const rule of this.rules) yield* rule.setTimers();
    this.outlet.setTimers();
    return found;
  }
}

/** Groups in one piece of a saved state: about 100 KB. */
const groupsPerPiece = 512;

const noFlags: readonly string[] = [];
const futureFlags: readonly string[] = ['future_time'];
