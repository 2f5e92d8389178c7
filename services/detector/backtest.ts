/** Rules over stored history: the engine that runs live, told nothing but the records, and what it would have alerted on. */
import type { Alert } from '../../schemas/alert.js';
import { parseTimeMicros } from '../../schemas/time.js';
import { Engine } from './engine.js';
import { selectionSql } from './evidence.js';
import { type Ask, readHistory } from './history.js';
import { handLimits } from './replay.js';
import type { RuleSet } from './rule.js';

export interface BacktestRequest {
  readonly rules: RuleSet;
  /** Other rules over the same records, to compare. */
  readonly against?: RuleSet;
  /** The stream's time, microseconds. Alerts count from here, */
  readonly fromMicros: number;
  /** up to here, exclusive. */
  readonly untilMicros: number;
  /** Records before `fromMicros` that are read so that the rules know what they would have known. */
  readonly warmupMicros: number;
  readonly onAlert?: (alert: Alert) => void;
  readonly progress?: (read: number, total: number) => void;
}

export interface KeyCount {
  readonly rule: string;
  readonly tenant: string;
  readonly group: Readonly<Record<string, string>>;
  readonly alerts: number;
}

export interface RuleTally {
  readonly id: string;
  readonly version: string;
  readonly alerts: number;
  readonly keys: number;
  /** Events of which a selection held, the warm-up included. */
  readonly matched: number;
  readonly first: string | undefined;
  readonly last: string | undefined;
  /** Alerts that began in each of `slices` equal parts of the time. */
  readonly histogram: readonly number[];
  /** Against the other rules: alerts that only this one, or only the other one, would have begun. */
  readonly onlyHere?: number;
  readonly onlyThere?: number;
}

export interface BacktestResult {
  readonly events: number;
  readonly seconds: number;
  readonly rules: readonly RuleTally[];
  readonly noisiest: readonly KeyCount[];
  /** Rules of the other set that this one has not. */
  readonly missing: readonly { readonly id: string; readonly alerts: number }[];
}

/** Parts of the time in a histogram: a line of a terminal. */
export const slices = 48;
/** Keys that are counted one by one: at about 200 bytes, 20 MB. */
const mostKeys = 100_000;
const mostNoisy = 10;
/** Longest condition that is sent to the store; beyond it every record is read. */
const longestWhere = 32_768;
/** Alerts of each side that are compared one by one: at about 200 bytes, 200 MB. */
const mostCompared = 1_000_000;

class Tally {
  readonly rules = new Map<
    string,
    { alerts: number; first: string; last: string; histogram: number[]; keys: Set<string> }
  >();
  readonly keys = new Map<string, { rule: string; tenant: string; group: Alert['group']; alerts: number }>();
  /** Identity of each alert but for the version of its rule, by rule. */
  readonly begun = new Map<string, Set<string>>();
  private compared = 0;

  constructor(
    private readonly fromMicros: number,
    private readonly untilMicros: number,
  ) {}

  add({ rule_id: id, state, started_at: start, tenant, group }: Alert): void {
    if (state !== 'firing') return;
    let rule = this.rules.get(id);
    if (rule === undefined) {
      rule = { alerts: 0, first: start, last: start, histogram: new Array<number>(slices).fill(0), keys: new Set() };
      this.rules.set(id, rule);
    }
    rule.alerts++;
    if (start < rule.first) rule.first = start;
    if (start > rule.last) rule.last = start;
    const share = (parseTimeMicros(start) - this.fromMicros) / (this.untilMicros - this.fromMicros);
    const slice = Math.min(slices - 1, Math.max(0, Math.floor(share * slices)));
    (rule.histogram[slice] as number)++;
    const name = JSON.stringify([id, tenant, group]);
    const key = this.keys.get(name);
    if (key !== undefined) key.alerts++;
    else if (this.keys.size < mostKeys) this.keys.set(name, { rule: id, tenant, group, alerts: 1 });
    if (rule.keys.size < mostKeys) rule.keys.add(name);
    if (this.compared >= mostCompared) return;
    this.compared++;
    const begun = this.begun.get(id) ?? new Set();
    begun.add(`${name} ${start}`);
    this.begun.set(id, begun);
  }
}

/** Alerts of rules over what is stored. Rules that are not enabled are left out, as live. */
export async function backtest(ask: Ask, request: BacktestRequest): Promise<BacktestResult> {
  const { rules, against, fromMicros, untilMicros, warmupMicros } = request;
  const started = performance.now();
  const sides = [rules, ...(against === undefined ? [] : [against])].map((set, index) => {
    const tally = new Tally(fromMicros, untilMicros);
    let warm = false;
    const engine = new Engine(
      set,
      (alert) => {
        if (!warm) return;
        tally.add(alert);
        if (index === 0) request.onAlert?.(alert);
      },
      handLimits,
    );
    return { engine, tally, begin: () => (warm = true) };
  });
  const begin = (): void => {
    for (const side of sides) {
      side.engine.forgetEpisodes();
      side.begin();
    }
  };
  const columns = new Set(sides.flatMap(({ engine }) => engine.columns));
  const where = whereOf([rules, ...(against === undefined ? [] : [against])]);
  const range = { fromMicros: fromMicros - warmupMicros, untilMicros, ...(where !== undefined && { where }) };
  let events = 0;
  let begun = false;
  for await (const records of readHistory(ask, range, columns, request.progress)) {
    for (const record of records) {
      if (!begun && record.recordedAtMicros >= fromMicros) {
        begin();
        begun = true;
      }
      for (const { engine } of sides) engine.take(record);
    }
    events += records.length;
  }
  if (!begun) begin();
  for (const { engine } of sides) engine.passTime(untilMicros);
  return { events, seconds: (performance.now() - started) / 1000, ...summary(sides) };
}

/** What any of the rules selects; undefined when every record is needed. */
function whereOf(sets: readonly RuleSet[]): string | undefined {
  const roles = sets.flatMap(({ rules }) => rules.filter(({ enabled }) => enabled).flatMap((rule) => rule.roles));
  const where = selectionSql(roles.map(({ expression }) => expression));
  return where === undefined || where.length > longestWhere ? undefined : where;
}

function summary(
  sides: readonly { engine: Engine; tally: Tally }[],
): Pick<BacktestResult, 'rules' | 'noisiest' | 'missing'> {
  const [{ engine, tally }, other] = sides as [{ engine: Engine; tally: Tally }, { engine: Engine; tally: Tally }?];
  const statuses = engine.status();
  const rules = statuses.map(({ id, version, matched }): RuleTally => {
    const found = tally.rules.get(id);
    const here = tally.begun.get(id) ?? new Set<string>();
    const there = other?.tally.begun.get(id) ?? new Set<string>();
    return {
      id,
      version,
      matched,
      alerts: found?.alerts ?? 0,
      keys: found?.keys.size ?? 0,
      first: found?.first,
      last: found?.last,
      histogram: found?.histogram ?? new Array<number>(slices).fill(0),
      ...(other !== undefined && {
        onlyHere: [...here].filter((each) => !there.has(each)).length,
        onlyThere: [...there].filter((each) => !here.has(each)).length,
      }),
    };
  });
  const known = new Set(statuses.map(({ id }) => id));
  const missing = (other?.engine.status() ?? [])
    .filter(({ id }) => !known.has(id))
    .map(({ id }) => ({ id, alerts: other?.tally.rules.get(id)?.alerts ?? 0 }));
  const noisiest = [...tally.keys.values()].sort((left, right) => right.alerts - left.alerts).slice(0, mostNoisy);
  return { rules, noisiest, missing };
}
