import { once } from 'node:events';
import type { Command } from 'commander';
import { AuditdError } from '../../../schemas/errors.js';
import type { BacktestResult, RuleTally } from '../../detector/backtest.js';
import type { RuleSet } from '../../detector/rule.js';
import { colors } from '../colors.js';
import { loadConfiguration } from '../context.js';
import { addSourceOptions } from './rules.js';
import { loadSound, ownRules, ruleOf, type SourceOptions, sourcesOf } from './sources.js';

interface Options extends SourceOptions {
  readonly from: string;
  readonly to?: string;
  readonly warmup: string;
  readonly against?: string[];
  readonly rule?: string[];
  readonly withPack?: boolean;
  readonly alerts?: boolean;
  readonly json?: boolean;
}

/** `rules backtest`. */
export function addBacktest(rules: Command): void {
  addSourceOptions(rules.command('backtest'))
    .description('run rules over stored calls: what they would have alerted on')
    .argument('[paths...]', 'files and directories (default: what the configuration has in force)')
    .option('--from <time>', 'from this time, or so long ago: 2026-11-01, 2026-11-24T12:00:00Z, 36h, 7d', '7d')
    .option('--to <time>', 'up to this time, or so long ago (default: now)')
    .option('--warmup <duration>', 'how much before that is read for what the rules would have known', '1d')
    .option('--against <paths...>', 'compare with these rules, the version before for example')
    .option('--rule <id...>', 'only these rules')
    .option('--with-pack', 'with paths: the shipped rules as well')
    .option('--alerts', 'every alert record as a JSON line; the summary goes to standard error')
    .option('--json', 'the summary as JSON')
    .addHelpText(
      'after',
      `
The engine is the one that runs live, so an alert here has the id that it would
have had there. With paths only the rules in them are run. Rules that learn for
days (new_value) want a longer --warmup, or they are silent for so long.

Examples:
  mcp-auditd rules backtest --from 30d
  mcp-auditd rules backtest my-rules/ --from 7d --against old-rules/
  mcp-auditd rules backtest --from 24h --rule volume-actor --alerts | jq .group`,
    )
    .action(run);
}

async function run(paths: string[], options: Options): Promise<void> {
  const now = Date.now() * 1000;
  const untilMicros = options.to === undefined ? now : timeOf('--to', options.to, now);
  const fromMicros = timeOf('--from', options.from, now);
  if (fromMicros >= untilMicros)
    throw new AuditdError('argument_invalid', `--from ${options.from}: is not before --to.`);
  const { parseDuration } = await import('../../../schemas/duration.js');
  const warmupMicros = parseDuration(options.warmup);
  if (Number.isNaN(warmupMicros))
    throw new AuditdError(
      'argument_invalid',
      `--warmup ${options.warmup}: expected a duration such as 0s, 12h or 30d.`,
    );
  const loaded = await loadConfiguration(options);
  const rules = await chosen(paths, options);
  const against =
    options.against === undefined
      ? undefined
      : await chosen(options.against, { ...options, withPack: options.withPack === true || paths.length === 0 });
  const [{ ask }, { backtest }] = await Promise.all([import('../ask.js'), import('../../detector/backtest.js')]);
  let out: string[] = [];
  const progress = new Progress();
  const result = await backtest((sql, format) => ask(loaded, { sql, format }), {
    rules,
    ...(against !== undefined && { against }),
    fromMicros,
    untilMicros,
    warmupMicros,
    progress: (read, total) => progress.show(read, total),
    ...(options.alerts === true && { onAlert: (alert) => out.push(JSON.stringify(alert), '\n') }),
  });
  progress.end();
  if (out.length > 0 && !process.stdout.write(out.join(''))) await once(process.stdout, 'drain');
  out = [];
  const range = { from: new Date(fromMicros / 1000).toISOString(), to: new Date(untilMicros / 1000).toISOString() };
  if (options.json === true) {
    process.stdout.write(`${JSON.stringify({ ...range, ...result }, null, 2)}\n`);
    return;
  }
  const text = await summary(result, range, against !== undefined);
  (options.alerts === true ? process.stderr : process.stdout).write(text);
}

async function chosen(paths: readonly string[], options: Options): Promise<RuleSet> {
  const all = await loadSound(await sourcesOf(paths, options));
  const set = paths.length > 0 && options.withPack !== true ? await ownRules(all) : all;
  if (options.rule === undefined) return set;
  const rules = await Promise.all(options.rule.map((id) => ruleOf(all, id)));
  return { ...set, rules };
}

/** A time, or how long ago. */
function timeOf(flag: string, text: string, now: number): number {
  const ago = /^-?(\d+)(s|m|h|d|w)$/.exec(text);
  const units: Readonly<Record<string, number>> = { s: 1e6, m: 60e6, h: 3_600e6, d: 86_400e6, w: 7 * 86_400e6 };
  if (ago !== null) return now - Number(ago[1]) * (units[ago[2] as string] as number);
  const date = /^\d{4}-\d\d-\d\d$/.test(text) ? `${text}T00:00:00Z` : text;
  const micros = /^\d{4}-\d\d-\d\dT.*(Z|[+-]\d\d:\d\d)$/.test(date) ? Date.parse(date) * 1000 : Number.NaN;
  if (!Number.isNaN(micros)) return micros;
  throw new AuditdError(
    'argument_invalid',
    `${flag} ${text}: expected a time such as 2026-11-24T12:00:00Z, a day such as 2026-11-24, or how long ago: 36h, 7d.`,
  );
}

/** Progress on standard error: one line that changes on a terminal, a line every ten seconds elsewhere. */
class Progress {
  private readonly started = performance.now();
  private shownAt = performance.now();
  private shown = false;

  show(read: number, total: number): void {
    const now = performance.now();
    const { isTTY } = process.stderr;
    if (now - this.shownAt < (isTTY ? 200 : 10_000)) return;
    this.shownAt = now;
    this.shown = true;
    const seconds = (now - this.started) / 1000;
    const left = read === 0 ? '' : `, ${Math.ceil((seconds / read) * (total - read))} s left`;
    const rate = Math.round(read / seconds).toLocaleString('en');
    const text = `${Math.floor((100 * read) / Math.max(1, total))} % of ${total.toLocaleString('en')} events, ${rate} a second${left}`;
    process.stderr.write(isTTY ? `\r\u001b[2K${text}` : `${text}\n`);
  }

  end(): void {
    if (this.shown && process.stderr.isTTY) process.stderr.write('\r\u001b[2K');
  }
}

const bars = ' ▁▂▃▄▅▆▇█';

/** Counts as a line of bars, two of them in one; the highest is full. */
function bar(counts: readonly number[]): string {
  const histogram = counts.flatMap((count, index) => (index % 2 === 0 ? [count + (counts[index + 1] ?? 0)] : []));
  const most = Math.max(1, ...histogram);
  return histogram.map((count) => bars[Math.ceil((count / most) * (bars.length - 1))]).join('');
}

async function summary(
  { events, seconds, rules, noisiest, missing }: BacktestResult,
  { from, to }: { from: string; to: string },
  compared: boolean,
): Promise<string> {
  const { renderTable, shown } = await import('../terminal.js');
  const fired = rules.filter(({ alerts, onlyThere }) => alerts > 0 || (onlyThere ?? 0) > 0);
  fired.sort((left, right) => right.alerts - left.alerts);
  const rate = Math.round(events / Math.max(seconds, 0.001)).toLocaleString('en');
  const out = [
    `${from} to ${to}: ${events.toLocaleString('en')} events in ${seconds.toFixed(1)} s (${rate} a second)`,
    '',
  ];
  if (fired.length === 0) out.push(`None of the ${rules.length} rules would have fired.`);
  else {
    const change = ({ onlyHere = 0, onlyThere = 0 }: RuleTally): string =>
      onlyHere === 0 && onlyThere === 0 ? 'same' : `+${onlyHere} −${onlyThere}`;
    const names = ['rule', 'alerts', 'keys', ...(compared ? ['change'] : []), 'first', 'last', 'over time'];
    const rows = fired.map((rule) => [
      rule.id,
      rule.alerts,
      rule.keys,
      ...(compared ? [change(rule)] : []),
      rule.first?.slice(0, 19) ?? '',
      rule.last?.slice(0, 19) ?? '',
      bar(rule.histogram),
    ]);
    out.push(renderTable(names, rows));
    const silent = rules.length - fired.length;
    if (silent > 0) out.push('', `${silent} other ${silent === 1 ? 'rule' : 'rules'} would not have fired.`);
  }
  for (const { id, alerts } of missing)
    out.push(`${shown(id)} is only in the other rules, where it has ${alerts} alerts.`);
  if (noisiest.length > 0) {
    out.push('', colors.bold('Noisiest keys'));
    const group = (each: Readonly<Record<string, string>>): string =>
      Object.entries(each)
        .map(([name, value]) => `${name}=${value}`)
        .join(' ');
    out.push(
      renderTable(
        ['alerts', 'rule', 'key'],
        noisiest.map((each) => [each.alerts, each.rule, group(each.group)]),
      ),
    );
  }
  return `${out.join('\n')}\n`;
}
