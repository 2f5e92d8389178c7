/** Rules as the dashboard shows them. What a rule is, its tests and its backtest are the detector's: they are handed in. */
import type { Level } from '../../../schemas/alert.js';
import { AuditdError } from '../../../schemas/errors.js';
import { tenantSeen } from '../../access/keys.js';
import { backtestAnswer, backtestQuery, fullRule, ruleList } from './contract.js';
import { type AskRows, type Route, route } from './routes.js';

/** A rule in force, as far as people are shown. */
export interface RuleView {
  readonly id: string;
  readonly title: string;
  readonly description: string;
  readonly type: string;
  readonly level: Level;
  readonly enabled: boolean;
  readonly dry_run: boolean;
  readonly version: string;
  readonly tags: readonly string[];
  readonly references: readonly string[];
  readonly runbook: string;
  readonly watches: string;
  readonly window_ms: number | null;
  readonly threshold: number | null;
  /** What it measures of the calls in its window, and the SQL of what is measured of one; null: nothing that can be drawn. */
  readonly measure: { readonly how: 'count' | 'distinct' | 'sum' | 'share'; readonly of: string } | null;
  readonly file: string;
  readonly line: number;
  readonly source: string;
  readonly test_results: readonly { readonly name: string; readonly failures: readonly string[] }[];
}

export interface BacktestFigures {
  readonly events: number;
  readonly seconds: number;
  readonly alerts: number;
  readonly keys: number;
  readonly matched: number;
  readonly histogram: readonly number[];
  readonly noisiest: readonly { readonly group: Readonly<Record<string, string>>; readonly alerts: number }[];
}

export interface RuleBook {
  rules(): Promise<readonly RuleView[]>;
  /** Mistakes in the files, in words. */
  problems(): Promise<readonly string[]>;
  backtest(id: string, fromMs: number, toMs: number): Promise<BacktestFigures>;
}

const dayMs = 86_400_000;

interface Fired {
  readonly rule_id: string;
  readonly alerts: number;
  readonly firing: number;
  readonly last_at: string;
}

async function firedOf(ask: AskRows): Promise<ReadonlyMap<string, Fired>> {
  const rows = await ask<Fired>(
    `SELECT rule_id, uniqExactIf(alert_id, started_at > now() - INTERVAL 30 DAY) AS alerts, uniqExactIf(alert_id, standing != 'resolved') AS firing, max(started_at) AS last_at
     FROM alert_states GROUP BY rule_id`,
  );
  return new Map(rows.map((row) => [row.rule_id, row]));
}

function rowOf(
  { description: _d, runbook: _r, references: _f, source: _s, test_results, ...rule }: RuleView,
  fired: Fired | undefined,
) {
  return {
    ...rule,
    tests: test_results.length,
    failing_tests: test_results.filter(({ failures }) => failures.length > 0).length,
    firing: fired?.firing ?? 0,
    alerts_30d: fired?.alerts ?? 0,
    last_fired_at: fired?.last_at ?? null,
  };
}

export function ruleRoutes(book: RuleBook | undefined): Route[] {
  const find = async (id: string): Promise<RuleView> => {
    const rule = (await book?.rules())?.find((each) => each.id === id);
    if (rule === undefined) throw new AuditdError('not_found', `There is no rule ${id.slice(0, 80)}.`);
    return rule;
  };
  let running = false;
  return [
    route('GET', '/rules', 'Rules in force, and when they fired', {
      answer: ruleList,
      handle: async ({ ask }) => {
        const fired = await firedOf(ask);
        return {
          rules: ((await book?.rules()) ?? []).map((rule) => rowOf(rule, fired.get(rule.id))),
          problems: (await book?.problems()) ?? [],
        };
      },
    }),
    route('GET', '/rules/:id', 'One rule, its text, its tests and its runbook', {
      answer: fullRule,
      handle: async ({ params, ask }) => {
        const rule = await find(params.id!);
        return { ...rule, ...rowOf(rule, (await firedOf(ask)).get(rule.id)) };
      },
    }),
    route('GET', '/rules/:id/backtest', 'What the rule would have found in the calls that are stored', {
      query: backtestQuery,
      answer: backtestAnswer,
      handle: async ({ params, query, now, who }) => {
        const rule = await find(params.id!);
        // The engine reads every tenant's calls.
        if (tenantSeen(who.reader) !== undefined)
          throw new AuditdError('key_role_wrong', 'A backtest reads the calls of every tenant; this key may not.');
        if (running) throw new AuditdError('query_busy', 'Another backtest is running; try again when it has ended.');
        running = true;
        try {
          const fromMs = now - query.days * dayMs;
          const figures = await book!.backtest(rule.id, fromMs, now);
          return { ...figures, from: new Date(fromMs).toISOString(), to: new Date(now).toISOString() };
        } finally {
          running = false;
        }
      },
    }),
  ];
}
