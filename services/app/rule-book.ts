/** The rules in force, as the query role shows them: read from the same files as the detector's, their tests run here. */
import { join, relative, resolve } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import type { Configuration } from '../../schemas/configuration.js';
import { formatDuration } from '../../schemas/duration.js';
import { backtest } from '../detector/backtest.js';
import { selectionSql } from '../detector/evidence.js';
import type { Excerpt } from '../detector/excerpt.js';
import { sqlOf } from '../detector/fields.js';
import { packDirectory } from '../detector/load.js';
import type { Rule, RuleSet } from '../detector/rule.js';
import { RuleDirectory } from '../detector/rule-directory.js';
import type { RuleBook, RuleView } from '../query/api/rules.js';
import type { Store } from '../store/store.js';

const lookMs = 2_000;
const signs = { gt: '>', gte: '≥', lt: '<', lte: '≤', eq: '=', neq: '≠' } as const;
const warmupMs = 86_400_000;

/** A backtest reads bodies of many calls, in slices. */
const backtestLimits = {
  timeMs: 120_000,
  memoryBytes: 2 * 1024 ** 3,
  resultRows: 50_000_000,
  resultBytes: 8 * 1024 ** 3,
};

export function openRuleBook(configuration: Configuration, data: string, store: Store): RuleBook {
  const own = resolve(data, configuration.rules.directory);
  const directory = new RuleDirectory(
    { pack: configuration.rules.pack, paths: [own] },
    { excerpts: true, pause: () => setImmediate() },
  );
  let set: RuleSet = { rules: [], calendars: new Map() };
  let views: readonly RuleView[] = [];
  let lookedAt = Number.NEGATIVE_INFINITY;
  let looking: Promise<void> = Promise.resolve();
  /** Whoever asks while the files are read waits for the same answer. */
  const look = (): Promise<void> => {
    if (Date.now() - lookedAt < lookMs) return looking;
    lookedAt = Date.now();
    looking = looking
      .catch(() => undefined)
      .then(async () => {
        const changed = await directory.changed();
        if (changed === undefined) return;
        ({ set } = changed);
        views = set.rules.map((rule, index) => viewOf(rule, changed.excerpts[index] as Excerpt, own));
      });
    return looking;
  };
  return {
    async rules() {
      await look();
      return views;
    },
    async problems() {
      await look();
      return directory.problems.map(
        ({ file, line, column, message }) => `${shortName(file, own)}:${line}:${column}: ${message}`,
      );
    },
    async backtest(id, fromMs, toMs) {
      await look();
      const rules = set.rules.filter((rule) => rule.id === id).map((rule) => ({ ...rule, enabled: true }));
      const result = await backtest(
        async function* (sql, format) {
          // Recording goes on between two chunks.
          for await (const chunk of store.query(sql, { format, limits: backtestLimits })) {
            yield chunk;
            await setImmediate();
          }
        },
        {
          rules: { ...set, rules },
          fromMicros: fromMs * 1000,
          untilMicros: toMs * 1000,
          warmupMicros: warmupMs * 1000,
        },
      );
      const [tally] = result.rules;
      const { events, seconds, noisiest } = result;
      return {
        events,
        seconds,
        alerts: tally?.alerts ?? 0,
        keys: tally?.keys ?? 0,
        matched: tally?.matched ?? 0,
        histogram: tally?.histogram ?? [],
        noisiest: noisiest.map(({ group, alerts }) => ({ group, alerts })),
      };
    },
  };
}

function shortName(file: string, own: string): string {
  const pack = packDirectory();
  if (file.startsWith(join(pack, '/'))) return join('rules', relative(pack, file));
  return relative(own, file);
}

function viewOf(rule: Rule, { source, tests }: Excerpt, own: string): RuleView {
  const {
    id,
    title,
    description,
    type,
    level,
    enabled,
    dryRun,
    version,
    tags,
    references,
    runbook,
    window,
    threshold,
  } = rule;
  return {
    id,
    title,
    description,
    type,
    level,
    enabled,
    dry_run: dryRun,
    version,
    tags,
    references,
    runbook,
    watches: watches(rule),
    window_ms: window === undefined ? null : window.sizeMicros / 1000,
    threshold: threshold?.value ?? null,
    measure: measureOf(rule),
    file: shortName(rule.file, own),
    line: rule.place.line,
    source,
    test_results: tests,
  };
}

/** What the rule's window holds, in SQL over `calls`. */
function measureOf({ type, roles }: Rule): RuleView['measure'] {
  const field = roles[0]?.valueField;
  const of = field === undefined ? undefined : sqlOf(field);
  if (type === 'event_count') return { how: 'count', of: '1' };
  if (type === 'value_count' && of !== undefined) return { how: 'distinct', of: `toString(${of})` };
  if (type === 'value_sum' && of !== undefined) return { how: 'sum', of: `toFloat64OrZero(toString(${of}))` };
  const part = type === 'ratio' && roles[1] !== undefined ? selectionSql([roles[1].expression]) : undefined;
  return part === undefined ? null : { how: 'share', of: `toFloat64(${part})` };
}

const typeWords: Readonly<Record<string, string>> = {
  match: 'each call that matches',
  event_count: 'calls',
  value_count: 'different values',
  value_sum: 'sum of values',
  ratio: 'share of calls',
  new_value: 'a value not seen before',
  absence: 'no call',
  sequence_gap: "a gap in a producer's sequence",
  temporal: 'steps in any order:',
  temporal_ordered: 'steps in this order:',
};

function watches({ type, threshold, window, groupNames, options }: Rule): string {
  const parts = [
    typeWords[type] ?? type.replaceAll('_', ' '),
    threshold === undefined ? '' : `${signs[threshold.comparison]} ${threshold.value}`,
    type.startsWith('temporal') ? `${String(options.steps)} steps` : '',
    window === undefined ? '' : `in ${formatDuration(window.sizeMicros)}`,
    groupNames.length === 0 ? '' : `per ${groupNames.join(', ')}`,
  ];
  return parts.filter((part) => part !== '').join(' ');
}
