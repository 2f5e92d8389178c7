import { formatDuration } from '../../../schemas/duration.js';
import type { Expression } from '../../detector/expression.js';
import type { Rule } from '../../detector/rule.js';
import { colors } from '../colors.js';
import { loadSound, ruleJson, ruleOf, type SourceOptions, shortPath, sourcesOf } from './sources.js';

type Options = SourceOptions & { readonly json?: boolean };

/** `rules list`. */
export async function list(paths: readonly string[], options: Options): Promise<void> {
  const { rules } = await loadSound(await sourcesOf(paths, options));
  if (options.json === true) {
    for (const rule of rules) process.stdout.write(`${JSON.stringify(ruleJson(rule))}\n`);
    return;
  }
  const { renderTable } = await import('../terminal.js');
  const rows = rules.map((rule) => [rule.id, rule.level, rule.type, condition(rule), standing(rule), rule.title]);
  process.stdout.write(`${renderTable(['id', 'level', 'type', 'fires at', 'state', 'title'], rows)}\n`);
}

function standing({ enabled, dryRun }: Rule): string {
  if (!enabled) return 'disabled';
  return dryRun ? 'dry run' : 'enabled';
}

const signs = { gt: '>', gte: '≥', lt: '<', lte: '≤', eq: '=', neq: '≠' } as const;

function condition({ threshold, window, type, options }: Rule): string {
  const limit = threshold === undefined ? '' : `${signs[threshold.comparison]} ${threshold.value}`;
  const span = window === undefined ? '' : `in ${formatDuration(window.sizeMicros)}`;
  const steps = type.startsWith('temporal') ? `${String(options.steps)} steps` : '';
  return [limit, steps, span].filter((each) => each !== '').join(' ');
}

/** `rules show`. */
export async function show(id: string, paths: readonly string[], options: Options): Promise<void> {
  const rule = await ruleOf(await loadSound(await sourcesOf(paths, options)), id);
  if (options.json === true) {
    process.stdout.write(`${JSON.stringify(ruleJson(rule), null, 2)}\n`);
    return;
  }
  const { shown, shownLines } = await import('../terminal.js');
  const line = (name: string, text: string): string =>
    text === '' ? '' : `${colors.dim(name.padEnd(10))} ${shown(text)}\n`;
  const { window, latenessMicros, realert } = rule;
  const limits = [
    window === undefined ? '' : `${window.kind} window of ${formatDuration(window.sizeMicros)}`,
    Number.isFinite(latenessMicros) ? `lateness ${formatDuration(latenessMicros)}` : '',
  ];
  process.stdout.write(
    [
      `${colors.bold(shown(rule.title))}\n`,
      rule.description === '' ? '' : `${shownLines(rule.description.trim())}\n`,
      '\n',
      line('id', rule.id),
      line('version', rule.version),
      line('level', rule.level),
      line('state', standing(rule)),
      line('type', rule.type),
      line('fires at', condition(rule)),
      line('group by', rule.groupNames.join(', ')),
      line('window', limits.filter((each) => each !== '').join(', ')),
      line('reminder', Number.isFinite(realert.everyMicros) ? `every ${formatDuration(realert.everyMicros)}` : ''),
      line('actions', rule.actions.map((action) => JSON.stringify(action)).join(', ')),
      line('tags', rule.tags.join(', ')),
      line('see', rule.references.join(', ')),
      line('file', `${shortPath(rule.file)}:${rule.place.line}`),
      ...rule.roles.map((role) => `\n${colors.bold(shown(role.name))}\n${spoken(role.expression, 1, shown)}`),
      rule.runbook === '' ? '' : `\n${colors.bold('What to do')}\n${indent(shownLines(rule.runbook.trim()))}\n`,
      rule.tests.length === 0
        ? ''
        : `\n${colors.bold('Tests')}\n${rule.tests.map(({ name }) => `  ${shown(name)}\n`).join('')}`,
    ].join(''),
  );
}

const indent = (text: string): string => text.replaceAll(/^(?=.)/gm, '  ');
/** Values of a long list that are shown. */
const mostShown = 12;

/** An expression in lines, one test each. */
function spoken(expression: Expression, depth: number, safe: (text: string) => string): string {
  const pad = '  '.repeat(depth);
  if (expression.op !== 'and' && expression.op !== 'or') return `${pad}${safe(testText(expression))}\n`;
  const shownChildren = expression.children.slice(0, mostShown);
  const rest = expression.children.length - shownChildren.length;
  return [
    `${pad}${expression.op === 'and' ? 'all of' : 'any of'}\n`,
    ...shownChildren.map((child) => spoken(child, depth + 1, safe)),
    rest > 0 ? `${pad}  … and ${rest} more\n` : '',
  ].join('');
}

/** One test in words. */
export function testText(expression: Expression): string {
  switch (expression.op) {
    case 'and':
      return 'all of';
    case 'or':
      return 'any of';
    case 'not':
      return `not ${testText(expression.child)}`;
    case 'constant':
      return expression.value ? 'every event' : 'no event';
    case 'before':
      return `until ${new Date(expression.endMicros / 1000).toISOString()}: ${testText(expression.child)}`;
    case 'calendar':
      return `calendar ${expression.calendar} is ${expression.is}`;
  }
  const { field, test } = expression;
  switch (test.kind) {
    case 'exists':
      return `${field.name} ${test.expected ? 'is there' : 'is not there'}`;
    case 'number':
      return `${field.name} ${signs[test.comparison]} ${test.value}`;
    case 'regex':
      return `${field.name} matches /${test.pattern}/${test.flags}`;
    case 'cidr':
      return `${field.name} in ${test.network}`;
    case 'wildcard':
      return `${field.name} like ${test.parts.join('*').replaceAll('\uffff', '?')}`;
    case 'field':
      return `${field.name} ${test.how} ${test.other.name}`;
    default:
      return `${field.name} ${test.kind} ${JSON.stringify(test.text)}${test.cased ? ' (case counts)' : ''}`;
  }
}
